//! What has to be done now and then.

use crate::relay::Relay;
use crate::world::World;
use std::sync::Arc;

/// Requests removed in one step, so that nobody waits for long behind it.
const SWEEP_STEP: u32 = 200;

/// How often old requests are looked for.
const SWEEP_EVERY_MS: i64 = 60_000;

/// Proves to be alive, takes over from the dead, looks at the whole, removes what is old.
pub(crate) async fn run<W: World>(relay: Arc<Relay<W>>) {
    let mut sweep_at = relay.world.now().boot.0;
    let mut looked = false;
    loop {
        let beat = relay.store.beat(relay.world.now()).await;
        let _logged = relay.conditions.store(beat, relay.world.now());
        let standing = relay.store.standing(relay.world.now()).await;
        if let Ok(standing) = relay.conditions.store(standing, relay.world.now()) {
            if !looked && standing.held_ms > 0 {
                tracing::info!(
                    held_ms = standing.held_ms,
                    "no call for so long: what was called before is not known, and may count"
                );
            }
            looked = true;
            relay.conditions.standing(standing);
            relay.metrics.stands(&standing);
        }
        if relay.conditions.get().store.is_some() {
            // Something that is written and changes nothing shows whether it works again.
            let held = relay.store.hold_calls(0, relay.world.now()).await;
            if relay.conditions.store(held, relay.world.now()).is_ok() {
                relay.conditions.store_wrote();
            }
        }
        let now = relay.world.now();
        if now.boot.0 >= sweep_at {
            let retention_ms = relay.settings.retention_ms;
            let swept = relay.store.sweep(retention_ms, SWEEP_STEP, now).await;
            let swept = relay.conditions.store(swept, relay.world.now());
            // A full step means that there is more.
            if !swept.is_ok_and(|removed| removed >= u64::from(SWEEP_STEP)) {
                sweep_at = now.boot.0 + SWEEP_EVERY_MS;
            }
        }
        relay.sleep_ms(relay.settings.look_again_ms).await;
    }
}
