//! The relay under virtual time, with seeded faults: lost questions and answers, a slow store,
//! processes that die at any point, clocks that are set, receivers that are down. It is judged by
//! the logs of the upstream and of the receivers alone.
//!
//! `BULKHEAD_TEST_SEED=N` runs one seed, `BULKHEAD_TEST_SOAK=1` many.

mod clockwork;
mod faulty;
mod process;
mod receivers;
mod run;
mod upstream;
mod verdict;

use bulkhead_artifacts::SIGNING;
use bulkhead_sandbox::{
    ComponentMetrics, GuestComponent as _, InstanceLimits, Sandbox, Setup, SigningComponent,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SEEDS: u64 = 300;
const SOAK_SEEDS: u64 = 5000;

fn component() -> Arc<SigningComponent> {
    let memory_octets = 32 << 20;
    let setup = Setup {
        memory_octets_max: memory_octets,
        instances: 2,
    };
    let sandbox = Sandbox::new(&setup).expect("a sandbox");
    let loaded = sandbox
        .load(SIGNING.wasm, Some(SIGNING.precompiled))
        .expect("our own component loads");
    let limits = InstanceLimits {
        memory_octets,
        time: Duration::from_mins(1),
    };
    let component =
        SigningComponent::new(&sandbox, &loaded, limits, ComponentMetrics::unregistered());
    Arc::new(component.expect("our own component links"))
}

/// Runs all seeds, on two threads; says which failed.
fn seeds(name: &str, share: u64, run: impl Fn(u64, &Arc<SigningComponent>) + Sync) {
    if let Ok(seed) = std::env::var("BULKHEAD_TEST_SEED") {
        return run(seed.parse().expect("a number"), &component());
    }
    let soak = std::env::var_os("BULKHEAD_TEST_SOAK").is_some();
    let count = if soak { SOAK_SEEDS } else { SEEDS } / share;
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let worker = || {
            let component = component();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= count {
                    return;
                }
                let ended = catch_unwind(AssertUnwindSafe(|| run(seed, &component)));
                assert!(ended.is_ok(), "{name} fails with BULKHEAD_TEST_SEED={seed}");
            }
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        for thread in threads {
            thread.join().expect("every seed passes");
        }
    });
}

#[test]
fn no_promise_is_broken_and_no_quota_exceeded_whatever_goes_wrong() {
    seeds("stormy", 1, run::stormy);
}

#[test]
fn the_quota_is_used_while_messages_wait() {
    seeds("busy", 10, run::busy);
}

#[test]
fn receivers_that_are_down_for_days_are_told_in_the_end() {
    seeds("patient", 10, run::patient);
}
