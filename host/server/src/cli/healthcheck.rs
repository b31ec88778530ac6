//! `bulkhead healthcheck`: whether a running server is ready, for containers, whose images have no curl.

use super::client::{self, Part, ServerSettings};
use std::io::Write as _;
use std::process::ExitCode;

/// Status 0 if `/readyz` answers 200, else 1 with the reason on standard error.
pub(super) fn run(settings: &ServerSettings) -> ExitCode {
    let Err(error) = client::get(settings, "/readyz", Part::Status) else {
        return ExitCode::SUCCESS;
    };
    let _unseen = writeln!(std::io::stderr(), "not ready: {error}");
    ExitCode::FAILURE
}
