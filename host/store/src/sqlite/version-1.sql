-- Version 1. The constraints repeat the state machine of the code, so that a bug in the code causes an
-- error and not a lost request.
--
-- Times that are shown to people are milliseconds since 1970: created_at, finished_at, first_try_at,
-- done_at. Plans, leases and slots use the boot clock of the machine start `meta.boot_id`: due_at,
-- leased_until, waits_since, free_at, held_until. This clock starts again with each start of the machine.
-- Therefore waits_ahead_ms is added to it for waits_since, and ahead_ms for the others.

CREATE TABLE meta (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  -- The start of the machine that the plans belong to.
  boot_id TEXT NOT NULL,
  ahead_ms INTEGER NOT NULL,
  waits_ahead_ms INTEGER NOT NULL,
  -- No slot can be claimed before this time.
  held_until INTEGER NOT NULL,
  -- The window and the margin that the times in `slots` include.
  window_ms INTEGER NOT NULL,
  margin_ms INTEGER NOT NULL,
  -- Number of messages that wait. Counting a million rows for each request would take too long.
  backlog INTEGER NOT NULL CHECK (backlog >= 0),
  -- Numbers of notifications in these states, for the same reason.
  notifications_pending INTEGER NOT NULL CHECK (notifications_pending >= 0),
  notifications_parked INTEGER NOT NULL CHECK (notifications_parked >= 0),
  -- Number of leases so far. Each lease gets its own token from it.
  leases INTEGER NOT NULL
) STRICT;

CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  -- The first 8 bytes of the SHA-256 of the text, as an index key. It is short because its index is the
  -- only one whose new entries are not adjacent. Two texts may have the same value.
  fingerprint INTEGER NOT NULL,
  text TEXT NOT NULL CHECK (text <> ''),
  state TEXT NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  signature TEXT CHECK ((signature IS NOT NULL) = (state = 'signed')),
  error TEXT CHECK ((error IS NOT NULL) = (state = 'failed')),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
  created_at INTEGER NOT NULL,
  -- The same by the boot clock, for the age of the message.
  waits_since INTEGER NOT NULL,
  -- No attempt before this time. For a message without an attempt, the time when it was accepted.
  due_at INTEGER NOT NULL,
  finished_at INTEGER CHECK ((finished_at IS NULL) = (state = 'pending')),
  -- Token of the last attempt, while it is not finished. An attempt whose lease has expired may still be
  -- finished, as long as no other attempt is claimed.
  lease INTEGER CHECK (lease IS NULL OR state = 'pending'),
  -- End of the lease. NULL if there is no active attempt.
  leased_until INTEGER CHECK (leased_until IS NULL OR lease IS NOT NULL)
) STRICT;

CREATE INDEX messages_text ON messages (fingerprint);
CREATE INDEX messages_fresh ON messages (due_at) WHERE state = 'pending' AND leased_until IS NULL AND tries = 0;
CREATE INDEX messages_tried ON messages (due_at) WHERE state = 'pending' AND leased_until IS NULL AND tries > 0;
CREATE INDEX messages_leased ON messages (leased_until) WHERE leased_until IS NOT NULL;
CREATE INDEX messages_waiting ON messages (waits_since) WHERE state = 'pending';

CREATE TABLE requests (
  -- Ascending in the order of arrival.
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE CHECK (length(id) = 44),
  message INTEGER NOT NULL REFERENCES messages (id),
  callback TEXT CHECK (callback <> ''),
  -- The host of the callback's URL. Concurrency is limited per host.
  host TEXT CHECK ((host IS NULL) = (callback IS NULL)),
  created_at INTEGER NOT NULL,
  -- Whether more than one caller has the id. Then the notification is always sent.
  shared INTEGER NOT NULL DEFAULT 0 CHECK (shared IN (0, 1)),
  -- The state of the message.
  state TEXT NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  -- Start of the retention: the time when the message was finished or the notification was parked. NULL
  -- while the message or the notification is pending.
  done_at INTEGER CHECK (done_at IS NULL OR state <> 'pending')
) STRICT;

-- The same message with the same callback is the same request. Later callers receive the result under the
-- request without a callback.
CREATE UNIQUE INDEX requests_same ON requests (message, ifnull(callback, ''));
CREATE INDEX requests_pending ON requests (number) WHERE state = 'pending';
CREATE INDEX requests_failed ON requests (number) WHERE state = 'failed';
CREATE INDEX requests_done ON requests (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE slots (
  number INTEGER PRIMARY KEY CHECK (number >= 0),
  free_at INTEGER NOT NULL,
  -- Number of claims so far. Only the last claim can be ended.
  claim INTEGER NOT NULL DEFAULT 0,
  -- The kind of call of the last claim.
  purpose TEXT NOT NULL DEFAULT 'try' CHECK (purpose IN ('try', 'check'))
) STRICT;

-- One row for each request with a callback whose message is finished, except requests whose caller received
-- the result directly.
CREATE TABLE notifications (
  request INTEGER PRIMARY KEY REFERENCES requests (number),
  host TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'parked')),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
  first_try_at INTEGER,
  due_at INTEGER CHECK ((due_at IS NOT NULL) = (state = 'pending')),
  last_error TEXT CHECK (state <> 'parked' OR last_error IS NOT NULL),
  -- As in `messages`.
  lease INTEGER CHECK (lease IS NULL OR state = 'pending'),
  leased_until INTEGER CHECK (leased_until IS NULL OR lease IS NOT NULL)
) STRICT;

CREATE INDEX notifications_due ON notifications (host, due_at) WHERE state = 'pending' AND leased_until IS NULL;
-- Finds the notification that is planned last.
CREATE INDEX notifications_planned ON notifications (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notifications_parked ON notifications (request) WHERE state = 'parked';
CREATE INDEX notifications_leased ON notifications (leased_until) WHERE leased_until IS NOT NULL;

-- The time when the next notification of each host without an active delivery is due. With it, a host with
-- its maximum of concurrent deliveries is skipped in one step, however many notifications wait for it.
CREATE TABLE hosts (
  host TEXT PRIMARY KEY,
  due_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hosts_due ON hosts (due_at);
