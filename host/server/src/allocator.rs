//! Large buffers: they come in large pages, and go back to the kernel as soon as they are freed.
//!
//! Bodies and plaintexts have megabytes, and several buffers of that size are made for a message. The
//! kernel hands memory out page by page when it is first touched, and in pages of 4 KiB that took
//! more than a third of the time of a message of 10 MB. So it is asked for large pages
//! (madvise(2), `MADV_HUGEPAGE`), which most distributions give only on demand.
//!
//! glibc maps a buffer of that size by itself at first, but raises the threshold for doing so with
//! each one freed, up to 32 MiB; from then on such buffers come from its heaps, where a small block
//! behind a freed one keeps it resident. A threshold that is set once stays (mallopt(3),
//! `M_MMAP_THRESHOLD`).
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement, and mallopt(3) and madvise(2) have no safe wrappers"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Buffers from this size on are mapped by themselves.
#[cfg(target_env = "gnu")]
const MAPPED_OCTETS: libc::c_int = 256 << 10;

/// Buffers from this size on are to have large pages: some of these, or it does not pay.
const LARGE_OCTETS: usize = 4 << 20;

/// Whether this process serves. What compiles components is the same program, under limits on memory and
/// time which it would reach otherwise than expected.
static WANTED: AtomicBool = AtomicBool::new(false);

/// The smallest page there is.
const PAGE_OCTETS: usize = 4096;

/// The system's allocator, but for the advice about large buffers.
pub(crate) struct LargePages;

// SAFETY: all is done by the system's allocator, with the very arguments. What is added changes
// neither what a block holds nor where it is.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        advised(unsafe { System.realloc(block, layout, octets) }, octets)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The block, for which the kernel was asked for large pages if it is a large one.
#[inline]
fn advised(block: *mut u8, octets: usize) -> *mut u8 {
    if octets >= LARGE_OCTETS && !block.is_null() && WANTED.load(Ordering::Relaxed) {
        ask_for_large_pages(block, octets);
    }
    block
}

#[cfg(target_os = "linux")]
#[cold]
fn ask_for_large_pages(block: *mut u8, octets: usize) {
    // Whole pages of the block only: others may belong to somebody else.
    let before = block.align_offset(PAGE_OCTETS);
    let whole = octets.saturating_sub(before) / PAGE_OCTETS * PAGE_OCTETS;
    // SAFETY: the range lies within the block. The advice changes nothing but how the kernel backs
    // it; where there are no large pages it fails, and nothing is lost.
    unsafe {
        libc::madvise(block.add(before).cast(), whole, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_block: *mut u8, _octets: usize) {}

/// To be called once, at the start of what serves.
pub(crate) fn set_up() {
    WANTED.store(true, Ordering::Relaxed);
    return_large_buffers();
}

#[cfg(target_env = "gnu")]
fn return_large_buffers() {
    // SAFETY: takes two integers and touches the allocator's own settings only; called before any
    // other thread is started.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_OCTETS) };
    if set == 0 {
        tracing::warn!("the allocator keeps freed buffers: mallopt refused the threshold");
    }
}

/// Other C libraries map large buffers by themselves.
#[cfg(not(target_env = "gnu"))]
fn return_large_buffers() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets of this process in large pages.
    fn in_large_pages() -> u64 {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
        let line = rollup
            .lines()
            .find(|line| line.starts_with("AnonHugePages:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        1024 * kib
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("a number")
    }

    #[test]
    fn large_buffers_are_in_large_pages() {
        let never = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .map_or(true, |enabled| enabled.contains("[never]"));
        if never {
            return;
        }
        WANTED.store(true, Ordering::Relaxed);
        let before = in_large_pages();
        // Room for one in any case, and all of it touched.
        let buffer = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert!(in_large_pages() > before, "no large page");
        drop(buffer);
    }

    #[test]
    fn blocks_keep_what_they_hold() {
        WANTED.store(true, Ordering::Relaxed);
        let mut text: Vec<u8> = (0..=255).collect();
        while text.len() < 8 * LARGE_OCTETS {
            text.extend_from_within(..);
            text.shrink_to_fit();
        }
        assert!(text.iter().zip((0..=255).cycle()).all(|(a, b)| *a == b));
        assert!(vec![0_u8; 3 * LARGE_OCTETS].iter().all(|octet| *octet == 0));
    }
}
