//! Start and end of the process.

use bulkhead_tests::fixtures;
use bulkhead_tests::http::{connect, head, read};
use bulkhead_tests::mock::upstream::PUBLIC_KEY;
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn sigterm_completes_running_requests_and_exits_0() {
    let mut server = Server::start(&[]);
    let body = json!({"passphrase": "topsecret", "message": fixtures::text("bench/default.asc")});
    let body = body.to_string();
    let mut stream = connect(server.address);
    let headers = [("Content-Type", "application/json")];
    stream
        .write_all(&head("POST", "/decryptMessage", &headers, body.len()))
        .expect("data should be sent");
    // The request is under way: its head has arrived, its body is incomplete.
    let (first, rest) = body.split_at(10);
    stream
        .write_all(first.as_bytes())
        .expect("data should be sent");
    assert_eq!(server.get("GET", "/livez").status, 200);
    server.signal("TERM");
    stream
        .write_all(rest.as_bytes())
        .expect("data should be sent");
    let response = read(&mut stream, false).expect("response should arrive");
    assert_eq!(response.json()["DecryptedMessage"], "Nice work!\n");
    assert!(server.wait(TIMEOUT).success());
}

#[test]
fn readiness_fails_before_the_listener_closes() {
    let mut server = Server::start(&["--drain-delay", "60s"]);
    assert_eq!(server.get("GET", "/readyz").status, 200);
    server.signal("TERM");
    until("the server is not ready", || {
        server.get("GET", "/readyz").status != 200
    });
    let response = server.get("GET", "/readyz");
    assert_eq!(
        (response.status, response.problem().as_str()),
        (503, "draining")
    );
    assert_eq!(server.get("GET", "/livez").status, 200);
    server.signal("TERM");
    server.wait(TIMEOUT);
}

#[test]
fn second_signal_cuts_running_requests() {
    let mut server = Server::start(&["--drain-timeout", "1h"]);
    let mut idle = connect(server.address);
    let headers = [("Content-Type", "application/json")];
    idle.write_all(&head("POST", "/decryptMessage", &headers, 100))
        .expect("data should be sent");
    assert_eq!(server.get("GET", "/livez").status, 200);
    server.signal("TERM");
    server.signal("INT");
    // The running request got no response, so that the exit status is not 0.
    assert!(!server.wait(TIMEOUT).success());
}

#[test]
fn port_in_use_error_names_the_flag() {
    let other = Server::shared();
    let output = run(&["--listen", &other.address.to_string()], &[]);
    assert!(!output.status.success());
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("--listen"), "{log}");
}

#[test]
fn contradicting_settings_stop_the_start() {
    for (set, other) in [
        (["--bodies-max", "1MiB"].as_slice(), "--body-max"),
        (&["--token-memory-max", "4MiB"], "--body-max"),
        (
            &["--decrypt-instances", "2", "--decrypt-workers", "3"],
            "--decrypt-workers",
        ),
        (&["--components-pin", "pins"], "--components-dir"),
    ] {
        let output = run(&[&["--listen", "127.0.0.1:0"], set].concat(), &[]);
        assert!(!output.status.success(), "{set:?}");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains(set[0]) && log.contains(other), "{log}");
    }
}

/// Neither a passphrase nor a plaintext is logged, even at trace level.
#[test]
fn log_contains_no_secret_at_trace_level() {
    let server = Server::start_with(&[], &[("BULKHEAD_LOG", "trace")]);
    assert_eq!(server.decrypt("topsecret", fixtures::SAMPLE).status, 200);
    assert_eq!(server.decrypt("wrong-secret", fixtures::SAMPLE).status, 422);
    let broken = r#"{"passphrase": "broken-secret", "message": "m"#;
    let id = [("X-Request-Id", "the-last-one")];
    assert_eq!(server.post(broken, &id).status, 400);
    until("the last request is logged", || {
        server.log().contains("the-last-one")
    });
    for secret in [
        "topsecret",
        "wrong-secret",
        "broken-secret",
        "Nice work",
        "jA0ECQMC",
    ] {
        assert!(
            !server.log().contains(secret),
            "{secret} in {}",
            server.log()
        );
    }
}

