//! A bounded queue in which callers take turns.

use super::QueueFull;
use bulkhead_kdf::CallerId;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Instant;

/// The waiting items of all callers, and the times at which they were queued.
pub(super) struct FairQueue<T> {
    /// Callers without items are not in the map.
    callers: BTreeMap<CallerId, VecDeque<(Instant, T)>>,
    len: usize,
    len_max: usize,
    /// The caller that had the last turn.
    last: CallerId,
}

impl<T> FairQueue<T> {
    /// Creates a queue of at most `len_max` items.
    pub(super) fn new(len_max: usize) -> Self {
        Self {
            callers: BTreeMap::new(),
            len: 0,
            len_max,
            last: CallerId::UNKNOWN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the time at which the oldest item was queued.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let queues = self.callers.values();
        let firsts = queues.filter_map(|queue| Some(queue.front()?.0));
        firsts.min()
    }

    /// Queues an item. Returns the item that was removed to make room: the last one of the caller with the most items,
    /// if that caller has at least two items more. Therefore two callers do not remove each other's items in turn.
    ///
    /// # Errors
    /// [`QueueFull`] if no item was removed and the queue is full.
    pub(super) fn push(&mut self, caller: CallerId, item: T) -> Result<Option<T>, QueueFull> {
        let removed = if self.len < self.len_max {
            None
        } else {
            Some(self.make_room(caller).ok_or(QueueFull)?)
        };
        let queue = self.callers.entry(caller).or_default();
        queue.push_back((Instant::now(), item));
        self.len += 1;
        Ok(removed)
    }

    fn make_room(&mut self, caller: CallerId) -> Option<T> {
        let own = self.callers.get(&caller).map_or(0, VecDeque::len);
        let largest = self.callers.values_mut().max_by_key(|queue| queue.len())?;
        if largest.len() < own + 2 {
            return None;
        }
        let (_, item) = largest.pop_back()?;
        self.len -= 1;
        Some(item)
    }

    /// Returns the callers with items.
    pub(super) fn callers(&self) -> impl Iterator<Item = CallerId> {
        self.callers.keys().copied()
    }

    /// Removes and returns the first item of the next caller for which `may_begin` returns true.
    pub(super) fn pop(&mut self, may_begin: impl Fn(CallerId) -> bool) -> Option<(CallerId, T)> {
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let up_to = (Bound::Unbounded, Bound::Included(self.last));
        let mut turns = self.callers.range(after).chain(self.callers.range(up_to));
        let caller = *turns.find(|(caller, _)| may_begin(**caller))?.0;
        let queue = self.callers.get_mut(&caller)?;
        let (_, item) = queue.pop_front()?;
        if queue.is_empty() {
            self.callers.remove(&caller);
        }
        self.len -= 1;
        self.last = caller;
        Some((caller, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers() -> [CallerId; 3] {
        let mut callers = ["a", "b", "c"].map(CallerId::of);
        callers.sort_unstable();
        callers
    }

    fn rest(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| Some(queue.pop(|_| true)?.1)).collect()
    }

    #[test]
    fn callers_take_turns() {
        let [a, b, c] = callers();
        let mut queue = FairQueue::new(9);
        for (caller, item) in [
            (a, "a1"),
            (a, "a2"),
            (a, "a3"),
            (b, "b1"),
            (c, "c1"),
            (c, "c2"),
        ] {
            assert_eq!(queue.push(caller, item), Ok(None));
        }
        assert_eq!(queue.pop(|_| true), Some((a, "a1")));
        assert_eq!(rest(&mut queue), ["b1", "c1", "a2", "c2", "a3"]);
        assert!(queue.is_empty() && queue.oldest().is_none());
    }

    /// However many items a caller has, another caller's first item waits for at most one of them.
    #[test]
    fn flood_delays_first_item_of_another_caller_by_one() {
        let [a, b, c] = callers();
        for (flood, single) in [(a, b), (b, a), (c, a), (a, c)] {
            let mut queue = FairQueue::new(100);
            for _ in 0..50 {
                queue.push(flood, "flood").expect("item should be queued");
            }
            queue.pop(|_| true);
            queue.push(single, "single").expect("item should be queued");
            let next = [queue.pop(|_| true), queue.pop(|_| true)];
            assert!(next.contains(&Some((single, "single"))), "{next:?}");
        }
    }

    #[test]
    fn items_of_callers_that_may_not_begin_stay() {
        let [a, b, _] = callers();
        let mut queue = FairQueue::new(9);
        for (caller, item) in [(a, "a1"), (b, "b1"), (b, "b2")] {
            assert_eq!(queue.push(caller, item), Ok(None));
        }
        assert_eq!(queue.pop(|caller| caller == b), Some((b, "b1")));
        assert_eq!(queue.pop(|caller| caller == b), Some((b, "b2")));
        assert_eq!(queue.pop(|caller| caller == b), None);
        assert_eq!(rest(&mut queue), ["a1"]);
    }

    #[test]
    fn full_queue_removes_last_item_of_the_caller_with_the_most() {
        let [a, b, c] = callers();
        let mut queue = FairQueue::new(4);
        for item in ["a1", "a2", "a3", "a4"] {
            assert_eq!(queue.push(a, item), Ok(None));
        }
        assert_eq!(queue.push(a, "a5"), Err(QueueFull));
        assert_eq!(queue.push(b, "b1"), Ok(Some("a4")));
        assert_eq!(queue.push(c, "c1"), Ok(Some("a3")));
        // The first caller has only one item more.
        assert_eq!(queue.push(b, "b2"), Err(QueueFull));
        assert_eq!(queue.push(a, "a6"), Err(QueueFull));
        assert_eq!(queue.len(), 4);
        assert_eq!(rest(&mut queue).len(), 4);
        let mut none = FairQueue::new(0);
        assert_eq!(none.push(a, "a"), Err(QueueFull));
    }
}
