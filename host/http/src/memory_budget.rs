//! The memory that the bodies of all connections may use together.

use bulkhead_envelope::{Setting, Wiped};
use bytes::Bytes;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body of unannounced length reserves at least this many bytes at a time.
const STEP_BYTES: usize = 64 << 10;

/// A limit that all requests share is reached.
#[derive(Debug, Clone, Copy, Error)]
#[error("{what} ({setting})")]
pub struct LimitExceeded {
    /// What there is too much of, as a clause.
    pub what: &'static str,
    /// The setting that raises the limit.
    pub setting: Setting,
}

/// The memory that a buffer uses which holds so many bytes (first argument) and has a capacity (second
/// argument). It depends on the allocator.
type Footprint = fn(usize, usize) -> usize;

/// A number of bytes that may be held at the same time. Clones share it.
#[derive(Clone)]
pub struct MemoryBudget {
    available: Arc<Semaphore>,
    total: usize,
    limit: LimitExceeded,
    footprint: Footprint,
}

impl MemoryBudget {
    /// A budget of `total` bytes. `limit` is the error when it is used up.
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

    /// Never more than the whole budget for a buffer that would fit if the allocator wasted nothing.
    fn footprint(&self, bytes: usize, capacity: usize) -> usize {
        (self.footprint)(bytes, capacity).min(self.total.max(bytes))
    }

    /// An empty body. The bytes that it announces are reserved.
    ///
    /// # Errors
    /// If so many bytes are not available.
    pub fn body(&self, announced: usize) -> Result<RequestBody, LimitExceeded> {
        Ok(RequestBody {
            reserved: self.try_reserve(self.footprint(announced, announced))?,
            // Address space only: the kernel gives memory as bytes arrive.
            bytes: Wiped::with_capacity(announced),
        })
    }

    /// Bytes to be sent. They are reserved until the last one is with the kernel, or the client is gone.
    ///
    /// # Errors
    /// If so many bytes are not available.
    pub fn hold(&self, bytes: Wiped) -> Result<Bytes, LimitExceeded> {
        let capacity = bytes.capacity_for(bytes.len());
        let reserved = self.try_reserve(self.footprint(bytes.len(), capacity))?;
        Ok(Bytes::from_owner(Held {
            bytes,
            _reserved: reserved,
        }))
    }
}

/// A request body. It is wiped and its reservation ends when it is dropped.
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

/// Bytes on their way out.
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
            what: "test",
            setting: Setting::new("test"),
        };
        // Buffers from 4 MiB on use whole pages of 2 MiB, as those of the server's allocator.
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
    fn held_bytes_are_available_again_when_the_last_part_is_dropped() {
        let budget = budget(100);
        let response = budget.hold(vec![1; 60].into()).expect("available");
        let part = response.slice(10..20);
        drop(response);
        assert!(
            budget.hold(vec![1; 60].into()).is_err(),
            "a part is still held"
        );
        drop(part);
        assert!(budget.hold(vec![1; 60].into()).is_ok());
    }

    #[test]
    fn bodies_reserve_what_they_need() {
        let budget = budget(STEP_BYTES + 10);
        let mut announced = budget.body(10).expect("available");
        let mut other = budget.body(0).expect("available");
        other
            .push(&vec![1; STEP_BYTES], &budget)
            .expect("available");
        announced.push(&[1; 10], &budget).expect("announced");
        assert!(announced.push(&[1], &budget).is_err());
        drop(other);
        announced.push(&[1], &budget).expect("available again");
        assert_eq!(announced[..], [1; 11]);
    }

    #[test]
    fn footprints_count() {
        const MIB: usize = 1 << 20;
        let budget = budget(10 * MIB);
        // Three pages of two.
        let _body = budget.body(4 * MIB + 1).expect("available");
        assert!(budget.body(4 * MIB).is_ok());
        assert!(budget.body(4 * MIB + 1).is_err());
        let mut unannounced = budget.body(0).expect("available");
        unannounced
            .push(&vec![1; 2 * MIB + 1], &budget)
            .expect("two pages");
        assert!(budget.body(1).is_err(), "nothing is left");
    }

    #[test]
    fn a_buffer_as_large_as_the_budget_fits() {
        let bytes = (5 << 20) + 1;
        let budget = budget(bytes);
        assert!(budget.body(bytes).is_ok());
        assert!(budget.body(bytes + 1).is_err());
        assert!(budget.hold(vec![1; bytes].into()).is_ok());
    }
}
