//! Between hyper and the socket: gives a body to the refusals that hyper makes by itself.
//!
//! What hyper cannot parse as HTTP it answers with a bare status, before any code of ours runs. So
//! each answer is followed as it goes out: the service says which ones it gave ([`Answers`]), in
//! order, and those pass; one that it did not give is replaced by a problem document. After a
//! refusal the rest of what the client sends is still read, within bounds, since closing at once
//! would reset the connection and the client might never see the answer.
//!
//! It also ends connections whose client does not take an answer in time.

use crate::http::{REFUSED_BODY_OCTETS_MAX, REFUSED_BODY_TIME_MAX};
use crate::metrics::{Metrics, Outcome};
use crate::problem::Problem;
use crate::routes::Route;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A socket as hyper wants it.
pub(crate) struct Wire {
    io: TokioIo<TcpStream>,
    answers: Answers,
    refusals: Refusals,
    outgoing: Outgoing,
    linger: Option<Linger>,
    answer_time_max: Duration,
    /// When the answer at hand must be out; set once the client keeps it waiting.
    taken_by: Option<Pin<Box<Sleep>>>,
}

/// What the service tells of its answers.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    /// The answers whose heads have not gone out, in order.
    given: VecDeque<Follows>,
    /// Whether a body may come that nobody reads.
    read_on: bool,
}

/// Whether the body that a head announces follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    Body,
    /// The answer to a `HEAD` request.
    Nothing,
}

impl Answers {
    /// To be called before hyper gets the answer.
    pub(crate) fn given(&self, follows: Follows) {
        self.lock().given.push_back(follows);
    }

    /// To be called where a body was refused unread: when the connection ends, what still comes is
    /// read for a while, so that the client gets to see the answer.
    pub(crate) fn read_on(&self) {
        self.lock().read_on = true;
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits to name in a refusal, and where it is counted.
pub(crate) struct Refusals {
    pub(crate) target_octets: usize,
    pub(crate) headers_octets: usize,
    pub(crate) metrics: Arc<Metrics>,
}

/// What hyper is writing.
enum Outgoing {
    /// Octets left of an answer of the service; 0 where the next octet begins an answer.
    Ours(usize),
    /// A problem document instead of what hyper writes; octets of it that are out.
    Replaced { document: Vec<u8>, sent: usize },
    /// It is out, and nothing follows.
    Refused,
}

/// What may go out as it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passage {
    /// Octets of it.
    octets: usize,
    /// Octets then left of the last answer.
    left: usize,
    /// Answers whose heads are in it.
    answers: usize,
    /// The status of the bare refusal that comes next.
    bare: Option<u16>,
}

/// Reading on after a refusal.
struct Linger {
    octets_left: usize,
    until: Pin<Box<Sleep>>,
}

impl Wire {
    pub(crate) fn new(
        stream: TcpStream,
        answers: Answers,
        refusals: Refusals,
        answer_time_max: Duration,
    ) -> Self {
        Self {
            io: TokioIo::new(stream),
            answers,
            refusals,
            outgoing: Outgoing::Ours(0),
            linger: None,
            answer_time_max,
            taken_by: None,
        }
    }

    /// How far `pieces` may go out, up to `most` octets.
    fn passage(&self, left: usize, pieces: &[IoSlice<'_>], most: usize) -> Passage {
        passage(left, pieces, most, &self.answers.lock().given)
    }

    /// Looks at what hyper wants to write; octets of it that may go out as they are. None may where
    /// a refusal of hyper's own begins: it is replaced from there on.
    fn admit(&mut self, pieces: &[IoSlice<'_>]) -> Passage {
        let Outgoing::Ours(left) = self.outgoing else {
            return Passage::default();
        };
        let passage = self.passage(left, pieces, usize::MAX);
        if let (0, Some(status)) = (passage.octets, passage.bare) {
            self.outgoing = Outgoing::Replaced {
                document: self.refusals.document(status),
                sent: 0,
            };
        }
        passage
    }

    /// So many octets of what was admitted are out.
    fn wrote(&mut self, admitted: Passage, pieces: &[IoSlice<'_>], octets: usize) {
        let Outgoing::Ours(left) = self.outgoing else {
            return;
        };
        let passage = match octets {
            octets if octets == admitted.octets => admitted,
            octets => self.passage(left, pieces, octets),
        };
        self.answers.lock().given.drain(..passage.answers);
        self.outgoing = Outgoing::Ours(passage.left);
        if passage.left == 0 || passage.answers > 0 {
            self.taken_by = None;
        }
    }

    /// A client that does not take its answer holds memory and a connection: not for ever.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let taken_by = self
            .taken_by
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.answer_time_max)));
        taken_by.as_mut().poll(cx).map(|()| {
            tracing::debug!("an answer was not taken in time");
            Err(ErrorKind::TimedOut.into())
        })
    }

