//! Compares Bulkhead with its peers and prints medians and ratios.
//!
//! All contestants of a table run in turns, so that a slow phase of the machine affects all of
//! them. `bench/run.sh` builds what this program needs and starts it.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod accepts;
mod beside;
mod compare;
mod decryptors;
mod hot_swap;
mod isolated;
mod kdf;
mod load;
mod messages;
mod process;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Choose what to measure, and how often. Start this program through bench/run.sh, which builds its
/// parts.
#[derive(Debug, Parser)]
struct Arguments {
    /// rpgp as a component, built by bench/run.sh
    #[arg(long, value_name = "FILE")]
    rpgp_wasm: PathBuf,
    /// gunicorn, Flask and python-gnupg, installed by bench/run.sh
    #[arg(long, value_name = "FOLDER")]
    gunicorn: PathBuf,
    /// Turns of each contestant with each message; half as many for messages of a megabyte or more
    #[arg(long, default_value_t = 21, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=10_000))]
    rounds: u32,
    /// Number of fresh instances for the isolated call
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    calls: u32,
    /// Duration of each measurement of small requests, idle and with busy workers
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    busy_seconds: u64,
    /// Duration of a turn with many clients
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    load_seconds: u64,
    /// Duration of each measurement of accepted requests
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    accept_seconds: u64,
    /// Number of messages in the full store
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    backlog: u64,
    /// Parts to measure; all of them by default
    #[arg(value_enum)]
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// gpg, rpgp, rpgp in Wasm and the server, on six messages
    Messages,
    /// Requests per second with many clients: the server, the server without vector paths, and
    /// gunicorn with Flask and python-gnupg
    Load,
    /// Small messages alone, and beside a default message
    Mix,
    /// Bytes hashed per second on one thread, by path, compared with OpenSSL
    Kdf,
    /// A fresh store and instance with a trivial call
    Isolated,
    /// Time from the start of the process to its first response
    Start,
    /// Resident memory, idle and under load
    Memory,
    /// Small requests while every worker is busy
    Beside,
    /// Components that are swapped under load
    HotSwap,
    /// Requests that the signing relay accepts per second, with an empty and with a full store;
    /// also on `PostgreSQL` if `BULKHEAD_TEST_POSTGRES` is set
    Accepts,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The benchmark measures the server, without the cost of checking its responses.
    bulkhead_tests::description::disable_checks();
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let mut met = true;
    if wanted(Part::Messages) {
        met &= decryptors::compare_all(&arguments.rpgp_wasm, arguments.rounds);
    }
    if wanted(Part::Load) {
        let time = Duration::from_secs(arguments.load_seconds);
        met &= load::measure(&arguments.gunicorn, time);
    }
    if wanted(Part::Mix) {
        met &= load::mix(Duration::from_secs(arguments.busy_seconds));
    }
    if wanted(Part::Kdf) {
        kdf::measure();
    }
    if wanted(Part::Isolated) {
        met &= isolated::measure(arguments.calls);
    }
    if wanted(Part::Start) {
        met &= process::start(arguments.rounds);
    }
    if wanted(Part::Memory) {
        met &= process::memory();
    }
    if wanted(Part::Beside) {
        met &= beside::measure(Duration::from_secs(arguments.busy_seconds));
    }
    if wanted(Part::HotSwap) {
        met &= hot_swap::measure(Duration::from_secs(arguments.busy_seconds));
    }
    if wanted(Part::Accepts) {
        let time = Duration::from_secs(arguments.accept_seconds);
        met &= accepts::measure(time, arguments.backlog);
    }
    println!(
        "\n{}",
        if met {
            "all targets met"
        } else {
            "a target was missed"
        }
    );
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
