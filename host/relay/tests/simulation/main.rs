//! Simulation of the relay in virtual time, with seeded faults: lost calls and responses, a slow store,
//! processes that die at any point, clocks that step, receivers that are down. The checks use only the logs
//! of the upstream and of the receivers.
//!
//! `BULKHEAD_TEST_SEED=N` runs a single seed. `BULKHEAD_TEST_SOAK=1` runs 5,000 seeds instead of 300.

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
    let memory_bytes = 32 << 20;
    let setup = Setup {
        memory_bytes_max: memory_bytes,
        instances: 2,
    };
    let sandbox = Sandbox::new(&setup).expect("sandbox should start");
    let loaded = sandbox
        .load(SIGNING.wasm, Some(SIGNING.precompiled))
        .expect("built-in component should load");
    let limits = InstanceLimits {
        memory_bytes,
        time: Duration::from_mins(1),
    };
    let component =
        SigningComponent::new(&sandbox, &loaded, limits, ComponentMetrics::unregistered());
    Arc::new(component.expect("built-in component should link"))
}

/// Runs all seeds on two threads. The panic of a failed run names its seed.
fn seeds(name: &str, share: u64, run: impl Fn(u64, &Arc<SigningComponent>) + Sync) {
    if let Ok(seed) = std::env::var("BULKHEAD_TEST_SEED") {
        return run(
            seed.parse().expect("BULKHEAD_TEST_SEED should be a number"),
            &component(),
        );
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
            thread.join().expect("every seed should pass");
        }
    });
}

#[test]
fn promises_and_quota_hold_under_faults() {
    seeds("stormy", 1, run::stormy);
}

#[test]
fn quota_is_used_while_messages_wait() {
    seeds("busy", 10, run::busy);
}

#[test]
fn backlog_of_a_caller_delays_others_by_one_call() {
    seeds("fair", 10, run::fair);
}

#[test]
fn notifications_reach_receivers_that_were_down_for_weeks() {
    seeds("patient", 10, run::patient);
}
