//! Random numbers, with a limit per call, because they use memory of the host and the thread of the call.

use wasmtime::Result;
use wasmtime::component::HasData;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomCtx;

/// Maximum number of bytes in one call. A standard library seeds its hash tables with 16.
const BYTES_MAX: u64 = 64 << 10;

pub(super) struct Numbers;

impl HasData for Numbers {
    type Data<'a> = Scarce<'a>;
}

/// The random numbers of one instance.
pub(super) struct Scarce<'a>(pub(super) &'a mut WasiRandomCtx);

fn check(bytes: u64) -> Result<()> {
    wasmtime::ensure!(
        bytes <= BYTES_MAX,
        "a call requests {bytes} random bytes; the maximum is {BYTES_MAX}"
    );
    Ok(())
}

impl random::Host for Scarce<'_> {
    fn get_random_bytes(&mut self, bytes: u64) -> Result<Vec<u8>> {
        check(bytes)?;
        random::Host::get_random_bytes(self.0, bytes)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        random::Host::get_random_u64(self.0)
    }
}

impl insecure::Host for Scarce<'_> {
    fn get_insecure_random_bytes(&mut self, bytes: u64) -> Result<Vec<u8>> {
        check(bytes)?;
        insecure::Host::get_insecure_random_bytes(self.0, bytes)
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
