//! The signing relay: the real server between a mock upstream and a mock receiver.

mod answers;
mod burst;
mod command_line;
mod crashes;
mod faults;
mod outage;
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

/// The promise of the interface.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Which store a test is about.
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

/// A relay with its surroundings, and what is configured.
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

/// How fast things go.
pub(crate) struct UpstreamProfile {
    pub(crate) calls: usize,
    pub(crate) window_ms: u64,
    /// How often the upstream fails, and for how long then.
    pub(crate) fail: &'static str,
    pub(crate) degraded: &'static str,
}

/// Ten calls a second, none of which fails.
pub(crate) const RELIABLE: UpstreamProfile = UpstreamProfile {
    calls: 10,
    window_ms: 1000,
    fail: "0",
    degraded: "0s..0s",
};

/// The same of an upstream as it is.
pub(crate) const UNRELIABLE: UpstreamProfile = UpstreamProfile {
    calls: 10,
    window_ms: 1000,
    fail: "0.5",
    degraded: "500ms..3s",
};

impl Relay {
    /// Everything but the server.
    pub(crate) fn prepare(kind: StoreKind, pace: &UpstreamProfile) -> Self {
        let (calls, window) = (pace.calls.to_string(), format!("{}ms", pace.window_ms));
        let upstream = MockUpstream::start(&[
            "--key",
            KEY,
            "--calls",
            &calls,
            "--window",
            &window,
            "--fail",
            pace.fail,
            "--degraded",
            pace.degraded,
        ]);
        let receiver = MockReceiver::start(&["--secret", WEBHOOK_SECRET]);
        let folder = tempfile::tempdir().expect("a folder");
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
            window: Duration::from_millis(pace.window_ms),
            calls: pace.calls,
            folder,
            _schema: schema,
        }
    }

    /// Everything, once the first call may be made: a new store waits for a window.
    pub(crate) fn start(kind: StoreKind, pace: &UpstreamProfile) -> Self {
        let mut relay = Self::prepare(kind, pace);
        relay.run();
        relay.wait_for_calls();
        relay
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.into(), value.into());
    }

    /// What the server is configured with.
    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        let variables = self.variables.iter();
        variables
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// Starts the server, or another one in its place.
    pub(crate) fn run(&mut self) {
        self.server = None;
        self.server = Some(Server::start_with(&[], &self.variables()));
    }

    /// Another one, that will kill itself. Whether that was not before it listened.
    pub(crate) fn run_to_crash(&mut self, at: &[(&str, &str)]) -> bool {
        self.server = None;
        let variables = [&self.variables(), at].concat();
        self.server = Server::start_to_crash(&variables);
        self.server.is_some()
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
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

    /// Asks for a signature, as a client that measures.
    pub(crate) fn sign(&self, message: &str, callback: Option<&str>) -> (Response, Duration) {
        let mut target = format!("/crypto/sign?message={message}");
        if let Some(url) = callback {
            target += &["&callback_url=", url].concat();
        }
        let start = Instant::now();
        let response = http::request(self.server().address, "GET", &target, &[], b"");
        (response, start.elapsed())
    }

    /// The same, where a 202 is expected.
    pub(crate) fn accepted(&self, message: &str, callback: Option<&str>) -> String {
        let (response, _) = self.sign(message, callback);
        assert_eq!(response.status, 202, "{response:?}");
        response.json()["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn request(&self, id: &str) -> Value {
        let response = self.server().get("GET", &format!("/crypto/requests/{id}"));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    pub(crate) fn wait_until_signed(&self, id: &str) -> Value {
        until("it is signed", || self.request(id)["status"] == "signed");
        self.request(id)
    }

    /// The requests that the receiver was told of.
    pub(crate) fn notified_ids(&self) -> BTreeSet<String> {
        let deliveries = self.receiver.deliveries().into_iter();
        deliveries.filter_map(|delivery| delivery.id).collect()
    }

    /// What the upstream itself counted.
    pub(crate) fn check_quota(&self) {
        let arrivals = self.upstream.arrivals();
        let most = max_in_window(&arrivals, self.window);
        assert!(most <= self.calls, "{most} arrivals in a window");
        assert!(arrivals.iter().all(|arrival| !arrival.over_quota));
    }
}

/// The URL of the test server.
pub(crate) fn postgres() -> String {
    std::env::var("BULKHEAD_TEST_POSTGRES")
        .expect("BULKHEAD_TEST_POSTGRES is the URL of a PostgreSQL; run_tests.sh starts one")
}
