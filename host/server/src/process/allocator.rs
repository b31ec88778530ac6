//! An allocator that maps each large buffer separately, in large pages, and returns it to the kernel when
//! it is freed.
//!
//! Bodies and plaintexts can have megabytes, and a message needs several such buffers. The kernel provides
//! memory page by page at the first access. With pages of 4 KiB, that took more than a third of the time
//! for a message of 10 MB. Therefore buffers of at least [`LARGE_BYTES`] are aligned to large pages. The
//! allocator requests large pages (madvise(2), `MADV_HUGEPAGE`), because most distributions provide them
//! only on request. Such buffers do not grow in place, because the kernel splits large pages when it moves
//! them (mremap(2)).
//!
//! At first, glibc maps smaller buffers separately, too. But each freed buffer raises its threshold for
//! that, up to 32 MiB. Buffers below the threshold come from heaps, where a small block behind a freed
//! buffer keeps the memory in use. Therefore this module sets a fixed threshold (mallopt(3),
//! `M_MMAP_THRESHOLD`).
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement, and mmap(2), madvise(2) and mallopt(3) have no safe wrappers"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Minimum size of buffers in large pages. With fewer than two pages the cost exceeds the benefit.
const LARGE_BYTES: usize = 4 << 20;

/// Minimum size of smaller buffers that glibc maps separately.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES: libc::c_int = 256 << 10;

/// Whether large pages are requested. They are requested only in the process that serves. The process that
/// compiles components runs the same program with limits on memory and time, and large pages would change
/// when it reaches them.
static WANTED: AtomicBool = AtomicBool::new(false);

/// The system's allocator, except for large buffers.
pub(crate) struct LargePages;

// SAFETY: a block comes either from the system's allocator or from a mapping. Only its layout decides which
// one, so that the same one frees it. `realloc` copies between the two as many bytes as fit into both
// blocks.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match mapping::mapped_bytes(layout) {
            Some(bytes) => mapping::map(bytes),
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match mapping::mapped_bytes(layout) {
            // New memory from the kernel contains only zeros.
            Some(bytes) => mapping::map(bytes),
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match mapping::mapped_bytes(layout) {
            // SAFETY: `alloc` mapped the block for the same layout, and the caller does not use it any more.
            Some(bytes) => unsafe { mapping::unmap(block, bytes) },
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller promises that `bytes` does not overflow when rounded up.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        let (old, new) = (mapping::mapped_bytes(layout), mapping::mapped_bytes(wanted));
        if old.is_none() && new.is_none() {
            // SAFETY: the caller's promises are passed on.
            return unsafe { System.realloc(block, layout, bytes) };
        }
        if old == new {
            return block;
        }
        // SAFETY: the caller promises that `wanted` is not empty.
        let other = unsafe { self.alloc(wanted) };
        if !other.is_null() {
            // SAFETY: both blocks have at least as many bytes as are copied, and a new block does not
            // overlap with another. The caller does not use the old block after this call.
            unsafe {
                block.copy_to_nonoverlapping(other, layout.size().min(bytes));
                self.dealloc(block, layout);
            }
        }
        other
    }
}

/// Returns the memory in use by a buffer that contains `bytes` bytes and has the given capacity, in bytes.
pub(crate) fn footprint(bytes: usize, capacity: usize) -> usize {
    let layout = Layout::array::<u8>(capacity);
    match layout.ok().and_then(mapping::mapped_bytes) {
        Some(_) => bytes.next_multiple_of(mapping::PAGE_BYTES),
        None => bytes,
    }
}

#[cfg(target_os = "linux")]
mod mapping {
    use super::{LARGE_BYTES, Layout, Ordering, WANTED};
    use std::ptr;

    /// The size of a large page of x86-64, and of aarch64 with small pages of 4 KiB.
    pub(super) const PAGE_BYTES: usize = 2 << 20;

    /// Returns the size of the mapping for a block of the given layout, in bytes of whole pages, or `None`
    /// if the block comes from the system's allocator.
    pub(super) fn mapped_bytes(layout: Layout) -> Option<usize> {
        (layout.size() >= LARGE_BYTES && layout.align() <= PAGE_BYTES)
            .then(|| layout.size().next_multiple_of(PAGE_BYTES))
    }

