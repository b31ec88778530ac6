//! A heap that only grows. An instance serves one call, so freeing memory would be of no use. The heap begins inside the
//! component's initial memory, and calls with small bodies do not grow it, because that would take system calls of the host.

#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::{Cell, UnsafeCell};
use core::ptr::null_mut;

/// Initial size of the heap: sufficient for a body of 64 KiB and all other allocations.
const START_BYTES: usize = 96 << 10;
/// Size of a page of Wasm memory.
const PAGE_BYTES: usize = 64 << 10;

#[global_allocator]
static HEAP: Heap = Heap {
    start: UnsafeCell::new([0; START_BYTES]),
    next: Cell::new(0),
    end: Cell::new(0),
};

struct Heap {
    start: UnsafeCell<[u8; START_BYTES]>,
    /// Address of the first free byte; 0 before the first use.
    next: Cell<usize>,
    /// Address after the last byte of the heap.
    end: Cell<usize>,
}

// SAFETY: the component has only one thread.
unsafe impl Sync for Heap {}

// SAFETY: each allocation is a range between `next` and `end` that is returned only once, because both only increase. The
// memory below `end` belongs to this heap alone: it is the array, or pages that `memory_grow` added, which no other code
// in this component calls.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.end.get() == 0 {
            let start = self.start.get() as usize;
            self.next.set(start);
            self.end.set(start + START_BYTES);
        }
        loop {
            let start = self.next.get().next_multiple_of(layout.align());
            match start.checked_add(layout.size()) {
                Some(next) if next <= self.end.get() => {
                    self.next.set(next);
                    return start as *mut u8;
                }
                Some(next) if self.grow(next - self.end.get()) => {}
                _ => return null_mut(),
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

impl Heap {
    /// Adds pages for at least `bytes` bytes. They extend the heap if they are adjacent to it, and replace it otherwise.
    /// Returns whether the host provided them.
    fn grow(&self, bytes: usize) -> bool {
        let before = memory_size(0) * PAGE_BYTES;
        let follows = self.end.get() == before;
        // The rest of the array is too small and is abandoned.
        let bytes = if follows {
            bytes
        } else {
            bytes.saturating_add(START_BYTES)
        };
        let pages = bytes.div_ceil(PAGE_BYTES);
        if memory_grow(0, pages) == usize::MAX {
            return false;
        }
        if !follows {
            self.next.set(before);
        }
        self.end.set(before + pages * PAGE_BYTES);
        true
    }
}

/// Allocates memory for arguments from the host (`realloc` of the canonical ABI). In components with the standard library,
/// the C library provides this function. Arguments have their final size, so resizing a block is a trap.
///
/// # Safety
/// Only the host may call it, with an `align` that is a power of two.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    _old: *mut u8,
    old_bytes: usize,
    align: usize,
    bytes: usize,
) -> *mut u8 {
    if old_bytes != 0 {
        core::arch::wasm32::unreachable();
    }
    if bytes == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: the canonical ABI guarantees that the alignment is a power of two.
    let block = unsafe { HEAP.alloc(Layout::from_size_align_unchecked(bytes, align)) };
    if block.is_null() {
        core::arch::wasm32::unreachable();
    }
    block
}
