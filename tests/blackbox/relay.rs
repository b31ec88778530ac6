//! The signing relay: the real server between a mock upstream and a mock receiver.

mod answers;
mod burst;
mod command_line;
mod crashes;
mod faults;
mod outage;
mod redelivery;
mod store_file;
mod traces;

use bulkhead_tests::http::{self, Response};
use bulkhead_tests::mock::{MockReceiver, MockUpstream, max_in_window};
use bulkhead_tests::postgres::Schema;
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const KEY: &str = "a-key-for-the-mock-upstream";
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The maximum response time that the interface promises.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(2);

/// The store under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Sqlite,
    Postgres,
}

/// Makes a test for each store.
macro_rules! on_both_stores {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name(super::StoreKind::Sqlite) })+
        }
        mod postgres {
            $(#[test]
            #[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
            fn $name() { super::$name(super::StoreKind::Postgres) })+
        }
    };
}
pub(crate) use on_both_stores;

/// A relay with its mocks and its configuration.
pub(crate) struct Relay {
    pub(crate) upstream: MockUpstream,
    pub(crate) receiver: MockReceiver,
    pub(crate) server: Option<Server>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) window: Duration,
    pub(crate) calls: usize,
    folder: tempfile::TempDir,
    _schema: Option<Schema>,
}

/// The quota and the failures of the upstream.
pub(crate) struct UpstreamProfile {
    pub(crate) calls: usize,
    pub(crate) window_ms: u64,
    /// The probability of a failure, and its duration.
    pub(crate) fail: &'static str,
    pub(crate) degraded: &'static str,
}

/// Ten calls per second without failures.
pub(crate) const RELIABLE: UpstreamProfile = UpstreamProfile {
    calls: 10,
    window_ms: 1000,
    fail: "0",
    degraded: "0s..0s",
};

/// Ten calls per second with the failures of the real upstream.
pub(crate) const UNRELIABLE: UpstreamProfile = UpstreamProfile {
    calls: 10,
    window_ms: 1000,
    fail: "0.5",
    degraded: "500ms..3s",
};

/// Sends a request again while the store is too slow, as callers do. The disk of a test machine may pause.
fn unless_busy(send: impl Fn() -> Response) -> Response {
    let mut last = send();
    until("the store responds in time", || {
        let is_busy = last.status == 503 && last.problem() == "store_unavailable";
        if is_busy {
            last = send();
        }
        !is_busy
    });
    last
}

impl Relay {
    /// Starts the mocks, but not the server.
    pub(crate) fn prepare(kind: StoreKind, profile: &UpstreamProfile) -> Self {
        let (calls, window) = (
            profile.calls.to_string(),
            format!("{}ms", profile.window_ms),
        );
        let upstream = MockUpstream::start(&[
            "--key",
            KEY,
            "--calls",
            &calls,
            "--window",
            &window,
            "--fail",
            profile.fail,
            "--degraded",
            profile.degraded,
        ]);
        let receiver = MockReceiver::start(&["--secret", WEBHOOK_SECRET]);
        let folder = tempfile::tempdir().expect("folder should be accessible");
        let schema = (kind == StoreKind::Postgres).then(|| Schema::new(&postgres()));
        let store = schema.as_ref().map_or_else(
            || format!("sqlite:{}", folder.path().join("relay.db").display()),
            |schema| schema.url.clone(),
        );
        let url = upstream.url();
        let variables = [
            ("BULKHEAD_UPSTREAM_URL", url.as_str()),
            ("BULKHEAD_UPSTREAM_API_KEY", KEY),
            ("BULKHEAD_UPSTREAM_CALLS", &calls),
            ("BULKHEAD_UPSTREAM_WINDOW", &window),
            ("BULKHEAD_UPSTREAM_MARGIN", "200ms"),
            ("BULKHEAD_UPSTREAM_TIMEOUT", "2s"),
            ("BULKHEAD_STORE", &store),
            ("BULKHEAD_WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("BULKHEAD_CALLBACK_ALLOW", "127.0.0.1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            upstream,
            receiver,
            server: None,
            variables: variables.into(),
            window: Duration::from_millis(profile.window_ms),
            calls: profile.calls,
            folder,
            _schema: schema,
        }
    }

    /// Starts the mocks and the server, and waits until calls are allowed: a new store holds calls
    /// for a window.
    pub(crate) fn start(kind: StoreKind, profile: &UpstreamProfile) -> Self {
        let mut relay = Self::prepare(kind, profile);
        relay.run();
        relay.wait_for_calls();
        relay
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.into(), value.into());
    }

    /// Returns the configuration of the server.
    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        let variables = self.variables.iter();
        variables
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// Starts the server. A running one is killed first.
    pub(crate) fn run(&mut self) {
        self.server = None;
        self.server = Some(Server::start_with(&[], &self.variables()));
    }

    /// Starts a server that will kill itself. Returns false if it did so before it listened.
    pub(crate) fn run_to_crash(&mut self, at: &[(&str, &str)]) -> bool {
        self.server = None;
        let variables = [&self.variables(), at].concat();
        self.server = Server::start_to_crash(&variables);
        self.server.is_some()
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("server should run")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn health(&self) -> Value {
        self.server().get("GET", "/health").json()
    }

    pub(crate) fn wait_for_calls(&self) {
        until("calls are allowed", || {
            let health = self.health();
            health["upstream"]["held_seconds"] == 0 && health["upstream"]["calls_free"] != 0
        });
    }

    pub(crate) fn callback(&self, path: &str) -> String {
        format!("{}/{path}", self.receiver.url())
    }

    /// Sends a request to sign. Returns the response and its time.
    pub(crate) fn sign(&self, message: &str, callback: Option<&str>) -> (Response, Duration) {
        let mut target = format!("/crypto/sign?message={message}");
        if let Some(url) = callback {
            target += &["&callback_url=", url].concat();
        }
        let start = Instant::now();
        let response = http::request(self.server().address, "GET", &target, &[], b"");
        (response, start.elapsed())
    }

    /// Sends a request to sign that must get 202. Returns the request's id.
    pub(crate) fn accepted(&self, message: &str, callback: Option<&str>) -> String {
        let response = unless_busy(|| self.sign(message, callback).0);
        assert_eq!(response.status, 202, "{response:?}");
        response.json()["id"]
            .as_str()
            .expect("id should be a string")
            .to_owned()
    }

    pub(crate) fn request(&self, id: &str) -> Value {
        let target = format!("/crypto/requests/{id}");
        let response = unless_busy(|| self.server().get("GET", &target));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    pub(crate) fn wait_until_signed(&self, id: &str) -> Value {
        until("the request is signed", || {
            self.request(id)["status"] == "signed"
        });
        self.request(id)
    }

    /// Returns the ids of the requests of which the receiver was notified.
    pub(crate) fn notified_ids(&self) -> BTreeSet<String> {
        let deliveries = self.receiver.deliveries().into_iter();
        deliveries.filter_map(|delivery| delivery.id).collect()
    }

    /// Checks the quota against the upstream's own log.
    pub(crate) fn check_quota(&self) {
        let arrivals = self.upstream.arrivals();
        let max = max_in_window(&arrivals, self.window);
        assert!(max <= self.calls, "a window should not have {max} arrivals");
        assert!(arrivals.iter().all(|arrival| !arrival.over_quota));
    }
}

/// Returns the URL of the test database.
pub(crate) fn postgres() -> String {
    std::env::var("BULKHEAD_TEST_POSTGRES").expect(
        "BULKHEAD_TEST_POSTGRES should be the URL of a PostgreSQL server; run_tests.sh starts one",
    )
}
