//! Builds the components of the server. The script depends only on the builder, so that cargo runs it early.

use bulkhead_guest_builder::{Guest, Kind, build};

fn main() {
    build(&[
        Guest::library("DECRYPT", "decrypt"),
        Guest::library("CRYPTO_SOFT", "crypto-soft"),
        Guest {
            // A smaller stack than the default of 1 MiB, because the kernel visits each of its pages when an instance ends.
            linker: &["-zstack-size=32768"],
            ..Guest::library("TOKEN", "token")
        },
        Guest::library("SIGNING", "signing"),
        Guest {
            kind: Kind::Command,
            ..Guest::library("OFFLINE", "offline")
        },
    ]);
}
