//! Files that are accepted.

use super::{ComponentServer, edition};
use bulkhead_test_components::{TRIAL, TRIAL_COMPATIBLE};
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::request;
use bulkhead_tests::mock::MockUpstream;
use bulkhead_tests::{soak, until};
use bulkhead_wasm::{DECRYPT, SIGNING, TOKEN};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn file_replaces_built_in_component_until_removed() {
    let setup = ComponentServer::new();
    let built_in = setup.state("token");
    assert_eq!(built_in["source"], "built-in");
    setup.wait_for_built_in();
    for number in [1, 2] {
        setup.put("token.wasm", &edition(number));
        setup.wait_for(number);
        let state = setup.state("token");
        assert_eq!(state["version"], trial::version(number));
        assert_eq!(state["description"], "Makes tokens, for tests");
        assert_eq!(state["source"], "file");
        assert_eq!(state["last_rejection"], serde_json::Value::Null);
        let header = setup
            .post_token(b"x")
            .header("bulkhead-component")
            .map(str::to_owned);
        let expected = format!(
            "trial/{}; sha256={}",
            trial::version(number),
            state["sha256"]
                .as_str()
                .expect("checksum should be a string")
        );
        assert_eq!(header, Some(expected));
        let metrics = setup.server.get("GET", "/metrics").json().to_string();
        assert!(metrics.contains(&trial::version(number)), "{metrics}");
        assert!(!metrics.contains(&trial::version(3 - number)), "{metrics}");
    }
    setup.remove("token.wasm");
    setup.wait_for_built_in();
    let state = setup.state("token");
    assert_eq!(state["sha256"], built_in["sha256"]);
    assert_eq!(state["source"], "built-in");
}

#[test]
fn file_present_at_startup_is_active_at_once() {
    let setup = ComponentServer::with(&[], |folder| {
        std::fs::write(folder.join("token.wasm"), TRIAL_COMPATIBLE)
            .expect("file should be written");
        std::fs::write(folder.join("decrypt.wasm"), DECRYPT).expect("file should be written");
    });
    assert_eq!(setup.active_version(), trial::version(1));
    assert_eq!(setup.state("decrypt")["source"], "file");
    let opened = setup.server.decrypt("topsecret", SAMPLE);
    assert_eq!(opened.json()["DecryptedMessage"], "Nice work!\n");
    let header = opened
        .header("bulkhead-component")
        .expect("header should be present");
    assert!(header.starts_with("decrypt/"), "{header}");
}

/// A file that equals the built-in component still counts as a file, so that its removal is
/// noticed.
#[test]
fn built_in_component_can_be_loaded_from_a_file() {
    let setup = ComponentServer::new();
    setup.put("token.wasm", TOKEN);
    until("the file is active", || {
        setup.state("token")["source"] == "file"
    });
    setup.wait_for_built_in();
    setup.remove("token.wasm");
    until("the built-in component is active", || {
        setup.state("token")["source"] == "built-in"
    });
}

/// The layout in which Kubernetes mounts configuration.
#[test]
fn component_behind_symbolic_links_is_swapped_at_once() {
    let setup = ComponentServer::with(&[], |folder| {
        for (version, number) in [("..1", 1), ("..2", 2)] {
            std::fs::create_dir(folder.join(version)).expect("folder should be created");
            let file = folder.join(version).join("token.wasm");
            std::fs::write(file, edition(number)).expect("file should be written");
        }
        symlink("..1", folder.join("..data")).expect("link should be created");
        symlink("..data/token.wasm", folder.join("token.wasm")).expect("link should be created");
    });
    setup.wait_for(1);
    let folder = setup.components();
    symlink("..2", folder.join("..data_tmp")).expect("link should be created");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data"))
        .expect("file should be moved");
    setup.wait_for(2);
}

/// Some file systems report no events. Replacing the folder itself causes no event either.
#[test]
fn folder_scan_finds_changes_without_events() {
    let setup = ComponentServer::with(&[("BULKHEAD_COMPONENTS_SCAN", "100ms")], |_| {});
    setup.put("token.wasm", &edition(1));
    setup.wait_for(1);
    let folder = setup.components();
    std::fs::rename(&folder, folder.with_extension("old")).expect("file should be moved");
    until("the missing folder is reported", || {
        setup.health()["status"] == "degraded"
    });
    assert_eq!(setup.health()["components_dir"]["status"], "failing");
    assert_eq!(
        setup.active_version(),
        trial::version(1),
        "the last component should stay active"
    );
    std::fs::create_dir(&folder).expect("folder should be created");
    setup.wait_for_built_in();
    assert_eq!(setup.health()["status"], "ok");
    setup.put("token.wasm", &edition(2));
    setup.wait_for(2);
}

/// A slow component must not delay other requests.
#[test]
fn slow_component_is_not_called_on_io_threads() {
    let setup = ComponentServer::new();
    let expected = setup.post_token(b"a small body").json();
    let slow = trial::with_behaviour(TRIAL, "slow");
    setup.put("token.wasm", &slow);
    until("the file is active", || {
        setup.state("token")["source"] == "file"
    });
    assert_eq!(setup.post_token(b"a small body").json(), expected);
    assert!(setup.server.log().contains("the token component is slow"));
}

