//! Measures Bulkhead side by side with its peers and prints medians and ratios.
//!
//! All contestants of a table run in turns within one run, so that what slows the machine down
//! slows all of them down. `bench/run.sh` builds what is needed and starts this.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod accepts;
mod beside;
mod compare;
mod decryptors;
mod exchange;
mod isolated;
mod kdf;
mod load;
mod messages;
mod process;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What to measure, and how often. Start it through bench/run.sh, which builds its parts.
#[derive(Debug, Parser)]
struct Arguments {
    /// rpgp as a component, as bench/run.sh builds it.
    #[arg(long, value_name = "FILE")]
    rpgp_wasm: PathBuf,
    /// gunicorn, Flask and python-gnupg, as bench/run.sh installs them.
    #[arg(long, value_name = "FOLDER")]
    gunicorn: PathBuf,
    /// Turns of each contestant with each message; messages of megabytes get half as many.
    #[arg(long, default_value_t = 21, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=10_000))]
    rounds: u32,
    /// Fresh instances to measure an isolated call with.
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    calls: u32,
    /// How long small requests are measured, idle and beside busy workers.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    busy_seconds: u64,
    /// How long many clients have default messages opened, in a turn.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    load_seconds: u64,
    /// How long the relay is asked for promises.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    accept_seconds: u64,
    /// Messages that wait, where many do.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    backlog: u64,
    /// Only these parts; all of them if none is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// gpg, rpgp, rpgp in Wasm and the server, on six messages.
    Messages,
    /// Requests a second with many clients: the server, the server without lanes, and gunicorn with
    /// Flask and python-gnupg.
    Load,
    /// Small messages alone, and beside a default one.
    Mix,
    /// Octets hashed a second on one thread, by path, beside OpenSSL.
    Kdf,
    /// A fresh store and instance with a trivial call.
    Isolated,
    /// From the start of the process to its first answer.
    Start,
    /// Resident memory, idle and under load.
    Memory,
    /// Small requests while every worker is busy.
    Beside,
    /// Components that are exchanged under load.
    Exchange,
    /// Durable promises of the signing relay, with an empty and with a full store. `PostgreSQL` too,
    /// where `BULKHEAD_TEST_POSTGRES` names a database.
    Accepts,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What is measured is the server, not how its answers are checked.
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
    if wanted(Part::Exchange) {
        met &= exchange::measure(Duration::from_secs(arguments.busy_seconds));
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
