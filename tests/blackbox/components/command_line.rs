//! The command `bulkhead component`.

use super::{ComponentServer, edition};
use bulkhead_test_components::{TRIAL, TRIAL_REACHING};
use bulkhead_tests::server::run;
use bulkhead_wasm::{DECRYPT, SIGNING, TOKEN};
use serde_json::Value;

fn check(name: &str, bytes: &[u8], arguments: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("file should be written");
    let path = path.to_str().expect("path should be UTF-8");
    let output = run(&[&["component", "check", path], arguments].concat(), &[]);
    let text = String::from_utf8(output.stdout).expect("text should be UTF-8");
    (output.status.success(), text)
}

#[test]
fn component_check_accepts_valid_components() {
    for (name, wasm) in [("decrypt", DECRYPT), ("token", TOKEN), ("signing", SIGNING)] {
        let (good, text) = check("any.wasm", wasm, &[]);
        assert!(good, "{text}");
        assert!(
            text.contains(&format!("would be accepted as the {name} component")),
            "{text}"
        );
        let (good, text) = check("any.wasm", wasm, &["--json"]);
        let document: Value = serde_json::from_str(&text).expect("text should be JSON");
        assert!(good && document["accepted"] == true, "{text}");
        assert_eq!(document["component"], name);
        assert_eq!(document["name"], name);
        assert_eq!(document["sha256"].as_str().map(str::len), Some(64));
    }
}

/// Wrong settings say nothing about the file.
#[test]
fn component_check_reports_wrong_settings_separately() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let path = folder.path().join("signing.wasm");
    std::fs::write(&path, SIGNING).expect("file should be written");
    let path = path.to_str().expect("path should be UTF-8");
    let wrong = [("BULKHEAD_UPSTREAM_PUBLIC_KEY", "/nonexistent")];
    let output = run(&["component", "check", path], &wrong);
    let text = String::from_utf8(output.stdout).expect("text should be UTF-8");
    assert!(!output.status.success());
    assert!(
        text.contains("misconfigured") && text.contains("BULKHEAD_UPSTREAM_PUBLIC_KEY"),
        "{text}"
    );
}

#[test]
fn component_check_rejects_what_a_server_rejects() {
    let trap = trial::with_behaviour(TRIAL, "trap");
    let setup = ComponentServer::new();
    for (wasm, code) in [
        (&b"not wasm"[..], "not_a_component"),
        (TRIAL_REACHING, "import"),
        (SIGNING, "world"),
        (&trap, "self_test"),
    ] {
        setup.put("token.wasm", wasm);
        let rejection = setup.wait_for_rejection("token", code, "");
        let reason = rejection["reason"]
            .as_str()
            .expect("reason should be a string");
        let (good, text) = check("token.wasm", wasm, &[]);
        assert!(
            !good && text.contains(reason) && text.contains(code),
            "{text}\n{reason}"
        );
        let (good, text) = check("any.wasm", wasm, &["--as", "token", "--json"]);
        let document: Value = serde_json::from_str(&text).expect("text should be JSON");
        assert!(!good && document["accepted"] == false, "{text}");
        assert_eq!(document["reason"], reason);
        assert_eq!(document["code"], code);
    }
    let (good, text) = check("none.wasm", &empty_component(), &[]);
    assert!(
        !good && text.contains("it does not export the world of"),
        "{text}"
    );
}

/// Returns the smallest component, which has only a preamble.
fn empty_component() -> [u8; 8] {
    *b"\0asm\x0d\0\x01\0"
}

#[test]
fn component_list_shows_active_components() {
    let setup = ComponentServer::with(&[], |folder| {
        std::fs::write(folder.join("token.wasm"), edition(3)).expect("file should be written");
        std::fs::write(folder.join("decrypt.wasm"), b"not wasm").expect("file should be written");
    });
    let address = setup.server.address.to_string();
    let output = run(&["component", "list", "--listen", &address], &[]);
    let text = String::from_utf8(output.stdout).expect("text should be UTF-8");
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&trial::version(3)), "{text}");
    assert!(text.contains("it is not WebAssembly"), "{text}");
    assert!(text.starts_with("name  implementation  version"), "{text}");
    assert!(text.contains("token  trial  "), "{text}");
    let output = run(&["component", "list", "--listen", &address, "--json"], &[]);
    let all: Value = serde_json::from_slice(&output.stdout).expect("text should be JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    drop(setup);
    let output = run(&["component", "list", "--listen", &address], &[]);
    let errors = String::from_utf8(output.stderr).expect("text should be UTF-8");
    assert!(
        !output.status.success() && errors.contains("Is a server running"),
        "{errors}"
    );
}