/// Standard streams exist without content, on I/O threads too. The message of a panic goes nowhere.
#[test]
fn component_that_prints_reads_and_panics_affects_no_other_request() {
    let loud = trial::with_behaviour(TRIAL, "loud");
    let setup = ComponentServer::with(&[], |folder| {
        std::fs::write(folder.join("token.wasm"), &loud).expect("file should be written");
    });
    assert_eq!(setup.state("token")["source"], "file");
    let quiet = ComponentServer::new();
    for body in [b"small".to_vec(), vec![b'l'; 1 << 20]] {
        let response = setup.post_token(&body);
        assert_eq!(response.json(), quiet.post_token(&body).json());
    }
    assert_eq!(setup.post_token(b"panic").problem(), "internal");
    assert_eq!(setup.post_token(b"small").status, 200);
    let log = setup.server.log();
    for said in ["good morning", "anybody there", "as loud as can be"] {
        assert!(!log.contains(said), "{log}");
    }
}

#[test]
fn hot_swap_under_load_loses_no_request_and_frees_memory() {
    let upstream = MockUpstream::start(&["--calls", "100", "--window", "1s", "--fail", "0"]);
    let store = tempfile::tempdir().expect("folder should be accessible");
    let store = format!("sqlite:{}", store.path().join("db").display());
    let url = upstream.url();
    let setup = ComponentServer::with(
        &[
            ("BULKHEAD_UPSTREAM_URL", &url),
            ("BULKHEAD_UPSTREAM_API_KEY", "mock-upstream-key"),
            ("BULKHEAD_UPSTREAM_CALLS", "100"),
            ("BULKHEAD_UPSTREAM_WINDOW", "1s"),
            ("BULKHEAD_STORE", &store),
        ],
        |_| {},
    );
    let (stop, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    let count = if soak() { 1000 } else { 25 };
    let steadily = |ask: &(dyn Fn(u64) + Sync)| {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            ask(number);
            requests.fetch_add(1, Ordering::Relaxed);
            // A steady load that leaves time for the compiler.
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let address = setup.server.address;
    let token = || {
        steadily(&|_| {
            let response = setup.post_token(trial::WHICH);
            assert_eq!(response.status, 200, "{response:?}");
            let token = response.json()["token"]
                .as_str()
                .expect("token should be a string")
                .to_owned();
            let header = response
                .header("bulkhead-component")
                .expect("header should be present");
            let by_trial = header.starts_with("trial/");
            assert_eq!(
                by_trial,
                header.contains(&format!("/{token};")),
                "{header} {token}"
            );
        });
    };
    let large = || {
        let body = vec![b'x'; 1 << 20];
        steadily(&|_| {
            let response = request(address, "POST", "/token", &[], &body);
            assert_eq!(response.status, 200, "{response:?}");
        });
    };
    let decrypt = || {
        steadily(&|_| {
            let opened = setup.server.decrypt("topsecret", SAMPLE);
            assert_eq!(opened.status, 200, "{opened:?}");
        });
    };
    let sign = || {
        steadily(&|number| {
            let target = format!("/crypto/sign?message=m{number}");
            let signed = setup.server.get("GET", &target);
            assert!([200, 202].contains(&signed.status), "{signed:?}");
        });
    };
    std::thread::scope(|scope| {
        for client in [&token as &(dyn Fn() + Sync), &large, &decrypt, &sign] {
            scope.spawn(client);
        }
        let swaps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            swap_repeatedly(&setup, count);
        }));
        stop.store(true, Ordering::Relaxed);
        swaps.expect("all swaps should succeed");
    });
    assert!(
        requests.load(Ordering::Relaxed) > count,
        "requests should be sent during the swaps"
    );
}

/// Installs `count` editions one after the other, and checks the memory that they leave behind.
fn swap_repeatedly(setup: &ComponentServer, count: u64) {
    const WARM: u64 = 10;
    const GROWTH_BYTES: u64 = 48 << 20;
    const OTHERS: [(&str, &[u8]); 2] = [("decrypt", DECRYPT), ("signing", SIGNING)];
    let mut before = (0, 0);
    for number in 1..=count + WARM {
        setup.put("token.wasm", &edition(number));
        setup.wait_for(number);
        // The other components alternate between a file and the built-in one. They are larger, so
        // that they do this less often.
        if number % 10 == 0 {
            let is_file = number % 20 == 0;
            for (name, wasm) in OTHERS {
                let file = format!("{name}.wasm");
                if is_file {
                    setup.put(&file, wasm);
                } else if number > 10 {
                    setup.remove(&file);
                }
            }
            let source = if is_file { "file" } else { "built-in" };
            for (name, _) in OTHERS {
                until("the other components follow", || {
                    setup.state(name)["source"] == source
                });
            }
        }
        if number <= WARM {
            // The maximum so far: a thread holds a component's code from its first request, and the
            // previous code until its last request has ended.
            let mappings = setup.server.code_mappings().max(before.1);
            before = (setup.server.resident_bytes(), mappings);
        }
    }
    // The last request on an old component may still be running.
    until("old code is unmapped", || {
        setup.server.code_mappings() <= before.1
    });
    let after = setup.server.resident_bytes();
    assert!(
        after < before.0 + GROWTH_BYTES,
        "memory should not grow from {} to {after} bytes",
        before.0
    );
}
