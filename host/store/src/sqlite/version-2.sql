-- Version 2: what a caller's request belongs to, for those who are called because of it.

ALTER TABLE requests ADD COLUMN traceparent TEXT CHECK (length(traceparent) = 55);
