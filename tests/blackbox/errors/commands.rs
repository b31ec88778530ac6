//! Commands other than `serve` and `check-config`.

use super::Table;
use bulkhead_test_components::{TRIAL, TRIAL_INCOMPATIBLE, TRIAL_REACHING};
use bulkhead_tests::server::run;
use bulkhead_wasm::SIGNING;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

/// The beginning of a component, and of a section that is longer than the file.
const CUT_OFF: &[u8] = b"\0asm\x0d\0\x01\0\x01\x7f";

pub(super) fn add(table: &mut Table) {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let folder = folder.path();
    requests(table, folder);
    healthcheck(table);
    components(table, folder);
}

fn requests(table: &mut Table, folder: &Path) {
    let place = folder.display().to_string();
    let store = format!("sqlite:{place}/store.db");
    let missing = format!("sqlite:{place}/missing.db");
    let run = |arguments: &[&str], store: &str| run(arguments, &[("BULKHEAD_STORE", store)]);
    let made = run(&["migrate"], &store);
    assert!(made.status.success(), "{made:?}");
    let unknown = "0".repeat(44);
    for (situation, arguments, store) in [
        (
            "requests of a store that does not exist",
            &["requests", "list"][..],
            &missing,
        ),
        (
            "request with a malformed id",
            &["requests", "show", "7"],
            &store,
        ),
        (
            "request that does not exist",
            &["requests", "show", &unknown],
            &store,
        ),
        (
            "redelivery of a request that does not exist",
            &["requests", "redeliver", &unknown],
            &store,
        ),
        (
            "unknown kind of requests",
            &["requests", "list", "lost"],
            &store,
        ),
        ("unknown command", &["serv"], &store),
    ] {
        table.failure(situation, &run(arguments, store), &[(&place, "FOLDER")]);
    }
    std::fs::write(folder.join("empty.db"), "").expect("file should be written");
    let empty = format!("sqlite:{place}/empty.db");
    let output = run(&["requests", "list"], &empty);
    table.failure("requests of an empty file", &output, &[(&place, "FOLDER")]);
    let unreachable = run(
        &["requests", "list", "--store-timeout", "1s"],
        "postgres://u@127.0.0.1:1/d",
    );
    table.failure("PostgreSQL that does not run", &unreachable, &[]);
}

fn healthcheck(table: &mut Table) {
    let check = |address: &str| {
        run(
            &["healthcheck", "--timeout", "300ms", "--listen", address],
            &[],
        )
    };
    table.failure("health check without a server", &check("127.0.0.1:1"), &[]);
    for (situation, response) in [
        ("health check of another program", "SSH-2.0 200 banner\r\n"),
        (
            "health check during a drain",
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
        ),
    ] {
        let (address, fake) = fake_server(response);
        table.failure(situation, &check(&address), &[(&address, "127.0.0.1:PORT")]);
        fake.join().expect("thread should not panic");
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
    let address = silent.local_addr().expect("address should be valid");
    let address = address.to_string();
    table.failure(
        "health check of a server that does not respond",
        &check(&address),
        &[(&address, "127.0.0.1:PORT")],
    );
}

/// Starts a server that sends `response` to one client, and returns its address.
fn fake_server(response: &'static str) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
    let address = listener.local_addr().expect("address should be valid");
    let fake = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client should connect");
        // A connection that is closed with unread data is reset.
        let _read = stream
            .read(&mut [0; 1024])
            .expect("a request should arrive");
        stream
            .write_all(response.as_bytes())
            .expect("data should be sent");
    });
    (address.to_string(), fake)
}

fn components(table: &mut Table, folder: &Path) {
    let file = folder.join("token.wasm");
    let place = folder.display().to_string();
    let path = file.display().to_string();
    let behaviour = |name| trial::with_behaviour(TRIAL, name);
    for (situation, wasm) in [
        (
            "component file that is not WebAssembly",
            b"not wasm".to_vec(),
        ),
        ("component file that is cut off", CUT_OFF.to_vec()),
        ("component of another world", SIGNING.to_vec()),
        ("component with a forbidden import", TRIAL_REACHING.to_vec()),
        (
            "component of an incompatible version",
            TRIAL_INCOMPATIBLE.to_vec(),
        ),
        ("component with a wrong result", behaviour("liar")),
        ("component whose self-test fails", behaviour("fail")),
        ("component whose self-test traps", behaviour("trap")),
        (
            "component with control characters in its name",
            behaviour("vain"),
        ),
    ] {
        std::fs::write(&file, wasm).expect("file should be written");
        let output = run(&["component", "check", &path, "--as", "token"], &[]);
        table.failure(situation, &output, &[(&place, "FOLDER")]);
    }
    let missing = format!("{place}/missing.wasm");
    let output = run(&["component", "check", &missing], &[]);
    table.failure(
        "component file that does not exist",
        &output,
        &[(&place, "FOLDER")],
    );
    let output = run(
        &["component", "check", &path],
        &[("BULKHEAD_COMPONENT_MAX", "1KiB")],
    );
    table.failure(
        "component file over the limit",
        &output,
        &[(&place, "FOLDER")],
    );
    let pins = format!("{place}/pins");
    for (situation, content) in [
        ("component that is not pinned", ""),
        ("malformed list of pins", "no sum\n"),
    ] {
        std::fs::write(&pins, content).expect("file should be written");
        let variables = [
            ("BULKHEAD_COMPONENTS_DIR", place.as_str()),
            ("BULKHEAD_COMPONENTS_PIN", &pins),
        ];
        let output = run(&["component", "check", &path, "--as", "token"], &variables);
        table.failure(situation, &output, &[(&place, "FOLDER")]);
    }
    let output = run(&["component", "list", "--listen", "127.0.0.1:1"], &[]);
    table.failure("component list without a server", &output, &[]);
    let (address, fake) = fake_server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let output = run(&["component", "list", "--listen", &address], &[]);
    table.failure(
        "component list of another program",
        &output,
        &[(&address, "127.0.0.1:PORT")],
    );
    fake.join().expect("thread should not panic");
    let output = run(&["component", "export", &path], &[]);
    table.failure("export to a file", &output, &[(&place, "FOLDER")]);
    let output = run(&["component", "export", &format!("{path}/below")], &[]);
    table.failure("export below a file", &output, &[(&place, "FOLDER")]);
    std::fs::write(folder.join("decrypt.wasm"), "other").expect("file should be written");
    let output = run(&["component", "export", &place], &[]);
    table.failure("export over another file", &output, &[(&place, "FOLDER")]);
}
