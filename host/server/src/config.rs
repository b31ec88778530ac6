//! Settings: flags, environment, defaults.

pub(crate) mod check;
pub(crate) mod components;
mod kdf;
pub(crate) mod signing;
mod units;

use crate::token::TokenAlgorithm;
use bulkhead_sandbox::Setup;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};
pub(crate) use components::ComponentSettings;
use kdf::KdfSettings;
use signing::{SigningSettings, StoreSettings};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use units::{duration, number_within, octets_within};

const LOG_HELP: &str = "Units: sizes take B, KiB, MiB or GiB, times ms, s, m, h or d.\n\
    Secrets are variables, never flags: SECRET, SECRET_PREVIOUS, BULKHEAD_UPSTREAM_API_KEY,\n\
    BULKHEAD_WEBHOOK_SECRET, BULKHEAD_STORE_PASSWORD (or the files above).\n\
    BULKHEAD_LOG sets what is logged: off, error, warn, info (the default), debug, trace, or such \
    levels by target, as in bulkhead=debug,wasmtime=warn.";

/// Opens GPG messages, makes tokens and has messages signed, behind HTTP and each in a fresh
/// WebAssembly sandbox.
///
/// Without any configuration it serves POST /decryptMessage on 127.0.0.1:8080. Every flag can be
/// given as the environment variable named beside it; the flag wins. Sizes take a unit (B, KiB,
/// MiB, GiB), durations too (ms, s, m, h, d).
#[derive(Debug, Parser)]
#[command(
    name = "bulkhead",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = LOG_HELP
)]
pub(crate) struct Cli {
    /// What to do; without a word, serve.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Serve HTTP (what happens without a subcommand too).
    #[command(after_help = LOG_HELP)]
    Serve(Box<Settings>),
    /// Print what would be in force, with every problem, and serve nothing.
    #[command(after_help = LOG_HELP)]
    CheckConfig(Box<Settings>),
    /// Ask a running server whether it is ready; status 0 if so. For container health checks.
    Healthcheck(HealthcheckSettings),
    /// Look at the requests of the signing relay, also beside a running server.
    #[command(subcommand)]
    Requests(RequestsCommand),
    /// Look at components: those that a running server uses, a file that it is to use, or those in this
    /// binary.
    #[command(subcommand)]
    Component(ComponentCommand),
    /// Make the tables of the store, or bring them up to date, and end. A server does that by itself
    /// when it starts.
    Migrate(StoreSettings),
}

