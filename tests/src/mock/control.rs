//! The parts that both mocks share: arguments, and the control port.

use super::connection::{Body, Head, Response, SendMode, Service};
use super::listener::ReopenableListener;
use super::rules::{ControlCommand, Rules, parse_commands};
use clap::Args;
use serde_json::json;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// The arguments of every mock.
#[derive(Args, Clone, Debug)]
pub(crate) struct CommonArgs {
    /// Address and port to serve on
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Address and port of the control interface
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    control: SocketAddr,

    /// File to append the log to, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// A line on standard output for each request
    #[arg(long)]
    pub(crate) verbose: bool,

    /// Seed of all random behaviour
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,

    /// Factor for all durations, given ones and defaults
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    pub(crate) scale: f64,

    /// Exit at the end of standard input, and so together with the parent process
    #[arg(long)]
    end_with_stdin: bool,
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|f: &f64| (0.0..=1e6).contains(f));
    factor.ok_or_else(|| "must be a number from 0 to 1000000".to_owned())
}

impl CommonArgs {
    /// Prints a line if `--verbose` is set.
    pub(crate) fn print_line(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            print_line(&line());
        }
    }
}

/// A closed standard output is not a reason to exit.
fn print_line(line: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// A mock with a control port.
pub(crate) trait Mock: Service {
    /// Whether the mock accepts faults of signatures.
    const SIGNS: bool;

    fn with_rules(&self, change: impl FnOnce(&mut Rules));

    /// Returns the content of `GET /control/NAME`.
    fn page(&self, name: &str) -> Option<String>;
}

/// Serves until the process ends.
pub(crate) fn run<M: Mock>(common: &CommonArgs, mock: M) -> ExitCode {
    let listeners = ReopenableListener::new(common.listen)
        .and_then(|listener| Ok((listener, ReopenableListener::new(common.control)?)));
    let (listener, control_listener) = match listeners {
        Ok((listener, control)) => (Arc::new(listener), control),
        Err(error) => return fail(&error),
    };
    let ready = json!({
        "listening": listener.address.to_string(),
        "control": control_listener.address.to_string(),
    });
    let mock = Arc::new(mock);
    let control = Arc::new(Control {
        mock: Arc::clone(&mock),
        listener: Arc::clone(&listener),
    });
    std::thread::spawn(move || control_listener.serve(&control));
    if common.end_with_stdin {
        std::thread::spawn(|| {
            let mut bytes = [0; 64];
            while io::stdin().read(&mut bytes).is_ok_and(|read| read > 0) {}
            std::process::exit(0);
        });
    }
    print_line(&ready.to_string());
    listener.serve(&mock)
}

/// Prints the error and returns a failure.
pub(crate) fn fail(error: &io::Error) -> ExitCode {
    drop(writeln!(io::stderr(), "{error}"));
    ExitCode::FAILURE
}

struct Control<M> {
    mock: Arc<M>,
    listener: Arc<ReopenableListener>,
}

impl<M: Mock> Control<M> {
    fn response(&self, head: &Head, body: &[u8]) -> Response {
        match (head.method.as_str(), head.path()) {
            ("POST", "/control") => match parse_commands(body, M::SIGNS) {
                Ok(commands) => {
                    for command in commands {
                        self.execute(command);
                    }
                    Response::empty(204)
                }
                Err(error) => Response::text(400, error + "\n"),
            },
            ("GET", path) => path
                .strip_prefix("/control/")
                .and_then(|name| self.mock.page(name))
                .map_or_else(not_found, |page| Response::json(200, page)),
            _ => not_found(),
        }
    }

    fn execute(&self, command: ControlCommand) {
        match command {
            ControlCommand::Close(time) => self.listener.close(time),
            ControlCommand::Normal(path) => {
                self.mock.with_rules(|rules| rules.clear(&path));
                if path.is_empty() {
                    self.listener.open();
                }
            }
            ControlCommand::Rule(rule) => self.mock.with_rules(|rules| rules.add(rule)),
        }
    }
}

fn not_found() -> Response {
    Response::text(404, "POST /control, GET /control/NAME\n")
}

impl<M: Mock> Service for Control<M> {
    fn serve(&self, head: &Head, body: Body<'_>) -> io::Result<(Response, SendMode)> {
        Ok((self.response(head, &body.read()?), SendMode::Whole))
    }
}
