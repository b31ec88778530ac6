//! Access keys: which requests a server accepts, and from which callers.

mod attacks;
mod browsers;
mod chromium;
mod fairness;
mod hosts;
mod keys;
mod limits;
pub(crate) mod listeners;
mod races;
mod routes;
mod tls;

use bulkhead_tests::http::{Response, request};
use bulkhead_tests::server::{Server, run};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file of access keys.
pub(crate) struct KeyFile {
    folder: TempDir,
    pub(crate) entries: Vec<Value>,
}

impl KeyFile {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("folder should be created"),
            entries: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    fn text(&self) -> String {
        json!({"entries": self.entries}).to_string()
    }

    pub(crate) fn write(&self) {
        self.write_text(&self.text());
    }

    fn write_text(&self, text: &str) {
        std::fs::write(self.path(), text).expect("file should be written");
    }

    /// Makes a key with the command line, and adds its entry. Returns the key.
    pub(crate) fn add(&mut self, name: &str, scopes: &[&str]) -> String {
        let (key, entry) = new_key(name, scopes);
        self.entries.push(entry);
        key
    }

    /// Starts a server with the flag for this file.
    pub(crate) fn start(&self) -> Server {
        self.start_with(&[])
    }

    /// Starts a server with the flag for this file and with variables.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)]) -> Server {
        self.write();
        self.start_server(&[], variables)
    }

    /// Starts a server with the flag for this file, and further ones.
    pub(crate) fn start_with_flags(&self, flags: &[&str]) -> Server {
        self.write();
        self.start_server(flags, &[])
    }

    /// Starts a server with the flag for this file, which has the text.
    fn start_with_text(&self, text: &str) -> Server {
        self.write_text(text);
        self.start_server(&[], &[])
    }

    fn start_server(&self, flags: &[&str], variables: &[(&str, &str)]) -> Server {
        let path = self.path();
        let secret = [("SECRET", "a secret of more than thirty-two bytes")];
        let keys = ["--access-keys", file_argument(&path)];
        Server::start_with(&[&keys, flags].concat(), &[&secret, variables].concat())
    }
}

/// Returns a new key and its entry, as `bulkhead access-key new` prints them.
pub(crate) fn new_key(name: &str, scopes: &[&str]) -> (String, Value) {
    let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
    let arguments: Vec<_> = ["access-key", "new", "--name", name]
        .into_iter()
        .chain(scopes)
        .collect();
    let output = run(&arguments, &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("output should be UTF-8");
    let key = text
        .lines()
        .next()
        .expect("output should have a line")
        .to_owned();
    bulkhead_tests::canaries::record_secret(&key);
    let entry = &text[text.find("\n{").expect("output should have an entry")..];
    (
        key,
        serde_json::from_str(entry).expect("entry should be JSON"),
    )
}

/// Sends a request with a key.
pub(crate) fn send(server: &Server, key: &str, method: &str, target: &str) -> Response {
    send_with(server, key, method, target, &[])
}

/// Sends a request with a key and further headers.
pub(crate) fn send_with(
    server: &Server,
    key: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Response {
    let authorization = format!("Bearer {key}");
    let headers = [&[("Authorization", authorization.as_str())], headers].concat();
    request(server.address, method, target, &headers, b"")
}

/// Returns whether the server accepts a key for tokens.
fn is_accepted(server: &Server, key: &str) -> bool {
    match send(server, key, "POST", "/token").status {
        200 => true,
        // Too many attempts without a valid key came before.
        401 | 429 => false,
        status => panic!("unexpected status {status}"),
    }
}

pub(crate) fn file_argument(path: &Path) -> &str {
    path.to_str().expect("path should be UTF-8")
}