    /// Maps `bytes` bytes, which are whole pages, from the beginning of a page. Returns null if there is no
    /// memory.
    #[cold]
    pub(super) fn map(bytes: usize) -> *mut u8 {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // The kernel aligns the mapping to small pages. The excess at both ends is unmapped.
        let span = bytes + PAGE_BYTES;
        // SAFETY: the kernel chooses the address of the new mapping, so that it does not affect other memory.
        let start = unsafe { libc::mmap(ptr::null_mut(), span, access, private, -1, 0) };
        if start == libc::MAP_FAILED {
            return ptr::null_mut();
        }
        let start = start.cast::<u8>();
        let before = start.align_offset(PAGE_BYTES);
        // SAFETY: all ranges lie in the new mapping, to which no other pointer exists. `before` is less
        // than a page, so that at least `bytes` bytes follow. The advice does not change the content of
        // memory. It fails without effect if there are no large pages.
        unsafe {
            let block = start.add(before);
            unmap(start, before);
            unmap(block.add(bytes), PAGE_BYTES - before);
            if WANTED.load(Ordering::Relaxed) {
                libc::madvise(block.cast(), bytes, libc::MADV_HUGEPAGE);
            }
            block
        }
    }

    /// Unmaps `bytes` bytes from `block` on. Does nothing if `bytes` is 0.
    ///
    /// # Safety
    /// The range lies in a mapping from [`map`] and is not used any more.
    #[cold]
    pub(super) unsafe fn unmap(block: *mut u8, bytes: usize) {
        if bytes > 0 {
            // SAFETY: the caller promises it. If the call fails, the memory remains mapped and unused.
            unsafe { libc::munmap(block.cast(), bytes) };
        }
    }
}

/// On other systems, all blocks come from the system's allocator.
#[cfg(not(target_os = "linux"))]
mod mapping {
    pub(super) const PAGE_BYTES: usize = 1;

    pub(super) fn mapped_bytes(_: super::Layout) -> Option<usize> {
        None
    }

    pub(super) fn map(_: usize) -> *mut u8 {
        std::ptr::null_mut()
    }

    pub(super) unsafe fn unmap(_: *mut u8, _: usize) {}
}

/// Enables large pages and sets glibc's threshold. Call it once, at the start of a process that serves.
pub(crate) fn set_up() {
    WANTED.store(true, Ordering::Relaxed);
    return_large_buffers();
}

#[cfg(target_env = "gnu")]
fn return_large_buffers() {
    // SAFETY: the call takes two integers and changes only settings of the allocator. It is made before
    // another thread is started.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES) };
    if set == 0 {
        tracing::warn!("cannot set the threshold of mallopt; freed buffers may stay in memory");
    }
}

/// Other C libraries always map large buffers separately.
#[cfg(not(target_env = "gnu"))]
fn return_large_buffers() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the memory of this process in large pages, in bytes.
    fn in_large_pages() -> u64 {
        let rollup =
            std::fs::read_to_string("/proc/self/smaps_rollup").expect("system should be Linux");
        let line = rollup
            .lines()
            .find(|line| line.starts_with("AnonHugePages:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        1024 * kib
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("file should contain a number")
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
        // The buffer contains at least one large page, wherever it begins, and all of it is written.
        let buffer = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert!(in_large_pages() > before, "a large page should be in use");
        drop(buffer);
    }

    #[test]
    fn content_is_unchanged_after_reallocation() {
        let mut text: Vec<u8> = (0..=255).collect();
        while text.len() < 8 * LARGE_BYTES {
            text.extend_from_within(..);
            text.shrink_to_fit();
        }
        for bytes in [text.len(), 3 * LARGE_BYTES + 1, LARGE_BYTES, 1000] {
            text.truncate(bytes);
            text.shrink_to_fit();
            assert!(text.iter().zip((0..=255).cycle()).all(|(a, b)| *a == b));
        }
        assert!(vec![0_u8; 3 * LARGE_BYTES].iter().all(|byte| *byte == 0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn large_buffer_is_aligned_to_pages_and_unmapped_completely() {
        // The test checks addresses and not the size of the process, because other tests change the size.
        let mapped = |address: usize| {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("system should be Linux");
            maps.lines().any(|line| {
                let (from, to) = line
                    .split_once(' ')
                    .and_then(|(range, _)| range.split_once('-'))
                    .expect("line should begin with a range");
                let [from, to] = [from, to].map(|end| {
                    usize::from_str_radix(end, 16).expect("address should be hexadecimal")
                });
                (from..to).contains(&address)
            })
        };
        let bytes = (512 << 20) + 1;
        let buffer = std::hint::black_box(vec![0_u8; bytes]);
        let start = buffer.as_ptr().addr();
        assert_eq!(start % (2 << 20), 0);
        assert!(mapped(start) && mapped(start + bytes - 1));
        drop(buffer);
        // Other tests do not fill so large a gap at once.
        assert!(!mapped(start + bytes / 2));
    }
}
