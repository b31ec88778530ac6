//! Lets the C library give large buffers back to the kernel as soon as they are freed.
//!
//! Bodies and plaintexts have megabytes. glibc maps a buffer of that size by itself at first, but
//! raises the threshold for doing so with each one freed, up to 32 MiB; from then on such buffers
//! come from its heaps, where a small block behind a freed one keeps it resident. A threshold that
//! is set once stays (mallopt(3), `M_MMAP_THRESHOLD`). It costs page faults: about a tenth of the
//! time of a message of 10 MB.

/// Buffers from this size on are mapped by themselves.
#[cfg(target_env = "gnu")]
const MAPPED_OCTETS: libc::c_int = 256 << 10;

/// To be called once, at the start.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "there is no safe wrapper of mallopt(3)")]
pub(crate) fn return_large_buffers() {
    // SAFETY: takes two integers and touches the allocator's own settings only; called before any
    // other thread is started.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_OCTETS) };
    if set == 0 {
        tracing::warn!("the allocator keeps freed buffers: mallopt refused the threshold");
    }
}

/// Other C libraries map large buffers by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn return_large_buffers() {}
