//! `bulkhead requests …` and `bulkhead migrate`: access to the store from the command line.

use super::print;
use crate::capabilities::signing::store::{self, StoreOpenError};
use crate::capabilities::signing::{StoreSettings, document, now, rfc3339};
use crate::process::signals;
use bulkhead_http::{Setting, setting};
use bulkhead_store::{
    MessageState, Redelivery, RequestFilter, RequestId, RequestQuery, RequestView, StoreError,
    Viewer,
};
use clap::Args;
use std::fmt::Write as _;
use std::process::ExitCode;
use thiserror::Error;

#[derive(Debug, clap::Subcommand)]
pub(super) enum RequestsCommand {
    /// Print a line for each request, the newest first: id, status, time of arrival, number of upstream
    /// calls, status of the notification, and its last error.
    List(ListSettings),
    /// Print one request as JSON, as its caller sees it.
    Show(OneSettings),
    /// Send a notification again, whether or not it was delivered.
    Redeliver(OneSettings),
}

#[derive(Debug, Args)]
pub(super) struct ListSettings {
    /// Requests to list.
    #[arg(value_enum, default_value = "all")]
    which: Which,
    /// Maximum number of requests to list.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    store: StoreSettings,
}

/// A selection of requests by their status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    All,
    /// The message waits for a signature.
    Pending,
    /// The message is signed.
    Signed,
    /// The signing API rejected the message.
    Failed,
    /// The notification is kept, but is no longer attempted.
    Parked,
}

#[derive(Debug, Args)]
pub(super) struct OneSettings {
    /// Id of the request, from its response.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    store: StoreSettings,
}

/// The setting that names the store.
const STORE: Setting = setting!(StoreSettings, store);

/// A command failed.
#[derive(Debug, Error)]
enum RequestsError {
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    #[error("{0}. Check the database and {STORE}")]
    Store(#[from] StoreError),
    #[error(
        "the id is malformed. Give an id of {} hexadecimal digits",
        RequestId::DIGITS
    )]
    MalformedId,
    #[error("there is no request {0}. See all requests with `bulkhead requests list`")]
    Unknown(String),
    #[error(
        "the request has no notification, or does not have it yet. See its status with `bulkhead requests show`"
    )]
    NoNotification,
    #[error(
        "the notification became due or was attempted less than a second ago. Try again in a second"
    )]
    TooSoon,
}

/// Runs the command and prints its result.
pub(super) fn run(command: &RequestsCommand) -> ExitCode {
    run_and_print(async {
        match command {
            RequestsCommand::List(settings) => list(settings).await,
            RequestsCommand::Show(settings) => show(settings).await,
            RequestsCommand::Redeliver(settings) => redeliver(settings).await,
        }
    })
}

/// Creates the tables of the store or migrates them to the current version, and prints the result.
pub(super) fn migrate(settings: &StoreSettings) -> ExitCode {
    run_and_print(async {
        store::migrate(settings).await?;
        Ok("the store is up to date\n".to_owned())
    })
}

fn run_and_print(work: impl Future<Output = Result<String, RequestsError>>) -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let result = runtime.enable_all().build().map_err(RequestsError::from);
    let result = result.and_then(|runtime| {
        runtime.block_on(async {
            signals::survive_file_size_limit()?;
            work.await
        })
    });
    print(result.map(|text| (text, ExitCode::SUCCESS)))
}

async fn list(settings: &ListSettings) -> Result<String, RequestsError> {
    let store = store::inspect(&settings.store)?;
    let which = match settings.which {
        Which::All => RequestFilter::All,
        Which::Pending => RequestFilter::Pending,
        Which::Signed => RequestFilter::Signed,
        Which::Failed => RequestFilter::Failed,
        Which::Parked => RequestFilter::Parked,
    };
    let mut lines = String::new();
    let query = RequestQuery::newest(which, settings.limit);
    for request in store.list(query, now()).await?.unwrap_or_default() {
        let _infallible = writeln!(lines, "{}", line(&request));
    }
    Ok(lines)
}

/// Returns a line on a request. It contains neither the message nor the signature, because other people may
/// see the terminal.
fn line(request: &RequestView) -> String {
    let state = match request.state {
        MessageState::Pending => "pending",
        MessageState::Signed(_) => "signed",
        MessageState::Failed(_) => "failed",
    };
    let shown = document(request);
    let notification = &shown["notification"];
    let part = |name: &str| notification[name].as_str().unwrap_or_default().to_owned();
    let columns = [
        request.id.as_str().to_owned(),
        state.to_owned(),
        rfc3339(request.created_at),
        request.attempts.to_string(),
        part("status"),
        part("last_error"),
    ];
    columns.join("  ").trim_end().to_owned()
}

async fn show(settings: &OneSettings) -> Result<String, RequestsError> {
    let store = store::inspect(&settings.store)?;
    let request = store.request(id(settings)?, Viewer::All, now()).await?;
    let request = request.ok_or_else(|| RequestsError::Unknown(settings.id.clone()))?;
    Ok(for_terminals(&format!("{:#}\n", document(&request))))
}

/// Escapes the characters of JSON that control a terminal. JSON requires this only for C0. The others are
/// C1 and those that change the direction of text.
fn for_terminals(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                let _infallible = write!(shown, "\\u{:04x}", u32::from(letter));
            }
            _ => shown.push(letter),
        }
    }
    shown
}

async fn redeliver(settings: &OneSettings) -> Result<String, RequestsError> {
    let store = store::inspect(&settings.store)?;
    match store.redeliver(id(settings)?, now()).await? {
        Redelivery::Due => {
            Ok("due: a running server sends the notification within seconds\n".to_owned())
        }
        Redelivery::TooSoon { .. } => Err(RequestsError::TooSoon),
        Redelivery::NotFound => Err(
            match store.request(id(settings)?, Viewer::All, now()).await? {
                Some(_) => RequestsError::NoNotification,
                None => RequestsError::Unknown(settings.id.clone()),
            },
        ),
    }
}

fn id(settings: &OneSettings) -> Result<RequestId, RequestsError> {
    RequestId::parse(&settings.id).ok_or(RequestsError::MalformedId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn json_for_terminals_has_no_control_characters_and_the_same_value() {
        let message = "üñí \u{9b}31m \u{7f} \u{202e}txt.exe \u{1b}[0m";
        let shown = for_terminals(&format!("{:#}\n", json!({"message": message})));
        let printable = |letter: char| letter == '\n' || !letter.is_control();
        assert!(shown.chars().all(printable) && !shown.contains('\u{202e}'));
        let parsed: Value = serde_json::from_str(&shown).expect("output should be JSON");
        assert_eq!(parsed["message"], message);
    }
}
