//! `bulkhead requests …` and `bulkhead migrate`: the store from the command line.

use super::print;
use crate::capabilities::signing::store::{self, StoreOpenError};
use crate::capabilities::signing::{StoreSettings, document, now, rfc3339};
use bulkhead_store::{Listed, MessageState, Redelivery, RequestId, RequestView, StoreError};
use clap::Args;
use std::fmt::Write as _;
use std::process::ExitCode;
use thiserror::Error;

#[derive(Debug, clap::Subcommand)]
pub(super) enum RequestsCommand {
    /// A line for each request, the youngest first: id, status, when it came, calls made for it,
    /// notification, and why that failed last.
    List(ListSettings),
    /// One request as JSON, as its caller sees it.
    Show(OneSettings),
    /// Have a notification sent again, whatever became of it.
    Redeliver(OneSettings),
}

#[derive(Debug, Args)]
pub(super) struct ListSettings {
    /// Which requests.
    #[arg(value_enum, default_value = "all")]
    which: Which,
    /// Requests to list at most.
    #[arg(long, default_value_t = 100)]
    most: u32,
    #[command(flatten)]
    store: StoreSettings,
}

/// Requests by where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    All,
    /// The message waits to be signed.
    Pending,
    /// The signing API refused the message.
    Failed,
    /// The notification is kept, and not tried any more.
    Parked,
}

#[derive(Debug, Args)]
pub(super) struct OneSettings {
    /// The id that the answer to the request had.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    store: StoreSettings,
}

/// Why a command failed.
#[derive(Debug, Error)]
enum RequestsError {
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("an id has {} hexadecimal digits", RequestId::DIGITS)]
    MalformedId,
    #[error("there is no request {0}: `bulkhead requests list` shows them")]
    Unknown(String),
    #[error("the request has no notification (yet), so that there is none to send again")]
    NoNotification,
}

/// Does it, and prints the result.
pub(super) fn run(command: &RequestsCommand) -> ExitCode {
    run_and_print(async {
        match command {
            RequestsCommand::List(settings) => list(settings).await,
            RequestsCommand::Show(settings) => show(settings).await,
            RequestsCommand::Redeliver(settings) => redeliver(settings).await,
        }
    })
}

/// Makes the tables of the store or brings them up to date.
pub(super) fn migrate(settings: &StoreSettings) -> ExitCode {
    run_and_print(async {
        store::migrate(settings).await?;
        Ok("the store is up to date\n".to_owned())
    })
}

fn run_and_print(work: impl Future<Output = Result<String, RequestsError>>) -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let result = runtime.enable_all().build().map_err(RequestsError::from);
    let result = result.and_then(|runtime| runtime.block_on(work));
    print(result.map(|text| (text, ExitCode::SUCCESS)))
}

async fn list(settings: &ListSettings) -> Result<String, RequestsError> {
    let store = store::inspect(&settings.store)?;
    let which = match settings.which {
        Which::All => Listed::All,
        Which::Pending => Listed::Pending,
        Which::Failed => Listed::Failed,
        Which::Parked => Listed::Parked,
    };
    let mut lines = String::new();
    for request in store.list(which, settings.most, now()).await? {
        let _infallible = writeln!(lines, "{}", line(&request));
    }
    Ok(lines)
}

/// Neither message nor signature: this is for terminals, and for whoever looks over a shoulder.
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
        request.tries.to_string(),
        part("status"),
        part("last_error"),
    ];
    columns.join("  ").trim_end().to_owned()
}

async fn show(settings: &OneSettings) -> Result<String, RequestsError> {
    let store = store::inspect(&settings.store)?;
    let request = store.request(id(settings)?, now()).await?;
    let request = request.ok_or_else(|| RequestsError::Unknown(settings.id.clone()))?;
    Ok(for_terminals(&format!("{:#}\n", document(&request))))
}

/// JSON as JSON, with what a terminal may obey in a stranger's message escaped: JSON asks that of C0
/// alone. The others are C1 and what turns the direction of writing around.
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
        Redelivery::Due => Ok("due: a running server sends it within seconds\n".to_owned()),
        Redelivery::None => Err(match store.request(id(settings)?, now()).await? {
            Some(_) => RequestsError::NoNotification,
            None => RequestsError::Unknown(settings.id.clone()),
        }),
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
    fn what_is_shown_is_obeyed_by_no_terminal_and_still_the_same() {
        let message = "üñí \u{9b}31m \u{7f} \u{202e}txt.exe \u{1b}[0m";
        let shown = for_terminals(&format!("{:#}\n", json!({"message": message})));
        let printable = |letter: char| letter == '\n' || !letter.is_control();
        assert!(shown.chars().all(printable) && !shown.contains('\u{202e}'));
        let parsed: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(parsed["message"], message);
    }
}
