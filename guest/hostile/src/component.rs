//! The misbehaviours of the hostile component.

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
        world: "bulkhead:decrypt/decrypt",
        generate_all,
        export_macro_name: "export",
    });
}

use bindings::bulkhead::crypto::{bulk, kdf};
use bindings::exports::bulkhead::component::about;
use bindings::exports::bulkhead::decrypt::decryptor::{Evidence, Guest, Limits, Opened, Rejection};
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::component::bindings::export!(Component with_types_in crate::component::bindings);
    use super::Component;
}

/// Returns bytes that this component's code and constants do not contain.
fn mark() -> [u8; 32] {
    std::array::from_fn(|at| black_box(0xa5) ^ u8::try_from(at).unwrap_or_default())
}

impl Guest for Component {
    fn open(message: Vec<u8>, passphrase: Vec<u8>, _limits: Limits) -> Result<Opened, Rejection> {
        let passphrase = String::from_utf8_lossy(&passphrase);
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let response = match message.as_slice() {
            b"loop" => loop {
                black_box(());
            },
            b"recurse" => recurse(0),
            b"frames" => frames(0),
            b"grow" => grow(),
            b"handles" => handles(),
            b"trap" => std::arch::wasm32::unreachable(),
            b"panic" => panic!("the passphrase is {passphrase}"),
            b"exit" => std::process::exit(0),
            b"print" => print(&passphrase),
            b"derive" => derive(),
            b"copy" => copy(),
            b"count" => (CALLS.fetch_add(1, Ordering::Relaxed) + 1).to_string(),
            b"mark" => mark_memory(),
            b"search" => search_memory().to_string(),
            b"environment" => format!("{} {}", std::env::vars().count(), std::env::args().count()),
            _ => return Err(Rejection::NotOpenpgp(Evidence::Nothing)),
        };
        Ok(Opened {
            plaintext: response.into_bytes(),
            is_openpgp: false,
        })
    }
}

/// Exhausts the call stack, which the host limits.
fn recurse(depth: u64) -> String {
    match black_box(depth) {
        u64::MAX => String::new(),
        depth => black_box(recurse)(depth + 1) + "!",
    }
}

/// Exhausts the value stack in the guest's own memory.
fn frames(depth: u64) -> String {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX {
        return String::new();
    }
    let deeper = frames(depth + 1);
    black_box(frame);
    deeper
}

/// Allocates memory until no more is available.
fn grow() -> String {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Opens handles without closing them.
fn handles() -> String {
    for _ in 0..1_000_000 {
        std::mem::forget(wasip2::cli::stdout::get_stdout());
    }
    "a million handles".into()
}

/// Writes megabytes, with the passphrase, to both outputs.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the component is hostile on purpose"
)]
fn print(passphrase: &str) -> String {
    for _ in 0..10_000 {
        println!("{passphrase} {}", "x".repeat(4096));
        eprintln!("{passphrase} {}", "x".repeat(4096));
    }
    "printed".into()
}

/// Derives keys until the limit of the host is reached.
fn derive() -> String {
    for calls in 0_u32.. {
        match kdf::s2k(kdf::Hash::Sha1, b"12345678", b"p", 1 << 20, 20) {
            Ok(_) => {}
            Err(kdf::Rejection::OverLimit(excess)) => {
                return format!("{calls} {}", excess.requested);
            }
            Err(kdf::Rejection::Invalid) => return "invalid".into(),
        }
    }
    String::new()
}

/// Makes the host copy more in one call than any message needs.
fn copy() -> String {
    bulk::sha1(&vec![0; 100 << 20]).len().to_string()
}

/// Leaves the mark in memory that the component did not have at its start.
fn mark_memory() -> String {
    let marks = mark().repeat(1 << 16);
    std::mem::forget(black_box(marks));
    "marked".into()
}

/// Counts the marks in this instance's memory and in memory that is added now.
#[expect(
    unsafe_code,
    reason = "reads all of its own linear memory, allocated or not"
)]
fn search_memory() -> usize {
    use std::arch::wasm32::{memory_grow, memory_size};
    const PAGE_BYTES: usize = 65_536;
    memory_grow(0, 64);
    let bytes = memory_size(0) * PAGE_BYTES;
    // SAFETY: linear memory is readable up to its size, and nothing else runs at the same time. The slice begins after
    // address 0, which is not a valid reference.
    let memory = unsafe { std::slice::from_raw_parts(8 as *const u8, bytes - 8) };
    let mark = mark();
    memory
        .windows(mark.len())
        .filter(|bytes| **bytes == mark)
        .count()
}

impl about::Guest for Component {
    fn describe() -> about::Description {
        about::Description {
            name: "hostile".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Misbehaves on demand".into(),
        }
    }

    fn self_test() -> Result<(), String> {
        Err("it is hostile".into())
    }
}
