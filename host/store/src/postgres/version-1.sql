-- Version 1. The constraints repeat the state machine of the code, so that a bug in it causes an
-- error and not a lost request.
--
-- All objects are in the first schema of the connection's search_path. The times that the API shows
-- (created_at, finished_at, first_try_at) are milliseconds since 1970 by the database's clock. All
-- other times are the store's time: the same clock without its jumps (`shift_ms`).

CREATE TABLE bulkhead_meta (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  -- The version of the tables.
  version integer NOT NULL,
  -- Added to the database's clock to get the store's time.
  shift_ms bigint NOT NULL DEFAULT 0,
  -- Counts changes of `shift_ms`. Times that were read before a change are not used after it.
  epoch bigint NOT NULL DEFAULT 0,
  -- No call is made before this time, even if slots are free.
  held_until bigint NOT NULL,
  -- The window and the margin that the times of `bulkhead_slots` include: the maximum over all
  -- replicas.
  window_ms bigint NOT NULL,
  margin_ms bigint NOT NULL,
  -- The `bulkhead_incarnation()` in which the slots were last claimed.
  incarnation text NOT NULL
);

-- One row per process that uses the store. Its leases end with it.
CREATE TABLE bulkhead_sessions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Increases every second. A session whose counter does not change is dead, whatever any clock
  -- shows.
  beat bigint NOT NULL DEFAULT 0,
  window_ms bigint NOT NULL,
  margin_ms bigint NOT NULL
) WITH (fillfactor = 20);

-- Boots of machines, and the difference between the store's time and the machine's clock
-- (`CLOCK_BOOTTIME`).
CREATE TABLE bulkhead_machines (
  boot_id text PRIMARY KEY,
  low_us bigint NOT NULL,
  high_us bigint NOT NULL CHECK (high_us >= low_us),
  -- The time of the reading by the machine's clock.
  read_at bigint NOT NULL,
  epoch bigint NOT NULL,
  -- Store's time at which the row was last written. Old rows are deleted.
  seen_at bigint NOT NULL
);

CREATE TABLE bulkhead_messages (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- SHA-256 of the text.
  digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
  -- UTF-8 in a bytea, because the type text cannot contain U+0000.
  text bytea NOT NULL CHECK (length(text) > 0),
  state text NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  signature text CHECK ((signature IS NOT NULL) = (state = 'signed')),
  error text CHECK ((error IS NOT NULL) = (state = 'failed')),
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  created_at bigint NOT NULL,
  waits_since bigint NOT NULL,
  -- The time of the next attempt. For a message without attempts, the time at which it was
  -- accepted.
  due_at bigint NOT NULL,
  finished_at bigint CHECK ((finished_at IS NULL) = (state = 'pending')),
  -- The same in the store's time.
  ended_at bigint CHECK ((ended_at IS NULL) = (state = 'pending')),
  -- Increases when a lease begins or ends. An expired attempt may still be finished unless another
  -- one has begun.
  lease bigint NOT NULL DEFAULT 0,
  -- The session with the active attempt. NULL if there is none.
  session bigint REFERENCES bulkhead_sessions ON DELETE SET NULL CHECK (session IS NULL OR state = 'pending'),
  -- The start of the lease by the clock of the session's machine.
  leased_at bigint CHECK (leased_at IS NOT NULL OR session IS NULL)
);

CREATE INDEX bulkhead_messages_fresh ON bulkhead_messages (due_at, id) WHERE state = 'pending' AND session IS NULL AND tries = 0;
CREATE INDEX bulkhead_messages_tried ON bulkhead_messages (due_at, id) WHERE state = 'pending' AND session IS NULL AND tries > 0;
CREATE INDEX bulkhead_messages_leased ON bulkhead_messages (session) WHERE session IS NOT NULL;
CREATE INDEX bulkhead_messages_waiting ON bulkhead_messages (waits_since) WHERE state = 'pending';

