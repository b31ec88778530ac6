//! Random numbers, a few at a time: they are made in memory of the host, on the thread of the call.

use wasmtime::Result;
use wasmtime::component::HasData;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomCtx;

/// Octets in one call. A standard library seeds its hash tables with 16.
const OCTETS_MAX: u64 = 64 << 10;

pub(super) struct Numbers;

impl HasData for Numbers {
    type Data<'a> = Scarce<'a>;
}

/// Those of one instance.
pub(super) struct Scarce<'a>(pub(super) &'a mut WasiRandomCtx);

fn check(octets: u64) -> Result<()> {
    wasmtime::ensure!(
        octets <= OCTETS_MAX,
        "{octets} random octets are asked for at once, {OCTETS_MAX} is the most"
    );
    Ok(())
}

impl random::Host for Scarce<'_> {
    fn get_random_bytes(&mut self, octets: u64) -> Result<Vec<u8>> {
        check(octets)?;
        random::Host::get_random_bytes(self.0, octets)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        random::Host::get_random_u64(self.0)
    }
}

impl insecure::Host for Scarce<'_> {
    fn get_insecure_random_bytes(&mut self, octets: u64) -> Result<Vec<u8>> {
        check(octets)?;
        insecure::Host::get_insecure_random_bytes(self.0, octets)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        insecure::Host::get_insecure_random_u64(self.0)
    }
}

impl insecure_seed::Host for Scarce<'_> {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        insecure_seed::Host::insecure_seed(self.0)
    }
}
