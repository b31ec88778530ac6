//! Complete, incomplete and invalid responses of the upstream.

use std::fmt::Write as _;

use super::server::Server;
use super::*;

async fn fetch(answer: &str) -> Result<(u16, String), Failure> {
    let server = Server::answering(answer).await;
    let target = Target::upstream(&server.url()).unwrap();
    let result = outbound().upstream(&target, get(), generous()).await;
    // No request is repeated, whatever the response is.
    assert_eq!(server.accepted(), 1);
    result.map(|answer| {
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        (answer.status, body)
    })
}

#[tokio::test]
async fn complete_response_is_returned() {
    for (answer, status, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
            200,
            "ok",
        ),
        ("HTTP/1.1 502 \r\ncontent-length:0\r\n\r\n", 502, ""),
        ("HTTP/1.1 999 Odd\r\nContent-Length: 1\r\n\r\n?", 999, "?"),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;a=b\r\no\r\n1\r\nk\r\n0\r\nT: t\r\n\r\n",
            200,
            "ok",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nok", 200, "ok"),
        ("HTTP/1.0 200 OK\r\n\r\n", 200, ""),
        (
            "HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\nok",
            200,
            "ok",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            302,
            "",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
        ),
    ] {
        assert_eq!(
            fetch(answer).await,
            Ok((status, body.to_owned())),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn incomplete_response_is_cut_off() {
    for answer in [
        "",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        // Without a length, the end of the body is unknown.
        "HTTP/1.1 200 OK\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: closed\r\n\r\nok",
    ] {
        assert_eq!(fetch(answer).await, Err(Failure::CutOff), "{answer:?}");
    }
}

#[tokio::test]
async fn invalid_http_is_malformed() {
    for answer in [
        "garbage",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "ok\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nok\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
    ] {
        assert_eq!(fetch(answer).await, Err(Failure::Malformed), "{answer:?}");
    }
}

#[tokio::test]
async fn response_over_limit_is_too_long() {
    let longest = "x".repeat(64);
    let fits = format!("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{longest}");
    assert_eq!(fetch(&fits).await, Ok((200, longest.clone())));
    let chunks = "1\r\nx\r\n".repeat(64);
    let fits = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    assert_eq!(fetch(&fits).await, Ok((200, longest.clone())));

    let mut many = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_owned();
    for number in 0..100 {
        write!(many, "X-{number}: x\r\n").unwrap();
    }
    many += "\r\n";
    let giant = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n",
        "x".repeat(HEAD_BYTES_MAX)
    );
    let declared = format!("HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n{longest}x");
    let declared_only = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551610\r\n\r\nx";
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}1\r\nx\r\n0\r\n\r\n");
    let until_closed = format!("HTTP/1.0 200 OK\r\n\r\n{longest}x");
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(2000);
    let zeros = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}1\r\nx\r\n0\r\n\r\n",
        "0".repeat(2 * HEAD_BYTES_MAX)
    );
    for answer in [
        &*many,
        &giant,
        &declared,
        declared_only,
        &chunked,
        &until_closed,
        &interim,
        &zeros,
    ] {
        assert_eq!(fetch(answer).await, Err(Failure::TooLong), "{answer:.60?}");
    }
}

#[tokio::test]
async fn retry_after_is_returned() {
    let server =
        Server::answering("HTTP/1.1 429 x\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n").await;
    let target = Target::upstream(&server.url()).unwrap();
    let answer = outbound().upstream(&target, get(), generous()).await;
    let expected = Response {
        status: 429,
        retry_after: Some("120".to_owned()),
        body: Bytes::new(),
    };
    assert_eq!(answer, Ok(expected));
}
