//! Runs the examples in `examples/clients` as their users do.
//!
//! These tests are ignored by default, because they need curl, Python or Node.js.
//! `BULKHEAD_TEST_NODE` names the folder that `tests/node.sh` filled with the JavaScript examples.

mod receivers;
mod scripted;

use crate::access::KeyFile;
use crate::relay::{RELIABLE, Relay, StoreKind};
use bulkhead_tests::canaries::record_secret;
use bulkhead_tests::fixtures::{self, Fixture, SAMPLE};
use bulkhead_tests::http;
use bulkhead_tests::server::Server;
use bulkhead_tests::tls::Authority;
use bulkhead_tests::until;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The example under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Curl,
    Python,
    Node,
}

impl Client {
    /// Returns the variable that names the file of a private authority.
    fn authority_variable(self) -> &'static str {
        match self {
            Self::Curl => "CURL_CA_BUNDLE",
            Self::Python => "SSL_CERT_FILE",
            Self::Node => "NODE_EXTRA_CA_CERTS",
        }
    }
}

/// Makes a test for each client.
macro_rules! with_all_clients {
    ($($name:ident),+ $(,)?) => {
        mod curl {
            $(#[test]
            #[ignore = "needs curl"]
            fn $name() { super::$name(super::Client::Curl) })+
        }
        mod python {
            $(#[test]
            #[ignore = "needs Python"]
            fn $name() { super::$name(super::Client::Python) })+
        }
        mod node {
            $(#[test]
            #[ignore = "needs Node.js"]
            fn $name() { super::$name(super::Client::Node) })+
        }
    };
}
use with_all_clients;

with_all_clients!(
    client_decrypts_messages,
    client_reports_wrong_passphrase_without_printing_it,
    client_writes_binary_plaintext_as_bytes,
    client_makes_and_verifies_tokens,
    client_gets_signature_at_once_or_later,
    client_reports_failed_and_pending_signatures,
    client_sends_the_access_key,
    client_speaks_tls_with_the_right_server_only,
    readme_commands_work,
);

/// Returns the folder in which an example can be run.
fn folder(client: Client) -> PathBuf {
    let name = match client {
        Client::Curl => "curl",
        Client::Python => "python",
        Client::Node => {
            let built = std::env::var_os("BULKHEAD_TEST_NODE")
                .expect("BULKHEAD_TEST_NODE should name the folder that tests/node.sh filled");
            return PathBuf::from(built).join("examples/javascript");
        }
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/clients")
        .join(name)
}

fn program(client: Client) -> PathBuf {
    let name = match client {
        Client::Curl => "bulkhead.sh",
        Client::Python => "bulkhead.py",
        Client::Node => "bulkhead.mjs",
    };
    folder(client).join(name)
}

/// The result of a client's process.
#[derive(Debug)]
struct Finished {
    status: Option<i32>,
    output: Vec<u8>,
    errors: String,
}

impl Finished {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.output).expect("text should be UTF-8")
    }

    /// Returns the output of a client that must have succeeded.
    #[track_caller]
    fn success(&self) -> &str {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.text()
    }
}

/// A client with its input files and environment.
struct ClientSetup {
    client: Client,
    files: tempfile::TempDir,
    url: String,
    wait_seconds: u32,
    access_key: Option<String>,
    /// The file of the authority for the server's certificate.
    authority: Option<String>,
}

impl ClientSetup {
    fn new(client: Client, url: &str) -> Self {
        Self {
            client,
            files: tempfile::tempdir().expect("folder should be accessible"),
            url: url.to_owned(),
            wait_seconds: 60,
            access_key: None,
            authority: None,
        }
    }

