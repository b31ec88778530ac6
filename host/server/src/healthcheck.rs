//! `bulkhead healthcheck`: asks a running server whether it is ready, for containers, whose images
//! have no curl.

use crate::config::HealthcheckSettings;
use crate::inquiry;
use std::io::Write as _;
use std::process::ExitCode;

/// More than any answer of `/readyz` has.
const ANSWER_OCTETS_MAX: usize = 64 << 10;

/// Status 0 where `/readyz` answers 200, else 1 with the reason on standard error.
pub(crate) fn run(settings: &HealthcheckSettings) -> ExitCode {
    let reason = match inquiry::get(settings, "/readyz", ANSWER_OCTETS_MAX) {
        Ok(reply) if reply.is_ok() => return ExitCode::SUCCESS,
        Ok(reply) => format!("{} answers {:?}", settings.listen, reply.status),
        Err(reason) => reason,
    };
    let _nowhere_else = writeln!(std::io::stderr(), "not ready: {reason}");
    ExitCode::FAILURE
}
