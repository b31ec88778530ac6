//! Settings of the audit log.

use crate::config::Switch;
use crate::config::units::{GIB, KIB, duration_above_zero, sizes};
use bulkhead_http::{ByteSize, setting};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the audit log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Audit")]
#[expect(
    clippy::struct_field_names,
    reason = "the fields have the names of their flags"
)]
pub(crate) struct AuditSettings {
    /// File to which the audit log is appended, or - for standard output: a line of JSON for each request with
    /// its caller, route and outcome. SIGHUP opens the file again after its rotation. A file that cannot be opened
    /// stops the start. If this is not set, there is no audit log.
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// If on, a response waits until its line of the audit log is written. If that fails, or takes longer than
    /// --audit-timeout, the response is 503.
    #[arg(
        long,
        value_enum,
        default_value = "off",
        default_missing_value = "on",
        num_args = 0..=1,
        value_name = "SWITCH"
    )]
    pub(crate) audit_required: Switch,
    /// Time for a line of the audit log to be written, with --audit-required.
    #[arg(long, default_value = "1s", value_parser = duration_above_zero)]
    pub(crate) audit_timeout: Duration,
    /// Maximum size of the lines that wait to be written to the audit log. Further lines are lost and counted.
    #[arg(long, default_value = "4MiB", value_parser = sizes(64 * KIB, GIB))]
    pub(crate) audit_queue_max: ByteSize,
    /// Time after which the rejected requests without a valid access key are written to the audit log, with a
    /// line for each address.
    #[arg(long, default_value = "1m", value_parser = duration_above_zero)]
    pub(crate) audit_rejections_interval: Duration,
}

impl AuditSettings {
    /// Returns an error text if the settings contradict each other.
    pub(crate) fn contradiction(&self) -> Option<String> {
        (self.audit_required.is_on() && self.audit_log.is_none()).then(|| {
            format!(
                "{} needs {}, which is not set. Set both or neither",
                setting!(Self, audit_required),
                setting!(Self, audit_log)
            )
        })
    }
}
