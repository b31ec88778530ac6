//! `bulkhead healthcheck`: asks a running server whether it is ready, for containers, whose images
//! have no curl.

use crate::config::HealthcheckSettings;
use crate::inquiry;
use std::io::Write as _;
use std::process::ExitCode;

/// More than any status line has.
const LINE_OCTETS_MAX: usize = 200;

/// Status 0 where `/readyz` answers 200, else 1 with the reason on standard error.
pub(crate) fn run(settings: &HealthcheckSettings) -> ExitCode {
    let is_line = |octets: &[u8]| octets.contains(&b'\n');
    let reason = match inquiry::get(settings, "/readyz", LINE_OCTETS_MAX, is_line) {
        Ok(reply) if reply.is_ok() => return ExitCode::SUCCESS,
        Ok(reply) => format!("{} answers {:?}", settings.listen, reply.status),
        Err(reason) => reason,
    };
    let _nowhere_else = writeln!(std::io::stderr(), "not ready: {reason}");
    ExitCode::FAILURE
}
