//! A host of the next minor version, and a component that was built against this one.

use super::{Contract, World};
use crate::engine::{Sandbox, Setup};
use crate::instance::InstanceLimits;
use crate::linked::Linked;
use crate::load::Compiled;
use crate::metrics::ComponentMetrics;
use crate::refusal::RefusalKind;
use bulkhead_test_components::{TRIAL, TRIAL_MAJOR, TRIAL_MINOR};
use std::time::Duration;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package bulkhead:token@1.1.0;
            @since(version = 1.0.0)
            interface authenticator {
                @since(version = 1.0.0)
                enum algorithm { sha1, sha256, sha384, sha512 }
                @since(version = 1.0.0)
                make: func(algorithm: algorithm, secret: list<u8>, body: list<u8>) -> string;
            }
            @since(version = 1.0.0)
            world token {
                @since(version = 1.0.0)
                export authenticator;
            }
        ",
    });
}

use bindings::exports::bulkhead::token::authenticator::{Algorithm, GuestIndices};

const NEXT: Contract = Contract {
    exports: &["bulkhead:token/authenticator@1.1.0"],
    ..World::Token.contract()
};

#[test]
fn a_component_of_an_older_minor_version_runs() {
    let setup = Setup {
        memory_octets_max: 16 << 20,
        instances: 2,
    };
    let sandbox = Sandbox::new(&setup).expect("the kernel gives address space");
    let limits = InstanceLimits {
        memory_octets: 16 << 20,
        time: Duration::from_secs(10),
    };
    let link = |wasm: &[u8]| {
        let compiled = Compiled::new(wasm).expect("it compiles");
        let loaded = sandbox.load_compiled(&compiled).expect("it fits");
        let metrics = ComponentMetrics::unregistered();
        Linked::new(&NEXT, &sandbox, &loaded, limits, metrics)
    };
    // Built against 1.0, and against the very 1.1.
    for wasm in [TRIAL, TRIAL_MINOR] {
        let linked = link(wasm).expect("it is let in");
        let tokens = linked.find(GuestIndices::new).expect("it is found");
        let made = linked.call(linked.budget(), 0, |store, instance| {
            let tokens = tokens.load(&mut *store, instance)?;
            tokens.call_make(store, Algorithm::Sha256, b"Jefe", trial::WHICH)
        });
        assert_eq!(made, Ok(trial::version(1)));
    }
    let refusal = link(TRIAL_MAJOR).err().expect("2.0 is something else");
    assert_eq!(refusal.kind, RefusalKind::Version);
}
