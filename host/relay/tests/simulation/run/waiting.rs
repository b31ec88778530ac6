//! The waiting times for signatures, by the number of messages: the tables and the plot of
//! `docs/operate/scaling.md`. With `BULKHEAD_TEST_WRITE=1` the test writes them there, otherwise it
//! compares them.

use super::{CALLER_WAIT_MS_MAX, MINUTE_MS, Run};
use crate::process::{Faults, Surroundings, lock};
use bulkhead_relay::{Environment as _, SignOutcome};
use bulkhead_sandbox::SigningComponent;
use bulkhead_store::{BootMillis, Callback, NewRequest, RequestId};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Time of the first request. With a new database, no calls are made for a window.
const START_MS: i64 = 2 * MINUTE_MS;

/// Shares of the messages that fail at first.
const FAILS: [f64; 2] = [0.0, 0.5];

/// Numbers of messages at once, and the number of runs for each.
const BURSTS: [(u32, u64); 5] = [(1, 400), (10, 100), (60, 20), (300, 6), (1000, 3)];

/// Messages per minute, at random times.
const RATES: [u32; 5] = [1, 3, 5, 7, 9];
const RATE_MINUTES: u32 = 120;
const RATE_RUNS: u64 = 5;

/// The burst that the plot shows.
const DRAWN: u32 = 60;

/// The results of several runs of the same kind.
struct Waits {
    /// The wait of each message from the request to the response or webhook with the signature, sorted.
    all_ms: Vec<i64>,
    calls: usize,
}

impl Waits {
    /// Returns the maximum wait of this share of the messages.
    fn at_most_ms(&self, percent: usize) -> i64 {
        let rank = (self.all_ms.len() * percent).div_ceil(100).max(1);
        self.all_ms[rank - 1]
    }

