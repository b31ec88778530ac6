//! A host of the next compatible version runs a component that was built for the current version.

use super::Contract;
use crate::World;
use crate::engine::{Sandbox, Setup};
use crate::instance::InstanceLimits;
use crate::linked::Linked;
use crate::load::Compiled;
use crate::metrics::ComponentMetrics;
use crate::rejection::RejectionKind;
use bulkhead_test_components::{TRIAL, TRIAL_COMPATIBLE, TRIAL_INCOMPATIBLE};
use std::time::Duration;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package bulkhead:token@0.2.1;
            @since(version = 0.2.0)
            interface authenticator {
                @since(version = 0.2.0)
                enum algorithm { sha1, sha256, sha384, sha512 }
                @since(version = 0.2.0)
                make: func(algorithm: algorithm, secret: list<u8>, body: list<u8>) -> string;
            }
            @since(version = 0.2.0)
            world token {
                @since(version = 0.2.0)
                export authenticator;
            }
        ",
    });
}

use bindings::exports::bulkhead::token::authenticator::{Algorithm, GuestIndices};

const NEXT: Contract = Contract {
    exports: &["bulkhead:token/authenticator@0.2.1"],
    ..World::Token.contract()
};

#[test]
fn component_of_an_older_compatible_version_runs() {
    let setup = Setup {
        memory_bytes_max: 16 << 20,
        instances: 2,
    };
    let sandbox = Sandbox::new(&setup).expect("sandbox should be set up");
    let limits = InstanceLimits {
        memory_bytes: 16 << 20,
        time: Duration::from_secs(10),
    };
    let link = |wasm: &[u8]| {
        let compiled = Compiled::new(wasm).expect("component should compile");
        let loaded = sandbox
            .load_compiled(&compiled)
            .expect("component should be loaded");
        let metrics = ComponentMetrics::unregistered();
        Linked::new(&NEXT, &sandbox, &loaded, limits, metrics)
    };
    // The components were built for 0.2.0 and for 0.2.1.
    for wasm in [TRIAL, TRIAL_COMPATIBLE] {
        let linked = link(wasm).expect("component should link");
        let tokens = linked
            .find(GuestIndices::new)
            .expect("interface should be found");
        let made = linked.call(linked.budget(), 0, |store, instance| {
            let tokens = tokens.load(&mut *store, instance)?;
            tokens.call_make(store, Algorithm::Sha256, b"Jefe", trial::WHICH)
        });
        assert_eq!(made, Ok(trial::version(1)));
    }
    let rejection = link(TRIAL_INCOMPATIBLE)
        .err()
        .expect("0.3.0 should not be compatible");
    assert_eq!(rejection.kind, RejectionKind::Version);
}
