//! The web server of an attacker.

use std::io::{BufRead as _, BufReader, Read as _, Write as _, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Maximum time for a browser to start and to run all attacks.
const REPORT_TIMEOUT: Duration = Duration::from_mins(5);

/// A web server of an attacker.
pub(super) struct Site {
    address: SocketAddr,
    content: Arc<Mutex<Content>>,
    reports: Receiver<String>,
}

#[derive(Default)]
struct Content {
    page: String,
    /// The server to which all requests except that for the page lead, as if the name had another address by then.
    rebound: Option<SocketAddr>,
}

impl Site {
    /// Starts a server. Its thread ends with the process.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
        let address = listener.local_addr().expect("address should be valid");
        let content = Arc::<Mutex<Content>>::default();
        let (sender, reports) = channel();
        let shared = Arc::clone(&content);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, sender) = (Arc::clone(&shared), sender.clone());
                std::thread::spawn(move || {
                    // The browser may close a connection at any time.
                    let _closed = serve(stream, &content, &sender);
                });
            }
        });
        Self {
            address,
            content,
            reports,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn serve(&self, page: String, rebound: Option<SocketAddr>) {
        *self.content.lock().expect("thread should not panic") = Content { page, rebound };
    }

    /// Returns the body of the first `POST`.
    pub(super) fn wait_for_report(&self) -> String {
        let report = self.reports.recv_timeout(REPORT_TIMEOUT);
        report.expect("browser should report")
    }
}

fn serve(
    stream: TcpStream,
    content: &Mutex<Content>,
    reports: &Sender<String>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let (page, rebound) = {
        let content = content.lock().expect("thread should not panic");
        (content.page.clone(), content.rebound)
    };
    if head.starts_with("GET / ") {
        return respond(stream, "200 OK", &page);
    }
    if let Some(server) = rebound {
        return forward(stream, reader, &head, server);
    }
    if head.starts_with("POST / ") {
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().ok())?
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        // The test may have ended.
        let _ended = reports.send(String::from_utf8_lossy(&body).into_owned());
        return respond(stream, "204 No Content", "");
    }
    respond(stream, "404 Not Found", "")
}

fn respond(mut stream: TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Connects the browser with a server, which sees the browser's requests unchanged.
fn forward(
    mut stream: TcpStream,
    mut reader: BufReader<TcpStream>,
    head: &str,
    server: SocketAddr,
) -> std::io::Result<()> {
    let mut to = TcpStream::connect(server)?;
    let mut from = to.try_clone()?;
    to.write_all(head.as_bytes())?;
    std::thread::spawn(move || {
        let _closed = copy(&mut reader, &mut to);
        let _closed = to.shutdown(Shutdown::Write);
    });
    copy(&mut from, &mut stream)?;
    stream.shutdown(Shutdown::Both)
}