#[test]
fn invalid_command_line_is_rejected_with_its_flag() {
    for (arguments, variables, expected) in [
        (&["--body-max", "1MiB", "serve"][..], &[][..], "--body-max"),
        (&["--listen", "localhost:1"], &[], "127.0.0.1:8080"),
        (
            &["--decrypt-queue-max", "99999999999"],
            &[],
            "--decrypt-queue-max",
        ),
        (&["--decrypt-timeout", "5000000h"], &[], "24h"),
        (&["--token-timeout", "0s"], &[], "above zero"),
        (
            &["--listen", "127.0.0.1:0"],
            &[("BULKHEAD_LOG", "debgu")],
            "BULKHEAD_LOG",
        ),
    ] {
        let output = run(arguments, variables);
        assert!(!output.status.success(), "{arguments:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn health_lists_components_and_capabilities() {
    let server = Server::start_with(&[], &[("SECRET", "s")]);
    let health = server.get("GET", "/health").json();
    assert_eq!(
        (&health["status"], &health["version"]),
        (&json!("ok"), &json!("0.1.0"))
    );
    for (at, name) in ["decrypt", "token"].into_iter().enumerate() {
        let component = &health["components"][at];
        assert_eq!(component["name"], name);
        let text = |field: &str| {
            component[field]
                .as_str()
                .expect("text should be UTF-8")
                .to_owned()
        };
        assert!(
            text("sha256").len() == 64 && text("since").ends_with('Z'),
            "{component}"
        );
        assert_eq!(health["capabilities"][name]["status"], "ready");
    }
    assert_eq!(
        health["capabilities"]["signing"]["status"],
        "not_configured"
    );
    let without = Server::shared().get("GET", "/health").json();
    assert_eq!(without["status"], "ok");
    assert_eq!(without["capabilities"]["token"]["status"], "not_configured");
}

#[test]
fn healthcheck_command_reports_readiness() {
    let check = |address: &str| run(&["healthcheck", "--listen", address], &[]);
    let server = Server::start(&["--drain-delay", "60s"]);
    let address = server.address.to_string();
    assert!(check(&address).status.success());
    server.signal("TERM");
    until("the server is not ready", || {
        !check(&address).status.success()
    });
    assert_eq!(server.get("GET", "/health").problem(), "draining");
    drop(server);
    let gone = check(&address);
    assert!(!gone.status.success());
    assert!(String::from_utf8_lossy(&gone.stderr).contains(&address));
}

/// Returns the output of `check-config`, and whether it succeeded.
fn check_config(arguments: &[&str], variables: &[(&str, &str)]) -> (String, bool) {
    let output = run(&[&["check-config"], arguments].concat(), variables);
    let text = String::from_utf8(output.stdout).expect("text should be UTF-8");
    (text, output.status.success())
}

#[test]
fn check_config_prints_settings_without_secrets() {
    let variables = [
        ("SECRET", "0123456789abcdef0123456789abcdef"),
        ("BULKHEAD_BODY_MAX", "1MiB"),
        ("BULKHEAD_LISTEN", "127.0.0.1:1"),
    ];
    let (text, is_valid) = check_config(&["--listen", "127.0.0.1:2"], &variables);
    assert!(is_valid, "{text}");
    let processors = std::thread::available_parallelism()
        .expect("processors should be counted")
        .get();
    let default = |flag: &str, number: String| format!("{flag} {number}  # default");
    for line in [
        "--listen 127.0.0.1:2  # flag",
        "--body-max 1MiB  # BULKHEAD_BODY_MAX",
        "--drain-delay 0s  # default",
        &default("--decrypt-workers", processors.to_string()),
        &default("--kdf-threads", processors.to_string()),
        &default("--kdf-queue-max", format!("{}B", processors * (4 << 30))),
        "SECRET (set)",
        "SECRET_PREVIOUS (not set)",
        "no problems",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(!text.contains("0123456789abcdef"));
}

#[test]
fn check_config_hides_the_store_password() {
    let variables = |store| {
        [
            ("BULKHEAD_UPSTREAM_URL", "http://upstream.example"),
            ("BULKHEAD_STORE_PASSWORD", "confidential"),
            ("BULKHEAD_STORE", store),
        ]
    };
    for (store, is_valid, line) in [
        ("postgres://u@h/d", true, "BULKHEAD_STORE_PASSWORD (set)"),
        ("sqlite:x.db", false, "problem: BULKHEAD_STORE_PASSWORD"),
    ] {
        let (text, succeeded) = check_config(&[], &variables(store));
        assert_eq!(succeeded, is_valid, "{text}");
        assert!(text.lines().any(|found| found.starts_with(line)), "{text}");
        assert!(!text.contains("confidential"), "{text}");
    }
}

/// The relay's other settings take effect only with an upstream. No process listens there.
const UPSTREAM: (&str, &str) = ("BULKHEAD_UPSTREAM_URL", "http://127.0.0.1:1");

/// Returns the log of a server that must not start.
fn failed_start_log(variables: &[(&str, &str)]) -> String {
    let output = run(&["--listen", "127.0.0.1:0"], variables);
    assert!(!output.status.success(), "{variables:?}");
    String::from_utf8(output.stderr).expect("text should be UTF-8")
}

/// Both `check-config` and the server fail and name the variable.
fn check_config_and_start_fail(variable: &str, variables: &[(&str, &str)]) {
    let (text, is_valid) = check_config(&[], variables);
    let reported = |line: &str| line.starts_with("problem: ") && line.contains(variable);
    assert!(
        !is_valid && text.lines().any(reported),
        "{variables:?}: {text}"
    );
    let log = failed_start_log(variables);
    assert!(log.contains(variable), "{variables:?}: {log}");
}

#[test]
fn check_config_reports_what_stops_the_start() {
    /// RFC 8410 section 10.1.
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("file should be written");
        path.display().to_string()
    };
    let sqlite_url = |path: &str| format!("sqlite:{path}");
    let text = sqlite_url(&file("text.db", "no database"));
    let private = PUBLIC_KEY.replace("PUBLIC", "RSA PRIVATE");
    let (half, _) = PUBLIC_KEY.split_at(PUBLIC_KEY.len() / 2);
    for (variable, value) in [
        ("BULKHEAD_STORE", "postgres://u:p@h:99999/x"),
        ("BULKHEAD_STORE", "postgres://u@h/x?sslmode=bogus"),
        ("BULKHEAD_STORE", "postgres://u@h/x?foo=x"),
        ("BULKHEAD_STORE", "postgres://u:pw"),
        ("BULKHEAD_STORE", "postgres:///x"),
        ("BULKHEAD_STORE", "sqlite:/nonexistent/x.db"),
        (
            "BULKHEAD_STORE",
            &sqlite_url(&folder.path().display().to_string()),
        ),
        ("BULKHEAD_STORE", &text),
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", ED25519),
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", &private),
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", half),
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", &file("empty", "")),
        // The result of `whsec_$UNSET` in a shell.
        ("BULKHEAD_WEBHOOK_SECRET", "whsec_"),
    ] {
        check_config_and_start_fail(variable, &[UPSTREAM, (variable, value)]);
        let (text, is_valid) = check_config(&[], &[(variable, value)]);
        assert!(is_valid, "without an upstream: {text}");
    }
    let key = file("key.pem", PUBLIC_KEY);
    let bare = tempfile::tempdir().expect("folder should be accessible");
    let fresh = sqlite_url(&bare.path().join("fresh.db").display().to_string());
    for (variable, value) in [
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", PUBLIC_KEY),
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", &key),
        (
            "BULKHEAD_STORE",
            "postgres://u:pw@h:1/x?sslmode=verify-full",
        ),
        ("BULKHEAD_STORE", &fresh),
    ] {
        let (text, is_valid) = check_config(&[], &[UPSTREAM, (variable, value)]);
        assert!(is_valid, "{text}");
    }
    let made = std::fs::read_dir(bare.path()).expect("folder should be accessible");
    assert_eq!(made.count(), 0);
}

/// SQLite would keep a database in memory, or parse a URI.
#[test]
fn store_that_is_not_a_plain_path_is_rejected() {
    for store in ["sqlite::memory:", "sqlite:file:x.db?mode=memory"] {
        check_config_and_start_fail("BULKHEAD_STORE", &[UPSTREAM, ("BULKHEAD_STORE", store)]);
    }
}

/// compose files set variables that are not set outside to empty ones (`${X:-}`).
#[test]
fn empty_variable_counts_as_not_set() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let variables = [
        UPSTREAM,
        ("BULKHEAD_STORE", &store),
        ("BULKHEAD_BODY_MAX", ""),
        ("BULKHEAD_ACCESS_LOG", ""),
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", ""),
        ("BULKHEAD_UPSTREAM_API_KEY", ""),
        ("BULKHEAD_WEBHOOK_SECRET", ""),
        ("BULKHEAD_WEBHOOK_SECRET_FILE", ""),
        ("BULKHEAD_STORE_PASSWORD", ""),
        ("BULKHEAD_COMPONENTS_DIR", ""),
        ("SECRET_FILE", ""),
        ("SECRET_PREVIOUS", ""),
    ];
    let (text, is_valid) = check_config(&[], &variables);
    assert!(is_valid, "{text}");
    for line in [
        "--body-max 32MiB  # default",
        "--components-dir (not set)  # default",
        "BULKHEAD_WEBHOOK_SECRET (not set)",
        "# BULKHEAD_WEBHOOK_SECRET is empty, and counts as not set",
        "SECRET_PREVIOUS (not set)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let server = Server::start_with(&[], &variables);
    assert!(server.log().contains("BULKHEAD_WEBHOOK_SECRET is empty"));
    assert_eq!(
        server.get("GET", "/health").json()["store"]["kind"],
        "sqlite"
    );
}

/// Files for variables keep the quotes and turn line breaks into two characters.
#[test]
fn public_key_is_accepted_with_changed_line_breaks() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let file = folder.path().join("key.pem");
    let with_mark = format!("\u{feff}{}", PUBLIC_KEY.replace('\n', "\r\n"));
    std::fs::write(&file, with_mark).expect("file should be written");
    for key in [
        PUBLIC_KEY.replace('\n', "\\n"),
        PUBLIC_KEY.replace('\n', "\n  "),
        format!("\"{}\"", PUBLIC_KEY.replace('\n', "\\n")),
        file.display().to_string(),
    ] {
        let variables = [UPSTREAM, ("BULKHEAD_UPSTREAM_PUBLIC_KEY", key.as_str())];
        let (text, is_valid) = check_config(&[], &variables);
        assert!(is_valid, "{key}: {text}");
    }
}

#[test]
fn secret_with_accidental_bytes_is_named() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let file = folder.path().join("secret");
    std::fs::write(&file, b"0123456789abcdef0123456789abcdef\r\n\r\n")
        .expect("file should be written");
    let file = file.display().to_string();
    for (variable, value, expected) in [
        (
            "SECRET",
            "0123456789abcdef0123456789abcdef\n",
            "SECRET ends with a line break",
        ),
        ("SECRET_FILE", &file, "SECRET ends with a line break"),
        (
            "SECRET",
            "\u{feff}0123456789abcdef0123456789abcdef",
            "SECRET starts with a byte order mark",
        ),
    ] {
        let (text, is_valid) = check_config(&[], &[(variable, value)]);
        assert!(
            is_valid && text.contains(&format!("# {expected}")),
            "{text}"
        );
        let server = Server::start_with(&[], &[(variable, value)]);
        assert!(server.log().contains(expected), "{}", server.log());
    }
}