CREATE TABLE bulkhead_requests (
  -- Increases in the order in which the requests were accepted.
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE CHECK (length(id) = 44),
  message bigint NOT NULL REFERENCES bulkhead_messages,
  callback text CHECK (callback <> ''),
  -- SHA-256 of the callback, or NULL without one. URLs can be too long for an index.
  callback_digest bytea CHECK ((callback_digest IS NULL) = (callback IS NULL)),
  -- The host of the callback's URL, so that a slow host does not delay the others.
  host text COLLATE "C" CHECK ((host IS NULL) = (callback IS NULL)),
  created_at bigint NOT NULL,
  -- Whether a second caller has received this request. Then a notification is sent even if one
  -- caller has received the result directly.
  shared boolean NOT NULL DEFAULT false,
  -- The state of the message.
  state text NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  -- The start of the retention period: the end of the message, or the time at which the
  -- notification was parked. NULL while a notification is pending.
  done_at bigint CHECK (done_at IS NULL OR state <> 'pending')
);

-- Requests with the same message and the same callback are one request. Later callers get the
-- result with the request that has no callback.
CREATE UNIQUE INDEX bulkhead_requests_same ON bulkhead_requests (message, callback_digest) WHERE callback_digest IS NOT NULL;
CREATE UNIQUE INDEX bulkhead_requests_silent ON bulkhead_requests (message) WHERE callback_digest IS NULL;
CREATE INDEX bulkhead_requests_pending ON bulkhead_requests (number) WHERE state = 'pending';
CREATE INDEX bulkhead_requests_failed ON bulkhead_requests (number) WHERE state = 'failed';
CREATE INDEX bulkhead_requests_done ON bulkhead_requests (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE bulkhead_slots (
  number bigint PRIMARY KEY CHECK (number >= 0),
  free_at bigint NOT NULL,
  -- Counts claims, so that only the last claim can end its call.
  claim bigint NOT NULL DEFAULT 0,
  -- The purpose of the last claim.
  purpose text NOT NULL DEFAULT 'try' CHECK (purpose IN ('try', 'check'))
) WITH (fillfactor = 20);

-- One row per request with a callback whose message is finished, unless its caller has received the
-- result directly.
CREATE TABLE bulkhead_notifications (
  request bigint PRIMARY KEY REFERENCES bulkhead_requests ON DELETE CASCADE,
  host text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'delivered', 'parked')),
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  first_try_at bigint,
  due_at bigint CHECK ((due_at IS NOT NULL) = (state = 'pending')),
  last_error text CHECK (state <> 'parked' OR last_error IS NOT NULL),
  -- As in `bulkhead_messages`.
  lease bigint NOT NULL DEFAULT 0,
  session bigint REFERENCES bulkhead_sessions ON DELETE SET NULL CHECK (session IS NULL OR state = 'pending'),
  leased_at bigint CHECK (leased_at IS NOT NULL OR session IS NULL)
);

-- Indexes for the oldest of all, and for the oldest per host. A host with the maximum number of
-- active attempts is skipped in one step, however many notifications wait for it.
CREATE INDEX bulkhead_notifications_due ON bulkhead_notifications (due_at, host, request) WHERE state = 'pending' AND session IS NULL;
CREATE INDEX bulkhead_notifications_hosts ON bulkhead_notifications (host, due_at, request) WHERE state = 'pending' AND session IS NULL;
CREATE INDEX bulkhead_notifications_parked ON bulkhead_notifications (request) WHERE state = 'parked';
CREATE INDEX bulkhead_notifications_leased ON bulkhead_notifications (session) WHERE session IS NOT NULL;

-- The number of rows in each of these states is the sum over all shards. Counting a million rows
-- takes too long for each request, and a single row would serialise all requests. A connection
-- writes to the shard of its own number.
CREATE TABLE bulkhead_counts (
  shard integer PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
  messages_pending bigint NOT NULL DEFAULT 0,
  notifications_pending bigint NOT NULL DEFAULT 0,
  notifications_parked bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

INSERT INTO bulkhead_counts (shard) SELECT generate_series(0, 63);

-- The database's clock. No other statement reads a clock.
CREATE FUNCTION bulkhead_clock_ms() RETURNS bigint LANGUAGE sql VOLATILE
  AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint';

-- Changes after a restart, after a change of the server, and if the tables were restored from a
-- backup. In these cases, calls may have been claimed that these slots do not contain.
CREATE FUNCTION bulkhead_incarnation() RETURNS text LANGUAGE sql STABLE
  AS 'SELECT concat_ws(''/'', (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        to_regclass(''bulkhead_slots'')::oid)';
