//! What both mocks have beside their own work: arguments, and the second port that they are told on
//! how to behave.

use super::door::Door;
use super::rules::{Order, Rules, orders};
use super::wire::{Body, Head, Manner, Response, Service};
use clap::Args;
use serde_json::json;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of every mock.
#[derive(Args, Clone, Debug)]
pub(crate) struct Stage {
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

    /// Seed of all that happens by chance
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,

    /// Factor for all times given here, and for those that nobody gave
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    pub(crate) scale: f64,

    /// End when standard input does, and so with whoever started this
    #[arg(long)]
    end_with_stdin: bool,
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|f: &f64| (0.0..=1e6).contains(f));
    factor.ok_or_else(|| "a number from 0 to 1000000".to_owned())
}

impl Stage {
    /// Says a line where that is asked for.
    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            say(&line());
        }
    }
}

/// Nobody listening to it is no reason to end.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// A mock that can be told how to behave.
pub(crate) trait Mock: Service {
    /// Whether it has signatures to spoil.
    const SIGNS: bool;

    fn with_rules(&self, change: impl FnOnce(&mut Rules));

    /// What `GET /control/NAME` answers.
    fn page(&self, name: &str) -> Option<String>;
}

/// Serves until the process ends.
pub(crate) fn run<M: Mock>(stage: &Stage, mock: M) -> ExitCode {
    let doors = Door::new(stage.listen).and_then(|door| Ok((door, Door::new(stage.control)?)));
    let (door, control_door) = match doors {
        Ok((door, control)) => (Arc::new(door), control),
        Err(error) => return fail(&error),
    };
    let ready = json!({
        "listening": door.address.to_string(),
        "control": control_door.address.to_string(),
    });
    let mock = Arc::new(mock);
    let control = Arc::new(Control {
        mock: Arc::clone(&mock),
        door: Arc::clone(&door),
    });
    std::thread::spawn(move || control_door.serve(&control));
    if stage.end_with_stdin {
        std::thread::spawn(|| {
            let mut octets = [0; 64];
            while io::stdin().read(&mut octets).is_ok_and(|read| read > 0) {}
            std::process::exit(0);
        });
    }
    say(&ready.to_string());
    door.serve(&mock)
}

/// Tells why there is nothing to serve.
pub(crate) fn fail(error: &io::Error) -> ExitCode {
    drop(writeln!(io::stderr(), "{error}"));
    ExitCode::FAILURE
}

struct Control<M> {
    mock: Arc<M>,
    door: Arc<Door>,
}

impl<M: Mock> Control<M> {
    fn answer(&self, head: &Head, body: &[u8]) -> Response {
        match (head.method.as_str(), head.path()) {
            ("POST", "/control") => match orders(body, M::SIGNS) {
                Ok(orders) => {
                    for order in orders {
                        self.obey(order);
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

    fn obey(&self, order: Order) {
        match order {
            Order::Close(time) => self.door.close(time),
            Order::Normal(path) => {
                self.mock.with_rules(|rules| rules.clear(&path));
                if path.is_empty() {
                    self.door.open();
                }
            }
            Order::Rule(rule) => self.mock.with_rules(|rules| rules.add(rule)),
        }
    }
}

fn not_found() -> Response {
    Response::text(404, "POST /control, GET /control/NAME\n")
}

impl<M: Mock> Service for Control<M> {
    fn serve(&self, head: &Head, body: Body<'_>) -> io::Result<(Response, Manner)> {
        Ok((self.answer(head, &body.read()?), Manner::Whole))
    }
}
