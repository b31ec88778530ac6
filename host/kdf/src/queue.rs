//! The streams that wait, and the order in which they are taken. No threads, no clock.

use crate::cost::Model;
use crate::family::{Family, Initial, Kind, Sha1, Sha256, Sha512, initial};
use crate::path::Path;
use crate::periodic::Periodic;
use bulkhead_crypto::{Hash, Pass as StraightPass, S2k};
use zeroize::Zeroizing;

/// One pass of one derivation, in whatever way it is hashed.
pub(crate) enum Pass {
    Sha1(Periodic<Sha1>),
    Sha256(Periodic<Sha256>),
    Sha512(Periodic<Sha512>),
    /// Other hashes, and text that hardly repeats: only ever on the plain path.
    Straight(Hash, StraightPass),
}

/// The families of hashes whose passes go side by side.
pub(crate) trait PassFamily: Family {
    /// The pass, if it is of this family.
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

/// A pass, with what it belongs to.
pub(crate) struct Stream<T> {
    pub(crate) id: u64,
    pub(crate) pass: Pass,
    /// Where in virtual time it would end.
    finish: u64,
    /// Octets that are still to be hashed.
    pub(crate) octets_left: u64,
    /// What each of them counts for.
    weight: u64,
    pub(crate) owner: T,
}

/// Streams that one thread takes a step further together.
pub(crate) struct Turn<T> {
    pub(crate) path: Path,
    pub(crate) streams: Vec<Stream<T>>,
}

/// What waits.
///
/// The order is that of the Fair Sojourn Protocol (Friedman and Henderson, 2003): streams go in the
/// order in which they would end if all got equal shares, octet by octet, where an octet of a slow
/// hash counts for several ([`Pass::weight`]). So a short one passes by
/// a long one, equal ones end one after the other instead of all at the end, and none ends later
/// than with equal shares, or nearly so: nobody starves. Virtual time counts the octets that each
/// stream would have got.
pub(crate) struct Queue<T> {
    /// In order.
    waiting: Vec<Stream<T>>,
    running: usize,
    virtual_time: u64,
    next_id: u64,
}

impl<T> Stream<T> {
    /// Octets that are still to be hashed, each with its weight.
    pub(crate) fn work_left(&self) -> u64 {
        self.octets_left.saturating_mul(self.weight)
    }
}

impl Pass {
    /// All passes of a derivation.
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

    /// What an octet counts for: about as many as SHA-1 hashes in its time, at best side by side with
    /// others. Measured as the rates in `cost`.
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

    /// The family and the period, by which streams are put side by side.
    fn group(&self) -> Option<(Kind, usize)> {
        match self {
            Self::Sha1(pass) => Some((Kind::Sha1, pass.period())),
            Self::Sha256(pass) => Some((Kind::Sha256, pass.period())),
            Self::Sha512(pass) => Some((Kind::Sha512, pass.period())),
            Self::Straight(..) => None,
        }
    }

    /// The family, where it can go side by side with others.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.group().map(|(kind, _)| kind)
    }

    /// Whether only the digest is missing.
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
            virtual_time: 0,
            next_id: 0,
        }
    }

    pub(crate) fn add(&mut self, pass: Pass, octets: u64, owner: T) {
        self.next_id += 1;
        let weight = pass.weight();
        self.insert(Stream {
            id: self.next_id,
            pass,
            weight,
            finish: self
                .virtual_time
                .saturating_add(octets.saturating_mul(weight)),
            octets_left: octets,
            owner,
        });
    }

    fn insert(&mut self, stream: Stream<T>) {
        let order = |stream: &Stream<T>| (stream.finish, stream.id);
        let at = self
            .waiting
            .partition_point(|other| order(other) < order(&stream));
        self.waiting.insert(at, stream);
    }

    /// Streams that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Streams that have one.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Takes out those whose owners say so.
    pub(crate) fn remove(&mut self, whom: impl FnMut(&mut Stream<T>) -> bool) -> Vec<Stream<T>> {
        self.waiting.extract_if(.., whom).collect()
    }

    /// What one of `idle` threads without work does next; nothing where nothing waits.
    pub(crate) fn take(&mut self, model: &Model, idle: usize) -> Option<Turn<T>> {
        let first = self.waiting.first()?;
        let Some(group) = first.pass.group() else {
            let streams = self.waiting.drain(..1).collect();
            self.running += 1;
            let path = Path::Plain;
            return Some(Turn { path, streams });
        };
        let is_alike = |pass: &Pass| pass.group() == Some(group);
        let is_of_family = |pass: &Pass| pass.kind() == Some(group.0);
        let count = |joins: &dyn Fn(&Pass) -> bool| {
            let streams = self.waiting.iter();
            streams.filter(|stream| joins(&stream.pass)).count()
        };
        let choice = model.choose(group.0, idle, count(&is_alike), count(&is_of_family));
        let joins: &dyn Fn(&Pass) -> bool = if choice.path.is_wide() {
            &is_alike
        } else {
            &is_of_family
        };
        let mut places = choice.streams;
        let streams: Vec<_> = self
            .waiting
            .extract_if(.., |stream| {
                let taken = places > 0 && joins(&stream.pass);
                places -= usize::from(taken);
                taken
            })
            .collect();
        self.running += streams.len();
        let path = choice.path;
        Some(Turn { path, streams })
    }

    /// Takes a turn's streams back, by which so much was worked off, without those that have ended.
    pub(crate) fn put_back(&mut self, taken: usize, streams: Vec<Stream<T>>, work: u64) {
        let present = self.waiting.len() + self.running;
        self.virtual_time += work / (present.max(1) as u64);
        self.running -= taken;
        for stream in streams {
            self.insert(stream);
        }
    }
}