impl Cli {
    /// What the command line and the variables say. Ends the process with a help text or an error
    /// where that cannot be.
    pub(crate) fn of(arguments: &[OsString]) -> Self {
        let matches = Self::command_for(arguments).get_matches_from(arguments);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// A subcommand has settings of its own. clap judges the variables of those above it all the
    /// same, and would refuse a broken one where a flag overrules it.
    fn command_for(arguments: &[OsString]) -> clap::Command {
        let command = Self::command();
        let word = arguments.get(1);
        if word.is_some_and(|word| command.find_subcommand(word).is_some()) {
            command.mut_args(|argument| argument.env(None::<&str>))
        } else {
            command
        }
    }
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ComponentCommand {
    /// Say what a server would say to a file in its --components-dir, with nothing running. Limits and
    /// pins are those of the variables set here; status 0 if it would be taken.
    Check(CheckSettings),
    /// Ask a running server which components are in force, and which files it refused.
    List(InForceSettings),
    /// Write the components of this binary to a folder: decrypt.wasm, token.wasm and signing.wasm as a
    /// server uses them; decrypt-offline.wasm, which opens messages under the plain wasmtime command; and
    /// crypto-soft.wasm, to compose others with. What is there already is not written over.
    Export(ExportSettings),
    /// What compiles, in a process of its own; started by a server and by `check`.
    #[command(hide = true, name = COMPILE[1])]
    Compile {
        /// Octets.
        memory: u64,
        /// Seconds of a processor.
        time: u64,
    },
}

/// The words of that command.
pub(crate) const COMPILE: [&str; 2] = ["component", "compile"];

#[derive(Debug, Args)]
pub(crate) struct ExportSettings {
    /// Made where it is missing.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckSettings {
    /// The component to look at (.wasm).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Which one it is to replace: decrypt, token or signing [default: what its name or its exports say].
    #[arg(long = "as", value_name = "NAME", value_parser = ["decrypt", "token", "signing"])]
    pub(crate) name: Option<String>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InForceSettings {
    #[command(flatten)]
    pub(crate) server: HealthcheckSettings,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum RequestsCommand {
    /// A line for each request, the youngest first: id, status, when it came, calls made for it,
    /// notification, and why that failed last.
    List(ListSettings),
    /// One request as JSON, as its caller sees it.
    Show(OneSettings),
    /// Have a notification sent again, whatever became of it.
    Redeliver(OneSettings),
}

#[derive(Debug, Args)]
pub(crate) struct ListSettings {
    /// Which requests.
    #[arg(value_enum, default_value = "all")]
    pub(crate) which: Which,
    /// Requests to list at most.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) most: u32,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
}

/// Requests by where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    All,
    /// The message waits to be signed.
    Pending,
    /// The signing API refused the message.
    Failed,
    /// The notification is kept, and not tried any more.
    Parked,
}

#[derive(Debug, Args)]
pub(crate) struct OneSettings {
    /// The id that the answer to the request had.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
}

/// Whom to ask, and how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct HealthcheckSettings {
    /// What the server listens on.
    #[arg(
        long,
        env = "BULKHEAD_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "IP:PORT",
        value_parser = address
    )]
    pub(crate) listen: SocketAddr,
    /// Time to connect and to answer.
    #[arg(long, env = "BULKHEAD_HEALTHCHECK_TIMEOUT", default_value = "2s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// A time-out of nothing would be none at all.
fn duration_above_zero(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("give a time above zero".into()),
        time => Ok(time),
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const TIB: usize = 1 << 40;

/// Messages in a sandbox for each processor, by default: with two passes each they fill the lanes of
/// a thread twice over.
const INSTANCES_A_PROCESSOR: u16 = 16;

/// What the token component needs beside the body.
const TOKEN_MEMORY_SPARE: usize = 2 * MIB;

/// Of the places that an engine has for instances: one in which a component that is to replace another
/// shows what it can.
pub(crate) const TRIAL_PLACES: u16 = 1;

/// For each component one that is cleaned up after it was replaced, which wasmtime does whenever the last
/// request on it ends.
pub(crate) const LEAVING_PLACES: u16 = 1;

/// What hyper buffers of a head must hold these, so that it is us who refuse.
const HEADERS_OCTETS_MOST: usize = 256 * KIB;
const TARGET_OCTETS_MOST: usize = 60 * KIB;

/// Everything an operator can set.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Address and port to listen on.
    #[arg(
        long,
        env = "BULKHEAD_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "IP:PORT",
        value_parser = address
    )]
    pub(crate) listen: SocketAddr,
    /// A line in the log for each request: id, trace, route, status, duration.
    #[arg(
        long,
        env = "BULKHEAD_ACCESS_LOG",
        value_enum,
        default_value = "off",
        value_name = "SWITCH"
    )]
    pub(crate) access_log: Switch,
    #[command(flatten)]
    pub(crate) http: HttpSettings,
    #[command(flatten)]
    pub(crate) decrypt: DecryptSettings,
    #[command(flatten)]
    pub(crate) kdf: KdfSettings,
    #[command(flatten)]
    pub(crate) token: TokenSettings,
    #[command(flatten)]
    pub(crate) signing: SigningSettings,
    #[command(flatten)]
    pub(crate) components: ComponentSettings,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "give an IP address and a port, as in 127.0.0.1:8080 or [::]:80".into())
}

