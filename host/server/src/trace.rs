//! The trace that a request belongs to (W3C Trace Context).

use bulkhead_store::TraceParent;
use hyper::HeaderMap;
use hyper::header::HeaderName;

/// The header with the trace.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Returns the trace of a request, or `None` if the header is missing, malformed or repeated.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (value, other) = (values.next()?, values.next());
    let value = value.to_str().ok().filter(|_| other.is_none())?;
    TraceParent::parse(value)
}
