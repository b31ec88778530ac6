//! The waiting streams and their order. This module uses no threads and no clock.

use crate::caller::CallerId;
use crate::cost::Model;
use crate::family::{Family, Initial, Kind, Sha1, Sha256, Sha512, initial};
use crate::path::Path;
use crate::periodic::Periodic;
use bulkhead_crypto::{Hash, Pass as StraightPass, S2k};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// One pass of one derivation.
pub(crate) enum Pass {
    Sha1(Periodic<Sha1>),
    Sha256(Periodic<Sha256>),
    Sha512(Periodic<Sha512>),
    /// A pass with another hash, or with text that does not repeat often. It is always hashed on the plain
    /// path.
    Straight(Hash, StraightPass),
}

/// A family of hashes whose passes can be hashed side by side.
pub(crate) trait PassFamily: Family {
    /// Returns the pass if it belongs to this family.
    fn of(pass: &mut Pass) -> Option<&mut Periodic<Self>>;
}

macro_rules! pass_family {
    ($($family:ident)+) => {$(
        impl PassFamily for $family {
            fn of(pass: &mut Pass) -> Option<&mut Periodic<Self>> {
                if let Pass::$family(pass) = pass { Some(pass) } else { None }
            }
        }
    )+};
}

pass_family! { Sha1 Sha256 Sha512 }

/// A pass in the queue, with its owner.
pub(crate) struct Stream<T> {
    pub(crate) id: u64,
    pub(crate) pass: Pass,
    caller: CallerId,
    /// Virtual time of the caller at which the stream would end.
    finish: u64,
    /// Number of bytes still to hash.
    pub(crate) bytes_left: u64,
    /// Weight of each byte ([`Pass::weight`]).
    weight: u64,
    pub(crate) owner: T,
}

/// Streams that one thread hashes together for one step.
pub(crate) struct Turn<T> {
    pub(crate) path: Path,
    pub(crate) streams: Vec<Stream<T>>,
}

/// The waiting streams, ordered by the Fair Sojourn Protocol (Friedman and Henderson, 2003).
///
/// The order is that in which the streams would end if all callers got equal shares of the threads, and all
/// streams of a caller equal parts of its share. A byte of a slow hash counts for several bytes
/// ([`Pass::weight`]). Therefore a short stream overtakes a long one, equal streams end one after the other
/// instead of all at the end, and no stream ends much later than with equal shares: none starves. The number of
/// a caller's streams does not matter to other callers. Virtual time is the number of weighted bytes that each
/// stream of a caller would have got.
///
/// A stream that overtook others ends earlier than in virtual time. It keeps its part until it has also ended in
/// virtual time. Without this part, virtual time would run too fast: the other streams of its caller would seem
/// late, and would overtake the streams of other callers.
pub(crate) struct Queue<T> {
    /// Sorted by `caller`, then `finish`, then `id`.
    waiting: Vec<Stream<T>>,
    running: usize,
    /// The callers with streams that have not ended, or have not ended in virtual time.
    shares: BTreeMap<CallerId, Share>,
    /// Number of weighted bytes of all waiting and running streams.
    work: u64,
    next_id: u64,
}

/// The streams of a caller.
#[derive(Default)]
struct Share {
    virtual_time: u64,
    /// `finish` and `id` of all streams that have not ended in virtual time, in this order.
    virtual_streams: Vec<(u64, u64)>,
    /// Number of waiting and running streams.
    streams: usize,
    /// Number of weighted bytes.
    work: u64,
}

/// The streams of a turn when it began: the caller and the weighted bytes left of each.
pub(crate) struct Taken(Vec<(CallerId, u64)>);

impl Share {
    /// Returns the number of weighted bytes for this caller until its next stream ends in virtual time, or `None`
    /// if all of them have ended.
    fn next_end(&self) -> Option<u64> {
        let (finish, _) = self.virtual_streams.first()?;
        Some((finish - self.virtual_time).saturating_mul(self.virtual_streams.len() as u64))
    }