/// Limits on connections and requests.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct HttpSettings {
    /// Connections open at the same time; further ones wait to be accepted.
    #[arg(
        long,
        env = "BULKHEAD_CONNECTIONS_MAX",
        default_value_t = 1024,
        value_name = "N",
        value_parser = number_within(1, 1_000_000_u32)
    )]
    pub(crate) connections_max: u32,
    /// Octets of a request body; over it the answer is 413.
    #[arg(long = "body-max", env = "BULKHEAD_BODY_MAX", default_value = "32MiB", value_parser = octets_within(1, GIB), value_name = "SIZE")]
    pub(crate) body_octets: usize,
    /// Octets of all request bodies held at the same time, at least --body-max; over it the answer
    /// is 503.
    #[arg(long = "bodies-max", env = "BULKHEAD_BODIES_MAX", default_value = "256MiB", value_parser = octets_within(1, TIB), value_name = "SIZE")]
    pub(crate) bodies_octets: usize,
    /// Time for a request body to arrive; over it the answer is 408.
    #[arg(long, env = "BULKHEAD_BODY_TIMEOUT", default_value = "30s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) body_timeout: Duration,
    /// Time for request headers to arrive, and for a connection to stay idle.
    #[arg(long, env = "BULKHEAD_HEADERS_TIMEOUT", default_value = "15s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) headers_timeout: Duration,
    /// Octets of a request's headers; over it the answer is 431.
    #[arg(long = "headers-max", env = "BULKHEAD_HEADERS_MAX", default_value = "32KiB", value_parser = octets_within(KIB, HEADERS_OCTETS_MOST), value_name = "SIZE")]
    pub(crate) headers_octets: usize,
    /// Octets of a request target; over it the answer is 414.
    #[arg(long = "target-max", env = "BULKHEAD_TARGET_MAX", default_value = "8KiB", value_parser = octets_within(KIB, TARGET_OCTETS_MOST), value_name = "SIZE")]
    pub(crate) target_octets: usize,
    /// Time for a client to take an answer; over it the connection is cut.
    #[arg(long, env = "BULKHEAD_ANSWER_TIMEOUT", default_value = "60s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) answer_timeout: Duration,
    /// Octets of all opened messages held until their clients have taken them; over it the answer
    /// is 503.
    #[arg(long = "answers-max", env = "BULKHEAD_ANSWERS_MAX", default_value = "256MiB", value_parser = octets_within(1, TIB), value_name = "SIZE")]
    pub(crate) answers_octets: usize,
    /// Time between SIGTERM and the end of accepting, in which /readyz answers 503.
    #[arg(long, env = "BULKHEAD_DRAIN_DELAY", default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub(crate) drain_delay: Duration,
    /// Time for running requests to finish after that; a second signal cuts them.
    #[arg(long, env = "BULKHEAD_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub(crate) drain_timeout: Duration,
}