#[test]
fn check_config_warns_of_a_weak_webhook_secret() {
    let weak = "# BULKHEAD_WEBHOOK_SECRET has fewer than 24 bytes, which is weak";
    for (secret, is_weak) in [
        ("whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM=", true),
        ("whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0", false),
    ] {
        let (text, is_valid) = check_config(&[], &[UPSTREAM, ("BULKHEAD_WEBHOOK_SECRET", secret)]);
        assert!(is_valid && !text.contains(secret), "{text}");
        assert_eq!(text.lines().any(|line| line == weak), is_weak, "{text}");
    }
}

/// Neither `check-config` nor the log of a failed start shows a secret.
#[test]
fn invalid_address_or_key_error_shows_no_secret() {
    for (variable, value) in [
        ("BULKHEAD_UPSTREAM_URL", "https:/user:secretpw@host"),
        ("BULKHEAD_UPSTREAM_URL", "user:secretpw@host"),
        ("BULKHEAD_UPSTREAM_URL", "https:user:secretpw@host/x"),
        ("BULKHEAD_UPSTREAM_URL", r"https:\\user:secretpw@host"),
        ("BULKHEAD_UPSTREAM_URL", "user:secretpw@h://x"),
        ("BULKHEAD_STORE", "postgres://u:secretpw"),
        ("BULKHEAD_STORE", "postgres://u:se?secretpw"),
        (
            "BULKHEAD_UPSTREAM_PUBLIC_KEY",
            "-----BEGIN RSA PRIVATE KEY-----secretpw-----END RSA PRIVATE KEY-----",
        ),
        (
            "BULKHEAD_UPSTREAM_PUBLIC_KEY",
            "https://user:secretpw@host/key",
        ),
    ] {
        // If both set the same variable, the later one wins.
        let variables = [UPSTREAM, (variable, value)];
        let (text, _) = check_config(&[], &variables);
        let log = failed_start_log(&variables);
        assert!(!(text + &log).contains("secretpw"), "{value}");
    }
}