    /// Advances virtual time by `work` weighted bytes, which the streams share equally. `work` is at most
    /// [`Self::next_end`].
    fn advance(&mut self, work: u64) {
        let Some(part) = work.checked_div(self.virtual_streams.len() as u64) else {
            return;
        };
        self.virtual_time += part;
        let now = self.virtual_time;
        let ended = self
            .virtual_streams
            .partition_point(|(finish, _)| *finish <= now);
        self.virtual_streams.drain(..ended);
    }
}

impl<T> Turn<T> {
    /// Returns what [`Queue::put_back`] needs at the end of the turn.
    pub(crate) fn taken(&self) -> Taken {
        let streams = self.streams.iter();
        Taken(streams.map(|it| (it.caller, it.work_left())).collect())
    }
}

impl<T> Stream<T> {
    /// Returns the number of weighted bytes still to hash.
    pub(crate) fn work_left(&self) -> u64 {
        self.bytes_left.saturating_mul(self.weight)
    }
}

impl Pass {
    /// Returns all passes of a derivation.
    pub(crate) fn all(s2k: &S2k<'_>) -> Vec<Self> {
        let mut piece = None;
        (0..s2k.passes())
            .map(|number| {
                Self::periodic(s2k, number).unwrap_or_else(|| {
                    let piece = piece.get_or_insert_with(|| s2k.piece());
                    Self::Straight(s2k.hash(), s2k.pass(number, piece))
                })
            })
            .collect()
    }

    fn periodic(s2k: &S2k<'_>, number: usize) -> Option<Self> {
        match initial(s2k.hash()) {
            Some(Initial::Sha1(state)) => Periodic::new(s2k, number, state).map(Self::Sha1),
            Some(Initial::Sha256(state)) => Periodic::new(s2k, number, state).map(Self::Sha256),
            Some(Initial::Sha512(state)) => Periodic::new(s2k, number, state).map(Self::Sha512),
            None => None,
        }
    }

