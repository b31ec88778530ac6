//! What a component has to be to be let in: others that were built apart from ours, in editions.

use super::{TIME, sandbox, within};
use bulkhead_artifacts::{DECRYPT, SIGNING, TOKEN};
use bulkhead_sandbox::{
    Algorithm, Authenticator, Compiled, ComponentMetrics, Decryptor, Description,
    GuestComponent as _, InstanceLimits, Loaded, Refusal, RefusalKind, Sandbox, SigningComponent,
    World, verify,
};
use bulkhead_test_components::{HOSTILE, TRIAL, TRIAL_MAJOR, TRIAL_MINOR, TRIAL_REACHING};
use std::sync::LazyLock;
use std::time::Duration;

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(sandbox);

/// Of a self-test that never ends.
const SHORT: InstanceLimits = InstanceLimits {
    memory_octets: 16 << 20,
    time: Duration::from_millis(300),
};

fn token(wasm: &[u8], limits: InstanceLimits) -> Result<(Authenticator, Description), Refusal> {
    let loaded = SANDBOX.load_compiled(&Compiled::new(wasm)?)?;
    let metrics = ComponentMetrics::unregistered();
    let authenticator = Authenticator::new(&SANDBOX, &loaded, limits, metrics)?;
    let description = verify(&authenticator)?;
    Ok((authenticator, description))
}

fn refused(wasm: &[u8], limits: InstanceLimits) -> Refusal {
    token(wasm, limits).err().expect("refused")
}

#[test]
fn ours_are_let_in() {
    let admit = |world: World, loaded: &Loaded| {
        let metrics = ComponentMetrics::unregistered();
        match world {
            World::Decrypt => verify(&Decryptor::new(&SANDBOX, loaded, within(TIME), metrics)?),
            World::Token => verify(&Authenticator::new(
                &SANDBOX,
                loaded,
                within(TIME),
                metrics,
            )?),
            World::Signing => verify(&SigningComponent::new(
                &SANDBOX,
                loaded,
                within(TIME),
                metrics,
            )?),
        }
    };
    for artifact in [DECRYPT, TOKEN, SIGNING] {
        let compiled = Compiled::new(artifact.wasm).expect("our own component compiles");
        let loaded = SANDBOX.load_compiled(&compiled).expect("an instance fits");
        let world = World::of(&SANDBOX, &loaded).expect("a known world");
        assert_eq!(world.name(), artifact.name);
        let description = admit(world, &loaded).expect("admitted");
        assert_eq!(description.name, artifact.name);
        assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn components_of_others_are_let_in_and_asked() {
    for wasm in [TRIAL, TRIAL_MINOR] {
        let (authenticator, description) = token(wasm, within(TIME)).expect("let in");
        assert_eq!(description.name, "trial");
        let made = authenticator.make(Algorithm::Sha256, b"Jefe", trial::WHICH);
        assert_eq!(made, Ok(description.version));
    }
}

#[test]
fn what_is_no_component_is_refused() {
    let module = wat::parse_str("(module)").expect("a module");
    for (wasm, kind, said) in [
        (&b"hello"[..], RefusalKind::NotAComponent, "not WebAssembly"),
        (b"", RefusalKind::NotAComponent, "not WebAssembly"),
        (
            &module,
            RefusalKind::NotAComponent,
            "wasm-tools component new",
        ),
        (b"\0asm\x0e\0\x01\0", RefusalKind::NotAComponent, "version"),
        (b"\0asm", RefusalKind::Invalid, "does not compile"),
        (
            &TRIAL[..TRIAL.len() / 2],
            RefusalKind::Invalid,
            "does not compile",
        ),
        (
            &TRIAL[..TRIAL.len() - 1],
            RefusalKind::Invalid,
            "does not compile",
        ),
    ] {
        let refusal = refused(wasm, within(TIME));
        assert_eq!(refusal.kind, kind, "{refusal}");
        assert!(refusal.reason.contains(said), "{refusal}");
    }
}

#[test]
fn wrong_worlds_versions_and_imports_are_refused_by_name() {
    for (wasm, kind, said) in [
        (
            DECRYPT.wasm,
            RefusalKind::Import,
            "it imports bulkhead:crypto/",
        ),
        (
            SIGNING.wasm,
            RefusalKind::World,
            "it looks like a signing component",
        ),
        (
            TRIAL_MAJOR,
            RefusalKind::Version,
            "bulkhead:token/authenticator@2.0.0",
        ),
        (
            TRIAL_REACHING,
            RefusalKind::Import,
            "wasi:filesystem/types@0.2",
        ),
        (TRIAL_REACHING, RefusalKind::Import, "wasi:sockets/tcp@0.2"),
        (
            TRIAL_REACHING,
            RefusalKind::Import,
            "wasi:clocks/monotonic-clock@0.2",
        ),
    ] {
        let refusal = refused(wasm, within(TIME));
        assert_eq!(refusal.kind, kind, "{refusal}");
        assert!(refusal.reason.contains(said), "{refusal}");
    }
}

#[test]
fn what_misbehaves_is_refused_and_quoted_in_one_line() {
    for (manner, kind, said) in [
        ("trap", RefusalKind::SelfTest, "unreachable"),
        ("loop", RefusalKind::SelfTest, "the time was over"),
        (
            "grow",
            RefusalKind::SelfTest,
            "the memory limit was reached",
        ),
        ("fail", RefusalKind::SelfTest, "one of my answers is wrong"),
        ("liar", RefusalKind::KnownAnswers, "HMAC-SHA-1 is another"),
        ("vain", RefusalKind::Description, "control characters"),
    ] {
        let refusal = refused(&trial::with_behaviour(TRIAL, manner), SHORT);
        assert_eq!(refusal.kind, kind, "{manner}: {refusal}");
        assert!(refusal.reason.contains(said), "{manner}: {refusal}");
        assert!(!refusal.reason.contains('\n'), "{manner}: {refusal}");
    }
    let loaded = SANDBOX.load_compiled(&Compiled::new(HOSTILE).expect("compiles"));
    let metrics = ComponentMetrics::unregistered();
    let hostile = Decryptor::new(&SANDBOX, &loaded.expect("fits"), within(TIME), metrics);
    let refusal = verify(&hostile.expect("links")).expect_err("refused");
    assert_eq!(refusal.kind, RefusalKind::SelfTest);
}

#[test]
fn what_needs_more_than_an_instance_has_is_refused() {
    let memories = "(core module $m (memory 1))".to_owned()
        + "(core instance (instantiate $m))".repeat(9).as_str();
    let greedy = wat::parse_str(format!("(component {memories})")).expect("a component");
    let refusal = refused(&greedy, within(TIME));
    assert_eq!(refusal.kind, RefusalKind::TooDemanding, "{refusal}");
}
