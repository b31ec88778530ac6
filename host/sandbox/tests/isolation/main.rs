//! Isolation of instances: limits, faults, memory and imports.

mod admission;
#[path = "../../../../tests/listed.rs"]
mod listed;
mod signing;

use crate::listed::assert_listed;
use bulkhead_artifacts::{Artifact, DECRYPT};
use bulkhead_envelope::{Evidence, MessageRejection};
use bulkhead_sandbox::{
    CancelFlag, Compiled, ComponentMetrics, DecryptLimits, Decryptor, Fault, GuestComponent as _,
    InstanceLimits, KdfLimits, Loaded, OpenError, OpenRequest, Sandbox, SelfTestError, Setup,
    Source,
};
use bulkhead_test_components::HOSTILE;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SAMPLE: &str = include_str!("../../../../guest/decrypt/src/sample.asc");
const PASSPHRASE: &str = "topsecret";

/// A time limit that only a hostile component reaches, even on a busy machine.
const TIME: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);
const MEMORY_BYTES: usize = 256 << 20;

const LIMITS: DecryptLimits = DecryptLimits {
    plaintext_bytes: 1 << 20,
    compression_layers: 4,
    compression_ratio: 4096,
    session_key_packets: 16,
    armor_header_bytes: 1 << 16,
};
const KDF_LIMITS: KdfLimits = KdfLimits {
    s2k_bytes: 64 << 20,
    argon2_memory_kib: 1024,
    argon2_passes: 3,
};

fn sandbox() -> Sandbox {
    let setup = Setup {
        memory_bytes_max: MEMORY_BYTES,
        instances: 8,
    };
    Sandbox::new(&setup).expect("sandbox should be set up")
}

const fn within(time: Duration) -> InstanceLimits {
    InstanceLimits {
        memory_bytes: MEMORY_BYTES,
        time,
    }
}

fn load(sandbox: &Sandbox, artifact: Artifact, time: Duration) -> Decryptor {
    let loaded = sandbox.load(artifact.wasm, Some(artifact.precompiled));
    link(sandbox, &loaded.expect("component should be loaded"), time)
}

fn load_hostile(sandbox: &Sandbox, time: Duration) -> Decryptor {
    static COMPILED: LazyLock<Compiled> =
        LazyLock::new(|| Compiled::new(HOSTILE).expect("component should compile"));
    let loaded = sandbox.load_compiled(&COMPILED);
    link(sandbox, &loaded.expect("component should be loaded"), time)
}

fn link(sandbox: &Sandbox, loaded: &Loaded, time: Duration) -> Decryptor {
    let metrics = ComponentMetrics::unregistered();
    Decryptor::new(sandbox, loaded, within(time), metrics).expect("component should link")
}

fn open_with(
    decryptor: &Decryptor,
    message: &str,
    cancel: CancelFlag,
) -> Result<String, OpenError> {
    let opened = decryptor.open(OpenRequest {
        message: message.as_bytes(),
        passphrase: PASSPHRASE.as_bytes(),
        limits: LIMITS,
        kdf_limits: KDF_LIMITS,
        cancel,
        kdf_offload: None,
        kdf_charge: None,
    })?;
    Ok(String::from_utf8(opened.plaintext.to_vec()).expect("plaintext should be UTF-8"))
}

fn open(decryptor: &Decryptor, message: &str) -> Result<String, OpenError> {
    open_with(decryptor, message, CancelFlag::default())
}

fn trap(decryptor: &Decryptor, message: &str) -> String {
    match open(decryptor, message) {
        Err(OpenError::Fault(Fault::Trap(text))) => text,
        other => panic!("{message}: no trap, but {other:?}"),
    }
}

#[test]
fn endless_loop_ends_at_the_time_limit() {
    let hostile = load_hostile(&sandbox(), SHORT);
    assert_eq!(
        open(&hostile, "loop"),
        Err(OpenError::Fault(Fault::Deadline))
    );
    assert_listed("instance: endless loop", &Fault::Deadline, &[]);
}

