-- Version 1. The constraints repeat the state machine of the code, so that a bug in it is an error
-- and not a lost request.
--
-- Everything is in the first schema of the connection's search_path. Times of what people are shown
-- (created_at, finished_at, first_try_at) are milliseconds since 1970 by the database's clock. All
-- others go by the store's time: the same clock, but with its jumps taken out (`shift_ms`).

CREATE TABLE bulkhead_meta (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  -- Which of these files made the tables.
  version integer NOT NULL,
  -- What is added to the database's clock.
  shift_ms bigint NOT NULL DEFAULT 0,
  -- Counts changes of `shift_ms`: what was read before one is not used after it.
  epoch bigint NOT NULL DEFAULT 0,
  -- No call before then, whatever slots are free.
  held_until bigint NOT NULL,
  -- What the times of `bulkhead_slots` were made with: the longest of all replicas.
  window_ms bigint NOT NULL,
  margin_ms bigint NOT NULL,
  -- The `bulkhead_incarnation()` that the slots were last claimed in.
  incarnation text NOT NULL
);

-- One for each process that uses the store. Its leases end with it.
CREATE TABLE bulkhead_sessions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Grows each second. A session whose beat stands still is dead, whatever any clock says.
  beat bigint NOT NULL DEFAULT 0,
  window_ms bigint NOT NULL,
  margin_ms bigint NOT NULL
) WITH (fillfactor = 20);

-- Starts of machines, with what the store's time is ahead of their clock (`CLOCK_BOOTTIME`).
CREATE TABLE bulkhead_machines (
  boot_id text PRIMARY KEY,
  low_us bigint NOT NULL,
  high_us bigint NOT NULL CHECK (high_us >= low_us),
  -- By the machine's clock.
  read_at bigint NOT NULL,
  epoch bigint NOT NULL,
  -- By the store's time, to forget machines that are gone.
  seen_at bigint NOT NULL
);

CREATE TABLE bulkhead_messages (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- SHA-256 of the text.
  digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
  -- UTF-8; not of type text, which knows no U+0000.
  text bytea NOT NULL CHECK (length(text) > 0),
  state text NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  signature text CHECK ((signature IS NOT NULL) = (state = 'signed')),
  error text CHECK ((error IS NOT NULL) = (state = 'failed')),
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  created_at bigint NOT NULL,
  waits_since bigint NOT NULL,
  -- Not to be tried before; when it was accepted, for one that was never tried.
  due_at bigint NOT NULL,
  finished_at bigint CHECK ((finished_at IS NULL) = (state = 'pending')),
  -- The same by the store's time.
  ended_at bigint CHECK ((ended_at IS NULL) = (state = 'pending')),
  -- Grows with each lease and with its end. A try may still be finished after its time, as long as
  -- there is no other.
  lease bigint NOT NULL DEFAULT 0,
  -- Who tries it now; none where nobody does.
  session bigint REFERENCES bulkhead_sessions ON DELETE SET NULL CHECK (session IS NULL OR state = 'pending'),
  -- Since when, by the clock of the session's machine.
  leased_at bigint CHECK (leased_at IS NOT NULL OR session IS NULL)
);

CREATE INDEX bulkhead_messages_fresh ON bulkhead_messages (due_at, id) WHERE state = 'pending' AND session IS NULL AND tries = 0;
CREATE INDEX bulkhead_messages_tried ON bulkhead_messages (due_at, id) WHERE state = 'pending' AND session IS NULL AND tries > 0;
CREATE INDEX bulkhead_messages_leased ON bulkhead_messages (session) WHERE session IS NOT NULL;
CREATE INDEX bulkhead_messages_waiting ON bulkhead_messages (waits_since) WHERE state = 'pending';

