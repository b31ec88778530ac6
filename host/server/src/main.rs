//! The `bulkhead` server: HTTP in front of sandboxed components.

mod access;
mod app;
mod audit;
mod capabilities;
mod cli;
mod client_address;
mod components;
mod config;
mod handlers;
#[cfg(test)]
#[path = "../../../tests/listed.rs"]
mod listed;
mod listen;
mod metrics;
mod process;
mod reload;
mod routes;
mod service;
mod trace;

use app::{App, IO_THREADS, Settings};
use bulkhead_http::{ConnectionThreads, DrainEnd, Listener, ListenerGroup};
use capabilities::StartError;
use cli::Invocation;
use listen::OBSERVE_GROUP;
use metrics::Metrics;
use process::allocator::LargePages;
use process::{allocator, descriptors, logging, signals};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let settings = match cli::run(&arguments) {
        Invocation::Done(status) => return status,
        Invocation::Serve(settings) => settings,
    };
    let _flush = match logging::start() {
        Ok(flush) => flush,
        Err(error) => {
            // The log is not available.
            let _unseen = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    for variable in cli::unknown_variables() {
        let cli::UnknownVariable { name, nearest } = variable;
        tracing::warn!(name, nearest, "unknown variable ignored");
    }
    allocator::set_up();
    descriptors::raise_limit(settings.http.connections_max);
    match serve(&settings) {
        Ok(status) => status,
        Err(error) => {
            let error = error.to_string();
            tracing::error!(error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: &Settings) -> Result<ExitCode, StartError> {
    let contradictions = settings.contradictions();
    if !contradictions.is_empty() {
        return Err(StartError::Settings(contradictions));
    }
    let threads = ConnectionThreads::start(IO_THREADS)?;
    // This thread accepts connections and listens for signals.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(start_and_serve(settings, threads))?;
    // Work that still runs after the drain is aborted.
    runtime.shutdown_background();
    Ok(status)
}

async fn start_and_serve(
    settings: &Settings,
    threads: ConnectionThreads,
) -> Result<ExitCode, StartError> {
    signals::survive_file_size_limit().map_err(StartError::Signals)?;
    let stops = signals::stops().map_err(StartError::Signals)?;
    let hang_up = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
    let (app, first_scan) = App::start(settings, Metrics::new(routes::labels()))?;
    let app = Arc::new(app);
    let end = serve_app(settings, threads, stops, hang_up, first_scan, &app).await;
    let is_closed = app.close().await;
    app.audit.finish();
    Ok(match end? {
        DrainEnd::Drained if is_closed => ExitCode::SUCCESS,
        DrainEnd::Drained | DrainEnd::Cut => ExitCode::FAILURE,
    })
}

/// Serves until the drain ends.
async fn serve_app(
    settings: &Settings,
    threads: ConnectionThreads,
    mut stops: watch::Receiver<u32>,
    hang_up: Signal,
    first_scan: Option<oneshot::Receiver<()>>,
    app: &Arc<App>,
) -> Result<DrainEnd, StartError> {
    if let Some(first_scan) = first_scan {
        tokio::select! {
            scanned = first_scan => scanned.map_err(|_| StartError::ComponentsPanicked)?,
            _ = stops.wait_for(|&signals| signals >= 1) => return Ok(DrainEnd::Drained),
        }
    }
    reload_on_hang_up(hang_up, Arc::clone(app));
    let groups = listen::bind(&settings.listen, settings.http.connections_max, &app.tls).await;
    let groups = groups.map_err(|(address, source)| StartError::Listen { address, source })?;
    let addresses = |group: &ListenerGroup| {
        let addresses = group.listeners.iter().map(Listener::address);
        let addresses: Vec<_> = addresses.map(ToString::to_string).collect();
        addresses.join(",")
    };
    tracing::info!(
        address = addresses(&groups[0]),
        observe_address = groups
            .get(OBSERVE_GROUP)
            .map(addresses)
            .filter(|it| !it.is_empty()),
        tls = app.tls.tls().is_some(),
        version = env!("CARGO_PKG_VERSION"),
        decrypt.workers = settings.capabilities.decrypt.workers(),
        "serving"
    );
    let limits = app.bodies.settings.clone();
    Ok(bulkhead_http::serve(Arc::clone(app), limits, threads, groups, stops).await)
}

/// Reads the secrets, the access keys and the TLS certificate again on SIGHUP, and opens the audit log again. If one of
/// them fails, its active version stays in use.
fn reload_on_hang_up(mut hang_up: Signal, app: Arc<App>) {
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            app.audit.reopen();
            app.access.reload();
            app.tls.reload();
            let app = Arc::clone(&app);
            // Reading blocks if the file's disk does not respond.
            let read = tokio::task::spawn_blocking(move || {
                let capabilities = app.capabilities.iter();
                let errors = capabilities.flat_map(|(_, capability)| capability.reload());
                errors.map(|error| error.to_string()).collect()
            });
            let errors: Vec<String> = match read.await {
                Ok(errors) => errors,
                Err(error) => vec![error.to_string()],
            };
            if errors.is_empty() {
                tracing::info!("secret files read again");
            }
            for error in errors {
                tracing::error!(
                    error,
                    "cannot read secrets again, the previous secrets stay active"
                );
            }
        }
    });
}
