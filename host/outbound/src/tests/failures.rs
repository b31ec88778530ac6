//! Servers that break connections, are slow, or respond out of order.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::server::{Server, read_request};
use super::*;
use crate::connect::Stream;
use crate::exchange::exchange;
use crate::listed::assert_listed;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn target(server: &Server) -> Target {
    Target::upstream(&server.url()).unwrap()
}

/// Returns how a connection ends after everything that was sent on it.
async fn end(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(|_| ())
}

#[tokio::test]
async fn port_without_listener_is_not_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let target = Target::upstream(&url).unwrap();
    let result = outbound().upstream(&target, get(), generous()).await;
    let expected = Failure::NotConnected("the connection was refused");
    assert_eq!(result, Err(expected));
    assert!(!expected.sent());
}

#[tokio::test]
async fn reset_cuts_off_response() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nok")
            .await
            .unwrap();
        // The connection would end in an orderly way without this reset.
        stream.set_zero_linger().unwrap();
    })
    .await;
    let result = outbound()
        .upstream(&target(&server), get(), generous())
        .await;
    assert_eq!(result, Err(Failure::CutOff));
    assert!(Failure::CutOff.sent());
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn silent_server_is_reset_at_deadline() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let ends = ends.clone();
        async move {
            read_request(&mut stream).await;
            ends.send(end(&mut stream).await).unwrap();
        }
    })
    .await;
    let limits = within(Duration::from_millis(300));
    let result = outbound().upstream(&target(&server), get(), limits).await;
    assert_eq!(result, Err(Failure::TimedOut));
    assert!(Instant::now() >= limits.deadline);
    assert!(Instant::now() < limits.deadline + TIME_MAX / 2);
    let kind = ended.recv().await.unwrap().unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);

    // The connection is reset, too, if the future is dropped.
    let outbound = outbound();
    let target = target(&server);
    let gone = outbound.upstream(&target, get(), generous());
    assert!(timeout(Duration::from_millis(300), gone).await.is_err());
    let kind = ended.recv().await.unwrap().unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn connection_closes_orderly_after_response() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let answered = Arc::new(Notify::new());
    let closed = Arc::clone(&answered);
    let server = Server::start(move |mut stream| {
        let (ends, closed) = (ends.clone(), Arc::clone(&closed));
        async move {
            read_request(&mut stream).await;
            stream.write_all(ANSWER).await.unwrap();
            // The connection stays open. The response is complete nevertheless.
            closed.notified().await;
            let end = end(&mut stream).await;
            // A reset after the end is visible only here.
            let reset = stream.take_error().unwrap();
            ends.send(reset.map_or(end, Err)).unwrap();
        }
    })
    .await;
    let answer = outbound()
        .upstream(&target(&server), get(), generous())
        .await;
    assert_eq!(answer.unwrap().body, "ok");
    answered.notify_one();
    ended.recv().await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_response_ends_at_deadline() {
    for text in [
        "HTTP/1.1 200 OK\r\nX: ",
        "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nX: ",
    ] {
        let server = Server::start(move |mut stream| async move {
            read_request(&mut stream).await;
            stream.write_all(text.as_bytes()).await.unwrap();
            while stream.write_all(b"0").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let limits = within(Duration::from_millis(300));
        let result = outbound().upstream(&target(&server), get(), limits).await;
        assert_eq!(result, Err(Failure::TimedOut), "{text}");
        assert!(Instant::now() >= limits.deadline);
        assert!(Instant::now() < limits.deadline + TIME_MAX / 2);
    }
}

#[tokio::test]
async fn endless_response_ends_at_limit() {
    for text in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: ",
    ] {
        let server = Server::start(move |mut stream| async move {
            read_request(&mut stream).await;
            stream.write_all(text.as_bytes()).await.unwrap();
            while stream.write_all(&b"1\r\nx\r\n".repeat(99)).await.is_ok() {}
        })
        .await;
        let result = outbound()
            .upstream(&target(&server), get(), generous())
            .await;
        let failure = result.unwrap_err();
        // Lines without a colon are not a valid head.
        let expected = if text.ends_with("X: ") {
            Failure::Malformed
        } else {
            Failure::TooLong
        };
        assert_eq!(failure, expected, "{text}");
    }
}

#[tokio::test]
async fn response_may_arrive_before_request_is_read() {
    let server = Server::start(|mut stream| async move {
        stream.write_all(ANSWER).await.unwrap();
        // The server reads nothing. It does not close the connection either, because that would be
        // a reset.
        let () = std::future::pending().await;
        drop(stream);
    })
    .await;
    let outbound = outbound();
    for body in [0, 16 * 1024 * 1024] {
        let request = post(vec![0; body]);
        let answer = outbound
            .upstream(&target(&server), request, generous())
            .await;
        assert_eq!(answer.unwrap().body, "ok", "{body}");
    }
}

#[tokio::test]
async fn unread_request_times_out() {
    let server = Server::start(|stream| async move {
        let () = std::future::pending().await;
        drop(stream);
    })
    .await;
    let request = post(vec![0; 16 * 1024 * 1024]);
    let limits = within(Duration::from_millis(300));
    let result = outbound().upstream(&target(&server), request, limits).await;
    assert_eq!(result, Err(Failure::TimedOut));
}

#[tokio::test]
async fn late_connection_sends_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = Target::upstream(&format!("http://{address}/")).unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let limits = Limits {
        send_before: Instant::now(),
        ..generous()
    };
    // This simulates a handshake that has taken all of the time.
    let stream = Stream::Plain(client);
    let result = exchange(stream, &target, post("x"), limits).await;
    assert_eq!(result, Err(Failure::ConnectedTooLate));
    let situation = "attempt: the connection is established too late";
    assert_listed(situation, &Failure::ConnectedTooLate, &[]);
    assert!(!Failure::ConnectedTooLate.sent());
    let mut received = Vec::new();
    let _ = server.read_to_end(&mut received).await;
    assert!(received.is_empty());

    // Without any time left, no connection is opened.
    let server = Server::answering(ANSWER).await;
    let target = super::Target::upstream(&server.url()).unwrap();
    let result = outbound().upstream(&target, get(), limits).await;
    assert_eq!(result, Err(Failure::ConnectedTooLate));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn request_is_sent_unchanged() {
    let (requests, mut received) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            requests.send(read_request(&mut stream).await).unwrap();
            stream.write_all(ANSWER).await.unwrap();
        }
    })
    .await;
    let target = target(&server).join("/a%20b?c=%C3%A4&d='").unwrap();
    let outbound = outbound();
    let mut request = post("body");
    request.headers = vec![
        (hyper::header::AUTHORIZATION, "key".parse().unwrap()),
        (hyper::header::CONTENT_LENGTH, "0".parse().unwrap()),
        (hyper::header::TRANSFER_ENCODING, "chunked".parse().unwrap()),
    ];
    let version = env!("CARGO_PKG_VERSION");
    let address = server.address;
    for (request, line, rest) in [
        (
            request,
            "POST",
            "authorization: key\r\ncontent-length: 4\r\n\r\nbody",
        ),
        (get(), "GET", "\r\n"),
    ] {
        outbound
            .upstream(&target, request, generous())
            .await
            .unwrap();
        let expected = format!(
            "{line} /a%20b?c=%C3%A4&d=' HTTP/1.1\r\nhost: {address}\r\n\
             user-agent: bulkhead/{version}\r\nconnection: close\r\n{rest}"
        );
        assert_eq!(received.recv().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn concurrent_requests_have_own_connections() {
    let server = Arc::new(Server::answering(ANSWER).await);
    let outbound = outbound();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (outbound, target) = (outbound.clone(), target(&server));
            tokio::spawn(async move { outbound.upstream(&target, get(), generous()).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(server.accepted(), 50);
}
