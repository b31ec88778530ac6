//! Files, tests, flags, variables and links in the documentation exist.

use crate::help::help_of;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The documents, and the folder to which their links are relative.
const DOCUMENTS: [(&str, &str, &str); 5] = [
    (
        "security",
        "docs",
        include_str!("../../../docs/security.md"),
    ),
    ("scaling", "docs", include_str!("../../../docs/scaling.md")),
    (
        "operations",
        "docs",
        include_str!("../../../docs/operations.md"),
    ),
    ("limits", "docs", include_str!("../../../docs/limits.md")),
    (
        "CONTRIBUTING",
        ".",
        include_str!("../../../CONTRIBUTING.md"),
    ),
];

/// Returns the texts between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let inline = text.lines().filter(|line| !line.starts_with("    "));
    inline.flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_made_of(text: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    !text.is_empty() && text.chars().all(fits)
}

#[test]
fn documents_name_existing_flags_and_variables() {
    let known: BTreeSet<_> = ["serve", "healthcheck"]
        .into_iter()
        .map(help_of)
        .flat_map(|help| help.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))))
        .collect();
    let mut found = 0;
    for (document, _, text) in DOCUMENTS {
        for span in spans(text) {
            let word = span.split([' ', '=']).next().unwrap_or_default();
            let is_flag = word.starts_with("--") && is_made_of(word, "-");
            let is_variable = word.starts_with("BULKHEAD_") && !word.starts_with("BULKHEAD_TEST_");
            if (is_flag || is_variable) && word == span {
                found += 1;
                // The secrets themselves do not have flags, and cargo has its own.
                let is_secret = known.contains(format!("{word}_FILE").as_str());
                let is_cargos = ["--locked", "--release", "--workspace"].contains(&word);
                let is_known = known.contains(word) || is_secret || is_cargos;
                assert!(is_known, "{document}: {word} should be in a help text");
            }
        }
    }
    assert!(found > 50, "{found}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Collects the names of all functions in the sources, including tests.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder)
        .expect("folder should be accessible")
        .flatten()
    {
        let path = entry.path();
        // Cargo marks its target folder with this file. A module may have the same name.
        let is_built = path.join("CACHEDIR.TAG").exists();
        if path.is_dir() && !is_built && !path.ends_with("node_modules") {
            functions(&path, names);
        }
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text should be UTF-8");
            for rest in text.split("fn ").skip(1) {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                names.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
}

#[test]
#[ignore = "needs the source tree"]
fn documents_name_existing_files_and_tests() {
    let mut names = BTreeSet::new();
    functions(&root(), &mut names);
    assert!(names.len() > 500, "{}", names.len());
    for (document, folder, text) in DOCUMENTS {
        let mut tests = 0;
        for span in spans(text) {
            let is_lower = !span.contains(|c: char| c.is_ascii_uppercase());
            let is_metric = span.starts_with("bulkhead_");
            if is_lower && !is_metric && is_made_of(span, "_") && span.matches('_').count() >= 3 {
                tests += 1;
                assert!(names.contains(span), "{document}: test {span} should exist");
            }
            let head = span.split('/').next().unwrap_or_default();
            let is_ours = span.contains('/') && !head.is_empty() && root().join(head).is_dir();
            if is_ours && is_made_of(span, "/._-") {
                assert!(
                    root().join(span).exists(),
                    "{document}: file {span} should exist"
                );
            }
        }
        assert!(
            tests > 0 || document == "CONTRIBUTING",
            "{document} should name a test"
        );
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            let is_file = !target.is_empty() && !target.contains("://");
            let path = root().join(folder).join(target);
            assert!(
                !is_file || path.exists(),
                "{document}: link to {target} should lead to a file"
            );
        }
    }
}
