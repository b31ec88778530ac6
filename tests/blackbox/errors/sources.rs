//! Every error text in the sources is in a table of errors, or is listed here with the reason why it is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The texts of `errors.txt`, which the real binary shows.
const SHOWN: &str = include_str!("../errors.txt");

/// The texts that unit tests cause, because the real binary cannot be brought into their situations cheaply. The tests
/// compare them with `assert_listed`.
const UNIT: &str = include_str!("unit.txt");

/// The texts that no table has: each text as in the sources, and the reason.
const UNLISTED: &str = include_str!("unlisted.txt");

/// An entry of a table: its title, and the text below it.
fn entries(table: &str) -> Vec<(&str, String)> {
    let blocks = table.split("\n\n").filter(|block| !block.starts_with('#'));
    blocks
        .filter_map(|block| block.trim_matches('\n').split_once('\n'))
        .map(|(title, text)| (title, text.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// Adds the text of every `#[error("…")]` below a folder.
fn add_texts(folder: &Path, texts: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("folder should be readable") {
        let path = entry.expect("folder should be readable").path();
        if path.is_dir() {
            add_texts(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("source should be UTF-8");
            texts.extend(source.split("#[error(").skip(1).filter_map(literal));
        }
    }
}

/// Returns the string literal that a text of source code begins with.
fn literal(source: &str) -> Option<String> {
    let mut rest = source.trim_start().strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                // The literal continues after the indentation of the next line.
                '\n' => rest = rest.as_str().trim_start().chars(),
                escaped => text.push(escaped),
            },
            other => text.push(other),
        }
    }
}

/// Returns the fixed parts of a text, between its placeholders.
fn fixed_parts(text: &str) -> Vec<&str> {
    let parts = text
        .split('{')
        .enumerate()
        .map(|(number, part)| match number {
            0 => part,
            _ => part.split_once('}').map_or(part, |(_, fixed)| fixed),
        });
    parts
        .filter(|part| part.contains(|c: char| c.is_alphabetic()))
        .collect()
}

/// Returns whether a text with placeholders is part of a text of the table.
fn is_listed(text: &str, shown: &[(&str, String)]) -> bool {
    shown.iter().any(|(_, shown)| {
        let mut rest = shown.as_str();
        fixed_parts(text).into_iter().all(|part| {
            let found = rest.split_once(part.trim());
            rest = found.map_or("", |(_, rest)| rest);
            found.is_some()
        })
    })
}

#[test]
#[ignore = "needs the source tree"]
fn every_error_text_of_the_sources_is_listed() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut texts = BTreeSet::new();
    for folder in ["crypto", "envelope", "guest", "host"] {
        add_texts(&root.join(folder), &mut texts);
    }
    // A text without a word of its own only shows other texts.
    texts.retain(|text| !fixed_parts(text).is_empty());
    assert!(texts.len() > 150, "{}", texts.len());
    let shown = [entries(SHOWN), entries(UNIT)].concat();
    let unlisted = entries(UNLISTED);
    let mut faults = Vec::new();
    for text in &texts {
        let is_unlisted = unlisted.iter().any(|(title, _)| title == text);
        match (is_listed(text, &shown), is_unlisted) {
            (true, false) | (false, true) => {}
            (true, true) => faults.push(format!("in a table and in unlisted.txt: {text}")),
            (false, false) => {
                faults.push(format!("neither in a table nor in unlisted.txt: {text}"));
            }
        }
    }
    let stale = unlisted.iter().filter(|(title, _)| !texts.contains(*title));
    faults.extend(stale.map(|(title, _)| format!("in unlisted.txt only: {title}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
#[ignore = "needs the source tree"]
fn every_entry_of_the_unit_table_has_a_test() {
    fn add_sources(folder: &Path, sources: &mut String) {
        for entry in std::fs::read_dir(folder).expect("folder should be readable") {
            let path = entry.expect("folder should be readable").path();
            if path.is_dir() {
                add_sources(&path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                *sources += &std::fs::read_to_string(&path).expect("source should be UTF-8");
            }
        }
    }
    let mut sources = String::new();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    add_sources(&root.join("host"), &mut sources);
    for (situation, _) in entries(UNIT) {
        let argument = format!("\"{situation}\"");
        assert!(sources.contains(&argument), "no test causes: {situation}");
    }
}

/// The relay repeats attempts by itself, and the texts about instances stand beside a problem document in the log.
#[test]
fn unit_texts_say_what_to_do() {
    let all = entries(UNIT);
    assert!(all.len() > 15, "{}", all.len());
    let needs_no_advice = |situation: &str| {
        ["attempt: ", "instance: "]
            .iter()
            .any(|kind| situation.starts_with(kind))
    };
    let faults: Vec<_> = all
        .iter()
        .filter(|(situation, _)| !needs_no_advice(situation))
        .flat_map(|(situation, text)| super::faults(situation, text))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn texts_of_sources_are_found_in_tables() {
    let source = " \n    \"a {b}, \\\n      and \\\"c\\\" {0:?}\", .0)]";
    let text = literal(source).expect("the literal should be found");
    assert_eq!(text, "a {b}, and \"c\" {0:?}");
    assert_eq!(literal("transparent)]"), None);
    assert_eq!(fixed_parts(&text), ["a ", ", and \"c\" "]);
    assert!(fixed_parts("{0}: {source}").is_empty());
    let shown = entries("# Title\n\nsituation\n    error: a 1, and \"c\"\n    2. Try again\n\n");
    assert_eq!(shown.len(), 1);
    assert!(is_listed(&text, &shown));
    assert!(!is_listed("a {b}, and \"d\"", &shown));
    assert!(!is_listed("Try {b} error", &shown));
}
