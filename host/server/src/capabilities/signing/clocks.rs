//! The clocks of the relay in a server.

use bulkhead_store::{BootMillis, Now, UnixMillis};
use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time of the boot clock, which does not jump, in milliseconds.
pub(crate) fn boot_clock() -> BootMillis {
    let time = clock_gettime(ClockId::Boottime);
    BootMillis(time.tv_sec * 1000 + time.tv_nsec / 1_000_000)
}

/// Returns the time of both clocks.
pub(crate) fn now() -> Now {
    // Times before 1970 and after the year 292 million are not supported.
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        wall: UnixMillis(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
        boot: boot_clock(),
    }
}

/// Returns the id of the current boot of the machine.
pub(crate) fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        // Without it, every start of the process counts as a boot.
        Err(_) => uuid::Uuid::new_v4().to_string(),
    }
}
