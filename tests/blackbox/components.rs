//! Components from a folder replace the built-in ones while the server runs.

mod bombs;
mod command_line;
mod hot_swap;
mod other_hosts;
mod rejections;

use bulkhead_test_components::TRIAL;
use bulkhead_tests::http::{Response, request};
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A server with a folder of components.
pub(crate) struct ComponentServer {
    pub(crate) server: Server,
    folder: tempfile::TempDir,
}

impl ComponentServer {
    pub(crate) fn new() -> Self {
        Self::with(&[], |_| {})
    }

    /// Starts a server with further variables. `prepare` fills the folder first.
    pub(crate) fn with(variables: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("folder should be accessible");
        let components = folder.path().join("components");
        std::fs::create_dir(&components).expect("folder should be created");
        prepare(&components);
        let path = components
            .to_str()
            .expect("path should be UTF-8")
            .to_owned();
        let defaults = [
            ("BULKHEAD_COMPONENTS_DIR", path.as_str()),
            ("BULKHEAD_COMPONENT_HEADER", "on"),
            ("SECRET", "a secret of more than 32 bytes, for tests"),
        ];
        Self {
            server: Server::start_with(&[], &[&defaults, variables].concat()),
            folder,
        }
    }

    pub(crate) fn components(&self) -> PathBuf {
        self.folder.path().join("components")
    }

    /// Moves a file into the folder in one step, as operators should.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let aside = self.folder.path().join("aside");
        std::fs::write(&aside, bytes).expect("file should be written");
        std::fs::rename(aside, self.components().join(name)).expect("file should be moved");
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.components().join(name)).expect("file should be removed");
    }

    pub(crate) fn health(&self) -> Value {
        self.server.get("GET", "/health").json()
    }

    /// Returns the state of one component in `/health`.
    pub(crate) fn state(&self, name: &str) -> Value {
        let health = self.health();
        let all = health["components"]
            .as_array()
            .expect("value should be an array");
        let found = all.iter().find(|state| state["name"] == name);
        found.expect("component should be listed").clone()
    }

    pub(crate) fn post_token(&self, body: &[u8]) -> Response {
        request(self.server.address, "POST", "/token", &[], body)
    }

    /// Returns the version of the active trial component, or a token of the built-in component.
    pub(crate) fn active_version(&self) -> String {
        let response = self.post_token(trial::WHICH);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["token"]
            .as_str()
            .expect("token should be a string")
            .to_owned()
    }

    pub(crate) fn wait_for(&self, edition: u64) {
        let version = trial::version(edition);
        until("the edition is active", || self.active_version() == version);
    }

    pub(crate) fn wait_for_built_in(&self) {
        until("the built-in component is active", || {
            self.active_version().len() == 64
        });
    }

    /// Waits until a file is rejected with this code and with a reason that contains `said`.
    pub(crate) fn wait_for_rejection(&self, name: &str, code: &str, said: &str) -> Value {
        until("the rejection is reported", || {
            let rejection = &self.state(name)["last_rejection"];
            let reason = rejection["reason"].as_str().unwrap_or_default();
            rejection["code"] == code && reason.contains(said)
        });
        self.state(name)["last_rejection"].clone()
    }
}

pub(crate) fn edition(number: u64) -> Vec<u8> {
    trial::edition(TRIAL, number)
}
