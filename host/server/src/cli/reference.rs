//! The reference pages of settings and commands, which are generated from the command line.

use super::command;
use clap::{Arg, Command};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;

const BEGIN: &str = "<!-- A test of the server generates the text below. -->\n";
const END: &str = "<!-- A test of the server generates the text above. -->\n";

/// Returns the section of the page for a setting: its heading in the help text, except for those with many
/// settings.
fn section(setting: &Arg) -> &str {
    let flag = setting.get_long().unwrap_or_default();
    match setting.get_help_heading() {
        Some("Signing") if flag.starts_with("upstream-") => "Signing relay: upstream",
        Some("Signing") if flag.starts_with("store") || flag == "ca-file" => "Signing relay: store",
        Some("Signing") => "Signing relay: requests and webhooks",
        Some("Decrypt") => "Decryption",
        Some("Token") => "Tokens",
        Some(heading) => heading,
        None => "HTTP",
    }
}

/// Returns a text with flags, variables and paths in backticks, as a cell of a table.
fn cell(text: &str) -> String {
    let mut words = Vec::new();
    let mut is_code = false;
    for word in text.split_whitespace() {
        let is_quoted = is_code || word.contains('`');
        is_code ^= word.matches('`').count() % 2 == 1;
        let end = word.trim_end_matches(['.', ',', ':', ';', ')']).len();
        let (name, mark) = word.split_at(end);
        let (open, name) = name.split_at(name.len() - name.trim_start_matches('(').len());
        let is_name = name.starts_with("--") || name.starts_with('/');
        words.push(match name.strip_prefix("docs/") {
            _ if is_quoted => word.to_owned(),
            Some(page) => {
                let title = page.rsplit('/').next().unwrap_or(page);
                format!("{open}[{title}](../{page}){mark}")
            }
            None if is_name => format!("{open}`{name}`{mark}"),
            None => word.to_owned(),
        });
    }
    words.join(" ").replace('|', "\\|")
}

