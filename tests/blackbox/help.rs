//! What `--help` says, word for word: it is the first documentation that people read, and a change
//! to it should be meant. `env -i bulkhead serve --help > tests/blackbox/help/bulkhead-serve.txt`
//! writes it anew.

use bulkhead_tests::server::binary;
use std::process::Command;

#[test]
fn help_is_as_it_was() {
    for (arguments, expected) in [
        (&["--help"][..], include_str!("help/bulkhead.txt")),
        (
            &["serve", "--help"],
            include_str!("help/bulkhead-serve.txt"),
        ),
        (
            &["check-config", "--help"],
            include_str!("help/bulkhead-check-config.txt"),
        ),
        (
            &["healthcheck", "--help"],
            include_str!("help/bulkhead-healthcheck.txt"),
        ),
        (
            &["migrate", "--help"],
            include_str!("help/bulkhead-migrate.txt"),
        ),
        (
            &["requests", "--help"],
            include_str!("help/bulkhead-requests.txt"),
        ),
        (
            &["component", "--help"],
            include_str!("help/bulkhead-component.txt"),
        ),
        (
            &["component", "check", "--help"],
            include_str!("help/bulkhead-component-check.txt"),
        ),
        (
            &["component", "export", "--help"],
            include_str!("help/bulkhead-component-export.txt"),
        ),
        (
            &["component", "list", "--help"],
            include_str!("help/bulkhead-component-list.txt"),
        ),
        (
            &["requests", "list", "--help"],
            include_str!("help/bulkhead-requests-list.txt"),
        ),
        (
            &["requests", "show", "--help"],
            include_str!("help/bulkhead-requests-show.txt"),
        ),
        (
            &["requests", "redeliver", "--help"],
            include_str!("help/bulkhead-requests-redeliver.txt"),
        ),
    ] {
        let output = Command::new(binary())
            .args(arguments)
            .env_clear()
            .output()
            .expect("the binary runs");
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).expect("text");
        assert_eq!(help, expected, "{arguments:?}");
    }
}

/// Every flag with its variable, and every limit with its default.
#[test]
fn every_setting_is_in_the_documentation() {
    const SETTINGS: &str = include_str!("../../docs/reference/settings.md");
    const HELP: &str = include_str!("help/bulkhead-serve.txt");
    let flags: Vec<_> = HELP
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|rest| rest.split([' ', '<']).next())
        .collect();
    assert!(flags.len() > 30, "{flags:?}");
    for flag in flags {
        let row = SETTINGS
            .lines()
            .find(|line| line.starts_with(&format!("| `--{flag}` |")));
        let row = row.unwrap_or_else(|| panic!("--{flag} is not in docs/reference/settings.md"));
        let variable = flag.to_uppercase().replace('-', "_");
        assert!(row.contains(&variable), "{row}");
        let entry = HELP
            .split(&format!("--{flag} "))
            .nth(1)
            .expect("just found");
        let entry = entry.split("\n      --").next().expect("a first part");
        if let Some((_, default)) = entry.split_once("[default: ") {
            let default = default.split(']').next().expect("a first part");
            let default = default.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(row.contains(&default), "{default}: {row}");
        }
    }
}