#[test]
fn memory_is_limited() {
    let hostile = load_hostile(&sandbox(), TIME);
    assert_eq!(open(&hostile, "grow"), Err(OpenError::Fault(Fault::Memory)));
    assert_listed("instance: endless memory", &Fault::Memory, &[]);
}

#[test]
fn traps_are_faults_that_do_not_quote_the_input() {
    let hostile = load_hostile(&sandbox(), TIME);
    for (message, expected) in [
        ("recurse", "call stack"),
        ("frames", "out of bounds"),
        ("trap", "unreachable"),
        ("panic", "unreachable"),
        ("handles", ""),
        ("exit", ""),
        ("copy", ""),
    ] {
        let text = trap(&hostile, message);
        assert!(text.contains(expected), "{message}: {text}");
        assert!(!text.contains(PASSPHRASE), "{message}: {text}");
    }
    let trapped = Fault::Trap(trap(&hostile, "trap"));
    assert_listed("instance: trap", &trapped, &[]);
}

#[test]
fn standard_streams_arguments_and_variables_are_empty() {
    let hostile = load_hostile(&sandbox(), TIME);
    assert_eq!(open(&hostile, "print").as_deref(), Ok("printed"));
    assert_eq!(open(&hostile, "environment").as_deref(), Ok("0 0"));
}

#[test]
fn key_derivation_is_counted_over_all_calls() {
    let hostile = load_hostile(&sandbox(), TIME);
    // 64 calls of 1 MiB are within the limit. The 65th is rejected, and its error contains the sum.
    let expected = format!("64 {}", 65 << 20);
    assert_eq!(open(&hostile, "derive"), Ok(expected));
}

#[test]
fn cancelled_instance_ends_long_before_its_time_limit() {
    let hostile = load_hostile(&sandbox(), TIME);
    let cancel = CancelFlag::default();
    let start = Instant::now();
    let ended = std::thread::scope(|scope| {
        let running = scope.spawn(|| open_with(&hostile, "loop", cancel.clone()));
        cancel.cancel();
        running.join().expect("thread should not panic")
    });
    assert_eq!(ended, Err(OpenError::Fault(Fault::Cancelled)));
    assert_listed("instance: disconnected client", &Fault::Cancelled, &[]);
    assert!(start.elapsed() < TIME / 2);
}

#[test]
fn no_state_outlives_a_call() {
    let hostile = load_hostile(&sandbox(), TIME);
    for _ in 0..20 {
        assert_eq!(open(&hostile, "count").as_deref(), Ok("1"));
    }
}

#[test]
fn hostile_instances_do_not_affect_healthy_ones() {
    let sandbox = sandbox();
    let (hostile, healthy) = (load_hostile(&sandbox, SHORT), load(&sandbox, DECRYPT, TIME));
    let quick = "trap panic exit handles recurse count derive environment".split(' ');
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for messages in [vec!["loop"], vec!["grow"], quick.collect()] {
            let (hostile, stop) = (&hostile, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for message in &messages {
                        let _ignored = open(hostile, message);
                    }
                }
            });
        }
        // The other threads must end even if an assertion fails here.
        let healthy_calls = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..200 {
                let about = healthy
                    .describe()
                    .expect("healthy component should describe itself");
                assert_eq!(about.name, "decrypt");
                assert_eq!(
                    open(&healthy, "hello"),
                    Err(OpenError::Rejected(MessageRejection::NotOpenpgp(
                        Evidence::Nothing
                    )))
                );
            }
        }));
        stop.store(true, Ordering::Relaxed);
        healthy_calls.expect("healthy instances should work beside hostile ones");
    });
}

