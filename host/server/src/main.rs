//! The `bulkhead` server: HTTP in front of sandboxed components.

mod allocator;
mod app;
mod components;
mod config;
mod decrypt;
mod description;
mod descriptors;
mod health;
mod healthcheck;
mod http;
mod inquiry;
mod io;
mod log;
mod metrics;
mod problem;
mod requests;
mod room;
mod routes;
mod secrets;
mod server;
mod signing;
mod token;
mod wire;

use allocator::LargePages;
use app::{App, Seldom};
use bulkhead_kdf::Engine;
use bulkhead_sandbox::{Sandbox, SetupError, with_causes};
use components::{Exchangeable, SlotContext};
use config::{Cli, Command, Settings};
use decrypt::Decrypt;
use io::IoThreads;
use metrics::Metrics;
use problem::Limited;
use room::Room;
use server::End;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use token::Token;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Threads for I/O. They never compute; two are plenty.
const IO_THREADS: u16 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if config::check::is_asked_for(&arguments) {
        return config::check::run(arguments);
    }
    let cli = Cli::of(&arguments);
    let settings = match cli.command {
        Some(Command::Serve(settings)) => *settings,
        // Taken care of above.
        Some(Command::CheckConfig(_)) => return ExitCode::SUCCESS,
        Some(Command::Healthcheck(settings)) => return healthcheck::run(&settings),
        Some(Command::Requests(command)) => return requests::run(&command),
        Some(Command::Component(command)) => return components::command::run(&command),
        Some(Command::Migrate(settings)) => return requests::migrate(&settings),
        None => cli.settings,
    };
    if let Err(error) = log::start() {
        // There is no log to tell it to.
        let _nowhere_else = writeln!(std::io::stderr(), "error: {error}");
        return ExitCode::from(2);
    }
    allocator::set_up();
    descriptors::raise_limit(settings.http.connections_max);
    match run(settings) {
        Ok(End::Drained) => ExitCode::SUCCESS,
        Ok(End::Cut) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!(error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> Result<End, String> {
    let contradictions = settings.contradictions();
    if !contradictions.is_empty() {
        return Err(contradictions.join("; "));
    }
    let cannot_start = |error| format!("cannot start I/O threads: {error}");
    let threads = IoThreads::start(IO_THREADS).map_err(cannot_start)?;
    // This thread accepts connections and listens for signals.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(cannot_start)?;
    let end = runtime.block_on(async {
        let stop = signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
        let hang_up = signal(SignalKind::hangup())
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        let (app, first_look) = app(settings)?;
        let app = Arc::new(app);
        if let Some(first_look) = first_look {
            let mut stop = stop.clone();
            tokio::select! {
                looked = first_look => looked.map_err(|_| "the thread for components panicked")?,
                _ = stop.wait_for(|&signals| signals >= 1) => return Ok(End::Drained),
            }
        }
        reload_on_hang_up(hang_up, Arc::clone(&app.token));
        let address = app.settings.listen;
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            format!("cannot listen on {address}: {error}. Choose another with --listen (BULKHEAD_LISTEN)")
        })?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(
            %address,
            version = env!("CARGO_PKG_VERSION"),
            decrypt.workers = app.settings.decrypt.workers(),
            "serving"
        );
        Ok::<_, String>(server::serve(app, threads, listener, stop).await)
    })?;
    // What still runs after the drain has had its time.
    runtime.shutdown_background();
    Ok(end)
}

fn app(settings: Settings) -> Result<(App, Option<oneshot::Receiver<()>>), String> {
    let metrics = Arc::new(Metrics::new());
    let sandbox = Sandbox::new(&settings.sandbox()).map_err(|error| with_causes(&error))?;
    let inline: Vec<_> = (0..IO_THREADS)
        .map(|_| sandbox.beside(&settings.inline_sandbox()))
        .collect::<Result<_, _>>()
        .map_err(|error: SetupError| with_causes(&error))?;
    let bodies = Room::new(
        settings.http.bodies_octets,
        Limited {
            what: "too many request bodies are held",
            flag: "--bodies-max",
            variable: "BULKHEAD_BODIES_MAX",
        },
    );
    let answers = Room::new(
        settings.http.answers_octets,
        Limited {
            what: "too many answers wait for their clients to take them",
            flag: "--answers-max",
            variable: "BULKHEAD_ANSWERS_MAX",
        },
    );
    let context = SlotContext {
        metrics: &metrics,
        header: settings.components.component_header.is_on(),
    };
    let keys = Engine::new(settings.kdf.setup(), metrics.kdf.clone())
        .map_err(|error| format!("cannot start the threads for key derivation: {error}"))?;
    let decrypt = Decrypt::new(&sandbox, &settings.decrypt, keys, answers, &context)?;
    let token = Arc::new(Token::new(&sandbox, &inline, &settings.token, &context)?);
    let signing = signing::start(&sandbox, &settings.signing, &context)?;
    let mut components: Vec<Arc<dyn Exchangeable>> =
        vec![Arc::clone(&decrypt.slot) as _, Arc::clone(&token.slot) as _];
    components.extend(
        signing
            .as_ref()
            .map(|signing| Arc::clone(&signing.slot) as _),
    );
    let (watch, first_look) = components::watch(&settings.components, components.clone())?.unzip();
    let app = App {
        decrypt,
        token,
        signing,
        components,
        watch,
        settings,
        metrics,
        bodies,
        draining: AtomicBool::new(false),
        overload_log: Seldom::new(),
        accept_log: Seldom::new(),
    };
    Ok((app, first_look))
}

/// SIGHUP: secrets are read again. Where that fails, those in force stay.
fn reload_on_hang_up(mut hang_up: Signal, token: Arc<Token>) {
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            let token = Arc::clone(&token);
            // A file can be on a disk that is gone.
            let read = tokio::task::spawn_blocking(move || token.load_secrets()).await;
            match read.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(()) => tracing::info!("secret files, if any, read again"),
                Err(error) => tracing::error!(error, "secrets not read again, the old ones stay"),
            }
        }
    });
}

/// How many times the process was asked to stop (SIGTERM or SIGINT).
fn signals() -> std::io::Result<watch::Receiver<u32>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            sender.send_modify(|signals| *signals += 1);
        }
    });
    Ok(receiver)
}
