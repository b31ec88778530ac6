//! Files that are not taken: what is in force stays, and everybody is told why.

use super::{Place, edition};
use bulkhead_test_components::{TRIAL, TRIAL_MAJOR, TRIAL_REACHING};
use bulkhead_tests::until;
use bulkhead_wasm::{DECRYPT, SIGNING};
use std::fmt::Write as _;
use std::io::Write as _;

#[test]
fn rejected_component_leaves_the_last_good_one_active() {
    let place = Place::new();
    place.put("token.wasm", &edition(1));
    place.wait_for(1);
    let manner = |manner| trial::with_manner(TRIAL, manner);
    for (wasm, code, said) in [
        (b"not wasm".to_vec(), "not_a_component", "not WebAssembly"),
        (TRIAL[..40_000].to_vec(), "invalid", "does not compile"),
        (SIGNING.to_vec(), "world", "looks like a signing component"),
        (DECRYPT.to_vec(), "import", "bulkhead:crypto/"),
        (TRIAL_MAJOR.to_vec(), "version", "authenticator@2.0.0"),
        (TRIAL_REACHING.to_vec(), "import", "wasi:filesystem/types"),
        (manner("trap"), "self_test", "unreachable"),
        (manner("loop"), "self_test", "the time was over"),
        (manner("grow"), "self_test", "the memory limit was reached"),
        (manner("liar"), "known_answers", "is another"),
        (manner("vain"), "description", "control characters"),
    ] {
        place.put("token.wasm", &wasm);
        let refusal = place.wait_for_refusal("token", code, said);
        assert_eq!(refusal["sha256"].as_str().map(str::len), Some(64));
        assert_eq!(place.who(), trial::version(1), "{code}");
        assert_eq!(place.health()["status"], "degraded");
        until("it is logged", || place.server.log().contains(said));
        let metrics = place.server.get("GET", "/metrics").json().to_string();
        assert!(metrics.contains(code), "{metrics}");
    }
    place.put("token.wasm", &edition(2));
    place.wait_for(2);
    assert!(place.state("token")["last_refusal"].is_null());
    place.put("token.wasm", b"not wasm");
    place.wait_for_refusal("token", "not_a_component", "");
    place.remove("token.wasm");
    place.wait_for_built_in();
    assert!(place.state("token")["last_refusal"].is_null());
}

/// Not what an operator should do, and no harm all the same.
#[test]
fn slowly_copied_file_is_accepted_when_complete() {
    let place = Place::new();
    let whole = edition(1);
    let path = place.components().join("token.wasm");
    let (first, rest) = whole.split_at(whole.len() / 2);
    let mut file = std::fs::File::create(&path).expect("made");
    file.write_all(first).expect("written");
    // Nobody is told of it before it is closed; it is found.
    place.wait_for_refusal("token", "invalid", "does not compile");
    place.wait_for_built_in();
    file.write_all(rest).expect("written");
    drop(file);
    place.wait_for(1);
    assert!(place.state("token")["last_refusal"].is_null());
}

#[test]
fn unreadable_file_is_rejected_without_waiting() {
    let octets_max = edition(1).len();
    let most = format!("{octets_max}B");
    let place = Place::with(&[("BULKHEAD_COMPONENT_MAX", &most)], |_| {});
    std::fs::create_dir(place.components().join("token.wasm")).expect("made");
    let refusal = place.wait_for_refusal("token", "unreadable", "");
    assert_eq!(refusal["reason"], "it is not a file");
    std::fs::remove_dir(place.components().join("token.wasm")).expect("removed");
    place.put("token.wasm", &vec![0; octets_max + 1]);
    let reason = format!(
        "it has more than {octets_max} octets; --component-max (BULKHEAD_COMPONENT_MAX) allows more"
    );
    until("it is too large", || {
        place.state("token")["last_refusal"]["reason"] == reason.as_str()
    });
    place.wait_for_built_in();
    place.put("token.wasm", &edition(1));
    place.wait_for(1);
}

/// A misspelt name would otherwise be waited for in vain.
#[test]
fn unknown_file_name_is_reported() {
    let place = Place::new();
    place.put("tokn.wasm", &edition(1));
    until("it is told", || {
        place.health()["components_dir"]["unknown_files"] == serde_json::json!(["tokn.wasm"])
    });
    until("it is logged", || place.server.log().contains("tokn.wasm"));
    assert_eq!(place.health()["status"], "ok");
}

#[test]
fn component_is_accepted_only_if_pinned() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("pins");
    let pin = |editions: &[u64]| {
        let mut text = String::from("# editions\n");
        for number in editions {
            let sum = sha256(&edition(*number));
            writeln!(text, "{sum}  token.wasm").expect("written");
        }
        std::fs::write(&list, text).expect("written");
    };
    pin(&[1]);
    let path = list.to_str().expect("a path of text");
    let variables = [
        ("BULKHEAD_COMPONENTS_PIN", path),
        ("BULKHEAD_COMPONENTS_SCAN", "100ms"),
    ];
    let place = Place::with(&variables, |_| {});
    place.put("token.wasm", &edition(1));
    place.wait_for(1);
    place.put("token.wasm", &edition(2));
    place.wait_for_refusal("token", "not_pinned", "");
    assert_eq!(place.who(), trial::version(1));
    pin(&[1, 2]);
    place.wait_for(2);
    // Taken off the list, it is asked no longer.
    pin(&[1]);
    place.wait_for_built_in();
    place.wait_for_refusal("token", "not_pinned", "");
    place.put("token.wasm", &edition(1));
    place.wait_for(1);
    // A list that says nothing takes nothing off, and nothing new is taken.
    for broken in ["no sum at all\n", ""] {
        if broken.is_empty() {
            std::fs::remove_file(&list).expect("removed");
        } else {
            std::fs::write(&list, broken).expect("written");
        }
        place.wait_for_refusal("token", "not_pinned", "--components-pin");
        until("the list is missed", || {
            let health = place.health();
            health["status"] == "degraded" && health["components_dir"]["status"] == "failing"
        });
        assert_eq!(place.who(), trial::version(1));
        place.put("token.wasm", &edition(2));
        let second = sha256(&edition(2));
        until("the new one is refused", || {
            place.state("token")["last_refusal"]["sha256"] == second.as_str()
        });
        assert_eq!(place.who(), trial::version(1));
        place.put("token.wasm", &edition(1));
        pin(&[1]);
        until("all is well", || place.health()["status"] == "ok");
        assert_eq!(place.who(), trial::version(1));
    }
}

fn sha256(octets: &[u8]) -> String {
    use sha2::Digest as _;
    let mut text = String::new();
    for octet in sha2::Sha256::digest(octets) {
        write!(text, "{octet:02x}").expect("written");
    }
    text
}