#[test]
fn component_is_compiled_if_its_machine_code_cannot_be_used() {
    let sandbox = sandbox();
    let source = |precompiled| {
        let loaded = sandbox
            .load(DECRYPT.wasm, precompiled)
            .expect("component should be loaded or compiled");
        let decryptor = Decryptor::new(
            &sandbox,
            &loaded,
            within(TIME),
            ComponentMetrics::unregistered(),
        )
        .expect("component should link");
        assert_eq!(open(&decryptor, SAMPLE).as_deref(), Ok("Nice work!\n"));
        loaded.source()
    };
    assert_eq!(source(Some(DECRYPT.precompiled)), Source::Precompiled);
    assert_eq!(source(None), Source::Compiled);
    assert_eq!(source(Some(b"not machine code")), Source::Compiled);
    assert_eq!(source(Some(&DECRYPT.precompiled[..1000])), Source::Compiled);
    assert_eq!(source(Some(for_another_system())), Source::Compiled);
}

/// Returns the machine code of the decrypt component, with the name of another system in its metadata.
fn for_another_system() -> &'static [u8] {
    const OURS: &[u8] = b"-unknown-linux";
    const OTHER: &[u8] = b"-unknown-haiku";
    let mut machine_code = DECRYPT.precompiled.to_vec();
    let at = machine_code
        .windows(OURS.len())
        .position(|bytes| bytes == OURS)
        .expect("metadata should name the target");
    machine_code[at..at + OTHER.len()].copy_from_slice(OTHER);
    machine_code.leak()
}

#[test]
fn machine_code_does_not_depend_on_the_processor_of_the_build() {
    // A build script made the same machine code, perhaps on another processor.
    let again = bulkhead_sandbox::precompile(DECRYPT.wasm).expect("component should compile");
    assert!(again == DECRYPT.precompiled);
    // The metadata contains the name of each extension, its kind (2, a flag) and its value.
    for extension in ["has_avx", "has_avx2", "has_bmi2", "has_fma", "has_avx512f"] {
        let at = again
            .windows(extension.len())
            .position(|bytes| bytes == extension.as_bytes());
        let value = at.map(|at| &again[at + extension.len()..][..2]);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(value, Some(&[2, 0][..]), "{extension}");
        }
    }
}

#[test]
fn components_that_import_more_are_rejected_by_name() {
    let sandbox = sandbox();
    for import in [
        "wasi:filesystem/types@0.2.0",
        "wasi:filesystem/preopens@0.2.0",
        "wasi:sockets/tcp@0.2.0",
        "wasi:clocks/monotonic-clock@0.2.0",
        "wasi:clocks/wall-clock@0.2.0",
        "wasi:http/outgoing-handler@0.2.0",
        "bulkhead:token/maker@0.2.0",
    ] {
        let text = format!(
            r#"(component (import "{import}" (instance (export "now" (func (result u64))))))"#
        );
        let wasm = wat::parse_str(text).expect("text should be WAT");
        let loaded = sandbox.load(&wasm, None).expect("component should compile");
        let rejection = Decryptor::new(
            &sandbox,
            &loaded,
            within(TIME),
            ComponentMetrics::unregistered(),
        )
        .err()
        .expect(import);
        assert!(rejection.reason.contains(import), "{rejection}");
    }
}

#[test]
fn file_is_rejected_if_it_is_not_a_component_of_the_world() {
    let sandbox = sandbox();
    assert!(sandbox.load(b"hello", None).is_err());
    let module = wat::parse_str("(module)").expect("text should be WAT");
    assert!(sandbox.load(&module, None).is_err());
    let empty = wat::parse_str("(component)").expect("text should be WAT");
    let loaded = sandbox
        .load(&empty, None)
        .expect("component should compile");
    let rejection = Decryptor::new(
        &sandbox,
        &loaded,
        within(TIME),
        ComponentMetrics::unregistered(),
    )
    .err()
    .expect("component should be rejected");
    assert!(rejection.reason.contains("bulkhead:"), "{rejection}");
}

#[test]
fn components_describe_and_test_themselves() {
    let sandbox = sandbox();
    let decrypt = load(&sandbox, DECRYPT, TIME);
    let description = decrypt
        .describe()
        .expect("component should describe itself");
    assert_eq!(description.name, "decrypt");
    assert_eq!(decrypt.self_test(), Ok(()));
    let hostile = load_hostile(&sandbox, TIME);
    let failed = SelfTestError::Failed("it is hostile".into());
    assert_eq!(hostile.self_test(), Err(failed));
}
