//! Room in memory for what clients send and have not yet taken, over all connections.

use crate::allocator;
use crate::problem::{Limited, Problem};
use bulkhead_envelope::Wiped;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room taken at a time for a body of unannounced length.
const STEP_OCTETS: usize = 64 << 10;

/// So many octets may be held at the same time.
#[derive(Clone)]
pub(crate) struct Room {
    octets: Arc<Semaphore>,
    /// All that there is.
    total: usize,
    limit: Limited,
}

impl Room {
    pub(crate) fn new(octets: usize, limit: Limited) -> Self {
        let total = octets.min(Semaphore::MAX_PERMITS);
        Self {
            octets: Arc::new(Semaphore::new(total)),
            total,
            limit,
        }
    }

    fn take(&self, octets: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        Arc::clone(&self.octets)
            .try_acquire_many_owned(octets)
            .map_err(|_| Problem::overloaded(self.limit, 1))
    }

    /// What so many octets take in a buffer of that capacity, large pages and all. What would fit
    /// without those always does.
    fn footprint(&self, octets: usize, capacity: usize) -> usize {
        allocator::footprint(octets, capacity).min(self.total.max(octets))
    }

    /// An empty body with room for what it announces.
    pub(crate) fn body(&self, announced: usize) -> Result<RequestBody, Problem> {
        Ok(RequestBody {
            room: self.take(self.footprint(announced, announced))?,
            // Address space only: the kernel gives memory as octets arrive, in large pages.
            octets: Wiped::with_capacity(announced),
        })
    }

    /// Holds an answer until the last octet of it is with the kernel, or the client is gone.
    pub(crate) fn answer(&self, octets: Wiped) -> Result<Bytes, Problem> {
        let capacity = octets.capacity_for(octets.len());
        let room = self.take(self.footprint(octets.len(), capacity))?;
        Ok(Bytes::from_owner(Held {
            octets,
            _room: room,
        }))
    }
}

/// A request body, which holds a passphrase. Its room is given back when it is dropped.
pub(crate) struct RequestBody {
    octets: Wiped,
    room: OwnedSemaphorePermit,
}

impl RequestBody {
    pub(crate) fn push(&mut self, data: &[u8], room: &Room) -> Result<(), Problem> {
        let octets = self.octets.len() + data.len();
        let taken = room.footprint(octets, self.octets.capacity_for(octets));
        if let Some(missing) = taken
            .checked_sub(self.room.num_permits())
            .filter(|missing| *missing > 0)
        {
            self.room.merge(room.take(missing.max(STEP_OCTETS))?);
        }
        self.octets.extend_from_slice(data);
        Ok(())
    }
}

impl std::ops::Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets
    }
}

/// Plaintext on its way out.
struct Held {
    octets: Wiped,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limited = Limited {
        what: "test",
        flag: "--test",
        variable: "TEST",
    };

    #[test]
    fn room_comes_back() {
        let room = Room::new(100, LIMIT);
        let answer = room.answer(vec![1; 60].into()).expect("room");
        let part = answer.slice(10..20);
        drop(answer);
        assert!(
            room.answer(vec![1; 60].into()).is_err(),
            "a part is still held"
        );
        drop(part);
        assert!(room.answer(vec![1; 60].into()).is_ok());
    }

    #[test]
    fn bodies_take_what_they_need() {
        let room = Room::new(STEP_OCTETS + 10, LIMIT);
        let mut announced = room.body(10).expect("room");
        let mut other = room.body(0).expect("room");
        other.push(&vec![1; STEP_OCTETS], &room).expect("room");
        announced.push(&[1; 10], &room).expect("announced");
        assert!(announced.push(&[1], &room).is_err());
        drop(other);
        announced.push(&[1], &room).expect("room again");
        assert_eq!(announced[..], [1; 11]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn large_pages_take_room_as_well() {
        const MIB: usize = 1 << 20;
        let room = Room::new(10 * MIB, LIMIT);
        // Three pages of two.
        let _body = room.body(4 * MIB + 1).expect("room");
        assert!(room.body(4 * MIB).is_ok());
        assert!(room.body(4 * MIB + 1).is_err());
        let mut unannounced = room.body(0).expect("room");
        unannounced
            .push(&vec![1; 2 * MIB + 1], &room)
            .expect("two pages");
        assert!(room.body(1).is_err(), "nothing is left");
    }

    #[test]
    fn what_fits_without_large_pages_fits() {
        let octets = (5 << 20) + 1;
        let room = Room::new(octets, LIMIT);
        assert!(room.body(octets).is_ok());
        assert!(room.body(octets + 1).is_err());
        assert!(room.answer(vec![1; octets].into()).is_ok());
    }
}