/// Makes a named pipe without a writer, so that reading it blocks.
pub(crate) fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo should run").success());
}

#[test]
fn file_that_is_not_regular_is_rejected_with_its_setting() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let pipe = folder.path().join("pipe");
    make_pipe(&pipe);
    let pipe = pipe.display().to_string();
    for variable in [
        "SECRET_FILE",
        "SECRET_PREVIOUS_FILE",
        "BULKHEAD_UPSTREAM_API_KEY_FILE",
        "BULKHEAD_WEBHOOK_SECRET_FILE",
        "BULKHEAD_WEBHOOK_SECRET_PREVIOUS_FILE",
        "BULKHEAD_STORE_PASSWORD_FILE",
        "BULKHEAD_CA_FILE",
        "BULKHEAD_UPSTREAM_PUBLIC_KEY",
    ] {
        for file in [pipe.clone(), "/dev/zero".to_owned()] {
            let (sender, ended) = mpsc::channel();
            std::thread::spawn(move || {
                let variables = [UPSTREAM, (variable, &file)];
                check_config_and_start_fail(variable, &variables);
                let log = failed_start_log(&variables);
                assert!(log.contains("is not a regular file"), "{log}");
                sender.send(()).expect("receiver should wait");
            });
            let ended = ended.recv_timeout(TIMEOUT);
            assert!(
                ended.is_ok(),
                "{variable}: should end in time, or see the panic above"
            );
        }
    }
}

