-- Version 3: owners of requests, and queues of callers.
--
-- Replicas of version 2 work on these tables as well: they do not write an owner, and find only requests
-- without one. The names `tries`, `first_try_at` and `beat` stay for the same reason, although the code says
-- attempts and heartbeats.
--
-- `owner` is the name of the access key of the request, or '' if the request has no owner, as those of older
-- versions.
ALTER TABLE bulkhead_requests ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '';

-- The caller in whose queue the message waits.
ALTER TABLE bulkhead_messages ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '';

-- The owner whose queue had the last turn.
ALTER TABLE bulkhead_meta ADD COLUMN last_owner text COLLATE "C" NOT NULL DEFAULT '';

-- `callback_digest` decides which requests for a message are the same. For a request with an owner, it is the
-- SHA-256 of the owner, a zero byte and the callback, if any. For others it stays the SHA-256 of the callback, or
-- NULL. Two owners therefore never have the same request, and the unique indexes of version 1 remain correct.
DO $$
DECLARE old text;
BEGIN
  SELECT conname INTO STRICT old FROM pg_constraint
  WHERE conrelid = to_regclass('bulkhead_requests') AND contype = 'c'
    AND pg_get_constraintdef(oid) LIKE '%callback_digest%';
  EXECUTE format('ALTER TABLE bulkhead_requests DROP CONSTRAINT %I', old);
END $$;
ALTER TABLE bulkhead_requests ADD CONSTRAINT bulkhead_requests_digest
  CHECK ((callback_digest IS NOT NULL) = (callback IS NOT NULL OR owner <> ''));

-- For lists. Requests without an owner are in the lists of all requests only.
CREATE INDEX bulkhead_requests_owned ON bulkhead_requests (owner, number) WHERE owner <> '';
CREATE INDEX bulkhead_requests_owned_state ON bulkhead_requests (owner, state, number) WHERE owner <> '';
CREATE INDEX bulkhead_requests_signed ON bulkhead_requests (number) WHERE state = 'signed';

-- The queues. Version 2 needs `bulkhead_messages_fresh` and `bulkhead_messages_tried`.
CREATE INDEX bulkhead_messages_fresh_queue ON bulkhead_messages (owner, due_at, id) WHERE state = 'pending' AND session IS NULL AND tries = 0;
CREATE INDEX bulkhead_messages_tried_queue ON bulkhead_messages (owner, due_at, id) WHERE state = 'pending' AND session IS NULL AND tries > 0;