    /// Writes the document, if there is one to write; then hyper may take its own for written.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        while let Outgoing::Replaced { document, sent } = &mut self.outgoing {
            match Pin::new(&mut self.io).poll_write(cx, &document[*sent..]) {
                Poll::Pending => return self.wait(cx).map_ok(|_| false),
                Poll::Ready(octets) => {
                    let octets = octets?;
                    *sent += octets;
                    if octets == 0 || *sent == document.len() {
                        self.outgoing = Outgoing::Refused;
                    }
                }
            }
        }
        Poll::Ready(Ok(matches!(self.outgoing, Outgoing::Refused)))
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            octets_left: REFUSED_BODY_OCTETS_MAX,
            until: Box::pin(tokio::time::sleep_until(
                Instant::now() + REFUSED_BODY_TIME_MAX,
            )),
        });
        let mut octets = [0; 8 << 10];
        loop {
            if linger.until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut read = ReadBuf::new(&mut octets);
            let ended = ready!(Pin::new(&mut self.io).poll_read(cx, read.unfilled())).is_err();
            let octets = read.filled().len();
            linger.octets_left = linger.octets_left.saturating_sub(octets);
            if ended || octets == 0 || linger.octets_left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<Result<usize>> {
        self.as_mut()
            .poll_write_vectored(cx, &[IoSlice::new(octets)])
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let admitted = self.admit(pieces);
        if ready!(self.poll_replacement(cx))? {
            // hyper may take its own for written.
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let all: usize = pieces.iter().map(|piece| piece.len()).sum();
        let written = if admitted.octets == all {
            Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
        } else {
            // A refusal of hyper's comes behind answers of ours: those go out first. Heads are in
            // the first piece.
            let first = pieces.iter().find(|piece| !piece.is_empty());
            let first = first.map_or(&[][..], |piece| &piece[..admitted.octets.min(piece.len())]);
            Pin::new(&mut self.io).poll_write(cx, first)
        };
        match written {
            Poll::Pending => self.wait(cx),
            Poll::Ready(written) => {
                Poll::Ready(written.inspect(|octets| self.wrote(admitted, pieces, *octets)))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        let refused = matches!(self.outgoing, Outgoing::Refused);
        if refused || self.answers.lock().read_on {
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl Refusals {
    /// The whole answer instead of a bare one with this status.
    fn document(&self, status: u16) -> Vec<u8> {
        let problem = match status {
            414 => Problem::target_too_long(self.target_octets),
            431 => Problem::headers_too_large(self.headers_octets),
            _ => Problem::malformed_request(),
        };
        let outcome = Outcome::Answered(problem.status());
        self.metrics
            .http
            .count(Route::Malformed, outcome, Duration::ZERO);
        let id = crate::http::new_request_id();
        tracing::debug!(request.id = id, code = problem.code(), "refused");
        problem.into_octets(&id)
    }
}

/// Follows `pieces` for up to `most` octets, from `left` octets before the end of an answer on.
/// `given` are the answers that come next. hyper hands over each head in one piece; several heads may be
/// in it.
fn passage(
    mut left: usize,
    pieces: &[IoSlice<'_>],
    most: usize,
    given: &VecDeque<Follows>,
) -> Passage {
    let (mut octets, mut answers) = (0, 0);
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() && octets < most {
            if left == 0 {
                let head = Head::parse(rest);
                left = head.octets;
                if !head.interim() {
                    match given.get(answers) {
                        Some(Follows::Body) => left += head.body_octets,
                        Some(Follows::Nothing) => {}
                        None => {
                            let bare = Some(head.status);
                            return Passage {
                                octets,
                                left: 0,
                                answers,
                                bare,
                            };
                        }
                    }
                    answers += 1;
                }
            }
            let step = left.min(rest.len()).min(most - octets);
            left -= step;
            octets += step;
            rest = &rest[step..];
        }
    }
    Passage {
        octets,
        left,
        answers,
        bare: None,
    }
}

/// What there is to know of an answer's head as it goes out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Octets of the head itself; never 0.
    octets: usize,
    body_octets: usize,
}

impl Head {
    fn parse(octets: &[u8]) -> Self {
        const END: &[u8] = b"\r\n\r\n";
        const LENGTH: &[u8] = b"content-length: ";
        let number = |octets: &[u8]| {
            std::str::from_utf8(octets)
                .ok()?
                .trim()
                .parse::<usize>()
                .ok()
        };
        let end = memchr::memmem::find(octets, END);
        let end = end.map_or(octets.len(), |at| at + END.len());
        let mut lines = octets[..end].split(|octet| *octet == b'\n');
        let status = lines.next().and_then(|line| line.get(9..12));
        let length = lines.find_map(|line| {
            let (name, value) = line.split_at_checked(LENGTH.len())?;
            name.eq_ignore_ascii_case(LENGTH).then_some(value)
        });
        Self {
            status: status
                .and_then(number)
                .and_then(|status| u16::try_from(status).ok())
                .unwrap_or_default(),
            octets: end,
            body_octets: length.and_then(number).unwrap_or_default(),
        }
    }

    /// `100 Continue` and its like: the answer proper is still to come.
    fn interim(&self) -> bool {
        (100..200).contains(&self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: a\r\n\r\n";
    const BARE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

    fn follow(left: usize, pieces: &[&[u8]], most: usize, given: &[Follows]) -> Passage {
        let pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        passage(left, &pieces, most, &given.iter().copied().collect())
    }

    #[test]
    fn heads_are_read() {
        let head = Head::parse(OURS);
        assert_eq!(
            (head.status, head.octets, head.body_octets),
            (200, OURS.len(), 5)
        );
        let bare = Head::parse(BARE);
        assert_eq!(
            (bare.status, bare.octets, bare.body_octets),
            (431, BARE.len(), 0)
        );
        assert!(Head::parse(CONTINUE).interim());
        for odd in [&b"x"[..], b"\r\n\r\n", b"HTTP/1.1 \xff\xff\xff\r\n"] {
            assert!(Head::parse(odd).octets > 0);
        }
    }

    /// Bodies that look like heads, heads behind heads, and writes that end anywhere.
    #[test]
    fn answers_are_followed_wherever_a_write_ends() {
        let body = &BARE[..5];
        let all = [CONTINUE, OURS, body, OURS, OURS, body, BARE].concat();
        let ours = all.len() - BARE.len();
        let given = [Follows::Body, Follows::Nothing, Follows::Body];
        let whole = follow(0, &[&all], usize::MAX, &given);
        assert_eq!(
            whole,
            Passage {
                octets: ours,
                left: 0,
                answers: 3,
                bare: Some(431)
            }
        );
        for cut in 1..ours {
            let first = follow(0, &[&all], cut, &given);
            assert_eq!(first.octets, cut);
            let rest = follow(
                first.left,
                &[&all[cut..]],
                usize::MAX,
                &given[first.answers..],
            );
            assert_eq!(
                (rest.octets, rest.answers, rest.bare),
                (ours - cut, 3 - first.answers, Some(431)),
                "cut at {cut}"
            );
        }
        let pieces = [&[CONTINUE, OURS].concat()[..], &body[..2], &body[2..]];
        let passage = follow(0, &pieces, usize::MAX, &given[..1]);
        assert_eq!((passage.left, passage.answers, passage.bare), (0, 1, None));
    }

    #[test]
    fn documents_are_whole_answers() {
        let refusals = Refusals {
            target_octets: 10,
            headers_octets: 20,
            metrics: Arc::new(Metrics::new()),
        };
        for (status, code) in [
            (400, "malformed_request"),
            (414, "target_too_long"),
            (431, "headers_too_large"),
        ] {
            let document = refusals.document(status);
            let head = Head::parse(&document);
            assert_eq!(head.status, status);
            assert_eq!(head.octets + head.body_octets, document.len());
            let body: serde_json::Value =
                serde_json::from_slice(&document[head.octets..]).expect("JSON");
            assert_eq!(body["code"], code);
        }
    }
}
