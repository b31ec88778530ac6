//! Runs contestants in turns and prints medians and ratios.

use std::time::{Duration, Instant};

/// A contestant, and the result that it must return.
pub(crate) struct Contestant<'a> {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn FnMut() -> Vec<u8> + 'a>,
    pub(crate) expected: &'a [u8],
    /// The maximum time, relative to the first contestant.
    pub(crate) target: Option<f64>,
}

/// Runs the contestants in turns and prints a line for each, with its ratio to the first. Returns
/// whether all targets were met. Panics if a contestant returns a wrong result.
pub(crate) fn side_by_side(title: &str, rounds: u32, contestants: &mut [Contestant<'_>]) -> bool {
    let mut times = vec![Vec::new(); contestants.len()];
    // The first round warms up files and caches and does not count.
    for round in 0..=rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let start = Instant::now();
            let response = (contestant.run)();
            let time = start.elapsed();
            assert!(
                response == contestant.expected,
                "{} returns a wrong result for {title}: {:?}…",
                contestant.name,
                String::from_utf8_lossy(&response[..response.len().min(300)])
            );
            if round > 0 {
                times.push(time);
            }
        }
    }
    println!("\n{title} ({rounds} turns each)");
    println!(
        "  {:<34}{:>10}{:>10}{:>10}{:>9}",
        "", "median ms", "p10", "p90", "ratio"
    );
    let first = percentile(&mut times[0], 50).as_secs_f64();
    let mut met = true;
    for (contestant, times) in contestants.iter().zip(&mut times) {
        let [p10, median, p90] =
            [10, 50, 90].map(|percent| milliseconds(percentile(times, percent)));
        let ratio = median / 1e3 / first;
        let target = contestant.target.map_or(String::new(), |target| {
            met &= ratio <= target;
            format!("  target {target}: {}", verdict(ratio <= target))
        });
        println!(
            "  {:<34}{median:>10.2}{p10:>10.2}{p90:>10.2}{ratio:>9.2}{target}",
            contestant.name
        );
    }
    met
}

/// Returns the time that `percent` per cent of the times do not exceed.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
