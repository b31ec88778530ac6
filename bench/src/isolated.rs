//! Measures the cost of isolation: a fresh store and a fresh instance for a trivial call.

use crate::compare::{percentile, verdict};
use bulkhead_sandbox::{
    Authenticator, ComponentMetrics, Decryptor, GuestComponent as _, InstanceLimits, Rejection,
    Sandbox, Setup,
};
use std::time::{Duration, Instant};

const TARGET: Duration = Duration::from_micros(12);

const LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 256 << 20,
    time: Duration::from_secs(20),
};

/// Measures `describe`, which returns three strings, with and without the kernel's help in
/// resetting memory. The target applies to the default.
pub(crate) fn measure(calls: u32) -> bool {
    println!("\nisolated call: fresh store and instance, trivial work ({calls} calls each)");
    println!("  {:<40}{:>10}{:>10}{:>10}", "", "median us", "p90", "p99");
    let mut met = true;
    let setup = Setup {
        memory_bytes_max: LIMITS.memory_bytes,
        instances: 3,
    };
    for (how, sandbox, target) in [
        ("as served", Sandbox::new(&setup), Some(TARGET)),
        (
            "pagemap_scan off",
            Sandbox::with_pagemap_scan(&setup, false),
            None,
        ),
    ] {
        let sandbox = sandbox.expect("the kernel gives address space");
        let decryptor = load(&sandbox, bulkhead_artifacts::DECRYPT, Decryptor::new);
        let authenticator = load(&sandbox, bulkhead_artifacts::TOKEN, Authenticator::new);
        met &= line(&format!("decrypt component, {how}"), calls, target, || {
            decryptor
                .describe()
                .expect("component should describe itself");
        });
        met &= line(&format!("token component, {how}"), calls, target, || {
            authenticator
                .describe()
                .expect("component should describe itself");
        });
    }
    met
}

fn line(name: &str, calls: u32, target: Option<Duration>, mut call: impl FnMut()) -> bool {
    let mut times: Vec<_> = (0..calls + calls / 10)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed()
        })
        .collect();
    // The warm-up does not count.
    let mut times = times.split_off((calls / 10) as usize);
    let [median, p90, p99] = [50, 90, 99].map(|percent| percentile(&mut times, percent));
    let met = target.is_none_or(|target| median <= target);
    let target = target.map_or(String::new(), |target| {
        format!("  target {target:?}: {}", verdict(met))
    });
    let [median, p90, p99] = [median, p90, p99].map(|time| time.as_secs_f64() * 1e6);
    println!("  {name:<40}{median:>10.2}{p90:>10.2}{p99:>10.2}{target}");
    met
}

fn load<T>(
    sandbox: &Sandbox,
    artifact: bulkhead_artifacts::Artifact,
    link: impl FnOnce(
        &Sandbox,
        &bulkhead_sandbox::Loaded,
        InstanceLimits,
        ComponentMetrics,
    ) -> Result<T, Rejection>,
) -> T {
    sandbox
        .load(artifact.wasm, Some(artifact.precompiled))
        .and_then(|loaded| link(sandbox, &loaded, LIMITS, ComponentMetrics::unregistered()))
        .expect("the component loads")
}
