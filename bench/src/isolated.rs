//! What isolation costs: a fresh store and a fresh instance for a call that does next to nothing.

use crate::compare::{percentile, verdict};
use bulkhead_sandbox::{Decryptor, Sandbox, SandboxLimits, Setup};
use std::time::{Duration, Instant};

const TARGET: Duration = Duration::from_micros(12);

/// Measures the decrypt component's `describe`, which returns three strings, with and without the
/// kernel's help in resetting memory. The target is for the default.
pub(crate) fn measure(calls: u32) -> bool {
    println!("\nisolated call: fresh store and instance, trivial work ({calls} calls each)");
    println!("  {:<34}{:>10}{:>10}{:>10}", "", "median us", "p90", "p99");
    let mut met = true;
    for (name, pagemap_scan, target) in [
        ("as served (pagemap_scan if there)", None, Some(TARGET)),
        ("pagemap_scan off", Some(false), None),
    ] {
        let decryptor = decryptor(pagemap_scan);
        let mut times: Vec<_> = (0..calls + calls / 10)
            .map(|_| {
                let start = Instant::now();
                decryptor
                    .describe()
                    .expect("the component describes itself");
                start.elapsed()
            })
            .collect();
        // Warming up is not counted.
        let mut times = times.split_off((calls / 10) as usize);
        let [median, p90, p99] = [50, 90, 99].map(|percent| percentile(&mut times, percent));
        let target = target.map_or(String::new(), |target| {
            met &= median <= target;
            format!("  target {target:?}: {}", verdict(median <= target))
        });
        let [median, p90, p99] = [median, p90, p99].map(|time| time.as_secs_f64() * 1e6);
        println!("  {name:<34}{median:>10.2}{p90:>10.2}{p99:>10.2}{target}");
    }
    met
}

fn decryptor(pagemap_scan: Option<bool>) -> Decryptor {
    let limits = SandboxLimits {
        memory_octets: 256 << 20,
        time: Duration::from_secs(20),
    };
    let sandbox = Sandbox::new(&Setup {
        limits,
        instances: 3,
        pagemap_scan,
    })
    .expect("the kernel gives address space");
    let artifact = bulkhead_artifacts::DECRYPT;
    sandbox
        .load(artifact.wasm, Some(artifact.precompiled))
        .and_then(|loaded| Decryptor::new(&sandbox, &loaded))
        .expect("the component loads")
}
