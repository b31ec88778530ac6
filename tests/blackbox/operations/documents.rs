//! Files, tests, flags, variables and links that documents name exist.

use crate::help::help_of;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Documents with the paths that they have in the tree. Tests run where the tree is not.
macro_rules! documents {
    ($($path:literal,)*) => {
        &[$(($path, include_str!(concat!("../../../", $path)))),*]
    };
}

const DOCUMENTS: &[(&str, &str)] = documents![
    "CONTRIBUTING.md",
    "README.md",
    "docs/adr/0001-key-derivation-and-bulk-cryptography-run-in-the-host.md",
    "docs/adr/0002-derive-keys-side-by-side.md",
    "docs/adr/0003-fair-order-of-key-derivation.md",
    "docs/adr/0004-more-instances-than-workers.md",
    "docs/adr/0005-admit-key-derivation-by-bytes.md",
    "docs/adr/0006-read-crypto-arguments-in-guest-memory.md",
    "docs/adr/0007-one-crypto-crate-for-host-and-guest.md",
    "docs/adr/0008-own-packet-framing.md",
    "docs/adr/0009-dearmor-by-trying-positions.md",
    "docs/adr/0010-only-the-mdc-decides.md",
    "docs/adr/0011-compile-component-files-on-one-thread.md",
    "docs/adr/0012-time-token-components-before-use.md",
    "docs/adr/0013-call-inotify-directly.md",
    "docs/adr/0014-synchronous-guests-on-dedicated-threads.md",
    "docs/adr/0015-relay-on-its-own-thread.md",
    "docs/adr/0016-quota-of-slots.md",
    "docs/adr/0017-new-store-waits-one-window.md",
    "docs/adr/0018-respond-202-when-no-slot-comes-in-time.md",
    "docs/adr/0019-backoff-up-to-the-pace-of-the-quota.md",
    "docs/adr/0020-simulate-with-our-own-executor.md",
    "docs/adr/0021-ignore-the-bodies-of-receivers-responses.md",
    "docs/adr/0022-io-threads-share-nothing-they-write.md",
    "docs/adr/0023-wasmtime-with-few-features.md",
    "docs/adr/0024-machine-code-at-build-time.md",
    "docs/adr/0025-compile-dependencies-once.md",
    "docs/adr/0026-nested-cargo-builds-the-guests.md",
    "docs/adr/0027-hyper-without-a-framework.md",
    "docs/adr/0028-map-large-buffers-separately.md",
    "docs/adr/0029-do-not-wipe-plaintext-inside-the-guest.md",
    "docs/adr/0030-own-json-visitor-for-the-envelope.md",
    "docs/adr/0031-search-for-messages-by-strict-beginnings.md",
    "docs/adr/0032-owners-have-requests-and-share-messages.md",
    "docs/adr/0033-callers-share-decryption-fairly.md",
    "docs/adr/README.md",
    "docs/components/admission.md",
    "docs/components/contract.md",
    "docs/components/guide.md",
    "docs/components/offline.md",
    "docs/development/architecture.md",
    "docs/development/pipeline.md",
    "docs/development/testing.md",
    "docs/development/traceability.md",
    "docs/glossary.md",
    "docs/guide.md",
    "docs/limits.md",
    "docs/operate/backup.md",
    "docs/operate/deploy.md",
    "docs/operate/scaling.md",
    "docs/operate/troubleshooting.md",
    "docs/operate/upgrade.md",
    "docs/performance.md",
    "docs/questions.md",
    "docs/quickstart.md",
    "docs/reference/api.md",
    "docs/reference/cli.md",
    "docs/reference/metrics.md",
    "docs/reference/problems.md",
    "docs/reference/settings.md",
    "docs/security/access.md",
    "docs/security/attacks.md",
    "docs/security/callbacks.md",
    "docs/security/sandbox.md",
    "docs/security/secrets.md",
    "docs/security/threat-model.md",
];

/// Flags of cargo, of Docker, of the wasmtime command, and of `decrypt-offline.wasm`.
const OTHER_FLAGS: [&str; 7] = [
    "--dir",
    "--bytes",
    "--help",
    "--invoke",
    "--locked",
    "--read-only",
    "--release",
];

/// The texts between backticks.
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
    let pages = [
        "serve",
        "healthcheck",
        "component check",
        "component list",
        "requests list",
        "access-key new",
        "access-key check",
    ];
    let known: BTreeSet<_> = pages
        .into_iter()
        .map(help_of)
        .flat_map(|help| help.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))))
        .collect();
    let mut found = 0;
    for &(document, text) in DOCUMENTS {
        for span in spans(text) {
            let word = span.split([' ', '=']).next().unwrap_or_default();
            let is_flag = word.starts_with("--") && is_made_of(word, "-");
            // The prefix alone stands for all variables.
            let name = word.strip_prefix("BULKHEAD_").unwrap_or_default();
            let is_variable = !name.is_empty() && is_made_of(name, "_");
            let is_variable = is_variable && !name.starts_with("TEST_");
            if (is_flag || is_variable) && word == span {
                found += 1;
                // Secrets are variables only, and named in the help by their files.
                let is_secret = known.contains(format!("{word}_FILE").as_str());
                let is_known = known.contains(word) || is_secret || OTHER_FLAGS.contains(&word);
                assert!(is_known, "{document}: {word} is in no help text");
            }
        }
    }
    assert!(found > 50, "{found}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all functions in the sources, tests among them.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        // Cargo marks its target folders. A module may have the same name as one of them.
        let is_built = path.join("CACHEDIR.TAG").exists();
        if path.is_dir() && !is_built && !path.ends_with("node_modules") {
            functions(&path, names);
        }
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
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
    let mut tests = BTreeSet::new();
    for &(document, text) in DOCUMENTS {
        for span in spans(text) {
            let is_lower = !span.contains(|c: char| c.is_ascii_uppercase());
            let is_metric = span.starts_with("bulkhead_");
            if is_lower && !is_metric && is_made_of(span, "_") && span.matches('_').count() >= 3 {
                tests.insert(span);
                assert!(names.contains(span), "{document}: there is no test {span}");
            }
            let head = span.split('/').next().unwrap_or_default();
            let is_built = head.is_empty() || head == "target";
            let is_ours = span.contains('/') && !is_built && root().join(head).is_dir();
            if is_ours && is_made_of(span, "/._-") {
                assert!(
                    root().join(span).exists(),
                    "{document}: there is no file {span}"
                );
            }
        }
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            let is_file = !target.is_empty() && !target.contains("://");
            let path = root().join(document).with_file_name(target);
            assert!(!is_file || path.exists(), "{document}: a link to {target}");
        }
    }
    assert!(tests.len() > 100, "{}", tests.len());
}

#[test]
#[ignore = "needs the source tree"]
fn every_document_is_checked() {
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let document = path.strip_prefix(root()).expect("below the root");
            let document = document.to_str().expect("UTF-8");
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let is_listed = DOCUMENTS.iter().any(|(listed, _)| *listed == document);
                assert!(is_listed, "{document} is not in the list of documents");
            }
        }
    }
}
