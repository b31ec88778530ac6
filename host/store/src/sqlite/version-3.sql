-- Version 3: owners of requests, and queues of callers.
--
-- `owner` is the name of the access key of the request, or '' if the request has no owner, as those of older
-- versions.

ALTER TABLE requests ADD COLUMN owner TEXT NOT NULL DEFAULT '';

-- The caller in whose queue the message waits.
ALTER TABLE messages ADD COLUMN owner TEXT NOT NULL DEFAULT '';

-- The owner whose queue had the last turn.
ALTER TABLE meta ADD COLUMN last_owner TEXT NOT NULL DEFAULT '';

-- Requests are the same only if they have the same owner.
DROP INDEX requests_same;
CREATE UNIQUE INDEX requests_same ON requests (message, owner, ifnull(callback, ''));

-- For lists. Requests without an owner are in the lists of all requests only.
CREATE INDEX requests_owned ON requests (owner, number) WHERE owner <> '';
CREATE INDEX requests_owned_state ON requests (owner, state, number) WHERE owner <> '';
CREATE INDEX requests_signed ON requests (number) WHERE state = 'signed';

DROP INDEX messages_fresh;
DROP INDEX messages_tried;
CREATE INDEX messages_fresh ON messages (owner, due_at) WHERE state = 'pending' AND leased_until IS NULL AND tries = 0;
CREATE INDEX messages_tried ON messages (owner, due_at) WHERE state = 'pending' AND leased_until IS NULL AND tries > 0;
