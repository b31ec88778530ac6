//! Builds the components that only tests use.

use bulkhead_guest_builder::{Guest, build};

fn main() {
    let trial = |constant, features| Guest {
        features,
        ..Guest::library(constant, "trial")
    };
    build(&[
        Guest::library("HOSTILE", "hostile"),
        trial("TRIAL", ""),
        trial("TRIAL_COMPATIBLE", "compatible"),
        trial("TRIAL_INCOMPATIBLE", "incompatible"),
        trial("TRIAL_REACHING", "reaching"),
    ]);
}
