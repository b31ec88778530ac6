//! `POST /token` and `POST /token/verify`.

use crate::process::make_pipe;
use bulkhead_tests::http::{Response, request};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// RFC 4231 section 4.3, and RFC 2202 section 3, test case 2.
const SECRET: &str = "Jefe";
const BODY: &[u8] = b"what do ya want for nothing?";
const SHA1: &str = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
const SHA256: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
const SHA384: &str = "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649";
const SHA512: &str = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";

fn server(arguments: &[&str]) -> Server {
    Server::start_with(arguments, &[("SECRET", SECRET)])
}

fn make(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Response {
    request(server.address, "POST", "/token", headers, body)
}

fn verify(server: &Server, token: &str, body: &[u8]) -> Response {
    let headers = [("Bulkhead-Token", token)];
    request(server.address, "POST", "/token/verify", &headers, body)
}

fn is_valid(server: &Server, token: &str, body: &[u8]) -> bool {
    let response = verify(server, token, body);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["valid"]
        .as_bool()
        .expect("value should be a boolean")
}

#[test]
fn every_algorithm_matches_known_answers() {
    for (algorithm, name, token) in [
        ("sha1", "HMAC-SHA1", SHA1),
        ("sha256", "HMAC-SHA256", SHA256),
        ("sha384", "HMAC-SHA384", SHA384),
        ("sha512", "HMAC-SHA512", SHA512),
    ] {
        let server = server(&["--token-algorithm", algorithm]);
        let response = make(&server, &[], BODY);
        assert_eq!(response.json(), json!({"token": token, "algorithm": name}));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let bare = make(&server, &[("Accept", "text/plain")], BODY);
        assert_eq!(bare.body, token.as_bytes());
        assert!(is_valid(&server, token, BODY));
        assert!(is_valid(&server, &token.to_uppercase(), BODY));
        assert!(!is_valid(&server, token, b"another body"));
        assert!(!is_valid(&server, &token[2..], BODY));
        assert!(!is_valid(&server, "no token", BODY));
    }
}

#[test]
fn invalid_token_request_is_rejected() {
    let server = server(&[]);
    let neither = make(&server, &[("Accept", "image/png")], BODY);
    assert_eq!(
        (neither.status, neither.problem().as_str()),
        (406, "not_acceptable")
    );
    let missing = request(server.address, "POST", "/token/verify", &[], BODY);
    assert_eq!(
        (missing.status, missing.problem().as_str()),
        (400, "invalid_parameter")
    );
    assert_eq!(missing.json()["parameter"], "Bulkhead-Token");
    let get = server.get("GET", "/token");
    assert_eq!(
        (get.status, get.header("allow")),
        (405, Some("POST, OPTIONS"))
    );
    // An empty body is valid.
    assert_eq!(make(&server, &[], b"").status, 200);
}

#[test]
fn token_without_secret_returns_not_configured() {
    let server = Server::shared();
    for response in [make(server, &[], BODY), verify(server, SHA256, BODY)] {
        assert_eq!(
            (response.status, response.problem().as_str()),
            (503, "not_configured")
        );
        assert!(response.json()["detail"].to_string().contains("SECRET"));
    }
}

#[test]
fn invalid_secret_stops_the_start() {
    let file = tempfile::NamedTempFile::new().expect("file should be accessible");
    let path = file.path().to_str().expect("text should be UTF-8");
    for variables in [
        &[("SECRET", "")][..],
        &[("SECRET_PREVIOUS", "x")],
        &[("SECRET_FILE", path)],
        &[("SECRET_FILE", "/nonexistent")],
        &[("SECRET", "x"), ("SECRET_FILE", path)],
    ] {
        let output = run(&["--listen", "127.0.0.1:0"], variables);
        assert!(!output.status.success(), "{variables:?}");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("SECRET"), "{log}");
    }
}

#[test]
fn weak_secret_logs_a_warning() {
    let strong = "0123456789abcdef0123456789abcdef";
    assert!(server(&[]).log().contains("weak"));
    assert!(
        !Server::start_with(&[], &[("SECRET", strong)])
            .log()
            .contains("weak")
    );
}