    fn beside(client: Client, server: &Server) -> Self {
        Self::new(client, &format!("http://{}", server.address))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, bytes).expect("file should be written");
        path.to_str().expect("text should be UTF-8").to_owned()
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("BULKHEAD_URL", &self.url)
            .env("BULKHEAD_WAIT", self.wait_seconds.to_string())
            // No proxy listens there, so that a client that uses a proxy fails.
            .env("http_proxy", "http://127.0.0.1:1")
            .env_remove("no_proxy")
            .env_remove("NO_PROXY")
            .env("https_proxy", "http://127.0.0.1:1")
            .env_remove("BULKHEAD_ACCESS_KEY")
            .envs(
                self.access_key
                    .iter()
                    .map(|key| ("BULKHEAD_ACCESS_KEY", key)),
            )
            .envs(
                self.authority
                    .iter()
                    .map(|file| (self.client.authority_variable(), file)),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str], input: &str) -> Child {
        let mut command = self.command(program(self.client));
        let mut child = command
            .args(arguments)
            .spawn()
            .expect("program should start");
        let mut stdin = child.stdin.take().expect("stream should be piped");
        // The write fails if the client ends without reading its input.
        drop(stdin.write_all(input.as_bytes()));
        child
    }

    fn run(&self, arguments: &[&str], input: &str) -> Finished {
        finish(self.start(arguments, input))
    }
}

fn finish(child: Child) -> Finished {
    let output = child.wait_with_output().expect("process should end");
    Finished {
        status: output.status.code(),
        output: output.stdout,
        errors: String::from_utf8(output.stderr).expect("text should be UTF-8"),
    }
}

fn client_decrypts_messages(client: Client) {
    let setup = ClientSetup::beside(client, Server::shared());
    record_secret("Nice work!");
    for message in [SAMPLE.to_owned(), SAMPLE.replace('\n', "\r\n")] {
        let file = setup.file("message.asc", message);
        let opened = setup.run(&["decrypt", &file], "topsecret\n");
        assert_eq!(opened.success(), "Nice work!\n");
        assert_eq!(opened.errors, "");
        // A line end after the passphrase is optional.
        let opened = setup.run(&["decrypt", &file], "topsecret");
        assert_eq!(opened.success(), "Nice work!\n");
    }
}

fn client_reports_wrong_passphrase_without_printing_it(client: Client) {
    const WRONG: &str = "a-wrong-passphrase-of-clients";
    record_secret(WRONG);
    let setup = ClientSetup::beside(client, Server::shared());
    let rejected = setup.run(&["decrypt", &setup.file("message.asc", SAMPLE)], WRONG);
    assert_eq!((rejected.status, rejected.text()), (Some(1), ""));
    assert!(rejected.errors.contains("undecryptable"), "{rejected:?}");
    assert!(!rejected.errors.contains(WRONG), "{rejected:?}");
    // The passphrase is not printed after other errors either.
    let unreachable = ClientSetup::new(client, &unused_url());
    for ended in [
        setup.run(&["decrypt", &setup.file("message.asc", b"\xff")], WRONG),
        unreachable.run(
            &["decrypt", &unreachable.file("message.asc", SAMPLE)],
            WRONG,
        ),
    ] {
        assert_eq!((ended.status, ended.text()), (Some(1), ""));
        assert!(!ended.errors.is_empty() && !ended.errors.contains(WRONG));
        assert!(!ended.errors.contains("Traceback"), "{ended:?}");
    }
    assert_eq!(setup.run(&["decrypt"], "").status, Some(2));
}

/// Returns a URL on which no process listens.
fn unused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
    format!(
        "http://{}",
        listener.local_addr().expect("address should be valid")
    )
}

fn client_writes_binary_plaintext_as_bytes(client: Client) {
    let is_binary = |fixture: &Fixture| {
        let plaintext = fixture.plaintext.as_deref();
        plaintext.is_some_and(|bytes| std::str::from_utf8(bytes).is_err())
    };
    let binary = fixtures::read("gnupg-2.2.jsonl")
        .into_iter()
        .find(is_binary);
    let binary = binary.expect("a binary fixture should exist");
    let passphrase = &binary.passphrases[0];
    record_secret(passphrase);
    let setup = ClientSetup::beside(client, Server::shared());
    let file = setup.file("message.asc", &binary.message);
    let arguments: &[_] = match client {
        Client::Curl => &["decrypt", &file],
        Client::Python | Client::Node => {
            let rejected = setup.run(&["decrypt", &file], passphrase);
            assert_eq!((rejected.status, rejected.text()), (Some(1), ""));
            assert!(rejected.errors.contains("422 not_text: "), "{rejected:?}");
            &["decrypt", "--bytes", &file]
        }
    };
    let opened = setup.run(arguments, passphrase);
    assert_eq!(
        (opened.status, Some(opened.output)),
        (Some(0), binary.plaintext)
    );
}

