//! `bulkhead healthcheck`: checks whether a running server is ready, for containers whose images have no
//! curl.

use super::client::{self, Needs, Part, ServerSettings};
use std::io::Write as _;
use std::process::ExitCode;

/// Returns status 0 if `/readyz` returns 200. Otherwise prints the reason to standard error and returns
/// status 1.
pub(super) fn run(settings: &ServerSettings) -> ExitCode {
    let Err(error) = client::get(settings, "/readyz", Needs::Nothing, Part::Status) else {
        return ExitCode::SUCCESS;
    };
    let _unseen = writeln!(std::io::stderr(), "not ready: {error}");
    ExitCode::FAILURE
}
