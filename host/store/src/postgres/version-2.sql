-- Version 2.

-- What a caller's request belongs to, for those who are called because of it.
ALTER TABLE bulkhead_requests ADD COLUMN traceparent text CHECK (length(traceparent) = 55);

-- All requests for a message: those to be told when it is finished, those that keep it from being
-- removed, and the first.
CREATE INDEX bulkhead_requests_message ON bulkhead_requests (message, number);