/// Limits on one message, and on how many are worked on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Decrypt")]
pub(crate) struct DecryptSettings {
    /// Messages in a sandbox at the same time, most of them waiting for their keys [default: 16 a
    /// processor].
    #[arg(long, env = "BULKHEAD_DECRYPT_INSTANCES", value_name = "N", value_parser = number_within(1, 4096_u16))]
    pub(crate) decrypt_instances: Option<u16>,
    /// Of these, how many compute at the same time: parse, decrypt, unpack [default: one a processor].
    #[arg(long, env = "BULKHEAD_DECRYPT_WORKERS", value_name = "N", value_parser = number_within(1, 512_u16))]
    pub(crate) decrypt_workers: Option<u16>,
    /// Messages that wait for a sandbox; over it the answer is 503.
    #[arg(
        long,
        env = "BULKHEAD_DECRYPT_QUEUE_MAX",
        default_value_t = 64,
        value_name = "N",
        value_parser = number_within(1, 100_000_u32)
    )]
    pub(crate) decrypt_queue_max: u32,
    /// Time for a message to wait for a sandbox; over it the answer is 503.
    #[arg(long = "decrypt-queue-timeout", env = "BULKHEAD_DECRYPT_QUEUE_TIMEOUT", default_value = "30s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) queue_timeout: Duration,
    /// Wall-clock time of one message in its sandbox.
    #[arg(id = "decrypt_timeout", long = "decrypt-timeout", env = "BULKHEAD_DECRYPT_TIMEOUT", default_value = "20s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Memory of one sandbox.
    #[arg(long = "guest-memory-max", env = "BULKHEAD_GUEST_MEMORY_MAX", default_value = "256MiB", value_parser = octets_within(4 * MIB, 4 * GIB), value_name = "SIZE")]
    pub(crate) guest_memory_octets: usize,
    /// Octets of plaintext; over it, and over all limits on a message below, the answer is 422.
    #[arg(long = "plaintext-max", env = "BULKHEAD_PLAINTEXT_MAX", default_value = "32MiB", value_parser = octets_within(1, GIB), value_name = "SIZE")]
    pub(crate) plaintext_octets: usize,
    /// Layers of compression.
    #[arg(
        long,
        env = "BULKHEAD_COMPRESSION_LAYERS_MAX",
        default_value_t = 4,
        value_name = "N",
        value_parser = number_within(0, 1024_u32)
    )]
    pub(crate) compression_layers_max: u32,
    /// Plaintext octets for each encrypted octet, where the plaintext is past 1 MiB.
    #[arg(
        long,
        env = "BULKHEAD_COMPRESSION_RATIO_MAX",
        default_value_t = 4096,
        value_name = "N",
        value_parser = number_within(1, 1_000_000_u32)
    )]
    pub(crate) compression_ratio_max: u32,
    /// Session-key packets (passphrases and public keys) of one message.
    #[arg(
        long,
        env = "BULKHEAD_SESSION_KEYS_MAX",
        default_value_t = 16,
        value_name = "N",
        value_parser = number_within(1, 1024_u32)
    )]
    pub(crate) session_keys_max: u32,
    /// Octets of armor headers before the data.
    #[arg(long = "armor-headers-max", env = "BULKHEAD_ARMOR_HEADERS_MAX", default_value = "64KiB", value_parser = octets_within(0, GIB), value_name = "SIZE")]
    pub(crate) armor_header_octets: usize,
    /// Octets hashed for key derivation (S2K), over all session-key packets of a message. 16 of
    /// today's default kind take 1.94 GiB.
    #[arg(long = "s2k-octets-max", env = "BULKHEAD_S2K_OCTETS_MAX", default_value = "2GiB", value_parser = octets_within(0, TIB), value_name = "SIZE")]
    pub(crate) s2k_octets: usize,
    /// Memory for one key derivation with Argon2, beside the sandbox's own. The samples of RFC 9580 ask for 2 GiB.
    #[arg(long = "argon2-memory-max", env = "BULKHEAD_ARGON2_MEMORY_MAX", default_value = "64MiB", value_parser = octets_within(0, 64 * GIB), value_name = "SIZE")]
    pub(crate) argon2_memory_octets: usize,
    /// Passes of one key derivation with Argon2.
    #[arg(
        long,
        env = "BULKHEAD_ARGON2_PASSES_MAX",
        default_value_t = 10,
        value_name = "N",
        value_parser = number_within(1, 255_u8)
    )]
    pub(crate) argon2_passes_max: u8,
}

/// The token capability. The secret itself is never a flag: set the variable `SECRET`, or name a
/// file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Token")]
pub(crate) struct TokenSettings {
    /// File with the shared secret, instead of the variable `SECRET`; read again on SIGHUP. One line
    /// end at its end is not part of the secret.
    #[arg(long, env = "SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// File with the secret before that one, instead of the variable `SECRET_PREVIOUS`: it still
    /// verifies.
    #[arg(long, env = "SECRET_PREVIOUS_FILE", value_name = "FILE")]
    pub(crate) secret_previous_file: Option<PathBuf>,
    /// The hash under the HMAC.
    #[arg(
        long = "token-algorithm",
        env = "BULKHEAD_TOKEN_ALGORITHM",
        value_enum,
        default_value = "sha256",
        value_name = "HASH"
    )]
    pub(crate) algorithm: TokenAlgorithm,
    /// Bodies up to this size are worked on where they were read, in microseconds; larger ones
    /// by the token workers.
    #[arg(long = "token-inline-max", env = "BULKHEAD_TOKEN_INLINE_MAX", default_value = "64KiB", value_parser = octets_within(0, MIB), value_name = "SIZE")]
    pub(crate) inline_octets: usize,
    /// Large bodies worked on at the same time.
    #[arg(long = "token-workers", env = "BULKHEAD_TOKEN_WORKERS", default_value_t = 1, value_name = "N", value_parser = number_within(1, 512_u16))]
    pub(crate) workers: u16,
    /// Large bodies that wait for a worker; over it the answer is 503.
    #[arg(
        long = "token-queue-max",
        env = "BULKHEAD_TOKEN_QUEUE_MAX",
        default_value_t = 64,
        value_name = "N",
        value_parser = number_within(1, 100_000_u32)
    )]
    pub(crate) queue_max: u32,
    /// Wall-clock time of one large body in its sandbox.
    #[arg(id = "token_timeout", long = "token-timeout", env = "BULKHEAD_TOKEN_TIMEOUT", default_value = "5s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Memory of one sandbox; it holds the body.
    #[arg(long = "token-memory-max", env = "BULKHEAD_TOKEN_MEMORY_MAX", default_value = "64MiB", value_parser = octets_within(4 * MIB, 4 * GIB), value_name = "SIZE")]
    pub(crate) memory_octets: usize,
}