/// Returns the meaning of a setting, and the default that its help text names.
fn meaning(setting: &Arg) -> (String, Option<String>) {
    let help = setting.get_long_help().or(setting.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let Some((meaning, rest)) = help.split_once(" [default: ") else {
        return (cell(&help), None);
    };
    let default = rest.trim_end_matches(['.', ']']);
    (cell(meaning), Some(cell(default)))
}

fn default(setting: &Arg, named: Option<String>) -> String {
    let values = setting.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    match values.as_slice() {
        _ if !setting.get_action().takes_values() => String::new(),
        [] => named.unwrap_or_default(),
        values => format!("`{}`", values.join(",")),
    }
}

/// Returns the error text for a value, without the value and the name of the setting.
fn rejection(setting: &Arg, value: &str) -> Option<String> {
    let flag = format!("--{}={value}", setting.get_long()?);
    let alone = Command::new("x").arg(setting.clone().env(None::<&str>));
    let error = alone.try_get_matches_from(["x", &flag]).err()?.to_string();
    let (_, reason) = error.split_once("': ")?;
    Some(reason.lines().next().unwrap_or_default().to_owned())
}

/// Returns the values that a setting accepts, from the texts that reject others.
fn values(setting: &Arg) -> String {
    let possible = setting.get_possible_values();
    if !possible.is_empty() && setting.get_action().takes_values() {
        let possible = possible.iter().map(|value| match value.get_help() {
            None => format!("`{}`", value.get_name()),
            Some(help) => format!("`{}` ({})", value.get_name(), cell(&help.to_string())),
        });
        return possible.collect::<Vec<_>>().join(", ");
    }
    let is = |name: &str| {
        let names = setting.get_value_names().unwrap_or_default();
        names.iter().any(|other| other == name)
    };
    if is("N") {
        let reason = rejection(setting, "?").unwrap_or_default();
        let bounds = reason.strip_prefix("give a whole number from ");
        return bounds.unwrap_or_default().to_owned();
    }
    let wrong = if is("SIZE") {
        ["18446744073709551615", "0"]
    } else if is("TIME") {
        ["0s", "99999d"]
    } else {
        return String::new();
    };
    let reasons = wrong
        .into_iter()
        .filter_map(|value| rejection(setting, value));
    for reason in reasons {
        if let Some(bounds) = reason.strip_prefix("give at least ") {
            return bounds.replace(" and at most ", " to ");
        }
        if reason == "give a time above zero" {
            return "above 0, at most 24h".to_owned();
        }
        if reason == "give a whole number and a unit, as in 30s, of at most 24h" {
            return "at most 24h".to_owned();
        }
    }
    panic!("the errors of {setting} should name its bounds")
}

fn settings() -> String {
    let command = command(&[]);
    let mut sections: Vec<(&str, String)> = Vec::new();
    for setting in command.get_arguments() {
        let Some(flag) = setting.get_long() else {
            continue;
        };
        let title = section(setting);
        let at = sections.iter().position(|(other, _)| *other == title);
        let at = at.unwrap_or_else(|| {
            sections.push((title, String::new()));
            sections.len() - 1
        });
        let (meaning, named) = meaning(setting);
        let variable = setting.get_env().map(OsStr::to_string_lossy);
        let cells = [
            format!("`--{flag}`"),
            variable.map_or_else(String::new, |name| format!("`{name}`")),
            default(setting, named),
            values(setting),
            meaning,
        ];
        sections[at].1 += &row(&cells);
    }
    let head = "\n\n| flag | variable | default | values | meaning |\n|---|---|---|---|---|\n";
    let sections = sections
        .into_iter()
        .map(|(title, rows)| ["## ", title, head, &rows].concat());
    sections.collect::<Vec<_>>().join("\n")
}

fn row(cells: &[String]) -> String {
    let cells = cells.iter().map(|cell| match cell.as_str() {
        "" => " ".to_owned(),
        cell => format!(" {cell} "),
    });
    format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
}

/// Adds a command and its subcommands. `server` are the settings of the server, which have their own page.
fn add_command(name: &str, command: &Command, server: &BTreeSet<&str>, page: &mut String) {
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    if command.has_subcommands() {
        for subcommand in command
            .get_subcommands()
            .filter(|other| !other.is_hide_set())
        {
            let name = format!("{name} {}", subcommand.get_name());
            add_command(&name, subcommand, server, page);
        }
        return;
    }
    writeln!(page, "## `{name}`\n\n{}.\n", cell(&about)).expect("text should be writable");
    let arguments: Vec<_> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .collect();
    let is_setting = |argument: &&Arg| {
        argument
            .get_long()
            .is_some_and(|long| server.contains(long))
    };
    let settings: Vec<_> = arguments.iter().copied().filter(is_setting).collect();
    if settings.len() == server.len() {
        *page += "The command takes all [settings](settings.md).\n\n";
    } else if !settings.is_empty() {
        let flags = settings.iter().filter_map(|setting| setting.get_long());
        let flags: Vec<_> = flags.map(|flag| format!("`--{flag}`")).collect();
        let flags = flags.join(", ");
        writeln!(
            page,
            "The command takes these [settings](settings.md): {flags}.\n"
        )
        .expect("text should be writable");
    }
    let own: Vec<_> = arguments
        .into_iter()
        .filter(|argument| !is_setting(argument))
        .collect();
    if own.is_empty() {
        return;
    }
    *page += "| argument | default | values | meaning |\n|---|---|---|---|\n";
    for argument in own {
        let id = argument.get_id().as_str().to_uppercase();
        let (meaning, named) = meaning(argument);
        let flag = argument.get_long().map(|long| format!("`--{long}`"));
        *page += &row(&[
            flag.unwrap_or_else(|| format!("`{id}`")),
            default(argument, named),
            values(argument),
            meaning,
        ]);
    }
    *page += "\n";
}

fn commands() -> String {
    let command = command(&[]);
    let server = command.get_arguments().filter_map(Arg::get_long).collect();
    let mut page = String::new();
    for subcommand in command.get_subcommands() {
        let name = format!("bulkhead {}", subcommand.get_name());
        add_command(&name, subcommand, &server, &mut page);
    }
    page.trim_end().to_owned() + "\n"
}

/// Compares the generated text of a page. `BULKHEAD_TEST_WRITE=1` writes it.
#[track_caller]
fn check(name: &str, page: &str, text: &str) {
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("page should have generated text");
    let (current, after) = rest.split_once(END).expect("generated text should end");
    let text = ["\n", text, "\n"].concat();
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let page = [before, BEGIN, &text, END, after].concat();
        let path = [env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/", name].concat();
        std::fs::write(path, page).expect("page should be writable");
        return;
    }
    assert!(
        current == text,
        "docs/reference/{name} is out of date: BULKHEAD_TEST_WRITE=1 cargo test --release --locked -p bulkhead \
         reference_page"
    );
}

#[test]
fn settings_reference_page_equals_the_flags() {
    let page = include_str!("../../../../docs/reference/settings.md");
    check("settings.md", page, &settings());
}

#[test]
fn cli_reference_page_equals_the_commands() {
    let page = include_str!("../../../../docs/reference/cli.md");
    check("cli.md", page, &commands());
}
