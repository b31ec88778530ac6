//! Pages of other origins in a real browser. They can neither read a response nor cause an effect.

mod site;

use crate::relay::{RELIABLE, Relay, StoreKind};
use bulkhead_tests::canaries::record_secret;
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::server::Server;
use serde_json::{Value, json};
use site::Site;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Names that the browser resolves to this machine.
const HOSTS: [&str; 2] = ["evil.example", "rebound.example"];

/// A running browser. It is killed when this value is dropped.
struct Browser {
    process: Child,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page. `BULKHEAD_TEST_CHROMIUM` names the program.
    fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("folder should be created");
        let program = std::env::var_os("BULKHEAD_TEST_CHROMIUM").unwrap_or("chromium".into());
        let names = HOSTS.map(|host| format!("MAP {host} 127.0.0.1"));
        let process = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-port=0",
                // The server must be safe without the browser's own rules for requests to this machine, which are new.
                "--disable-features=LocalNetworkAccessChecks,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
            ])
            .arg(format!("--host-resolver-rules={}", names.join(",")))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("browser should start");
        Self {
            process,
            _profile: profile,
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser that has ended by itself is fine too.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Starts a relay that can make tokens, decrypt and sign.
fn relay(further: &[(&str, &str)]) -> Relay {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("SECRET", "a secret of more than thirty-two bytes");
    for (name, value) in further {
        relay.set(name, value);
    }
    relay.run();
    relay.wait_for_calls();
    relay
}

/// Returns the outcomes of all attacks on a server by a page at a host. The page is at a port of its own. If it is
/// rebound, its own origin leads to the server after the page was loaded.
fn attack(relay: &Relay, host: &str, is_rebound: bool) -> BTreeMap<String, String> {
    let (page, report) = (Site::start(), Site::start());
    let address = relay.server().address;
    let origin = format!("http://{host}:{}", page.address().port());
    let server = if is_rebound {
        origin.clone()
    } else {
        format!("http://{address}")
    };
    let message = json!({"passphrase": "topsecret", "message": SAMPLE}).to_string();
    for secret in [SAMPLE, "topsecret", "Nice work!"] {
        record_secret(secret);
    }
    let text = include_str!("chromium/attack.html")
        .replace("{{SERVER}}", &server)
        .replace("{{REPORT}}", &format!("http://{}/", report.address()))
        .replace("{{CALLBACK}}", &relay.callback("page"))
        .replace("{{MESSAGE}}", &json!(message).to_string());
    page.serve(text, is_rebound.then_some(address));
    let _browser = Browser::open(&format!("{origin}/"));
    let outcomes = report.wait_for_report();
    serde_json::from_str(&outcomes).expect("report should be JSON")
}

/// Returns the number of responses of a route with one of these statuses.
fn responses(server: &Server, route: &str, statuses: &[&str]) -> u64 {
    let samples = statuses
        .iter()
        .flat_map(|status| {
            server.samples(
                "bulkhead_http_requests_total",
                &[("route", route), ("status", status)],
            )
        })
        .collect::<Vec<Value>>();
    samples
        .iter()
        .map(|sample| {
            sample["value"]
                .as_u64()
                .expect("value should be an integer")
        })
        .sum()
}

const ROUTES: [&str; 3] = ["/token", "/decryptMessage", "/crypto/sign"];

fn assert_no_effect(relay: &Relay) {
    let server = relay.server();
    for route in ROUTES {
        assert_eq!(responses(server, route, &["200", "202"]), 0, "{route}");
    }
    assert_eq!(server.sum("bulkhead_relay_backlog", &[]), 0);
    assert_eq!(relay.upstream.summary().arrivals, 0);
    assert!(relay.receiver.deliveries().is_empty());
    assert!(!server.log().contains("of-a-page"));
}

#[test]
#[ignore = "needs Chromium"]
fn page_of_another_origin_reads_nothing_and_causes_nothing() {
    // Another port of the same host is another origin of the same site.
    for host in ["127.0.0.1", "localhost", "evil.example"] {
        let relay = relay(&[]);
        let outcomes = attack(&relay, host, false);
        assert!(outcomes.len() > 30, "{outcomes:?}");
        for (name, outcome) in &outcomes {
            let is_harmless = ["blocked", "opaque"].contains(&outcome.as_str());
            assert!(is_harmless, "{name} at {host}: {outcome}");
        }
        assert_no_effect(&relay);
        // The requests arrived. The browser itself withholds only those that need a preflight.
        let rejections = [("reason", "cross_site")];
        let server = relay.server();
        let rejected = server.sum("bulkhead_access_rejections_total", &rejections);
        assert!(rejected > 20, "{rejected} at {host}");
        for route in ROUTES {
            assert!(responses(server, route, &["403"]) > 0, "{route} at {host}");
        }
    }
}

#[test]
#[ignore = "needs Chromium"]
fn page_with_a_rebound_name_reads_nothing_and_causes_nothing() {
    let relay = relay(&[]);
    let outcomes = attack(&relay, "rebound.example", true);
    for (name, outcome) in &outcomes {
        let is_harmless = ["blocked", "opaque"].contains(&outcome.as_str())
            // The page reads responses of its own origin. All of them are rejections.
            || outcome.starts_with("read 421 ") && outcome.contains("misdirected_request");
        assert!(is_harmless, "{name}: {outcome}");
    }
    assert!(outcomes["fetch token"].starts_with("read 421 "));
    assert_no_effect(&relay);
}

/// Shows that the attacks of the page would succeed: a page of an allowed host is of the same origin.
#[test]
#[ignore = "needs Chromium"]
fn page_of_an_allowed_host_reads_responses() {
    let relay = relay(&[("BULKHEAD_ALLOWED_HOSTS", "rebound.example")]);
    let outcomes = attack(&relay, "rebound.example", true);
    for name in [
        "fetch token",
        "fetch decryption as JSON",
        "fetch metrics",
        "frame of metrics",
        "request with XMLHttpRequest",
    ] {
        assert!(
            outcomes[name].starts_with("read 200 "),
            "{name}: {outcomes:?}"
        );
    }
    for name in [
        "form with GET",
        "form with several parts",
        "frame",
        "fetch signature",
    ] {
        assert!(
            outcomes[name].starts_with("read 20"),
            "{name}: {outcomes:?}"
        );
    }
    assert!(outcomes["fetch decryption as JSON"].contains("Nice work!"));
    for route in ROUTES {
        assert!(
            responses(relay.server(), route, &["200", "202"]) > 0,
            "{route}"
        );
    }
}