    /// Returns the weight of a byte: the approximate number of bytes that SHA-1 hashes in the same time, if
    /// both hashes use their best path. The measurement is that of the rates in `cost`.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Sha1(_) | Self::Sha256(_) => 1,
            Self::Sha512(_) => 2,
            Self::Straight(hash, _) => match hash {
                Hash::Sha1 | Hash::Sha224 | Hash::Sha256 => 2,
                Hash::Md5 => 4,
                Hash::Sha384 | Hash::Sha512 | Hash::Sha3_256 => 8,
                Hash::Ripemd160 | Hash::Sha3_512 => 12,
            },
        }
    }

    /// Returns the family and the period. Streams that agree in both can share the lanes of a vector.
    fn group(&self) -> Option<(Kind, usize)> {
        match self {
            Self::Sha1(pass) => Some((Kind::Sha1, pass.period())),
            Self::Sha256(pass) => Some((Kind::Sha256, pass.period())),
            Self::Sha512(pass) => Some((Kind::Sha512, pass.period())),
            Self::Straight(..) => None,
        }
    }

    /// Returns the family if the pass can be hashed side by side with others.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.group().map(|(kind, _)| kind)
    }

    /// Returns whether all bytes are hashed, so that only [`Self::finish`] remains.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Sha1(pass) => pass.left == 0,
            Self::Sha256(pass) => pass.left == 0,
            Self::Sha512(pass) => pass.left == 0,
            Self::Straight(_, pass) => pass.left() == 0,
        }
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Sha1(pass) => pass.finish(),
            Self::Sha256(pass) => pass.finish(),
            Self::Sha512(pass) => pass.finish(),
            Self::Straight(_, pass) => pass.finish(),
        }
    }
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            running: 0,
            shares: BTreeMap::new(),
            work: 0,
            next_id: 0,
        }
    }

    pub(crate) fn add(&mut self, pass: Pass, bytes: u64, caller: CallerId, owner: T) {
        self.next_id += 1;
        let weight = pass.weight();
        let work = bytes.saturating_mul(weight);
        let share = self.shares.entry(caller).or_default();
        share.streams += 1;
        share.work = share.work.saturating_add(work);
        self.work = self.work.saturating_add(work);
        let finish = share.virtual_time.saturating_add(work);
        if work > 0 {
            let end = (finish, self.next_id);
            let at = share.virtual_streams.partition_point(|it| *it < end);
            share.virtual_streams.insert(at, end);
        }
        self.insert(Stream {
            id: self.next_id,
            pass,
            caller,
            weight,
            finish,
            bytes_left: bytes,
            owner,
        });
    }

    fn insert(&mut self, stream: Stream<T>) {
        let order = |stream: &Stream<T>| (stream.caller, stream.finish, stream.id);
        let at = self
            .waiting
            .partition_point(|other| order(other) < order(&stream));
        self.waiting.insert(at, stream);
    }

    /// Returns the number of streams that wait for a turn.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of streams that have a turn.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Returns the number of weighted bytes of all waiting and running streams.
    pub(crate) fn work(&self) -> u64 {
        self.work
    }

    /// Returns the number of weighted bytes of a caller's streams, and the number of callers with streams. This
    /// caller always counts.
    pub(crate) fn share(&self, caller: CallerId) -> (u64, usize) {
        let work = self.shares.get(&caller).map_or(0, |share| share.work);
        let others = self.shares.iter();
        let others = others.filter(|(other, share)| **other != caller && share.streams > 0);
        (work, others.count() + 1)
    }

    /// Removes and returns the waiting streams for which `is_over` returns true.
    pub(crate) fn remove(&mut self, is_over: impl FnMut(&mut Stream<T>) -> bool) -> Vec<Stream<T>> {
        let removed: Vec<_> = self.waiting.extract_if(.., is_over).collect();
        for stream in &removed {
            self.work -= stream.work_left();
            if let Some(share) = self.shares.get_mut(&stream.caller) {
                share.work -= stream.work_left();
                share.streams -= 1;
                share.virtual_streams.retain(|(_, id)| *id != stream.id);
            }
        }
        self.forget_callers();
        removed
    }

    /// Removes callers whose streams have all ended, also in virtual time.
    fn forget_callers(&mut self) {
        if self.waiting.is_empty() && self.running == 0 {
            // Bytes lost by rounding must not add up.
            self.shares.clear();
        }
        self.shares
            .retain(|_, share| share.streams > 0 || !share.virtual_streams.is_empty());
    }

    /// Advances virtual time by `work` weighted bytes, which callers share equally.
    fn advance(&mut self, mut work: u64) {
        loop {
            let active = self.shares.values().filter_map(Share::next_end);
            let (count, next) = active.fold((0, u64::MAX), |(count, next), end| {
                (count + 1, next.min(end))
            });
            if count == 0 || work < count {
                return;
            }
            let part = next.min(work / count);
            for share in self.shares.values_mut() {
                share.advance(part);
            }
            work -= part * count;
        }
    }

    /// Returns the positions of the waiting streams, in the order in which they would end.
    ///
    /// If a caller has `n` streams in virtual time, this time advances `n` times as slowly as the caller's share.
    /// The end of each stream is counted in bytes of the share: it is the end of the stream before, and the bytes
    /// of the share from there. A waiting stream that has already ended in virtual time has an end of at most zero.
    fn order(&self) -> Vec<usize> {
        let mut ends = Vec::with_capacity(self.waiting.len());
        let mut first = 0;
        while let Some(caller) = self.waiting.get(first).map(|stream| stream.caller) {
            let share = self.shares.get(&caller);
            let (now, ends_ahead) = share.map_or((0, &[][..]), |it| {
                (it.virtual_time, it.virtual_streams.as_slice())
            });
            let mut ahead = ends_ahead.iter().zip((1..=ends_ahead.len()).rev());
            let (mut before, mut end) = (now, 0_i128);
            let own = self.waiting[first..].iter();
            for stream in own.take_while(|stream| stream.caller == caller) {
                if stream.finish <= now {
                    ends.push((-i128::from(now - stream.finish), stream.id, first));
                } else {
                    for ((finish, id), left) in ahead.by_ref() {
                        end += i128::from(finish - before) * i128::from(left as u64);
                        before = *finish;
                        if *id == stream.id {
                            break;
                        }
                    }
                    ends.push((end, stream.id, first));
                }
                first += 1;
            }
        }
        // With one caller, the streams are in this order already.
        if self.shares.len() > 1 {
            ends.sort_unstable();
        }
        ends.into_iter().map(|(_, _, position)| position).collect()
    }

    /// Returns the positions of the streams that may join a turn with the first stream of `order`.
    ///
    /// A stream in a wide turn is slower than in a narrow one. Therefore other callers join with at most as many streams
    /// as the first caller has, so that the streams of a caller with many do not slow down those of a caller with few.
    fn joining(&self, order: &[usize], joins: impl Fn(&Pass) -> bool) -> Vec<usize> {
        let mut positions = order.to_vec();
        positions.retain(|position| joins(&self.waiting[*position].pass));
        if self.shares.len() > 1 {
            let caller = |position: usize| self.waiting[position].caller;
            let first = positions.first().map(|first| caller(*first));
            let own = positions.iter().filter(|it| Some(caller(**it)) == first);
            let max = own.count();
            let mut counts = BTreeMap::<_, usize>::new();
            positions.retain(|position| {
                let count = counts.entry(caller(*position)).or_default();
                *count += 1;
                *count <= max
            });
        }
        positions
    }

    /// Takes the next turn for one of `idle` threads without work. Returns `None` if no stream waits.
    pub(crate) fn take(&mut self, model: &Model, idle: usize) -> Option<Turn<T>> {
        let order = self.order();
        let first = *order.first()?;
        let Some(group) = self.waiting[first].pass.group() else {
            let streams = vec![self.waiting.remove(first)];
            self.running += 1;
            let path = Path::Plain;
            return Some(Turn { path, streams });
        };
        let alike = self.joining(&order, |pass| pass.group() == Some(group));
        let family = self.joining(&order, |pass| pass.kind() == Some(group.0));
        let choice = model.choose(group.0, idle, alike.len(), family.len());
        let mut joining = if choice.path.is_wide() { alike } else { family };
        joining.truncate(choice.streams);
        let mut position = 0;
        let streams: Vec<_> = self
            .waiting
            .extract_if(.., |_| {
                position += 1;
                joining.contains(&(position - 1))
            })
            .collect();
        self.running += streams.len();
        let path = choice.path;
        Some(Turn { path, streams })
    }

    /// Ends a turn: `taken` are its streams when it began, and `streams` those that have not ended. Returns the
    /// number of weighted bytes that were hashed.
    pub(crate) fn put_back(&mut self, taken: &Taken, streams: Vec<Stream<T>>) -> u64 {
        let due: u64 = taken.0.iter().map(|(_, work)| work).sum();
        let done = due - streams.iter().map(Stream::work_left).sum::<u64>();
        self.advance(done);
        self.running -= taken.0.len();
        for (caller, work) in &taken.0 {
            self.work -= work;
            if let Some(share) = self.shares.get_mut(caller) {
                share.work -= work;
                share.streams -= 1;
            }
        }
        for stream in streams {
            let work = stream.work_left();
            self.work += work;
            if let Some(share) = self.shares.get_mut(&stream.caller) {
                share.work += work;
                share.streams += 1;
            }
            self.insert(stream);
        }
        self.forget_callers();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Processor;

    /// The lanes of a vector are as slow with one stream as with all. A caller with two streams does not wait for the lanes
    /// of others.
    #[test]
    fn callers_join_a_turn_with_as_many_streams_as_the_first_one_has() {
        let wide = [Path::Avx512, Path::Avx2].into_iter();
        let Some(path) = wide.into_iter().find(|path| path.is_available()) else {
            return;
        };
        let model = Model::new(Processor::this(), Some(path));
        let s2k = S2k::new(Hash::Sha1, b"saltsalt", b"topsecret", 1 << 20, 32)
            .expect("parameters should be valid");
        let [flood, single] = ["flood", "single"].map(CallerId::of);
        let mut queue = Queue::new();
        for caller in [[flood; 20].as_slice(), &[single]].concat() {
            for pass in Pass::all(&s2k) {
                queue.add(pass, s2k.bytes_per_pass(), caller, ());
            }
        }
        let mut counts = || {
            let turn = queue.take(&model, 1).expect("streams should wait");
            let streams = turn.streams.iter();
            let own = streams.filter(|stream| stream.caller == single).count();
            (own, turn.streams.len() - own)
        };
        assert_eq!(counts(), (2, 2));
        let (own, others) = counts();
        assert!(own == 0 && others >= 8, "{others}");
    }
}