/// HMAC of RFC 2104, for keys of at most one block.
fn hmac_sha256(key: &[u8], body: &[u8]) -> String {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36)).chain_update(body);
    let outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    format!("{:x}", outer.chain_update(inner.finalize()).finalize())
}

fn client_makes_and_verifies_tokens(client: Client) {
    // RFC 4231 section 4.3, and bytes that are not text.
    const SECRET: &str = "Jefe";
    const KNOWN: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let body = b"what do ya want for nothing?";
    assert_eq!(hmac_sha256(SECRET.as_bytes(), body), KNOWN);
    let bytes: Vec<u8> = (0..=255).chain(*b"\r\n\n").collect();

    let server = Server::start_with(&[], &[("SECRET", SECRET)]);
    let setup = ClientSetup::beside(client, &server);
    for body in [&body[..], &bytes, b""] {
        let token = hmac_sha256(SECRET.as_bytes(), body);
        record_secret(&token);
        let file = setup.file("document", body);
        let made = setup.run(&["token", &file], "");
        assert_eq!(made.success(), format!("{token}\n"));
        let changed = token.replace(&token[..1], if token.starts_with('0') { "1" } else { "0" });
        record_secret(&changed);
        let tokens = [
            (format!("{token}\n"), 0, "valid\n"),
            (token.to_uppercase(), 0, "valid\n"),
            (changed, 1, "not valid\n"),
            (format!("{token}\nHost: another"), 1, "not valid\n"),
            (String::new(), 1, "not valid\n"),
        ];
        for (token, status, said) in tokens {
            let checked = setup.run(&["verify", &file], &token);
            assert_eq!(
                (checked.status, checked.text()),
                (Some(status), said),
                "{checked:?}"
            );
            if client == Client::Curl {
                continue;
            }
            // Without the server.
            let mut here = ClientSetup::new(client, &unused_url());
            here.wait_seconds = 0;
            let secret = here.file("secret", format!("{SECRET}\n"));
            let checked = here.run(&["verify", "--secret-file", &secret, &file], &token);
            assert_eq!(
                (checked.status, checked.text()),
                (Some(status), said),
                "{checked:?}"
            );
        }
    }

    let setup = ClientSetup::beside(client, Server::shared());
    let rejected = setup.run(&["token", &setup.file("document", "x")], "");
    assert_eq!(rejected.status, Some(1));
    assert!(rejected.errors.contains("not_configured"), "{rejected:?}");
}

/// Returns the signature of the mock upstream for a message.
fn signature(relay: &Relay, message: &str) -> String {
    let encoded =
        percent_encoding::utf8_percent_encode(message, percent_encoding::NON_ALPHANUMERIC);
    let key = relay.variables["BULKHEAD_UPSTREAM_API_KEY"].as_str();
    let target = format!("/crypto/sign?message={encoded}");
    let headers = [("Authorization", key)];
    let response = http::request(relay.upstream.address(), "GET", &target, &headers, b"");
    assert_eq!(response.status, 200, "{response:?}");
    let signature = String::from_utf8(response.body).expect("text should be base64");
    record_secret(&signature);
    signature
}

const LATE: &str = r#"{"mode": "late", "delay_ms": 1900, "next": 1}"#;

fn control_upstream(relay: &Relay, order: &str) {
    let order = serde_json::from_str(order).expect("text should be JSON");
    relay.upstream.control(&order);
}