CREATE TABLE bulkhead_requests (
  -- Grows: the order in which they came.
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE CHECK (length(id) = 44),
  message bigint NOT NULL REFERENCES bulkhead_messages,
  callback text CHECK (callback <> ''),
  -- SHA-256 of it, none for none: an index takes no text as long as a URL may be.
  callback_digest bytea CHECK ((callback_digest IS NULL) = (callback IS NULL)),
  -- Of the callback's URL: a slow one must not hold up the others.
  host text COLLATE "C" CHECK ((host IS NULL) = (callback IS NULL)),
  created_at bigint NOT NULL,
  -- Whether a second caller got it too: then somebody is to be told, whoever is answered.
  shared boolean NOT NULL DEFAULT false,
  -- The message's.
  state text NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  -- From when on it is kept for show only: since the message was finished, or since the notification
  -- was parked. None while anybody is to be told.
  done_at bigint CHECK (done_at IS NULL OR state <> 'pending')
);

-- The same message with the same callback is the same request; later callers get the result under
-- the one without a callback.
CREATE UNIQUE INDEX bulkhead_requests_same ON bulkhead_requests (message, callback_digest) WHERE callback_digest IS NOT NULL;
CREATE UNIQUE INDEX bulkhead_requests_silent ON bulkhead_requests (message) WHERE callback_digest IS NULL;
CREATE INDEX bulkhead_requests_pending ON bulkhead_requests (number) WHERE state = 'pending';
CREATE INDEX bulkhead_requests_failed ON bulkhead_requests (number) WHERE state = 'failed';
CREATE INDEX bulkhead_requests_done ON bulkhead_requests (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE bulkhead_slots (
  number bigint PRIMARY KEY CHECK (number >= 0),
  free_at bigint NOT NULL,
  -- Counts claims, so that only the last one can end its call.
  claim bigint NOT NULL DEFAULT 0,
  -- What the last claim was for.
  purpose text NOT NULL DEFAULT 'try' CHECK (purpose IN ('try', 'check'))
) WITH (fillfactor = 20);

-- One for each request with a callback whose message is finished and that was not answered with the
-- result at once.
CREATE TABLE bulkhead_notifications (
  request bigint PRIMARY KEY REFERENCES bulkhead_requests ON DELETE CASCADE,
  host text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'delivered', 'parked')),
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  first_try_at bigint,
  due_at bigint CHECK ((due_at IS NOT NULL) = (state = 'pending')),
  last_error text CHECK (state <> 'parked' OR last_error IS NOT NULL),
  -- As with messages.
  lease bigint NOT NULL DEFAULT 0,
  session bigint REFERENCES bulkhead_sessions ON DELETE SET NULL CHECK (session IS NULL OR state = 'pending'),
  leased_at bigint CHECK (leased_at IS NOT NULL OR session IS NULL)
);

-- The oldest of all, and the oldest of each host: one that has as many tries as it may have is passed
-- over in one step, however many wait for it.
CREATE INDEX bulkhead_notifications_due ON bulkhead_notifications (due_at, host, request) WHERE state = 'pending' AND session IS NULL;
CREATE INDEX bulkhead_notifications_hosts ON bulkhead_notifications (host, due_at, request) WHERE state = 'pending' AND session IS NULL;
CREATE INDEX bulkhead_notifications_parked ON bulkhead_notifications (request) WHERE state = 'parked';
CREATE INDEX bulkhead_notifications_leased ON bulkhead_notifications (session) WHERE session IS NOT NULL;

-- How many there are in these states is the sum over all rows: to count a million of them takes too
-- long for every request, and one row for all would make every request wait for the one before. A
-- connection writes to the row of its own number.
CREATE TABLE bulkhead_counts (
  shard integer PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
  messages_pending bigint NOT NULL DEFAULT 0,
  notifications_pending bigint NOT NULL DEFAULT 0,
  notifications_parked bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

INSERT INTO bulkhead_counts (shard) SELECT generate_series(0, 63);

-- The database's clock. Nothing else here reads one.
CREATE FUNCTION bulkhead_clock_ms() RETURNS bigint LANGUAGE sql VOLATILE
  AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint';

-- Differs after a restart, a change of servers, and where the tables come from a backup: calls may
-- have been claimed since that these slots do not know of.
CREATE FUNCTION bulkhead_incarnation() RETURNS text LANGUAGE sql STABLE
  AS 'SELECT concat_ws(''/'', (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        to_regclass(''bulkhead_slots'')::oid)';
