-- Version 2: the trace context of a request, which is sent with the calls for it.

ALTER TABLE requests ADD COLUMN traceparent TEXT CHECK (length(traceparent) = 55);
