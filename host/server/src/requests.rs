//! `bulkhead requests …` and `bulkhead migrate`: the store from the command line.

use crate::config::signing::StoreSettings;
use crate::config::{ListSettings, OneSettings, RequestsCommand, Which};
use crate::signing::store;
use crate::signing::world::now;
use crate::signing::{document, rfc3339};
use bulkhead_store::{Listed, MessageState, Redelivery, RequestId, RequestView};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Does it, and prints what came of it.
pub(crate) fn run(command: &RequestsCommand) -> ExitCode {
    print(block_on(async {
        match command {
            RequestsCommand::List(settings) => list(settings).await,
            RequestsCommand::Show(settings) => show(settings).await,
            RequestsCommand::Redeliver(settings) => redeliver(settings).await,
        }
    }))
}

/// Makes the tables of the store or brings them up to date.
pub(crate) fn migrate(settings: &StoreSettings) -> ExitCode {
    print(block_on(async {
        store::migrate(settings).await?;
        Ok("the store is up to date\n".to_owned())
    }))
}

fn block_on(work: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}

fn print(result: Result<String, String>) -> ExitCode {
    let (text, status) = match result {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => {
            // There is nowhere else to tell it.
            let _unseen = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => status,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn list(settings: &ListSettings) -> Result<String, String> {
    let store = store::inspect(&settings.store)?;
    let which = match settings.which {
        Which::All => Listed::All,
        Which::Pending => Listed::Pending,
        Which::Failed => Listed::Failed,
        Which::Parked => Listed::Parked,
    };
    let requests = store.list(which, settings.most, now()).await;
    let mut lines = String::new();
    for request in requests.map_err(|error| error.to_string())? {
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

async fn show(settings: &OneSettings) -> Result<String, String> {
    let store = store::inspect(&settings.store)?;
    let request = store
        .request(id(settings)?, now())
        .await
        .map_err(|error| error.to_string())?;
    let request = request.ok_or_else(|| none(settings))?;
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

async fn redeliver(settings: &OneSettings) -> Result<String, String> {
    let store = store::inspect(&settings.store)?;
    match store
        .redeliver(id(settings)?, now())
        .await
        .map_err(|error| error.to_string())?
    {
        Redelivery::Due => Ok("due: a running server sends it within seconds\n".to_owned()),
        Redelivery::None => {
            let there = store.request(id(settings)?, now()).await;
            Err(match there.map_err(|error| error.to_string())? {
                Some(_) => {
                    "the request has no notification (yet), so that there is none to send again"
                        .into()
                }
                None => none(settings),
            })
        }
    }
}

fn id(settings: &OneSettings) -> Result<RequestId, String> {
    RequestId::parse(&settings.id)
        .ok_or_else(|| format!("an id has {} hexadecimal digits", RequestId::DIGITS))
}

fn none(settings: &OneSettings) -> String {
    format!(
        "there is no request {}: `bulkhead requests list` shows them",
        settings.id
    )
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