#[test]
fn check_config_reports_all_problems_at_once() {
    let variables = [
        ("SECRET", ""),
        ("BULKHEAD_BODIES_MAX", "1KiB"),
        ("BULKHEAD_HEADERS_MAX", "much"),
    ];
    let arguments = [
        "--listen",
        "nowhere",
        "--drain-delay=7",
        "--token-algorithm",
        "md5",
    ];
    let (text, is_valid) = check_config(&arguments, &variables);
    assert!(!is_valid);
    let problems: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("problem: "))
        .collect();
    for named in [
        "--listen",
        "--drain-delay",
        "--token-algorithm <HASH>' [possible values: sha1",
        "BULKHEAD_HEADERS_MAX",
        "--bodies-max",
        "SECRET",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(named)),
            "{named} in {text}"
        );
    }
    assert_eq!(problems.len(), 6, "{text}");
}

/// A flag overrides its variable even if the variable is invalid, with and without a subcommand.
#[test]
fn flags_override_invalid_variables() {
    let broken = [
        ("BULKHEAD_BODY_MAX", "much"),
        ("BULKHEAD_LISTEN", "nowhere"),
    ];
    let flags = ["--body-max", "3MiB", "--listen", "127.0.0.1:0"];
    let (text, is_valid) = check_config(&flags, &broken);
    assert!(is_valid, "{text}");
    for word in [&[][..], &["serve"]] {
        let arguments = [word, &flags].concat();
        let server = Server::start_exactly(&arguments, &broken);
        assert_eq!(server.get("GET", "/livez").status, 200);
    }
}

#[test]
fn unknown_variable_is_named_with_the_nearest_setting() {
    let variables = [
        ("BULKHEAD_SECRET_FILE", "confidential"),
        ("BULKHEAD_BODY_MAXIMUM", "confidential"),
    ];
    let (text, is_valid) = check_config(&[], &variables);
    assert!(is_valid, "{text}");
    let server = Server::start_with(&[], &variables);
    for (name, nearest) in [
        ("BULKHEAD_SECRET_FILE", "SECRET_FILE"),
        ("BULKHEAD_BODY_MAXIMUM", "BULKHEAD_BODY_MAX"),
    ] {
        let line = format!(
            "# {name} is not a setting, and has no effect. The nearest setting is {nearest}"
        );
        assert!(text.lines().any(|found| found == line), "{text}");
        let is_logged = server.log().lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            line["fields"]["name"] == name && line["fields"]["nearest"] == nearest
        });
        assert!(is_logged, "{}", server.log());
    }
    assert!(!(text + &server.log()).contains("confidential"));
}

