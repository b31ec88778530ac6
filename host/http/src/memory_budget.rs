//! A limit on the memory for the bodies of all connections together.

use bulkhead_envelope::{Setting, Wiped};
use bytes::Bytes;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Minimum number of bytes that a body without an announced length reserves at a time.
const STEP_BYTES: usize = 64 << 10;

/// A limit that all requests share is reached.
#[derive(Debug, Clone, Copy, Error)]
#[error("{reason} ({setting})")]
pub struct LimitExceeded {
    /// A clause that says which resource is used up.
    pub reason: &'static str,
    /// The setting of the limit.
    pub setting: Setting,
}

/// Returns the memory that a buffer uses, in bytes, from its length (first argument) and its capacity
/// (second argument). It depends on the allocator.
type Footprint = fn(usize, usize) -> usize;

/// A maximum number of bytes in use at the same time. Clones share it.
#[derive(Clone)]
pub struct MemoryBudget {
    available: Arc<Semaphore>,
    total: usize,
    limit: LimitExceeded,
    footprint: Footprint,
}

impl MemoryBudget {
    /// Creates a budget of `total` bytes. `limit` is the error if it is used up.
    pub fn new(total: usize, limit: LimitExceeded, footprint: Footprint) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        Self {
            available: Arc::new(Semaphore::new(total)),
            total,
            limit,
            footprint,
        }
    }

    fn try_reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LimitExceeded> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.available)
            .try_acquire_many_owned(bytes)
            .map_err(|_| self.limit)
    }

    /// Returns the number of bytes to reserve for a buffer. It is at most the whole budget if the buffer's
    /// own bytes fit, so that memory lost to the allocator never makes a buffer too large for an empty
    /// budget.
    fn footprint(&self, bytes: usize, capacity: usize) -> usize {
        (self.footprint)(bytes, capacity).min(self.total.max(bytes))
    }

    /// Creates an empty body and reserves its announced length.
    ///
    /// # Errors
    /// [`LimitExceeded`] if there are not enough bytes available. The call does not wait.
    pub fn body(&self, announced: usize) -> Result<RequestBody, LimitExceeded> {
        Ok(RequestBody {
            reserved: self.try_reserve(self.footprint(announced, announced))?,
            // This uses only address space. The kernel provides the memory as data is written.
            bytes: Wiped::with_capacity(announced),
        })
    }

    /// Reserves the bytes of a response. The reservation ends when the last byte was passed to the kernel,
    /// or the connection ends.
    ///
    /// # Errors
    /// [`LimitExceeded`] if there are not enough bytes available. The call does not wait.
    pub fn hold(&self, bytes: Wiped) -> Result<Bytes, LimitExceeded> {
        let capacity = bytes.capacity_for(bytes.len());
        let reserved = self.try_reserve(self.footprint(bytes.len(), capacity))?;
        Ok(Bytes::from_owner(Held {
            bytes,
            _reserved: reserved,
        }))
    }
}

/// A request body. Dropping it wipes the bytes and ends the reservation.
pub struct RequestBody {
    bytes: Wiped,
    reserved: OwnedSemaphorePermit,
}

impl RequestBody {
    pub(crate) fn push(&mut self, data: &[u8], budget: &MemoryBudget) -> Result<(), LimitExceeded> {
        let bytes = self.bytes.len() + data.len();
        let needed = budget.footprint(bytes, self.bytes.capacity_for(bytes));
        let missing = needed.saturating_sub(self.reserved.num_permits());
        if missing > 0 {
            self.reserved
                .merge(budget.try_reserve(missing.max(STEP_BYTES))?);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl std::ops::Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes of a response, with their reservation.
struct Held {
    bytes: Wiped,
    _reserved: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(total: usize) -> MemoryBudget {
        let limit = LimitExceeded {
            reason: "test",
            setting: Setting::new("test"),
        };
        // Buffers of at least 4 MiB use whole pages of 2 MiB, as with the server's allocator.
        let footprint = |bytes: usize, capacity| {
            if capacity >= 4 << 20 {
                bytes.next_multiple_of(2 << 20)
            } else {
                bytes
            }
        };
        MemoryBudget::new(total, limit, footprint)
    }

    #[test]
    fn bytes_are_available_again_after_the_last_part_is_dropped() {
        let budget = budget(100);
        let response = budget
            .hold(vec![1; 60].into())
            .expect("bytes should be available");
        let part = response.slice(10..20);
        drop(response);
        assert!(
            budget.hold(vec![1; 60].into()).is_err(),
            "a part should still be reserved"
        );
        drop(part);
        assert!(budget.hold(vec![1; 60].into()).is_ok());
    }

    #[test]
    fn body_reserves_its_announced_length_and_then_steps() {
        let budget = budget(STEP_BYTES + 10);
        let mut announced = budget.body(10).expect("bytes should be available");
        let mut other = budget.body(0).expect("bytes should be available");
        other
            .push(&vec![1; STEP_BYTES], &budget)
            .expect("bytes should be available");
        announced
            .push(&[1; 10], &budget)
            .expect("announced bytes should be reserved");
        assert!(announced.push(&[1], &budget).is_err());
        drop(other);
        announced
            .push(&[1], &budget)
            .expect("bytes should be available again");
        assert_eq!(announced[..], [1; 11]);
    }

    #[test]
    fn footprint_of_the_allocator_is_reserved() {
        const MIB: usize = 1 << 20;
        let budget = budget(10 * MIB);
        // The body uses three pages of 2 MiB.
        let _body = budget.body(4 * MIB + 1).expect("bytes should be available");
        assert!(budget.body(4 * MIB).is_ok());
        assert!(budget.body(4 * MIB + 1).is_err());
        let mut unannounced = budget.body(0).expect("bytes should be available");
        unannounced
            .push(&vec![1; 2 * MIB + 1], &budget)
            .expect("two pages should be available");
        assert!(budget.body(1).is_err(), "the budget should be used up");
    }

    #[test]
    fn buffer_as_large_as_the_budget_fits() {
        let bytes = (5 << 20) + 1;
        let budget = budget(bytes);
        assert!(budget.body(bytes).is_ok());
        assert!(budget.body(bytes + 1).is_err());
        assert!(budget.hold(vec![1; bytes].into()).is_ok());
    }
}