impl Settings {
    /// What no flag can judge alone.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (body, bodies) = (self.http.body_octets, self.http.bodies_octets);
        if bodies < body {
            found.push(format!(
                "--bodies-max (BULKHEAD_BODIES_MAX) is {bodies}B, less than --body-max \
                 (BULKHEAD_BODY_MAX), {body}B: no body of that size would ever be taken"
            ));
        }
        let memory = self.token.memory_octets;
        if memory < body + TOKEN_MEMORY_SPARE {
            found.push(format!(
                "--token-memory-max (BULKHEAD_TOKEN_MEMORY_MAX) is {memory}B, too little for a body \
                 of --body-max (BULKHEAD_BODY_MAX), {body}B, and {TOKEN_MEMORY_SPARE}B beside it"
            ));
        }
        let (instances, workers) = (self.decrypt.instances(), self.decrypt.workers());
        if instances < workers {
            found.push(format!(
                "--decrypt-instances (BULKHEAD_DECRYPT_INSTANCES) is {instances}, less than \
                 --decrypt-workers (BULKHEAD_DECRYPT_WORKERS), {workers}: as many would never compute \
                 at the same time"
            ));
        }
        found.extend(self.kdf.contradiction());
        found.extend(self.components.contradiction());
        found.extend(self.signing.store.place.problem().map(str::to_owned));
        found.extend(self.signing.store.password().err());
        found
    }

    /// Defaults that depend on the machine, by flag.
    pub(crate) fn computed(&self) -> [(&'static str, String); 4] {
        let keys = self.kdf.setup();
        [
            ("decrypt-instances", self.decrypt.instances().to_string()),
            ("decrypt-workers", self.decrypt.workers().to_string()),
            ("kdf-threads", keys.threads.to_string()),
            ("kdf-queue-max", format!("{}B", keys.octets_max)),
        ]
    }

    /// For the worker threads: instances alive at the same time, and the memory of the largest.
    pub(crate) fn sandbox(&self) -> Setup {
        let places = TRIAL_PLACES + 2 * LEAVING_PLACES;
        let instances = [self.decrypt.instances(), self.token.workers, places];
        Setup {
            memory_octets_max: self
                .decrypt
                .guest_memory_octets
                .max(self.token.memory_octets),
            instances: instances.into_iter().map(u32::from).sum(),
        }
    }

    /// For one I/O thread, which runs one instance at a time.
    pub(crate) fn inline_sandbox(&self) -> Setup {
        Setup {
            memory_octets_max: self.token.memory_octets,
            instances: u32::from(1 + LEAVING_PLACES),
        }
    }
}

impl DecryptSettings {
    /// Messages that compute at the same time: as set, or one a processor.
    pub(crate) fn workers(&self) -> u16 {
        self.decrypt_workers.unwrap_or_else(|| processors(512))
    }

    /// Messages in a sandbox at the same time: as set, or some for each processor.
    pub(crate) fn instances(&self) -> u16 {
        let default = || INSTANCES_A_PROCESSOR * processors(4096 / INSTANCES_A_PROCESSOR);
        self.decrypt_instances
            .unwrap_or_else(|| default().max(self.workers()))
    }
}

/// How many there are, and at most so many.
fn processors(most: u16) -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(processors).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_has_a_variable() {
        for argument in Cli::command().get_arguments() {
            let Some(long) = argument.get_long() else {
                continue;
            };
            if matches!(long, "help" | "version") {
                continue;
            }
            let variable = long.to_uppercase().replace('-', "_");
            // Secrets have the names that every deployment knows them by.
            let variable = if variable.starts_with("SECRET_") {
                variable
            } else {
                format!("BULKHEAD_{variable}")
            };
            let env = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(env, Some(variable.as_str()), "--{long}");
        }
    }
}
