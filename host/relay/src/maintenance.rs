//! Periodic work: heartbeats, statistics, and the removal of old requests.

use crate::core::Relay;
use crate::environment::Environment;
use bulkhead_store::{Now, StoreError, Unavailable};
use std::sync::Arc;

/// Maximum number of requests removed in one step, so that a step does not block other operations for long.
const SWEEP_STEP: u32 = 200;

/// Interval between two removals of old requests.
const SWEEP_EVERY_MS: i64 = 60_000;

/// Sends heartbeats to the store, which also take over the work of dead replicas. Reads the store's
/// statistics, detects that it works again, checks whether the upstream has ever worked, and removes old requests.
/// Returns when the store is closed.
pub(crate) async fn run<W: Environment>(relay: Arc<Relay<W>>) {
    let start = relay.environment.now();
    let mut sweep_at = start.boot.0;
    let mut looked = false;
    loop {
        let heartbeat = relay.store.heartbeat(relay.environment.now()).await;
        if let Err(StoreError::Unavailable(Unavailable::Closing)) = heartbeat {
            return;
        }
        let _logged = relay.noted(heartbeat);
        let stats = relay.store.stats(relay.environment.now()).await;
        if let Ok(stats) = relay.noted(stats) {
            if !looked && stats.held_ms > 0 {
                tracing::info!(
                    held_ms = stats.held_ms,
                    "calls delayed, because earlier calls are unknown and may count against the quota"
                );
            }
            looked = true;
            relay.health.stats(stats);
            relay.metrics.record_stats(&stats);
        }
        let window_ms = relay.settings.quota.window_ms;
        relay.health.check_start(window_ms, relay.environment.now());
        if relay.health.get().store.is_some() {
            // A write that changes nothing shows whether the store works again.
            let held = relay.store.hold_calls(0, relay.environment.now()).await;
            if relay.noted(held).is_ok() {
                relay.health.store_wrote();
            }
        }
        let now = relay.environment.now();
        if now.boot.0 >= sweep_at {
            let kept_ms = relay.settings.retention_ms;
            let retention_ms = kept_ms.saturating_add(gained_ms(start, now));
            let swept = relay.store.sweep(retention_ms, SWEEP_STEP, now).await;
            let swept = relay.noted(swept);
            // After a full step there may be more requests to remove.
            if !swept.is_ok_and(|removed| removed >= u64::from(SWEEP_STEP)) {
                sweep_at = now.boot.0 + SWEEP_EVERY_MS;
            }
        }
        relay.sleep_ms(relay.settings.poll_ms).await;
    }
}

/// Returns the milliseconds that the wall clock has gained on the monotonic clock since `start`.
///
/// They are added to the retention time: without this, setting the clock ahead by months would remove all
/// finished requests. If the new time is the correct one, requests are kept for longer than necessary until
/// the process restarts.
fn gained_ms(start: Now, now: Now) -> u64 {
    let (by_wall, by_boot) = (now.wall.0 - start.wall.0, now.boot.0 - start.boot.0);
    u64::try_from(by_wall - by_boot).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_store::{BootMillis, UnixMillis};

    #[test]
    fn clock_step_does_not_age_requests() {
        let at = |wall, boot| Now {
            wall: UnixMillis(wall),
            boot: BootMillis(boot),
        };
        let start = at(1_000_000, 500);
        for (wall, gained) in [(1_000_100, 0), (1_000_350, 250), (0, 0)] {
            assert_eq!(gained_ms(start, at(wall, 600)), gained, "{wall}");
        }
    }
}
