//! Requests that access control rejects, and the files and commands of access keys and of TLS.

use super::Table;
use crate::access::{KeyFile, file_argument, new_key, send};
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::{Response, connect, head, read, request};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::tls::Authority;
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::path::Path;

pub(super) fn add(table: &mut Table) {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let folder = folder.path();
    pages(table);
    keys(table);
    limits(table);
    key_files(table, folder);
    audit_log(table, folder);
    certificates(table, folder);
}

fn pages(table: &mut Table) {
    let server = Server::shared();
    let mut stream = connect(server.address);
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: page.example\r\n\r\n")
        .expect("data should be sent");
    let response = read(&mut stream, false).expect("response should arrive");
    table.problem("host of another page on loopback", &response);
    let site = [("Sec-Fetch-Site", "cross-site")];
    let response = request(server.address, "POST", "/token", &site, b"");
    table.problem("request of a page of another origin", &response);
    let server = Server::start_exactly(&["--listen", "0.0.0.0:0"], &[]);
    table.problem(
        "list of requests on an open server",
        &server.get("GET", "/crypto/requests"),
    );
}

fn path_in(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn keys(table: &mut Table) {
    let mut file = KeyFile::new();
    let key = file.add("ci", &["decrypt"]);
    let server = file.start();
    table.problem("no access key", &server.get("POST", "/token"));
    table.problem(
        "unknown access key",
        &send(&server, "bh_unknown", "POST", "/token"),
    );
    table.problem(
        "access key without the scope",
        &send(&server, &key, "POST", "/token"),
    );
    table.problem(
        "access key without both scopes",
        &send(&server, &key, "GET", "/crypto/requests/0"),
    );
    commands(table, &file, &server);
}

fn limits(table: &mut Table) {
    let mut file = KeyFile::new();
    let key = file.add("ci", &["token:make"]);
    let decrypting = file.add("other", &["decrypt"]);
    let busy = file.add("busy", &["decrypt", "token:make"]);
    file.entries[0]["limits"] = json!({"request_rate": 1});
    file.entries[1]["limits"] = json!({"kdf_rate": "1B"});
    file.entries[2]["limits"] = json!({"requests_max": 1});
    let server = file.start_with_flags(&["--failed-attempts-rate", "1"]);
    let body = json!({"passphrase": "topsecret", "message": SAMPLE}).to_string();
    let decrypt = || {
        let authorization = format!("Bearer {decrypting}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = body.as_bytes();
        request(server.address, "POST", "/decryptMessage", &headers, body)
    };
    let limited = |send: &dyn Fn() -> Response| {
        let mut response = send();
        until("the limit is reached", || {
            response = send();
            response.status == 429
        });
        response
    };
    let response = limited(&|| send(&server, &key, "POST", "/token"));
    table.problem("too many requests in a second", &response);
    let authorization = format!("Bearer {busy}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Expect", "100-continue"),
    ];
    let mut stream = connect(server.address);
    stream
        .write_all(&head("POST", "/decryptMessage", &headers, 100))
        .expect("head should be sent");
    // The request runs once the server waits for its body.
    stream
        .read_exact(&mut [0; "HTTP/1.1 100".len()])
        .expect("response should arrive");
    let response = send(&server, &busy, "POST", "/token");
    table.problem("too many concurrent requests", &response);
    table.problem("too much key derivation", &limited(&decrypt));
    let response = limited(&|| server.get("POST", "/token"));
    table.problem("too many failed attempts", &response);
    let output = run(&["check-config", "--key-request-rate", "1"], &[]);
    table.failure("limits without access keys", &output, &[]);
    let keys = file_argument(&file.path()).to_owned();
    let arguments = [
        "check-config",
        "--access-keys",
        &keys,
        "--key-request-burst",
        "5",
    ];
    let output = run(&arguments, &[]);
    table.failure("burst without a rate", &output, &[(&keys, "FILE")]);
}

fn audit_log(table: &mut Table, folder: &Path) {
    let missing = path_in(folder, "missing/audit.log");
    let in_folder = folder.display().to_string();
    let mut check =
        |situation: &str, arguments: &[&str]| check(table, folder, situation, arguments);
    check("audit log in a missing folder", &["--audit-log", &missing]);
    check("audit log that is a folder", &["--audit-log", &in_folder]);
    check("required audit log without a file", &["--audit-required"]);
}

fn check(table: &mut Table, folder: &Path, situation: &str, arguments: &[&str]) {
    let output = run(&[&["check-config"], arguments].concat(), &[]);
    let place = folder.display().to_string();
    table.failure(situation, &output, &[(&place, "FOLDER")]);
}

fn key_files(table: &mut Table, folder: &Path) {
    let file = path_in(folder, "faulty.json");
    let mut check = |situation: &str, text: &str| {
        std::fs::write(&file, text).expect("file should be written");
        check(table, folder, situation, &["--access-keys", &file]);
    };
    check("access keys that are not JSON", "ci: decrypt");
    check("access keys that are cut off", "{\"entries\": [");
    check("access keys with an unknown field", "{\"entires\": []}");
    let (_, entry) = new_key("ci", &["decrypt"]);
    let digest = entry["keys"][0]["sha256"].clone();
    let changed = |pointer: &str, value: Value| {
        let mut entry = entry.clone();
        *entry
            .pointer_mut(pointer)
            .expect("the pointer should be valid") = value;
        json!({"entries": [entry]}).to_string()
    };
    let key = json!({"sha256": digest});
    for (situation, pointer, value) in [
        ("entry with a malformed name", "/name", json!("a b")),
        ("entry without a key", "/keys", json!([])),
        ("entry with three keys", "/keys", json!([key, key, key])),
        ("entry with a key twice", "/keys", json!([key, key])),
        (
            "entry with a malformed digest",
            "/keys/0/sha256",
            json!("bh_key"),
        ),
        ("entry without scopes", "/scopes", json!([])),
        ("entry with an unknown scope", "/scopes", json!(["all"])),
    ] {
        check(situation, &changed(pointer, value));
    }
    let with = |name: &str, value: Value| {
        let mut entry = entry.clone();
        entry[name] = value;
        json!({"entries": [entry]}).to_string()
    };
    let expired = json!([{"sha256": digest, "expires": "soon"}]);
    check("entry with a malformed expiry", &with("keys", expired));
    check(
        "entry with a malformed certificate",
        &with("certificates", json!(["ci"])),
    );
    let uri = "spiffe://example.org/ci";
    check(
        "entry with a certificate twice",
        &with("certificates", json!([uri, uri])),
    );
    let many: Vec<_> = (0..17).map(|number| format!("{uri}/{number}")).collect();
    check(
        "entry with too many certificates",
        &with("certificates", json!(many)),
    );
    check(
        "entry with a limit of zero",
        &with("limits", json!({"request_rate": 0})),
    );
    check(
        "entry with a malformed limit",
        &with("limits", json!({"kdf_rate": "eight"})),
    );
    check(
        "entry with a burst without a rate",
        &with("limits", json!({"request_burst": 5})),
    );
    check(
        "two entries with one name",
        &json!({"entries": [entry, new_key("ci", &["sign"]).1]}).to_string(),
    );
    let many = vec![&entry; 1001];
    check("too many entries", &json!({"entries": many}).to_string());
}

fn commands(table: &mut Table, file: &KeyFile, server: &Server) {
    let path = file.path().display().to_string();
    let (unknown, _) = new_key("other", &["sign"]);
    for (situation, key) in [
        ("access key that the file does not list", unknown.as_str()),
        ("access key with a typing error", &unknown[1..]),
    ] {
        let arguments = ["access-key", "check", "--access-keys", &path];
        let output = run(&arguments, &[("BULKHEAD_ACCESS_KEY", key)]);
        table.failure(situation, &output, &[]);
    }
    let (expired, mut entry) = new_key("expired", &["sign"]);
    entry["keys"][0]["expires"] = "2020-01-01".into();
    let list = path_in(
        file.path().parent().expect("file should be in a folder"),
        "expired.json",
    );
    let content = json!({"entries": [entry]}).to_string();
    std::fs::write(&list, content).expect("file should be written");
    let output = run(
        &["access-key", "check", "--access-keys", &list],
        &[("BULKHEAD_ACCESS_KEY", &expired)],
    );
    table.failure("access key that has expired", &output, &[]);
    let new = ["access-key", "new", "--name"];
    for (situation, arguments) in [
        (
            "new access key with a malformed name",
            &["a b", "--scope", "sign"][..],
        ),
        (
            "new access key with an unknown scope",
            &["a", "--scope", "all"],
        ),
        (
            "new access key that has expired",
            &["a", "--scope", "sign", "--expires", "2020-01-01"],
        ),
    ] {
        let output = run(&[&new, arguments].concat(), &[]);
        table.failure(situation, &output, &[]);
    }
    let address = server.address.to_string();
    let output = run(&["component", "list", "--listen", &address], &[]);
    table.failure(
        "component list without an access key",
        &output,
        &[(&address, "ADDRESS")],
    );
}

fn certificates(table: &mut Table, folder: &Path) {
    let identity = Authority::default().issue("127.0.0.1");
    let other = Authority::default().issue("127.0.0.1");
    let (certificate, key) = (path_in(folder, "cert.pem"), path_in(folder, "key.pem"));
    let write = |certificates: &str, private: &str| {
        std::fs::write(&certificate, certificates).expect("file should be written");
        std::fs::write(&key, private).expect("file should be written");
    };
    let both = ["--tls-cert", certificate.as_str(), "--tls-key", &key];
    write("", &identity.key);
    check(table, folder, "file without a certificate", &both);
    write(
        "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
        &identity.key,
    );
    check(table, folder, "malformed certificate", &both);
    write(&identity.certificate, "");
    check(table, folder, "file without a private key", &both);
    write(
        &identity.certificate,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    check(table, folder, "malformed private key", &both);
    write(&identity.certificate, &other.key);
    check(table, folder, "private key of another certificate", &both);
    write(&identity.certificate, &identity.key);
    let keys = path_in(folder, "empty.json");
    std::fs::write(&keys, "").expect("file should be written");
    let with_authorities = [&both[..], &["--tls-client-ca", &key]].concat();
    check(
        table,
        folder,
        "client certificates without access keys",
        &with_authorities,
    );
    check(
        table,
        folder,
        "file without a client authority",
        &[&with_authorities[..], &["--access-keys", &keys]].concat(),
    );
    let server = Server::start(&both);
    let response = request(server.address, "POST", "/token", &[], b"");
    table.problem("plain HTTP at a port with TLS", &response);
    let other_certificate = path_in(folder, "other.pem");
    std::fs::write(&other_certificate, other.certificate).expect("file should be written");
    component_lists(
        table,
        folder,
        &server,
        [&certificate, &other_certificate, &key],
    );
}

/// The errors of a command that sends a request. The files are the server's certificate, another certificate, and
/// one without a certificate.
fn component_lists(table: &mut Table, folder: &Path, server: &Server, files: [&String; 3]) {
    let [certificate, other, none] = files;
    let place = folder.display().to_string();
    let mut list = |situation: &str, server: &Server, further: &[&str], key: Option<&str>| {
        let address = server.address.to_string();
        let variables: Vec<_> = key
            .iter()
            .map(|key| ("BULKHEAD_ACCESS_KEY", *key))
            .collect();
        let list = ["component", "list", "--listen", &address];
        let output = run(&[&list, further].concat(), &variables);
        let replaced = [(address.as_str(), "ADDRESS"), (&place, "FOLDER")];
        table.failure(situation, &output, &replaced);
    };
    list(
        "component list without TLS at a port with TLS",
        server,
        &[],
        None,
    );
    let with = |file| ["--tls-cert", file];
    list(
        "component list with another certificate",
        server,
        &with(other),
        None,
    );
    list(
        "component list with a file without a certificate",
        server,
        &with(none),
        None,
    );
    list(
        "component list with TLS at a port without TLS",
        Server::shared(),
        &with(certificate),
        None,
    );
    list(
        "component list with a key with a space",
        Server::shared(),
        &[],
        Some("a b"),
    );
    let separate = Server::start(&["--observe-listen", "127.0.0.1:0"]);
    list(
        "component list at another address than that of health",
        &separate,
        &[],
        None,
    );
}
