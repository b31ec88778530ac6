-- Version 1. The constraints repeat the state machine of the code, so that a bug in it is an error
-- and not a lost request.
--
-- Times called `..._at` of what people are shown are milliseconds since 1970. Plans, leases and slots
-- go by the clock of `meta.boot_id`: due_at of messages and notifications, leased_until, waits_since,
-- free_at, held_until. Since that begins anew with each
-- start of the machine, ahead_ms is added to it, and waits_ahead_ms for waits_since.

CREATE TABLE meta (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  -- Which start of the machine the plans belong to.
  boot_id TEXT NOT NULL,
  ahead_ms INTEGER NOT NULL,
  waits_ahead_ms INTEGER NOT NULL,
  -- No call before then, whatever slots are free.
  held_until INTEGER NOT NULL,
  -- What the times of `slots` were made with.
  window_ms INTEGER NOT NULL,
  margin_ms INTEGER NOT NULL,
  -- Messages that wait: to count a million of them takes too long for every request.
  backlog INTEGER NOT NULL CHECK (backlog >= 0),
  -- Notifications in these states, for the same reason.
  notifications_pending INTEGER NOT NULL CHECK (notifications_pending >= 0),
  notifications_parked INTEGER NOT NULL CHECK (notifications_parked >= 0),
  -- Counts leases, so that each has a token of its own.
  leases INTEGER NOT NULL
) STRICT;

CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  -- The first 8 octets of the SHA-256 of the text, to find it by: of the indexes, the only one whose
  -- new entries are not beside each other, so it is to be small. Two texts may share one.
  fingerprint INTEGER NOT NULL,
  text TEXT NOT NULL CHECK (text <> ''),
  state TEXT NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  signature TEXT CHECK ((signature IS NOT NULL) = (state = 'signed')),
  error TEXT CHECK ((error IS NOT NULL) = (state = 'failed')),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
  created_at INTEGER NOT NULL,
  -- The same by the other clock, while the machine ran: how long it has waited.
  waits_since INTEGER NOT NULL,
  -- Not to be tried before; when it was accepted, for one that was never tried.
  due_at INTEGER NOT NULL,
  finished_at INTEGER CHECK ((finished_at IS NULL) = (state = 'pending')),
  -- Token of the last try that was begun and not finished. It may still be finished after its time,
  -- as long as there is no other.
  lease INTEGER CHECK (lease IS NULL OR state = 'pending'),
  -- Until then nobody else tries; none where nobody does.
  leased_until INTEGER CHECK (leased_until IS NULL OR lease IS NOT NULL)
) STRICT;

CREATE INDEX messages_text ON messages (fingerprint);
CREATE INDEX messages_fresh ON messages (due_at) WHERE state = 'pending' AND leased_until IS NULL AND tries = 0;
CREATE INDEX messages_tried ON messages (due_at) WHERE state = 'pending' AND leased_until IS NULL AND tries > 0;
CREATE INDEX messages_leased ON messages (leased_until) WHERE leased_until IS NOT NULL;
CREATE INDEX messages_waiting ON messages (waits_since) WHERE state = 'pending';

CREATE TABLE requests (
  -- Grows: the order in which they came.
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE CHECK (length(id) = 44),
  message INTEGER NOT NULL REFERENCES messages (id),
  callback TEXT CHECK (callback <> ''),
  -- Of the callback's URL: a slow one must not hold up the others.
  host TEXT CHECK ((host IS NULL) = (callback IS NULL)),
  created_at INTEGER NOT NULL,
  -- Whether a second caller got it too: then somebody is to be told, whoever is answered.
  shared INTEGER NOT NULL DEFAULT 0 CHECK (shared IN (0, 1)),
  -- The message's.
  state TEXT NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  -- From when on it is kept for show only: since the message was finished, or since the notification
  -- was parked. None while anybody is to be told.
  done_at INTEGER CHECK (done_at IS NULL OR state <> 'pending')
) STRICT;

-- The same message with the same callback is the same request; later callers get the result under
-- the one without a callback.
CREATE UNIQUE INDEX requests_same ON requests (message, ifnull(callback, ''));
CREATE INDEX requests_pending ON requests (number) WHERE state = 'pending';
CREATE INDEX requests_failed ON requests (number) WHERE state = 'failed';
CREATE INDEX requests_done ON requests (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE slots (
  number INTEGER PRIMARY KEY CHECK (number >= 0),
  free_at INTEGER NOT NULL,
  -- Counts claims, so that only the last one can end its call.
  claim INTEGER NOT NULL DEFAULT 0,
  -- What the last claim was for.
  purpose TEXT NOT NULL DEFAULT 'try' CHECK (purpose IN ('try', 'check'))
) STRICT;

-- One for each request with a callback whose message is finished and that was not answered with the
-- result at once.
CREATE TABLE notifications (
  request INTEGER PRIMARY KEY REFERENCES requests (number),
  host TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'parked')),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
  first_try_at INTEGER,
  due_at INTEGER CHECK ((due_at IS NOT NULL) = (state = 'pending')),
  last_error TEXT CHECK (state <> 'parked' OR last_error IS NOT NULL),
  -- As with messages.
  lease INTEGER CHECK (lease IS NULL OR state = 'pending'),
  leased_until INTEGER CHECK (leased_until IS NULL OR lease IS NOT NULL)
) STRICT;

CREATE INDEX notifications_due ON notifications (host, due_at) WHERE state = 'pending' AND leased_until IS NULL;
-- Which is planned for the latest of all.
CREATE INDEX notifications_planned ON notifications (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notifications_parked ON notifications (request) WHERE state = 'parked';
CREATE INDEX notifications_leased ON notifications (leased_until) WHERE leased_until IS NOT NULL;

-- When the next notification of each host is due that nobody is trying. A host that has as many tries
-- as it may have is passed over in one step, however many wait for it.
CREATE TABLE hosts (
  host TEXT PRIMARY KEY,
  due_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hosts_due ON hosts (due_at);
