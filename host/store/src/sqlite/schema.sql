-- Version 1. The constraints repeat the state machine of the code, so that a bug in it is an error
-- and not a lost request.

CREATE TABLE meta (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  -- Which start of the machine the times of `slots` and `held_until` belong to.
  boot_id TEXT NOT NULL,
  -- No call before then, whatever slots are free.
  held_until INTEGER NOT NULL,
  -- What the times of `slots` were made with.
  window_ms INTEGER NOT NULL,
  margin_ms INTEGER NOT NULL,
  -- Messages that wait: to count a million of them takes too long for every request.
  backlog INTEGER NOT NULL CHECK (backlog >= 0),
  -- Counts leases, so that each has a token of its own.
  leases INTEGER NOT NULL
) STRICT;

CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  -- SHA-256 of the text.
  digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
  text TEXT NOT NULL CHECK (text <> ''),
  state TEXT NOT NULL CHECK (state IN ('pending', 'signed', 'failed')),
  signature TEXT CHECK ((signature IS NOT NULL) = (state = 'signed')),
  error TEXT CHECK ((error IS NOT NULL) = (state = 'failed')),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
  created_at INTEGER NOT NULL,
  -- Not to be tried before; when it was accepted, for one that was never tried.
  due_at INTEGER NOT NULL,
  finished_at INTEGER CHECK ((finished_at IS NULL) = (state = 'pending')),
  -- Token of the try that is being made.
  lease INTEGER CHECK (lease IS NULL OR state = 'pending')
) STRICT;

CREATE INDEX messages_fresh ON messages (due_at) WHERE state = 'pending' AND lease IS NULL AND tries = 0;
CREATE INDEX messages_due ON messages (due_at) WHERE state = 'pending' AND lease IS NULL;
CREATE INDEX messages_pending ON messages (id) WHERE state = 'pending';
CREATE INDEX messages_leased ON messages (id) WHERE lease IS NOT NULL;

CREATE TABLE requests (
  id TEXT PRIMARY KEY CHECK (length(id) = 32),
  message INTEGER NOT NULL REFERENCES messages (id),
  callback TEXT CHECK (callback <> ''),
  -- Of the callback's URL: a slow one must not hold up the others.
  host TEXT CHECK ((host IS NULL) = (callback IS NULL)),
  created_at INTEGER NOT NULL,
  -- 1 while the message is pending: the same message and callback is then the same request.
  open INTEGER NOT NULL CHECK (open IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX requests_open ON requests (message, ifnull(callback, '')) WHERE open = 1;
-- What later callers get the result under.
CREATE INDEX requests_without_callback ON requests (message) WHERE callback IS NULL;

CREATE TABLE slots (
  number INTEGER PRIMARY KEY CHECK (number >= 0),
  -- By the clock of `meta.boot_id`.
  free_at INTEGER NOT NULL,
  -- Counts claims, so that only the last one can end its call.
  claim INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One for each request with a callback whose message is finished and that was not answered with the
-- result at once.
CREATE TABLE notifications (
  request TEXT PRIMARY KEY REFERENCES requests (id),
  host TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'parked')),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
  first_try_at INTEGER,
  due_at INTEGER CHECK ((due_at IS NOT NULL) = (state = 'pending')),
  last_error TEXT CHECK (state <> 'parked' OR last_error IS NOT NULL),
  -- Token of the try that is being made.
  lease INTEGER CHECK (lease IS NULL OR state = 'pending')
) STRICT, WITHOUT ROWID;

CREATE INDEX notifications_due ON notifications (due_at) WHERE state = 'pending' AND lease IS NULL;
CREATE INDEX notifications_parked ON notifications (request) WHERE state = 'parked';
CREATE INDEX notifications_leased ON notifications (request) WHERE lease IS NOT NULL;
