//! The connection under hyper: it knows whether anything of the request has left, and lets nothing
//! leave too late.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::connect::Stream;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    send_before: Instant,
    octets_left: usize,
    /// Waits for the first octet to be sent.
    reader: Option<Waker>,
    /// An octet of the request may have left.
    pub(crate) sent: bool,
    /// The first octet would have left too late.
    pub(crate) late: bool,
    /// The answer has more octets than may be read.
    pub(crate) too_long: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream, send_before: Instant, octets_max: usize) -> Self {
        Self {
            stream,
            send_before,
            octets_left: octets_max,
            reader: None,
            sent: false,
            late: false,
            too_long: false,
        }
    }

    /// Ends the connection in order, as far as that takes no waiting.
    pub(crate) fn close(mut self) {
        #[expect(
            deprecated,
            reason = "to linger for a time can block; this takes the setting back"
        )]
        // Where it fails, the other side sees a reset after its answer.
        let _ = self.stream.socket().set_linger(None);
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.stream().poll_shutdown(&mut context);
    }

    fn stream(&mut self) -> Pin<&mut dyn Both> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        // A server may answer before it was asked, for example that it has no room. To hyper that
        // would be a fault, and nothing would be sent.
        if !wire.sent {
            wire.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = wire.stream().poll_read(context, buffer);
        let octets = buffer.filled().len() - before;
        if octets > wire.octets_left {
            wire.too_long = true;
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        wire.octets_left -= octets;
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if !wire.sent && Instant::now() >= wire.send_before {
            wire.late = true;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let polled = wire.stream().poll_write(context, buffer);
        // TLS may have sent a part before it failed.
        let may_have_left = match &polled {
            Poll::Pending => false,
            Poll::Ready(Ok(octets)) => *octets > 0,
            Poll::Ready(Err(_)) => matches!(wire.stream, Stream::Tls(_)),
        };
        if may_have_left && !wire.sent {
            wire.sent = true;
            if let Some(reader) = wire.reader.take() {
                reader.wake();
            }
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_shutdown(context)
    }
}
