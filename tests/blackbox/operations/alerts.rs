//! `docs/operate/alerts.yaml` is about metrics that there are, with labels and values that they have.

use crate::relay::{RELIABLE, Relay, StoreKind};
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::request;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const ALERTS: &str = include_str!("../../../docs/operate/alerts.yaml");
const METRICS: &str = include_str!("../../../docs/reference/metrics.md");
const ROUTES: &str = include_str!("../../../openapi.yaml");

fn rules() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(ALERTS).expect("text should be YAML");
    let groups = file["groups"]
        .as_array()
        .expect("groups should be an array");
    let rules = groups
        .iter()
        .map(|group| group["rules"].as_array().expect("rules should be an array"));
    rules.flatten().cloned().collect()
}

/// A metric in an expression, with its label matchers.
struct Selector<'a> {
    sample: &'a str,
    /// Each label with its values. An expression with alternatives has several.
    labels: Vec<(&'a str, Vec<&'a str>)>,
}

fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = expression.match_indices("bulkhead_").map(|(at, _)| at);
    let selector = |at: usize| {
        let rest = &expression[at..];
        let (sample, rest) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matchers = matchers.map_or("", |(matchers, _)| matchers);
        let labels = matchers.split(',').filter(|matcher| !matcher.is_empty());
        let labels = labels.map(|matcher| {
            let (label, value) = matcher
                .split_once('=')
                .expect("matcher should have a label and a value");
            let value = value.trim_start_matches('~').trim_matches('"');
            (
                label.trim().trim_end_matches('!'),
                value.split('|').collect(),
            )
        });
        Selector {
            sample,
            labels: labels.collect(),
        }
    };
    starts.map(selector).collect()
}

/// Returns the metrics of a server that used each of its capabilities, in the text format of Prometheus.
pub(super) fn exposition() -> String {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("SECRET", "0123456789abcdef0123456789abcdef");
    relay.run();
    relay.wait_for_calls();
    let opened = relay.server().decrypt("topsecret", SAMPLE);
    assert_eq!(opened.status, 200, "{opened:?}");
    let made = request(relay.server().address, "POST", "/token", &[], b"x");
    assert_eq!(made.status, 200, "{made:?}");
    let url = relay.callback("alerts");
    relay.upstream.control(&serde_json::json!({"mode": "hang"}));
    relay.accepted("a-message-for-alerts", Some(&url));
    relay
        .upstream
        .control(&serde_json::json!({"mode": "normal"}));
    bulkhead_tests::until("it is reported", || !relay.receiver.deliveries().is_empty());
    let accept = [("Accept", "text/plain")];
    let text = || {
        let response = request(relay.server().address, "GET", "/metrics", &accept, b"");
        assert_eq!(response.status, 200);
        String::from_utf8(response.body).expect("text should be UTF-8")
    };
    // The receiver gets the webhook before the relay has counted the result.
    bulkhead_tests::until("the attempt is counted", || {
        text().contains("\nbulkhead_webhook_attempts_total{")
    });
    text()
}

/// Returns the samples that a server exposes: for each name, the values of each label.
fn exposed() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
    for line in exposition().lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("sample should have a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let sample = found.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches("\"}").split("\",") {
            if let Some((label, value)) = label.split_once("=\"") {
                let values = sample.entry(label.to_owned()).or_default();
                values.insert(value.to_owned());
            }
        }
    }
    found
}

#[test]
fn alerts_use_existing_metrics_and_labels() {
    let exposed = exposed();
    for rule in rules() {
        let expression = rule["expr"]
            .as_str()
            .expect("expression should be a string");
        let selectors = selectors(expression);
        // `up` is a metric of Prometheus itself.
        assert!(
            !selectors.is_empty() || expression.starts_with("up{"),
            "{expression}"
        );
        for selector in selectors {
            let name = selector.sample;
            let labels = exposed.get(name);
            let labels = labels.unwrap_or_else(|| panic!("{name} should be exposed: {expression}"));
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let row = format!("`{}`", family.unwrap_or(name));
            let row = METRICS
                .lines()
                .find(|line| line.starts_with("| `bulkhead_") && line.contains(&row));
            let row =
                row.unwrap_or_else(|| panic!("{name} should be in docs/reference/metrics.md"));
            for (label, values) in selector.labels {
                let seen = labels.get(label);
                let seen =
                    seen.unwrap_or_else(|| panic!("{name} should have {label}: {expression}"));
                for value in values {
                    // Values that did not occur in this test must be in the document, except for
                    // statuses and paths.
                    let is_digit = |c: char| c.is_ascii_digit();
                    let is_status = value.len() == 3 && value.starts_with(is_digit);
                    let is_path = value.starts_with('/') && ROUTES.contains(value);
                    let is_listed = row.contains(&format!("`{value}`"));
                    let is_one = seen.contains(value) || is_listed || is_status || is_path;
                    assert!(is_one, "{name} should have {label}={value}: {expression}");
                }
            }
        }
    }
}

#[test]
fn alerts_have_severity_and_instructions() {
    let rules = rules();
    let names: BTreeSet<_> = rules.iter().map(|rule| rule["alert"].to_string()).collect();
    assert_eq!(names.len(), rules.len());
    for rule in rules {
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("page" | "ticket")), "{rule}");
        for text in ["summary", "description"] {
            let text = rule["annotations"][text].as_str();
            assert!(text.is_some_and(|text| !text.is_empty()), "{rule}");
        }
    }
}

#[test]
#[ignore = "needs promtool"]
fn promtool_accepts_the_rules_and_alerts_fire() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (verb, file) in [
        ("check", here.join("../docs/operate/alerts.yaml")),
        ("test", here.join("blackbox/operations/alerts-test.yaml")),
    ] {
        super::run(
            std::process::Command::new("promtool")
                .args([verb, "rules"])
                .arg(file),
        );
    }
}
