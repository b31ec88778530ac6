//! Large buffers: mapped by themselves, in large pages, and back with the kernel as soon as they
//! are freed.
//!
//! Bodies and plaintexts have megabytes, and several buffers of that size are made for a message.
//! The kernel hands memory out page by page when it is first touched, and in pages of 4 KiB that
//! took more than a third of the time of a message of 10 MB. So buffers from [`LARGE_OCTETS`] on
//! begin and end where a large page does, and large pages are asked for (madvise(2),
//! `MADV_HUGEPAGE`): most distributions give them on demand only. Nor do such buffers grow in place:
//! what the kernel moves (mremap(2)) it cuts into small pages again.
//!
//! Below that, glibc maps a buffer by itself at first, but raises the threshold for doing so with
//! each one freed, up to 32 MiB; from then on such buffers come from its heaps, where a small block
//! behind a freed one keeps it resident. A threshold that is set once stays (mallopt(3),
//! `M_MMAP_THRESHOLD`).
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement, and mmap(2), madvise(2) and mallopt(3) have no safe wrappers"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Buffers from this size on are to have large pages: some of these, or it does not pay.
const LARGE_OCTETS: usize = 4 << 20;

/// Smaller buffers are mapped by themselves from this size on.
#[cfg(target_env = "gnu")]
const MAPPED_OCTETS: libc::c_int = 256 << 10;

/// Whether this process serves. What compiles components is the same program, under limits on
/// memory and time which it would reach otherwise than expected.
static WANTED: AtomicBool = AtomicBool::new(false);

/// The system's allocator, but for large buffers.
pub(crate) struct LargePages;

// SAFETY: a block is either the system's or a mapping, which its layout alone decides; so what gave
// it is what takes it back. `realloc` moves between the two with a copy of what both have room for.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match mapping::octets_of(layout) {
            Some(octets) => mapping::map(octets),
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match mapping::octets_of(layout) {
            // Fresh from the kernel, which gives nothing but zeros.
            Some(octets) => mapping::map(octets),
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match mapping::octets_of(layout) {
            // SAFETY: `alloc` has mapped it for the same layout, and the caller is done with it.
            Some(octets) => unsafe { mapping::unmap(block, octets) },
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        // SAFETY: the caller promises that `octets` does not overflow when rounded up.
        let wanted = unsafe { Layout::from_size_align_unchecked(octets, layout.align()) };
        let (is, shall) = (mapping::octets_of(layout), mapping::octets_of(wanted));
        if is.is_none() && shall.is_none() {
            // SAFETY: the caller's promises are passed on.
            return unsafe { System.realloc(block, layout, octets) };
        }
        if is == shall {
            return block;
        }
        // SAFETY: `wanted` is not empty, as the caller promises.
        let other = unsafe { self.alloc(wanted) };
        if !other.is_null() {
            // SAFETY: both blocks have so many octets, and a new one overlaps with nothing. The old
            // one is the caller's no more when this returns.
            unsafe {
                block.copy_to_nonoverlapping(other, layout.size().min(octets));
                self.dealloc(block, layout);
            }
        }
        other
    }
}

/// What a buffer with room for `capacity` octets takes of memory when it holds `octets`.
pub(crate) fn footprint(octets: usize, capacity: usize) -> usize {
    let layout = Layout::array::<u8>(capacity);
    match layout.ok().and_then(mapping::octets_of) {
        Some(_) => octets.next_multiple_of(mapping::PAGE_OCTETS),
        None => octets,
    }
}

#[cfg(target_os = "linux")]
mod mapping {
    use super::{LARGE_OCTETS, Layout, Ordering, WANTED};
    use std::ptr;

    /// A large page, as x86-64 and aarch64 (with small pages of 4 KiB) have it.
    pub(super) const PAGE_OCTETS: usize = 2 << 20;

    /// Octets of the mapping for a block of this layout, whole pages; `None` if it is the system's.
    pub(super) fn octets_of(layout: Layout) -> Option<usize> {
        (layout.size() >= LARGE_OCTETS && layout.align() <= PAGE_OCTETS)
            .then(|| layout.size().next_multiple_of(PAGE_OCTETS))
    }

    /// Maps `octets`, whole pages, from the beginning of a page on; null if there is no memory.
    #[cold]
    pub(super) fn map(octets: usize) -> *mut u8 {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // The kernel aligns to small pages; what is too much at both ends is given back.
        let span = octets + PAGE_OCTETS;
        // SAFETY: a new mapping wherever there is room: no memory of anybody is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), span, access, private, -1, 0) };
        if start == libc::MAP_FAILED {
            return ptr::null_mut();
        }
        let start = start.cast::<u8>();
        let before = start.align_offset(PAGE_OCTETS);
        // SAFETY: all of it lies in the new mapping, which nobody knows of yet: `before` is less than
        // a page, so that `octets` follow. The advice changes nothing but how the kernel backs them;
        // where there are no large pages it fails, and nothing is lost.
        unsafe {
            let block = start.add(before);
            unmap(start, before);
            unmap(block.add(octets), PAGE_OCTETS - before);
            if WANTED.load(Ordering::Relaxed) {
                libc::madvise(block.cast(), octets, libc::MADV_HUGEPAGE);
            }
            block
        }
    }

    /// Gives `octets` from `block` on back; none if there are none.
    ///
    /// # Safety
    /// They are (a part of) what [`map`] has mapped, and nobody uses them any more.
    #[cold]
    pub(super) unsafe fn unmap(block: *mut u8, octets: usize) {
        if octets > 0 {
            // SAFETY: as above. If the kernel refuses, the memory is lost, but nobody's.
            unsafe { libc::munmap(block.cast(), octets) };
        }
    }
}

/// Elsewhere all blocks are the system's.
#[cfg(not(target_os = "linux"))]
mod mapping {
    pub(super) const PAGE_OCTETS: usize = 1;

    pub(super) fn octets_of(_: super::Layout) -> Option<usize> {
        None
    }

    pub(super) fn map(_: usize) -> *mut u8 {
        std::ptr::null_mut()
    }

    pub(super) unsafe fn unmap(_: *mut u8, _: usize) {}
}

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
        let mut text: Vec<u8> = (0..=255).collect();
        while text.len() < 8 * LARGE_OCTETS {
            text.extend_from_within(..);
            text.shrink_to_fit();
        }
        for octets in [text.len(), 3 * LARGE_OCTETS + 1, LARGE_OCTETS, 1000] {
            text.truncate(octets);
            text.shrink_to_fit();
            assert!(text.iter().zip((0..=255).cycle()).all(|(a, b)| *a == b));
        }
        assert!(vec![0_u8; 3 * LARGE_OCTETS].iter().all(|octet| *octet == 0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn large_buffers_begin_with_a_page_and_go_back_whole() {
        // Addresses rather than the size of the process, which other tests change.
        let mapped = |address: usize| {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
            maps.lines().any(|line| {
                let (from, to) = line
                    .split_once(' ')
                    .and_then(|(range, _)| range.split_once('-'))
                    .expect("a range");
                let [from, to] = [from, to].map(|end| usize::from_str_radix(end, 16));
                (from.expect("hexadecimal")..to.expect("hexadecimal")).contains(&address)
            })
        };
        let octets = (512 << 20) + 1;
        let buffer = std::hint::black_box(vec![0_u8; octets]);
        let start = buffer.as_ptr().addr();
        assert_eq!(start % (2 << 20), 0);
        assert!(mapped(start) && mapped(start + octets - 1));
        drop(buffer);
        // So large a hole is not filled at once by what other tests ask for.
        assert!(!mapped(start + octets / 2));
    }
}
