-- Version 2.

-- The trace of the caller's request, for the calls that it causes.
ALTER TABLE bulkhead_requests ADD COLUMN traceparent text CHECK (length(traceparent) = 55);

-- Finds all requests for a message: those to be notified when it is finished, those that prevent
-- its deletion, and the first one.
CREATE INDEX bulkhead_requests_message ON bulkhead_requests (message, number);