fn client_gets_signature_at_once_or_later(client: Client) {
    const MESSAGE: &str = "signed by clients & \"signature\":\"no\" 100% + \\\nüber\n";
    record_secret(MESSAGE);
    let relay = Relay::start(StoreKind::Sqlite, &RELIABLE);
    let setup = ClientSetup::beside(client, relay.server());
    let file = setup.file("text", MESSAGE);
    let expected = format!("{}\n", signature(&relay, MESSAGE));
    control_upstream(&relay, LATE);
    let url = relay.callback("hook");
    let later = setup.run(&["sign", &file, &url], "");
    assert_eq!(later.success(), expected);
    // The request was accepted with 202 first. After a response of 200 there would be no webhook.
    until("the callback is notified", || {
        !relay.receiver.deliveries().is_empty()
    });
    let notification = relay.receiver.deliveries().remove(0);
    assert_eq!(notification.body["data"]["signature"], expected.trim_end());
    assert_eq!(notification.body["data"]["message"], MESSAGE);

    let body = json!({"message": MESSAGE}).to_string();
    let headers = [("Content-Type", "application/json")];
    let address = relay.server().address;
    let now = http::request(address, "POST", "/crypto/sign", &headers, body.as_bytes());
    assert_eq!(now.status, 200, "{now:?}");
    assert_eq!(setup.run(&["sign", &file], "").success(), expected);
    // One call by this test, above, and one by the relay.
    assert_eq!(relay.upstream.summary().arrivals, 2);
}

