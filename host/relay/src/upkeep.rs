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
    loop {
        let beat = relay.store.beat(relay.world.now()).await;
        let _logged = relay.conditions.store(beat, relay.world.now());
        let standing = relay.store.standing(relay.world.now()).await;
        if let Ok(standing) = relay.conditions.store(standing, relay.world.now()) {
            relay.conditions.standing(standing);
            relay.metrics.stands(&standing);
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
