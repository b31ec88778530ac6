//! Descriptions of failed HTTP requests.

use crate::bindings::exports::bulkhead::signing::exchange::Failure;

/// Describes why `peer`, such as "the upstream", did not return a complete response.
pub(crate) fn describe(peer: &str, failure: Failure) -> String {
    let fault = match failure {
        Failure::NotConnected => "cannot be reached",
        Failure::TimedOut => "did not respond in time",
        Failure::CutOff => "closed the connection before the end of its response",
        Failure::TooLong => "returned a response that is too long",
        Failure::Malformed => "did not return valid HTTP; check the scheme and the port of its URL",
    };
    format!("{peer} {fault}")
}
