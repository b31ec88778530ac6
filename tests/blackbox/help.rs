//! The `--help` output of all commands. It is the first documentation that people read, so that a
//! change to it has to be intended.

use bulkhead_tests::server::binary;
use std::process::Command;

/// The output of `--help` for all commands, one after the other.
const GOLDEN: &str = include_str!("help.txt");

/// Returns the help text of one command from the golden file. The name of `bulkhead --help` is empty.
pub(crate) fn help_of(command: &str) -> &'static str {
    let heading = heading(command);
    let pages = GOLDEN.split_once(&heading);
    let (_, rest) = pages.unwrap_or_else(|| panic!("help.txt should have {heading}"));
    rest.split("\n$ bulkhead ").next().unwrap_or(rest)
}

/// Returns the names of all flags with a value in a help text of the long form.
pub(crate) fn flags_of(help: &str) -> Vec<&str> {
    help.lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|rest| rest.split([' ', '<']).next())
        .collect()
}

fn heading(command: &str) -> String {
    let words = ["$", "bulkhead", command, "--help"];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ") + "\n"
}

/// Appends the help text of a command and of all its subcommands.
fn append_help(command: &str, pages: &mut String) {
    let output = Command::new(binary())
        .args(command.split_whitespace())
        .arg("--help")
        .env_clear()
        .output()
        .expect("binary should run");
    assert!(output.status.success(), "{command}: {output:?}");
    let help = String::from_utf8(output.stdout).expect("help text should be UTF-8");
    *pages += &[&heading(command), help.as_str(), "\n"].concat();
    let (_, commands) = help.split_once("\nCommands:\n").unwrap_or_default();
    let commands = commands.split("\n\n").next().unwrap_or_default();
    for line in commands.lines() {
        // Further lines of a description are indented by more.
        let name = line.strip_prefix("  ").unwrap_or_default();
        let name = name.split(' ').next().unwrap_or_default();
        if !name.is_empty() && name != "help" {
            append_help(format!("{command} {name}").trim_start(), pages);
        }
    }
}

#[test]
fn help_texts_equal_the_golden_file() {
    let mut pages = String::new();
    append_help("", &mut pages);
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/blackbox/help.txt");
        std::fs::write(path, &pages).expect("source tree should be writable");
        return;
    }
    for (number, (line, golden)) in pages.lines().zip(GOLDEN.lines()).enumerate() {
        assert_eq!(line, golden, "line {} of {OUT_OF_DATE}", number + 1);
    }
    assert!(pages == GOLDEN, "the length of {OUT_OF_DATE}");
}

const OUT_OF_DATE: &str = "tests/blackbox/help.txt is out of date. If the change is intended: \
    BULKHEAD_TEST_WRITE=1 cargo test --release --locked --test blackbox -- help_texts";

/// Every flag has a row with its variable and, if it has one, its default.
#[test]
fn settings_page_lists_every_flag() {
    const SETTINGS: &str = include_str!("../../docs/reference/settings.md");
    let help = help_of("serve");
    let flags = flags_of(help);
    assert!(flags.len() > 30, "{flags:?}");
    for flag in flags {
        let row = SETTINGS
            .lines()
            .find(|line| line.starts_with(&format!("| `--{flag}` |")));
        let row = row.unwrap_or_else(|| panic!("--{flag} should be in docs/reference/settings.md"));
        let variable = flag.to_uppercase().replace('-', "_");
        assert!(row.contains(&variable), "{row}");
        let entry = help
            .split(&format!("--{flag} "))
            .nth(1)
            .expect("flag should be in the help text");
        let entry = entry.split("\n      --").next().unwrap_or(entry);
        if let Some((_, default)) = entry.split_once("[default: ") {
            let default = default.split(']').next().unwrap_or(default);
            let default = default.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(row.contains(&default), "{default}: {row}");
        }
    }
}
