//! Connections that Bulkhead opens.