    fn calls_a_message(&self) -> f64 {
        float(self.calls) / float(self.all_ms.len())
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn float(number: usize) -> f64 {
    number as f64
}

/// Performs runs with different seeds. `requested_at` returns the time of each request.
fn runs(
    component: &Arc<SigningComponent>,
    fails: f64,
    count: u64,
    requested_at: impl Fn(&mut ChaCha8Rng) -> Vec<i64>,
) -> Waits {
    let mut waits = Waits {
        all_ms: Vec::new(),
        calls: 0,
    };
    for seed in 0..count {
        let mut run = Run::new(seed, Faults::NONE, 1, 1000, component);
        lock(&run.shared.upstream).fails = fails;
        let requested_at = requested_at(&mut ChaCha8Rng::seed_from_u64(seed ^ 0x3a17));
        waits.all_ms.extend(run.wait_for_all(&requested_at));
        waits.calls += lock(&run.shared.upstream).arrivals.len();
        run.check_quota();
    }
    waits.all_ms.sort_unstable();
    waits
}

impl Run {
    /// Requests a different message at each of these times, and waits for all signatures. Returns the waits.
    fn wait_for_all(&mut self, requested_at: &[i64]) -> Vec<i64> {
        let response_times: Arc<Mutex<Vec<i64>>> = Arc::default();
        let promised: Arc<Mutex<BTreeMap<String, i64>>> = Arc::default();
        for (number, at_ms) in requested_at.iter().enumerate() {
            self.pass_until(START_MS + at_ms);
            self.request_and_note(format!("message{number}"), &response_times, &promised);
        }
        let mut left = true;
        while left {
            let at_ms = self.shared.clockwork.now_ms() + MINUTE_MS;
            self.pass_until(at_ms);
            let delivered = lock(&self.shared.receivers).deliveries.len();
            left = lock(&response_times).len() + delivered < requested_at.len();
        }
        let mut waits = lock(&response_times).clone();
        let promised = lock(&promised);
        let receivers = lock(&self.shared.receivers);
        waits.extend(
            receivers
                .deliveries
                .iter()
                .map(|delivery| delivery.at_ms - promised[&delivery.id]),
        );
        assert_eq!(
            waits.len(),
            requested_at.len(),
            "every message should have one result"
        );
        waits
    }

    fn request_and_note(
        &mut self,
        message: String,
        response_times: &Arc<Mutex<Vec<i64>>>,
        promised: &Arc<Mutex<BTreeMap<String, i64>>>,
    ) {
        let replica = &self.replicas[0];
        let new = NewRequest {
            id: RequestId::new(
                Surroundings(Arc::clone(&replica.process)).now().wall,
                self.chance.r#gen(),
            ),
            owner: None,
            message,
            callback: Some(Callback {
                url: "http://receiver/".into(),
                host: "receiver".into(),
            }),
            trace: None,
        };
        let (relay, process) = (Arc::clone(&replica.relay), Arc::clone(&replica.process));
        let clockwork = self.shared.clockwork.clone();
        let (response_times, promised) = (Arc::clone(response_times), Arc::clone(promised));
        let task = async move {
            let start_ms = clockwork.now_ms();
            let until = BootMillis(process.boot_ms() + CALLER_WAIT_MS_MAX);
            match relay.sign(new, None, until).await {
                Ok(SignOutcome::Signed { .. }) => {
                    lock(&response_times).push(clockwork.now_ms() - start_ms);
                }
                Ok(SignOutcome::Pending { id, .. }) => {
                    lock(&promised).insert(id.as_str().to_owned(), start_ms);
                }
                other => panic!("message should be signed or pending: {other:?}"),
            }
        };
        let owner = replica.process.owner();
        self.shared.clockwork.spawn(owner, Box::pin(task));
    }
}

/// Formats milliseconds for readers.
fn readable(ms: i64) -> String {
    let seconds = (ms + 500) / 1000;
    let tenths = (ms + 50) / 100;
    if ms < 10_000 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else if ms < 120_000 {
        format!("{seconds} s")
    } else {
        format!("{} min", (seconds + 30) / 60)
    }
}

/// Returns a table with a row for each kind and four columns for each share of failures.
fn table(head: &str, rows: &[(String, [Waits; FAILS.len()])]) -> String {
    let heads = FAILS.map(|fails| {
        let fails = fails * 100.0;
        format!(" {fails:.0} % fail: calls each | half | 95 % | last |")
    });
    let rule = "---|".repeat(1 + 4 * FAILS.len());
    let rows = rows.iter().map(|(name, waits)| {
        let cells = waits.each_ref().map(|waits| {
            let [half, max, last] = [50, 95, 100].map(|share| readable(waits.at_most_ms(share)));
            let calls = waits.calls_a_message();
            format!(" {calls:.2} | {half} | {max} | {last} |")
        });
        format!("\n| {name} |{}", cells.concat())
    });
    let rows: Vec<_> = rows.collect();
    format!("| {head} |{}\n|{rule}{}", heads.concat(), rows.concat())
}

/// Returns a text element of the plot.
fn label(x: i64, y: i64, anchor: &str, colour: &str, text: &str) -> String {
    format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>\n")
}

/// Returns a plot of the share of a burst that is signed, over minutes: a line for each share of failures.
fn plot(waits: &[Waits; FAILS.len()]) -> String {
    const WIDTH: i64 = 600;
    const HEIGHT: i64 = 240;
    const INK: &str = "#333333";
    const COLOURS: [&str; FAILS.len()] = ["#1f6feb", "#d1532a"];
    let last_ms = waits.iter().map(|waits| waits.at_most_ms(100)).max();
    let minutes = last_ms.unwrap_or(0) / MINUTE_MS + 1;
    let (width, height) = (WIDTH + 80, HEIGHT + 70);
    let mut parts = vec![format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-60 -20 {width} {height}\"\n  \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect x=\"-60\" y=\"-20\" width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    )];
    let rule = |path: String| format!("<path d=\"{path}\" stroke=\"#dddddd\"/>\n");
    for minute in 0..=minutes {
        let x = minute * WIDTH / minutes;
        parts.push(rule(format!("M{x} 0V{HEIGHT}")));
        parts.push(label(x, HEIGHT + 18, "middle", INK, &minute.to_string()));
    }
    for percent in [0, 25, 50, 75, 100] {
        let y = HEIGHT - percent * HEIGHT / 100;
        parts.push(rule(format!("M0 {y}H{WIDTH}")));
        parts.push(label(-8, y + 4, "end", INK, &format!("{percent} %")));
    }
    let axis = format!("minutes since {DRAWN} messages came at once");
    parts.push(label(WIDTH / 2, HEIGHT + 40, "middle", INK, &axis));
    for (at, (waits, (fails, colour))) in (0..).zip(waits.iter().zip(FAILS.iter().zip(COLOURS))) {
        let points = (1..=100_u8).map(|percent| {
            let ms = waits.at_most_ms(percent.into());
            let y = HEIGHT - i64::from(percent) * HEIGHT / 100;
            format!(" {},{y}", ms * WIDTH / (minutes * MINUTE_MS))
        });
        let points: String = points.collect();
        parts.push(format!(
            "<polyline points=\"0,{HEIGHT}{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n"
        ));
        let name = format!("{:.0} % fail at first", fails * 100.0);
        parts.push(label(
            WIDTH - 8,
            HEIGHT - 12 - 18 * at,
            "end",
            colour,
            &name,
        ));
    }
    parts.push("</svg>\n".into());
    parts.concat()
}

/// Returns the text between the marks with this name.
fn between<'a>(document: &'a str, name: &str) -> &'a str {
    let begin = format!("<!-- {name} -->\n");
    let from = document
        .find(&begin)
        .expect("document should have the mark")
        + begin.len();
    let length = document[from..]
        .find("\n<!-- end -->")
        .expect("mark should have an end");
    &document[from..from + length]
}

#[test]
fn waiting_times_equal_the_documentation() {
    const DOCUMENT: &str = include_str!("../../../../../docs/operate/scaling.md");
    const PLOT: &str = include_str!("../../../../../docs/operate/waiting-times.svg");
    let component = crate::component();
    let bursts = BURSTS.map(|(size, count)| {
        let at_once = |_: &mut ChaCha8Rng| vec![0; size as usize];
        let waits = FAILS.map(|fails| runs(&component, fails, count, at_once));
        (size.to_string(), waits)
    });
    let rates = RATES.map(|rate| {
        let spread = |chance: &mut ChaCha8Rng| {
            let last_ms = i64::from(RATE_MINUTES) * MINUTE_MS;
            let times = (0..rate * RATE_MINUTES).map(|_| chance.gen_range(0..last_ms));
            let mut times: Vec<_> = times.collect();
            times.sort_unstable();
            times
        };
        let waits = FAILS.map(|fails| runs(&component, fails, RATE_RUNS, spread));
        (rate.to_string(), waits)
    });
    let drawn = bursts.iter().find(|(size, _)| *size == DRAWN.to_string());
    let plot = plot(&drawn.expect("plotted burst should be in the table").1);
    let tables = [
        ("bursts", table("messages at once", &bursts)),
        ("rates", table("messages a minute", &rates)),
    ];
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let mut document = DOCUMENT.to_owned();
        for (name, table) in &tables {
            document = document.replacen(between(DOCUMENT, name), table, 1);
        }
        let docs = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate"));
        std::fs::write(docs.join("scaling.md"), document).expect("document should be writable");
        std::fs::write(docs.join("waiting-times.svg"), plot).expect("plot should be writable");
        return;
    }
    for (name, table) in &tables {
        assert_eq!(
            between(DOCUMENT, name),
            table,
            "differs from the simulation; BULKHEAD_TEST_WRITE=1 writes it"
        );
    }
    assert_eq!(
        PLOT, plot,
        "differs from the simulation; BULKHEAD_TEST_WRITE=1 writes it"
    );
}
