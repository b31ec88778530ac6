//! Servers that do not keep to HTTP's order of events, or to none.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::server::{Server, read_request};
use super::*;
use crate::connect::Stream;
use crate::exchange::exchange;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn target(server: &Server) -> Target {
    Target::upstream(&server.url()).unwrap()
}

/// How a connection ends after all that was sent on it.
async fn end(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(|_| ())
}

#[tokio::test]
async fn a_port_without_a_listener_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let target = Target::upstream(&url).unwrap();
    let result = outbound().upstream(&target, get(), patient()).await;
    let expected = Failure::NotConnected("the connection was refused");
    assert_eq!(result, Err(expected));
    assert!(!expected.sent());
}

#[tokio::test]
async fn a_reset_cuts_off() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nok")
            .await
            .unwrap();
        // Ends like a connection in order would, but for the reset.
        stream.set_zero_linger().unwrap();
    })
    .await;
    let result = outbound()
        .upstream(&target(&server), get(), patient())
        .await;
    assert_eq!(result, Err(Failure::CutOff));
    assert!(Failure::CutOff.sent());
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_with_a_reset() {
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
    assert!(Instant::now() < limits.deadline + PATIENCE / 2);
    let kind = ended.recv().await.unwrap().unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);

    // The same when nobody waits for the answer any more.
    let outbound = outbound();
    let target = target(&server);
    let gone = outbound.upstream(&target, get(), patient());
    assert!(timeout(Duration::from_millis(300), gone).await.is_err());
    let kind = ended.recv().await.unwrap().unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn an_answered_connection_ends_in_order() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let answered = Arc::new(Notify::new());
    let closed = Arc::clone(&answered);
    let server = Server::start(move |mut stream| {
        let (ends, closed) = (ends.clone(), Arc::clone(&closed));
        async move {
            read_request(&mut stream).await;
            stream.write_all(ANSWER).await.unwrap();
            // Left open: the answer is whole all the same.
            closed.notified().await;
            let end = end(&mut stream).await;
            // A reset after the end is seen only here.
            let reset = stream.take_error().unwrap();
            ends.send(reset.map_or(end, Err)).unwrap();
        }
    })
    .await;
    let answer = outbound()
        .upstream(&target(&server), get(), patient())
        .await;
    assert_eq!(answer.unwrap().body, "ok");
    answered.notify_one();
    ended.recv().await.unwrap().unwrap();
}

#[tokio::test]
async fn drips_end_at_the_deadline() {
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
        assert!(Instant::now() < limits.deadline + PATIENCE / 2);
    }
}

#[tokio::test]
async fn endless_bodies_end_at_the_limit() {
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
            .upstream(&target(&server), get(), patient())
            .await;
        let failure = result.unwrap_err();
        // Lines without a colon are no head.
        let expected = if text.ends_with("X: ") {
            Failure::Malformed
        } else {
            Failure::TooLong
        };
        assert_eq!(failure, expected, "{text}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_was_read() {
    let server = Server::start(|mut stream| async move {
        stream.write_all(ANSWER).await.unwrap();
        // Reads nothing, and does not close either: that would be a reset.
        let () = std::future::pending().await;
        drop(stream);
    })
    .await;
    let outbound = outbound();
    for body in [0, 16 * 1024 * 1024] {
        let request = post(vec![0; body]);
        let answer = outbound
            .upstream(&target(&server), request, patient())
            .await;
        assert_eq!(answer.unwrap().body, "ok", "{body}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_taken_times_out() {
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
async fn nothing_is_sent_too_late() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = Target::upstream(&format!("http://{address}/")).unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let limits = Limits {
        send_before: Instant::now(),
        ..patient()
    };
    // As if the handshake had taken the time.
    let stream = Stream::Plain(client);
    let result = exchange(stream, &target, post("x"), limits, Needed::Whole).await;
    assert_eq!(result, Err(Failure::Late));
    assert!(!Failure::Late.sent());
    let mut received = Vec::new();
    let _ = server.read_to_end(&mut received).await;
    assert!(received.is_empty());

    // Without any time left there is not even a connection.
    let server = Server::answering(ANSWER).await;
    let target = super::Target::upstream(&server.url()).unwrap();
    let result = outbound().upstream(&target, get(), limits).await;
    assert_eq!(result, Err(Failure::Late));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_request_arrives_as_it_was_meant() {
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
            .upstream(&target, request, patient())
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
async fn many_at_once_have_a_connection_each() {
    let server = Arc::new(Server::answering(ANSWER).await);
    let outbound = outbound();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (outbound, target) = (outbound.clone(), target(&server));
            tokio::spawn(async move { outbound.upstream(&target, get(), patient()).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(server.accepted(), 50);
}
