//! Builds the components of the server. It depends on nothing but the builder, so that cargo starts it at once.

use bulkhead_guest_builder::{Guest, Kind, build};

fn main() {
    build(&[
        Guest::library("DECRYPT", "decrypt"),
        Guest::library("CRYPTO_SOFT", "crypto-soft"),
        Guest {
            // Instead of 1 MiB: when an instance ends, the kernel looks at each page of its stack.
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
