//! Between hyper and the socket: gives a body to the refusals that hyper makes by itself.
//!
//! What hyper cannot parse as HTTP it answers with a bare status, before any code of ours runs. So
//! each answer is looked at as it goes out: ours are known by their request id, and passed; a bare
//! one is replaced by a problem document. After a refusal the rest of what the client sends is
//! still read, within bounds, since closing at once would reset the connection and the client
//! might never see the answer.

use crate::http::{REFUSED_BODY_OCTETS_MAX, REFUSED_BODY_TIME_MAX, REQUEST_ID};
use crate::problem::Problem;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A socket as hyper wants it.
pub(crate) struct Wire {
    io: TokioIo<TcpStream>,
    bodyless: Bodyless,
    refusals: Refusals,
    outgoing: Outgoing,
    linger: Option<Linger>,
}

/// Set while the answer to a `HEAD` request goes out: it announces a body that does not follow.
#[derive(Clone, Default)]
pub(crate) struct Bodyless(Arc<AtomicBool>);

impl Bodyless {
    pub(crate) fn set(&self, bodyless: bool) {
        self.0.store(bodyless, Ordering::Relaxed);
    }
}

/// The limits to name in a refusal.
#[derive(Clone, Copy)]
pub(crate) struct Refusals {
    pub(crate) target_octets: usize,
    pub(crate) headers_octets: usize,
}

/// What hyper is writing.
enum Outgoing {
    /// The next octet begins an answer.
    Boundary,
    /// Octets left of an answer of ours.
    Ours(usize),
    /// A problem document instead of what hyper writes; octets of it that are out.
    Replaced { document: Vec<u8>, sent: usize },
    /// It is out, and nothing follows.
    Refused,
}

/// Reading on after a refusal.
struct Linger {
    octets_left: usize,
    until: Pin<Box<Sleep>>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, bodyless: Bodyless, refusals: Refusals) -> Self {
        Self {
            io: TokioIo::new(stream),
            bodyless,
            refusals,
            outgoing: Outgoing::Boundary,
            linger: None,
        }
    }

    /// Judges what begins at a boundary. hyper hands over a head in one piece.
    fn begin(&mut self, octets: &[u8]) {
        if !matches!(self.outgoing, Outgoing::Boundary) || octets.is_empty() {
            return;
        }
        let head = Head::parse(octets);
        self.outgoing = if head.interim || head.ours {
            let body = if head.interim || self.bodyless.0.load(Ordering::Relaxed) {
                0
            } else {
                head.body_octets
            };
            Outgoing::Ours(head.octets + body)
        } else {
            Outgoing::Replaced {
                document: self.refusals.document(head.status),
                sent: 0,
            }
        };
    }

    fn wrote(&mut self, octets: usize) {
        if let Outgoing::Ours(left) = &mut self.outgoing {
            *left = left.saturating_sub(octets);
            if *left == 0 {
                self.outgoing = Outgoing::Boundary;
            }
        }
    }

    /// Writes the document, if there is one to write; then hyper may take its own for written.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        while let Outgoing::Replaced { document, sent } = &mut self.outgoing {
            let octets = ready!(Pin::new(&mut self.io).poll_write(cx, &document[*sent..]))?;
            *sent += octets;
            if octets == 0 || *sent == document.len() {
                self.outgoing = Outgoing::Refused;
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
        self.begin(octets);
        if ready!(self.poll_replacement(cx))? {
            return Poll::Ready(Ok(octets.len()));
        }
        let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, octets))?;
        self.wrote(wrote);
        Poll::Ready(Ok(wrote))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let first = pieces.iter().find(|piece| !piece.is_empty());
        self.begin(first.map_or(&[], |piece| piece));
        if ready!(self.poll_replacement(cx))? {
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let wrote = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, pieces))?;
        self.wrote(wrote);
        Poll::Ready(Ok(wrote))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        match self.outgoing {
            Outgoing::Refused => self.poll_linger(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Refusals {
    /// The whole answer instead of a bare one with this status.
    fn document(self, status: u16) -> Vec<u8> {
        let problem = match status {
            414 => Problem::target_too_long(self.target_octets),
            431 => Problem::headers_too_large(self.headers_octets),
            _ => Problem::malformed_request(),
        };
        let id = crate::http::new_request_id();
        tracing::debug!(request.id = id, code = problem.code(), "refused");
        problem.into_octets(&id)
    }
}

/// What there is to know of an answer's head as it goes out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Octets of the head itself.
    octets: usize,
    /// `100 Continue` and its like: the answer proper is still to come.
    interim: bool,
    /// It carries a request id.
    ours: bool,
    body_octets: usize,
}

impl Head {
    fn parse(octets: &[u8]) -> Self {
        const END: &[u8] = b"\r\n\r\n";
        let end = octets.windows(END.len()).position(|four| four == END);
        let end = end.map_or(octets.len(), |at| at + END.len());
        let text = String::from_utf8_lossy(&octets[..end]);
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut head = Self {
            status: status.unwrap_or_default(),
            octets: end,
            ..Self::default()
        };
        head.interim = (100..200).contains(&head.status);
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case(REQUEST_ID) {
                head.ours = true;
            } else if name.eq_ignore_ascii_case("content-length") {
                head.body_octets = value.parse().unwrap_or_default();
            }
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        let ours = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Request-Id: a\r\n\r\nhello";
        let head = Head::parse(ours);
        assert_eq!((head.status, head.octets, head.body_octets), (200, 55, 5));
        assert!(head.ours && !head.interim);
        let bare = Head::parse(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n",
        );
        assert_eq!((bare.status, bare.ours, bare.body_octets), (431, false, 0));
        assert!(Head::parse(b"HTTP/1.1 100 Continue\r\n\r\n").interim);
        assert_eq!(Head::parse(b""), Head::default());
    }

    #[test]
    fn documents_are_whole_answers() {
        let refusals = Refusals {
            target_octets: 10,
            headers_octets: 20,
        };
        for (status, code) in [
            (400, "malformed_request"),
            (414, "target_too_long"),
            (431, "headers_too_large"),
        ] {
            let document = refusals.document(status);
            let head = Head::parse(&document);
            assert_eq!((head.status, head.ours), (status, true));
            assert_eq!(head.octets + head.body_octets, document.len());
            let body: serde_json::Value =
                serde_json::from_slice(&document[head.octets..]).expect("JSON");
            assert_eq!(body["code"], code);
        }
    }
}