#[test]
fn check_config_checks_the_log_filter() {
    let (text, is_valid) = check_config(&[], &[("BULKHEAD_LOG", "debgu")]);
    assert!(
        !is_valid && text.contains("problem: BULKHEAD_LOG"),
        "{text}"
    );
    let (text, is_valid) = check_config(&[], &[("BULKHEAD_LOG", "warn")]);
    assert!(is_valid && text.contains("BULKHEAD_LOG warn\n"), "{text}");
}

#[test]
fn check_config_checks_components_folder_and_pins() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (here, nowhere, list) = (path(""), path("nowhere"), path("pins"));
    let check = |dir: &str| {
        check_config(
            &[],
            &[
                ("BULKHEAD_COMPONENTS_DIR", dir),
                ("BULKHEAD_COMPONENTS_PIN", &list),
            ],
        )
    };
    let (text, is_valid) = check(&nowhere);
    for flag in ["--components-dir (", "--components-pin ("] {
        assert!(!is_valid && text.contains(flag), "{text}");
    }
    std::fs::write(&list, "").expect("file should be written");
    let (text, is_valid) = check(&here);
    assert!(is_valid, "{text}");
}

/// Runs the health check against a fake server that sends these pieces.
fn health_check_of(responses: &'static [&'static str]) -> std::process::Output {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port should be free");
    let address = listener
        .local_addr()
        .expect("address should be valid")
        .to_string();
    let fake = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client should connect");
        for response in responses {
            if stream.write_all(response.as_bytes()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let arguments = ["healthcheck", "--timeout", "300ms", "--listen", &address];
    let output = run(&arguments, &[]);
    fake.join().expect("thread should not panic");
    output
}

#[test]
fn healthcheck_rejects_other_responses() {
    assert!(
        health_check_of(&["HTTP/1.1 200 OK\r\n\r\n"])
            .status
            .success()
    );
    for responses in [
        &["SSH-2.0 200 banner\r\n"][..],
        &["HTTP/1.1 503 No\r\n\r\n"],
        &[""],
        // Each piece arrives in time, but not all of them together.
        &[
            "H", "T", "T", "P", "/", "1", ".", "1", " ", "2", "0", "0", "\r\n",
        ],
    ] {
        assert!(
            !health_check_of(responses).status.success(),
            "{responses:?}"
        );
    }
}

/// A connection that the kernel has accepted gets a response.
#[test]
fn drain_answers_accepted_connections() {
    let mut server = Server::start(&["--connections-max", "1", "--drain-timeout", "60s"]);
    let body = json!({"passphrase": "topsecret", "message": fixtures::SAMPLE}).to_string();
    let headers = [("Content-Type", "application/json")];
    let mut first = connect(server.address);
    first
        .write_all(&head("POST", "/decryptMessage", &headers, body.len()))
        .expect("data should be sent");
    let mut second = connect(server.address);
    second
        .write_all(&head("GET", "/livez", &[], 0))
        .expect("data should be sent");
    server.signal("TERM");
    until("the server drains", || server.log().contains("draining"));
    first
        .write_all(body.as_bytes())
        .expect("data should be sent");
    assert_eq!(
        read(&mut first, false)
            .expect("response should arrive")
            .status,
        200
    );
    assert_eq!(
        read(&mut second, false)
            .expect("response should arrive")
            .status,
        200
    );
    assert!(server.wait(TIMEOUT).success());
}

#[test]
fn second_signal_without_connections_exits_0() {
    let mut server = Server::start(&["--drain-delay", "60s"]);
    server.signal("TERM");
    until("the server drains", || server.log().contains("draining"));
    server.signal("TERM");
    assert!(server.wait(TIMEOUT).success());
    assert!(
        server.log().contains("\"connections\":0"),
        "{}",
        server.log()
    );
}
