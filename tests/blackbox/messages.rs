//! The server opens every message of the corpus.

use bulkhead_tests::fixtures;
use bulkhead_tests::server::Server;

/// The number of concurrent requests.
const CLIENTS: usize = 4;

/// Opens each message with each of its passphrases and compares the plaintexts.
fn all_open(file: &str, at_least: usize) {
    let fixtures = fixtures::read(file);
    assert!(
        fixtures.len() >= at_least,
        "{file} should have more than {} lines",
        fixtures.len()
    );
    let server = Server::shared();
    let failures = fixtures::each(&fixtures, CLIENTS, |fixture| {
        let Some(plaintext) = &fixture.plaintext else {
            return Some("fixture has no plaintext".into());
        };
        fixture.passphrases.iter().find_map(|passphrase| {
            let response = server.decrypt_bytes(passphrase, &fixture.message);
            let opened = response.status == 200 && response.body == *plaintext;
            (!opened).then(|| {
                format!(
                    "{}: {}",
                    response.status,
                    String::from_utf8_lossy(&response.body)
                )
            })
        })
    });
    assert!(
        failures.is_empty(),
        "{} of {file}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Makes a test for each maker, and the list of their files.
macro_rules! makers {
    ($($name:ident: $file:literal, $at_least:literal;)+) => {
        /// The files with messages that open, one per maker.
        pub(crate) const MAKERS: &[&str] = &[$($file),+];
        $(#[test] fn $name() { all_open($file, $at_least); })+
    };
}

makers! {
    gnupg_2_2_messages_open: "gnupg-2.2.jsonl", 1000;
    gnupg_2_4_messages_open: "gnupg-2.4.jsonl", 600;
    sequoia_messages_open: "sequoia.jsonl", 270;
    sqop_messages_open: "sqop.jsonl", 20;
    gosop_messages_open: "gosop.jsonl", 30;
    rnp_messages_open: "rnp.jsonl", 370;
    openpgpjs_messages_open: "openpgpjs.jsonl", 300;
}

#[test]
fn rejected_fixtures_return_their_codes() {
    let fixtures = fixtures::read("refused.jsonl");
    assert!(fixtures.len() >= 90);
    let server = Server::shared();
    let failures = fixtures::each(&fixtures, CLIENTS, |fixture| {
        let passphrase = fixture.passphrases.first().map_or("any", String::as_str);
        let response = server.decrypt(passphrase, &fixture.message);
        let code = response.json()["code"].as_str().map(str::to_owned);
        (code != fixture.expect).then(|| {
            format!(
                "expected {:?}: {}",
                fixture.expect,
                String::from_utf8_lossy(&response.body)
            )
        })
    });
    assert!(
        failures.is_empty(),
        "{}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn rfc_samples_open_with_a_higher_limit() {
    let raised = Server::start(&["--argon2-memory-max", "2GiB", "--decrypt-timeout", "60s"]);
    for fixture in fixtures::read("rfc9580.jsonl") {
        let passphrase = &fixture.passphrases[0];
        let rejected = Server::shared().decrypt(passphrase, &fixture.message);
        match &fixture.expect {
            None => assert_eq!(rejected.status, 200, "{}", fixture.name),
            Some(code) => {
                assert_eq!(rejected.problem(), *code, "{}", fixture.name);
                let detail = rejected.json()["detail"].to_string();
                assert!(
                    detail.contains("2097152 KiB") && detail.contains("--argon2-memory-max"),
                    "{detail}"
                );
            }
        }
        let opened = raised.decrypt_bytes(passphrase, &fixture.message);
        assert_eq!(opened.status, 200, "{}", fixture.name);
        assert_eq!(Some(opened.body), fixture.plaintext, "{}", fixture.name);
    }
}

#[test]
fn default_gnupg_messages_open() {
    for file in ["bench/default.asc", "bench/sha256.asc"] {
        let response = Server::shared().decrypt("topsecret", &fixtures::text(file));
        assert_eq!(
            response.json()["DecryptedMessage"],
            "Nice work!\n",
            "{file}"
        );
    }
}
