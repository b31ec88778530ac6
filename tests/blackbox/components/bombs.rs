//! Small files that would overload the compiler.

use super::{ComponentServer, edition};
use std::fmt::Write as _;
use std::time::Duration;

/// wasmtime's compiler panics on a typed reference to a function that is never called.
const UNLUCKY: &str = r#"(component
    (import "m" (core module $m
        (type $t (func))
        (export "f" (func (param (ref null $t))))))
    (core instance (instantiate $m)))"#;

/// Returns a component in which each level has two instances of the level below. The compiler
/// creates 2^levels instances.
fn doubling(levels: u32) -> Vec<u8> {
    let mut text = String::from("(component (component $c0)");
    for level in 1..=levels {
        let before = level - 1;
        let _infallible = write!(
            text,
            "(component $c{level} (alias outer 1 $c{before} (component $c)) \
             (instance (instantiate $c)) (instance (instantiate $c)))"
        );
    }
    let _infallible = write!(text, "(instance (instantiate $c{levels})))");
    wat::parse_str(text).expect("bytes should be a component")
}

/// Returns components nested in components.
fn nested(levels: usize) -> Vec<u8> {
    let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 1..levels {
        let mut length = u32::try_from(wasm.len()).expect("length should fit");
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        while length >= 0x80 {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push((length & 0x7f) as u8);
        outer.extend(wasm);
        wasm = outer;
    }
    wasm
}

#[test]
fn component_that_crashes_the_compiler_is_rejected_and_the_next_is_accepted() {
    let setup = ComponentServer::with(
        &[
            ("BULKHEAD_COMPONENT_COMPILE_TIME", "1s"),
            // More memory than the compiler can fill in that time on any machine.
            ("BULKHEAD_COMPONENT_COMPILE_MEMORY", "4GiB"),
        ],
        |folder| {
            let unlucky = wat::parse_str(UNLUCKY).expect("bytes should be a component");
            std::fs::write(folder.join("token.wasm"), unlucky).expect("file should be written");
        },
    );
    setup.wait_for_rejection("token", "invalid", "it crashes the compiler");
    setup.put("token.wasm", &doubling(40));
    setup.wait_for_rejection("token", "too_demanding", "more than 1 s of processor time");
    setup.wait_for_built_in();
    setup.put("token.wasm", &edition(1));
    setup.wait_for(1);
}

#[test]
fn component_over_the_compile_memory_is_rejected_and_the_next_is_accepted() {
    let setup = ComponentServer::with(&[("BULKHEAD_COMPONENT_COMPILE_MEMORY", "512MiB")], |_| {});
    setup.put("token.wasm", &nested(8000));
    setup.wait_for_rejection("token", "too_demanding", "bytes of memory");
    setup.wait_for_built_in();
    assert!(setup.server.resident_bytes() < 200 << 20);
    setup.put("token.wasm", &edition(1));
    setup.wait_for(1);
}

#[test]
fn startup_stops_on_sigterm_while_compiling() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    std::fs::write(folder.path().join("token.wasm"), doubling(40)).expect("file should be written");
    let path = folder.path().to_str().expect("path should be UTF-8");
    let mut child = std::process::Command::new(bulkhead_tests::server::binary())
        .env_clear()
        .args(["--listen", "127.0.0.1:0", "--components-dir", path])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("binary should start");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("stream should be piped"));
    let mut line = String::new();
    while !line.contains("compiling and checking") {
        line.clear();
        let bytes =
            std::io::BufRead::read_line(&mut log, &mut line).expect("line should be readable");
        assert!(bytes > 0, "log should report the compilation");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it should exist");
    let mut status = None;
    bulkhead_tests::until_within(Duration::from_secs(10), "the process ends", || {
        status = child.try_wait().expect("child should be waitable");
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