#[test]
fn secrets_rotate_without_a_restart() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let [current, previous] = ["current", "previous"].map(|name| folder.path().join(name));
    let write = |path, secret: &str| std::fs::write(path, secret).expect("file should be written");
    write(&current, "Jefe\n");
    write(&previous, "long gone");
    let files = [&current, &previous].map(|path| path.to_str().expect("text should be UTF-8"));
    let server = Server::start(&[
        "--secret-file",
        files[0],
        "--secret-previous-file",
        files[1],
    ]);
    assert!(is_valid(&server, SHA256, BODY));

    write(&current, "new");
    write(&previous, "Jefe");
    server.signal("HUP");
    until("the new secret is in use", || {
        make(&server, &[], BODY).json()["token"] != SHA256
    });
    let new = make(&server, &[], BODY).json()["token"]
        .as_str()
        .expect("token should be a string")
        .to_owned();
    assert!(is_valid(&server, &new, BODY) && is_valid(&server, SHA256, BODY));

    // An unreadable secret changes nothing.
    write(&current, "");
    server.signal("HUP");
    until("the failure is logged", || {
        server.log().contains("SECRET_FILE, ")
    });
    assert_eq!(make(&server, &[], BODY).json()["token"], *new);

    write(&current, "newer");
    write(&previous, "new");
    server.signal("HUP");
    until("the first secret is invalid", || {
        !is_valid(&server, SHA256, BODY)
    });
    assert!(is_valid(&server, &new, BODY));

    // The rotation ends when the previous secret is gone.
    std::fs::remove_file(&previous).expect("file should be removed");
    server.signal("HUP");
    until("the second secret is invalid", || {
        !is_valid(&server, &new, BODY)
    });
}

/// Every size class: empty, inline, at the limit of inline bodies, on a worker, at the maximum.
#[test]
#[ignore = "needs openssl"]
fn openssl_makes_the_same_tokens() {
    const LIMIT: usize = 32 << 20;
    const INLINE: usize = 64 << 10;
    let mut rng = ChaCha8Rng::seed_from_u64(4231);
    for (algorithm, openssl) in [
        ("sha256", "-sha256"),
        ("sha512", "-sha512"),
        ("sha1", "-sha1"),
        ("sha384", "-sha384"),
    ] {
        let server = server(&["--token-algorithm", algorithm]);
        let random = (0..20).map(|_| rng.gen_range(0..300_000));
        for bytes in [0, 1, INLINE, INLINE + 1, LIMIT]
            .into_iter()
            .chain(random.collect::<Vec<_>>())
        {
            let mut body = vec![0; bytes];
            rng.fill_bytes(&mut body);
            let token = make(&server, &[("Accept", "text/plain")], &body);
            assert_eq!(token.status, 200);
            let token = String::from_utf8(token.body).expect("token should be hexadecimal");
            assert_eq!(
                token,
                by_openssl(openssl, &body),
                "{algorithm}, {bytes} bytes"
            );
            assert!(is_valid(&server, &token, &body));
        }
    }
}

fn by_openssl(digest: &str, body: &[u8]) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", digest, "-hmac", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl should start");
    openssl
        .stdin
        .take()
        .expect("stream should be piped")
        .write_all(body)
        .expect("data should be sent");
    let output = openssl.wait_with_output().expect("openssl should end");
    let text = String::from_utf8(output.stdout).expect("text should be UTF-8");
    // "HMAC-SHA2-256(stdin)= 5bdc…"
    text.trim()
        .rsplit(' ')
        .next()
        .expect("output should have a word")
        .to_owned()
}

/// Reading a secret file may block if the file is replaced by a pipe.
#[test]
fn blocking_secret_file_delays_no_other_rotation() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let file = folder.path().join("secret");
    std::fs::write(&file, "Jefe").expect("file should be written");
    let mut server = Server::start(&[
        "--secret-file",
        file.to_str().expect("text should be UTF-8"),
    ]);
    std::fs::remove_file(&file).expect("file should be removed");
    make_pipe(&file);
    server.signal("HUP");
    until("the rejection is reported", || {
        server.log().contains("is not a regular file")
    });
    assert!(is_valid(&server, SHA256, BODY));
    // The next rotation is not delayed.
    std::fs::remove_file(&file).expect("file should be removed");
    std::fs::write(&file, "new").expect("file should be written");
    server.signal("HUP");
    until("the new secret is in use", || {
        !is_valid(&server, SHA256, BODY)
    });
    server.signal("TERM");
    assert!(server.wait(std::time::Duration::from_secs(30)).success());
}
