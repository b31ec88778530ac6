//! The `bulkhead` server: HTTP in front of sandboxed components.

mod allocator;
mod config;
mod decrypt;
mod envelope;
mod http;
mod problem;
mod secrets;
mod server;
mod token;
mod wire;

use bulkhead_sandbox::Sandbox;
use clap::Parser as _;
use config::{Cli, Command, Settings};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Threads for I/O. They never compute; two are plenty.
const IO_THREADS: u16 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = match cli.command {
        Some(Command::Serve(settings)) => *settings,
        None => cli.settings,
    };
    start_log();
    allocator::return_large_buffers();
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

/// Life-cycle and failures; JSON where no person is watching. `BULKHEAD_LOG` takes more, in the
/// syntax of `RUST_LOG`.
fn start_log() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("BULKHEAD_LOG")
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
}

fn run(settings: Settings) -> Result<(), String> {
    settings.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS.into())
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start I/O threads: {error}"))?;
    runtime.block_on(async {
        let stop = signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
        let sandbox = Sandbox::new(&settings.sandbox(IO_THREADS))?;
        let decrypt = decrypt::Decrypt::new(&sandbox, &settings.decrypt)?;
        let token = Arc::new(token::Token::new(&sandbox, &settings.token)?);
        reload_on_hang_up(Arc::clone(&token))
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        let address = settings.listen;
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            format!("cannot listen on {address}: {error}. Choose another with --listen (BULKHEAD_LISTEN)")
        })?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
        server::serve(settings, decrypt, token, listener, stop).await;
        Ok::<_, String>(())
    })?;
    // What still runs after the drain has had its time.
    runtime.shutdown_background();
    Ok(())
}

/// SIGHUP: secrets are read again. Where that fails, those in force stay.
fn reload_on_hang_up(token: Arc<token::Token>) -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            match token.load_secrets() {
                Ok(()) => tracing::info!("secrets read again"),
                Err(error) => tracing::error!(error, "secrets not read again, the old ones stay"),
            }
        }
    });
    Ok(())
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
