//! Files that are rejected: the active component stays, and `/health`, the log and the metrics say
//! why.

use super::{ComponentServer, edition};
use bulkhead_test_components::{TRIAL, TRIAL_INCOMPATIBLE, TRIAL_REACHING};
use bulkhead_tests::until;
use bulkhead_wasm::{DECRYPT, SIGNING};
use std::fmt::Write as _;
use std::io::Write as _;

#[test]
fn rejected_component_leaves_the_last_good_one_active() {
    let setup = ComponentServer::new();
    setup.put("token.wasm", &edition(1));
    setup.wait_for(1);
    let manner = |manner| trial::with_behaviour(TRIAL, manner);
    for (wasm, code, said) in [
        (b"not wasm".to_vec(), "not_a_component", "not WebAssembly"),
        (TRIAL[..40_000].to_vec(), "invalid", "does not compile"),
        (SIGNING.to_vec(), "world", "looks like a signing component"),
        (DECRYPT.to_vec(), "import", "bulkhead:crypto/"),
        (
            TRIAL_INCOMPATIBLE.to_vec(),
            "version",
            "authenticator@0.3.0",
        ),
        (TRIAL_REACHING.to_vec(), "import", "wasi:filesystem/types"),
        (manner("trap"), "self_test", "unreachable"),
        (manner("loop"), "self_test", "the time limit was reached"),
        (manner("grow"), "self_test", "the memory limit was reached"),
        (manner("liar"), "known_answers", "HMAC-SHA-1 token"),
        (manner("vain"), "description", "control characters"),
    ] {
        setup.put("token.wasm", &wasm);
        let rejection = setup.wait_for_rejection("token", code, said);
        assert_eq!(rejection["sha256"].as_str().map(str::len), Some(64));
        assert_eq!(setup.active_version(), trial::version(1), "{code}");
        assert_eq!(setup.health()["status"], "degraded");
        until("the log contains it", || setup.server.log().contains(said));
        let metrics = setup.server.get("GET", "/metrics").json().to_string();
        assert!(metrics.contains(code), "{metrics}");
    }
    setup.put("token.wasm", &edition(2));
    setup.wait_for(2);
    assert!(setup.state("token")["last_rejection"].is_null());
    setup.put("token.wasm", b"not wasm");
    setup.wait_for_rejection("token", "not_a_component", "");
    setup.remove("token.wasm");
    setup.wait_for_built_in();
    assert!(setup.state("token")["last_rejection"].is_null());
}

/// Operators should not copy files slowly, but it does no harm.
#[test]
fn slowly_copied_file_is_accepted_when_complete() {
    let setup = ComponentServer::new();
    let whole = edition(1);
    let path = setup.components().join("token.wasm");
    let (first, rest) = whole.split_at(whole.len() / 2);
    let mut file = std::fs::File::create(&path).expect("folder should be created");
    file.write_all(first).expect("file should be written");
    // The write causes no event before the file is closed. The scan finds the file.
    setup.wait_for_rejection("token", "invalid", "does not compile");
    setup.wait_for_built_in();
    file.write_all(rest).expect("file should be written");
    drop(file);
    setup.wait_for(1);
    assert!(setup.state("token")["last_rejection"].is_null());
}

#[test]
fn unreadable_file_is_rejected_without_waiting() {
    let bytes_max = edition(1).len();
    let limit = format!("{bytes_max}B");
    let setup = ComponentServer::with(&[("BULKHEAD_COMPONENT_MAX", &limit)], |_| {});
    std::fs::create_dir(setup.components().join("token.wasm")).expect("folder should be created");
    let rejection = setup.wait_for_rejection("token", "unreadable", "");
    assert_eq!(rejection["reason"], "it is not a regular file");
    std::fs::remove_dir(setup.components().join("token.wasm")).expect("file should be removed");
    setup.put("token.wasm", &vec![0; bytes_max + 1]);
    let reason = format!(
        "it has more than {bytes_max} bytes; raise --component-max (BULKHEAD_COMPONENT_MAX)"
    );
    until("the size is reported", || {
        setup.state("token")["last_rejection"]["reason"] == reason.as_str()
    });
    setup.wait_for_built_in();
    setup.put("token.wasm", &edition(1));
    setup.wait_for(1);
}

/// Without this report, a file with a misspelt name would seem to be ignored for no reason.
#[test]
fn unknown_file_name_is_reported() {
    let setup = ComponentServer::new();
    setup.put("tokn.wasm", &edition(1));
    until("it is reported", || {
        setup.health()["components_dir"]["unknown_files"] == serde_json::json!(["tokn.wasm"])
    });
    until("the log contains it", || {
        setup.server.log().contains("tokn.wasm")
    });
    assert_eq!(setup.health()["status"], "ok");
}

#[test]
fn component_is_accepted_only_if_pinned() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let list = folder.path().join("pins");
    let pin = |editions: &[u64]| {
        let mut text = String::from("# editions\n");
        for number in editions {
            let sum = sha256(&edition(*number));
            writeln!(text, "{sum}  token.wasm").expect("file should be written");
        }
        std::fs::write(&list, text).expect("file should be written");
    };
    pin(&[1]);
    let path = list.to_str().expect("path should be UTF-8");
    let variables = [
        ("BULKHEAD_COMPONENTS_PIN", path),
        ("BULKHEAD_COMPONENTS_SCAN", "100ms"),
    ];
    let setup = ComponentServer::with(&variables, |_| {});
    setup.put("token.wasm", &edition(1));
    setup.wait_for(1);
    setup.put("token.wasm", &edition(2));
    setup.wait_for_rejection("token", "not_pinned", "");
    assert_eq!(setup.active_version(), trial::version(1));
    pin(&[1, 2]);
    setup.wait_for(2);
    // Without its pin, the component is not called any more.
    pin(&[1]);
    setup.wait_for_built_in();
    setup.wait_for_rejection("token", "not_pinned", "");
    setup.put("token.wasm", &edition(1));
    setup.wait_for(1);
    // An invalid list deactivates nothing, and no new component is accepted.
    for broken in ["no sum at all\n", ""] {
        if broken.is_empty() {
            std::fs::remove_file(&list).expect("file should be removed");
        } else {
            std::fs::write(&list, broken).expect("file should be written");
        }
        setup.wait_for_rejection("token", "not_pinned", "--components-pin");
        until("the invalid list is reported", || {
            let health = setup.health();
            health["status"] == "degraded" && health["components_dir"]["status"] == "failing"
        });
        assert_eq!(setup.active_version(), trial::version(1));
        setup.put("token.wasm", &edition(2));
        let second = sha256(&edition(2));
        until("the new file is rejected", || {
            setup.state("token")["last_rejection"]["sha256"] == second.as_str()
        });
        assert_eq!(setup.active_version(), trial::version(1));
        setup.put("token.wasm", &edition(1));
        pin(&[1]);
        until("the status is ok", || setup.health()["status"] == "ok");
        assert_eq!(setup.active_version(), trial::version(1));
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let mut text = String::new();
    for byte in sha2::Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("file should be written");
    }
    text
}
