//! `docs/reference/metrics.md` lists the metrics of a running server. `BULKHEAD_TEST_WRITE=1` writes the names,
//! types, labels and meanings, and keeps the remarks.

use super::alerts::exposition;
use crate::access::{KeyFile, send_with};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../docs/reference/metrics.md");

/// A family of metrics in the text that a server exposes.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

impl Family {
    /// Returns a row of the page. `row` is the current one, whose remarks stay.
    fn row(&self, name: &str, row: &str) -> String {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let remarks = row
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let help = self.help.trim_end_matches('.');
        let cells = [
            &format!("`{name}`"),
            &self.kind,
            &labels.join(", "),
            help,
            remarks.trim(),
        ];
        let cells = cells.map(|cell| match cell {
            "" => " ".to_owned(),
            cell => format!(" {cell} "),
        });
        format!("|{}|", cells.join("|"))
    }
}

/// Parses the text format of Prometheus.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        {
            help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if let Some((name, labels)) = line.split_once('{') {
            let ends = ["_bucket", "_count", "_sum"];
            let family = ends
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            let labels = labels.trim_end_matches("\"}").split("\",");
            let labels = labels.filter_map(|label| Some(label.split_once("=\"")?.0));
            let labels = labels.filter(|label| *label != "le");
            let found = families.entry(family.to_owned()).or_default();
            found.labels.extend(labels.map(str::to_owned));
        }
    }
    families
}

/// Returns the metrics of a server with access keys. An open server has no series for their entries.
fn exposition_with_access_keys() -> String {
    let mut file = KeyFile::new();
    let key = file.add("monitoring", &["observe"]);
    let server = file.start();
    let accept = [("Accept", "text/plain")];
    let response = send_with(&server, &key, "GET", "/metrics", &accept);
    String::from_utf8(response.body).expect("text should be UTF-8")
}

#[test]
fn metrics_page_equals_the_exposed_metrics() {
    let mut families = families(&(exposition() + &exposition_with_access_keys()));
    let mut page = String::new();
    for line in PAGE.lines() {
        let name = line
            .strip_prefix("| `bulkhead_")
            .and_then(|rest| rest.split('`').next());
        let family = name.map(|name| format!("bulkhead_{name}"));
        let row = family.map(|name| {
            let family = families.remove(&name);
            let family = family.unwrap_or_else(|| panic!("{name} should be exposed"));
            family.row(&name, line)
        });
        page += row.as_deref().unwrap_or(line);
        page.push('\n');
    }
    let missing: Vec<_> = families.keys().collect();
    assert!(
        missing.is_empty(),
        "the page should have rows that begin with these names: {missing:?}"
    );
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");
        std::fs::write(path, &page).expect("source tree should be writable");
        return;
    }
    for (line, current) in page.lines().zip(PAGE.lines()) {
        assert_eq!(
            line, current,
            "docs/reference/metrics.md is out of date. If the change is intended: BULKHEAD_TEST_WRITE=1 cargo test \
             --release --locked --test blackbox -- metrics_page"
        );
    }
}