fn client_reports_failed_and_pending_signatures(client: Client) {
    let relay = Relay::start(StoreKind::Sqlite, &RELIABLE);
    let mut setup = ClientSetup::beside(client, relay.server());
    let text = "a text of clients that is not signed";
    record_secret(text);
    let file = setup.file("text", text);
    // The upstream refuses the first request after 202, and the next one at once.
    control_upstream(
        &relay,
        r#"{"mode": "late", "delay_ms": 1900, "status": 422, "next": 1}"#,
    );
    let failed = setup.run(&["sign", &file], "");
    assert_eq!((failed.status, failed.text()), (Some(1), ""));
    assert!(failed.errors.contains("422"), "{failed:?}");
    let rejected = setup.run(&["sign", &file], "");
    assert_eq!(rejected.status, Some(1));
    assert!(
        rejected.errors.contains("upstream_rejected"),
        "{rejected:?}"
    );
    let rejected = setup.run(&["sign", &file, "ftp://receiver.example/"], "");
    assert!(
        rejected.errors.contains("callback_rejected"),
        "{rejected:?}"
    );

    // The signature does not arrive in time. Repeating the command gets it later.
    let another = setup.file("another", "another text of clients");
    record_secret("another text of clients");
    control_upstream(&relay, r#"{"mode": "502"}"#);
    setup.wait_seconds = 3;
    let pending = setup.run(&["sign", &another], "");
    assert_eq!(
        (pending.status, pending.text()),
        (Some(75), ""),
        "{pending:?}"
    );
    let (_, id) = pending
        .errors
        .split_once("/crypto/requests/")
        .expect("error should contain the status URL");
    assert_eq!(relay.request(id.trim_end())["status"], "pending");
    control_upstream(&relay, r#"{"mode": "normal"}"#);
    setup.wait_seconds = 60;
    let signed = setup.run(&["sign", &another], "");
    assert_eq!(
        signed.success().trim_end(),
        relay.request(id.trim_end())["signature"]
    );
}

fn client_sends_the_access_key(client: Client) {
    let mut file = KeyFile::new();
    let key = file.add("client", &["decrypt", "token:make", "token:verify"]);
    let server = file.start();
    let mut setup = ClientSetup::beside(client, &server);
    let message = setup.file("message.asc", SAMPLE);
    let rejected = setup.run(&["decrypt", &message], "topsecret");
    assert_eq!(rejected.status, Some(1));
    assert!(rejected.errors.contains("unauthenticated"), "{rejected:?}");
    setup.access_key = Some(key);
    record_secret("Nice work!");
    let opened = setup.run(&["decrypt", &message], "topsecret");
    assert_eq!(opened.success(), "Nice work!\n");
    let document = setup.file("document", "a document of a client with a key");
    let token = setup.run(&["token", &document], "");
    record_secret(token.success().trim_end());
    let verified = setup.run(&["verify", &document], token.success());
    assert_eq!(verified.success(), "valid\n");
}

fn client_speaks_tls_with_the_right_server_only(client: Client) {
    let (mut file, authority) = (KeyFile::new(), Authority::default());
    let key = file.add("client", &["token:make"]);
    file.write();
    let mut setup = ClientSetup::new(client, "");
    let identity = authority.issue("127.0.0.1");
    let certificate = setup.file("cert.pem", &identity.certificate);
    let private = setup.file("key.pem", &identity.key);
    let keys = file.path();
    let server = Server::start_with(
        &["--tls-cert", &certificate, "--tls-key", &private],
        &[
            ("SECRET", "a secret of more than thirty-two bytes"),
            (
                "BULKHEAD_ACCESS_KEYS",
                keys.to_str().expect("path should be UTF-8"),
            ),
        ],
    );
    setup.url = format!("https://{}", server.address);
    setup.access_key = Some(key);
    let document = setup.file("document", "a document of a client with TLS");
    // Without the authority, and with another one.
    let other = setup.file("other.pem", Authority::default().certificate);
    for wrong in [None, Some(other)] {
        setup.authority = wrong;
        let rejected = setup.run(&["token", &document], "");
        assert_eq!((rejected.status, rejected.text()), (Some(1), ""));
        assert!(!rejected.errors.contains("Traceback"), "{rejected:?}");
    }
    setup.authority = Some(setup.file("ca.pem", &authority.certificate));
    let token = setup.run(&["token", &document], "");
    record_secret(token.success().trim_end());
}

/// Runs the commands of the README unchanged.
fn readme_commands_work(client: Client) {
    const README: &str = include_str!("../../examples/clients/README.md");
    const SECRET: &str = "a secret of the tokens in the README";
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("SECRET", SECRET);
    relay.run();
    relay.wait_for_calls();
    let setup = ClientSetup::beside(client, relay.server());
    setup.file("message.asc", SAMPLE);
    setup.file("passphrase", "topsecret\n");
    setup.file("secret", SECRET);
    setup.file("document", "a document of the README");
    setup.file("text", "a text of the README");
    record_secret("a document of the README");
    record_secret("a text of the README");
    let (name, own) = match client {
        Client::Curl => ("curl", "curl/bulkhead.sh"),
        Client::Python => ("python", "python/bulkhead.py"),
        Client::Node => ("javascript", "javascript/bulkhead.mjs"),
    };
    let to = folder(client).canonicalize().expect("it should exist");
    std::os::unix::fs::symlink(to, setup.files.path().join(name)).expect("link should be created");
    let commands = |shown: &str| -> Vec<String> {
        let start = format!("    {shown} ");
        let lines = README.lines().filter(|line| line.starts_with(&start));
        lines.map(|line| line.replace(shown, own)).collect()
    };
    // All clients support the commands that the README shows for curl.
    let mut script = commands("curl/bulkhead.sh");
    assert_eq!(script.len(), 5);
    if client != Client::Curl {
        let more = commands("python/bulkhead.py");
        assert_eq!(more.len(), 2);
        script.extend(more);
    }
    let mut bash = setup.command("bash");
    bash.args(["-euc", &script.join("\n")])
        .current_dir(setup.files.path());
    let all = finish(bash.spawn().expect("bash should start"));
    let verified = script.iter().filter(|line| line.contains(" verify "));
    assert_eq!(all.success(), "valid\n".repeat(verified.count()), "{all:?}");
    let wrote = |name| {
        std::fs::read_to_string(setup.files.path().join(name)).expect("file should be accessible")
    };
    assert_eq!(wrote("plaintext"), "Nice work!\n");
    let token = hmac_sha256(SECRET.as_bytes(), b"a document of the README");
    record_secret(&token);
    assert_eq!(wrote("token").trim_end(), token);
    assert_eq!(
        wrote("signature").trim_end(),
        signature(&relay, "a text of the README")
    );
}
