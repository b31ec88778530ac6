//! Admission of components: the built-in ones, and variants of a trial component that was built separately.

use super::{TIME, sandbox, within};
use bulkhead_artifacts::{DECRYPT, SIGNING};
use bulkhead_sandbox::{
    Algorithm, Authenticator, Compiled, ComponentMetrics, Decryptor, Description,
    GuestComponent as _, InstanceLimits, Rejection, RejectionKind, Sandbox, verify,
};
use bulkhead_test_components::{
    HOSTILE, TRIAL, TRIAL_COMPATIBLE, TRIAL_INCOMPATIBLE, TRIAL_REACHING,
};
use std::sync::LazyLock;
use std::time::Duration;

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(sandbox);

/// The limits for self-tests that never end.
const SHORT: InstanceLimits = InstanceLimits {
    memory_bytes: 16 << 20,
    time: Duration::from_millis(300),
};

fn token(wasm: &[u8], limits: InstanceLimits) -> Result<(Authenticator, Description), Rejection> {
    let loaded = SANDBOX.load_compiled(&Compiled::new(wasm)?)?;
    let metrics = ComponentMetrics::unregistered();
    let authenticator = Authenticator::new(&SANDBOX, &loaded, limits, metrics)?;
    let description = verify(&authenticator)?;
    Ok((authenticator, description))
}

fn rejected(wasm: &[u8], limits: InstanceLimits) -> Rejection {
    token(wasm, limits)
        .err()
        .expect("component should be rejected")
}

#[test]
fn trial_components_are_admitted_and_called() {
    for wasm in [TRIAL, TRIAL_COMPATIBLE] {
        let (authenticator, description) =
            token(wasm, within(TIME)).expect("component should be admitted");
        assert_eq!(description.name, "trial");
        let made = authenticator.make(Algorithm::Sha256, b"Jefe", trial::WHICH);
        assert_eq!(made, Ok(description.version));
    }
}

#[test]
fn file_is_rejected_if_it_is_not_a_complete_component() {
    let module = wat::parse_str("(module)").expect("text should be WAT");
    for (wasm, kind, said) in [
        (
            &b"hello"[..],
            RejectionKind::NotAComponent,
            "not WebAssembly",
        ),
        (b"", RejectionKind::NotAComponent, "not WebAssembly"),
        (
            &module,
            RejectionKind::NotAComponent,
            "wasm-tools component new",
        ),
        (
            b"\0asm\x0e\0\x01\0",
            RejectionKind::NotAComponent,
            "version",
        ),
        (b"\0asm", RejectionKind::Invalid, "does not compile"),
        (
            &TRIAL[..TRIAL.len() / 2],
            RejectionKind::Invalid,
            "does not compile",
        ),
        (
            &TRIAL[..TRIAL.len() - 1],
            RejectionKind::Invalid,
            "does not compile",
        ),
    ] {
        let rejection = rejected(wasm, within(TIME));
        assert_eq!(rejection.kind, kind, "{rejection}");
        assert!(rejection.reason.contains(said), "{rejection}");
    }
}

#[test]
fn wrong_worlds_versions_and_imports_are_rejected_by_name() {
    for (wasm, kind, said) in [
        (
            DECRYPT.wasm,
            RejectionKind::Import,
            "it imports bulkhead:crypto/",
        ),
        (
            SIGNING.wasm,
            RejectionKind::World,
            "it looks like a signing component",
        ),
        (
            TRIAL_INCOMPATIBLE,
            RejectionKind::Version,
            "bulkhead:token/authenticator@0.3.0",
        ),
        (
            TRIAL_REACHING,
            RejectionKind::Import,
            "wasi:filesystem/types@0.2",
        ),
        (
            TRIAL_REACHING,
            RejectionKind::Import,
            "wasi:sockets/tcp@0.2",
        ),
        (
            TRIAL_REACHING,
            RejectionKind::Import,
            "wasi:clocks/monotonic-clock@0.2",
        ),
    ] {
        let rejection = rejected(wasm, within(TIME));
        assert_eq!(rejection.kind, kind, "{rejection}");
        assert!(rejection.reason.contains(said), "{rejection}");
    }
}

#[test]
fn misbehaving_component_is_rejected_and_quoted_in_one_line() {
    for (manner, kind, said) in [
        ("trap", RejectionKind::SelfTest, "unreachable"),
        (
            "loop",
            RejectionKind::SelfTest,
            "the time limit was reached",
        ),
        (
            "grow",
            RejectionKind::SelfTest,
            "the memory limit was reached",
        ),
        (
            "fail",
            RejectionKind::SelfTest,
            "one of my answers is wrong",
        ),
        ("liar", RejectionKind::KnownAnswers, "HMAC-SHA-1 token"),
        ("vain", RejectionKind::Description, "control characters"),
    ] {
        let rejection = rejected(&trial::with_behaviour(TRIAL, manner), SHORT);
        assert_eq!(rejection.kind, kind, "{manner}: {rejection}");
        assert!(rejection.reason.contains(said), "{manner}: {rejection}");
        assert!(!rejection.reason.contains('\n'), "{manner}: {rejection}");
    }
    let compiled = Compiled::new(HOSTILE).expect("component should compile");
    let loaded = SANDBOX
        .load_compiled(&compiled)
        .expect("component should be loaded");
    let metrics = ComponentMetrics::unregistered();
    let hostile =
        Decryptor::new(&SANDBOX, &loaded, within(TIME), metrics).expect("component should link");
    let rejection = verify(&hostile).expect_err("component should be rejected");
    assert_eq!(rejection.kind, RejectionKind::SelfTest);
}

#[test]
fn component_is_rejected_if_it_needs_more_than_an_instance_may_use() {
    let memories = "(core module $m (memory 1))".to_owned()
        + "(core instance (instantiate $m))".repeat(9).as_str();
    let greedy = wat::parse_str(format!("(component {memories})")).expect("text should be WAT");
    let rejection = rejected(&greedy, within(TIME));
    assert_eq!(rejection.kind, RejectionKind::TooDemanding, "{rejection}");
}
