//! HTTP/1.1, as much of it as one browser on this machine needs: one request for each
//! connection, with bounds in bytes and time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The head of a request.
const MOST_HEAD: usize = 16 * 1024;

/// What is posted: the numbers of all changes of a large tree.
const MOST_BODY: usize = 8 << 20;

/// A request must have come by then.
const TIME: Duration = Duration::from_secs(20);

/// A request.
#[derive(Debug, Default)]
pub struct Ask {
    pub post: bool,
    /// Without the query.
    pub path: String,
    pub query: String,
    pub host: Option<String>,
    pub origin: Option<String>,
    pub cookies: String,
    /// Who made the browser ask, as it tells by itself.
    pub site: Option<String>,
    /// What is posted is JSON.
    pub json: bool,
    pub body: Vec<u8>,
}

impl Ask {
    /// A value of the query. Nothing is escaped in it: values are digits and letters.
    pub fn value(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub kind: &'static str,
    /// Further lines of the head, each with its end.
    pub head: String,
    pub body: Vec<u8>,
}

/// What is no page may nothing at all.
pub const NOTHING_ALLOWED: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

impl Reply {
    pub fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        let head = format!("Content-Security-Policy: {NOTHING_ALLOWED}\r\n");
        Reply { status, kind, head, body: body.into() }
    }

    /// A sentence.
    pub fn text(status: u16, text: &str) -> Reply {
        Reply::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// An object.
    pub fn json(status: u16, object: &impl serde::Serialize) -> Reply {
        match serde_json::to_vec(object) {
            Ok(text) => Reply::new(status, "application/json", text),
            Err(error) => Reply::text(500, &error.to_string()),
        }
    }

    /// Why something cannot be, for the page.
    pub fn trouble(status: u16, text: &str) -> Reply {
        Reply::json(status, &serde_json::json!({ "error": text }))
    }
}

/// Reads a request.
///
/// # Errors
/// What is to be answered; `None`: nobody is there (any more).
pub fn read(stream: &mut TcpStream) -> Result<Ask, Option<Reply>> {
    let until = Instant::now() + TIME;
    let refuse = |status, text: &str| Err(Some(Reply::text(status, text)));
    let mut bytes = Vec::new();
    let (mut ask, head, len) = loop {
        if more(stream, &mut bytes, until, MOST_HEAD)? == 0 {
            return Err(None);
        }
        match parse(&bytes) {
            Ok(Some(parsed)) => break parsed,
            Ok(None) if bytes.len() >= MOST_HEAD => return refuse(431, "too long"),
            Ok(None) => {}
            Err(why) => return refuse(400, why),
        }
    };
    if len > MOST_BODY {
        return refuse(413, "too much");
    }
    let mut body = bytes.split_off(head.min(bytes.len()));
    while body.len() < len {
        if more(stream, &mut body, until, len)? == 0 {
            return Err(None);
        }
    }
    body.truncate(len);
    ask.body = body;
    Ok(ask)
}

/// Waits for bytes, until a point in time, and takes what there is.
fn more(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    until: Instant,
    most: usize,
) -> Result<usize, Option<Reply>> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left)).map_err(|_| None)?;
    let mut piece = vec![0; 16 * 1024];
    let room = most.saturating_sub(bytes.len()).min(piece.len());
    let got = loop {
        match stream.read(piece.get_mut(..room).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Some(Reply::text(408, "it took too long")));
            }
            other => break other.map_err(|_| None)?,
        }
    };
    bytes.extend_from_slice(piece.get(..got).unwrap_or_default());
    Ok(got)
}

/// A head as far as it is there: with its length, and that of the body.
fn parse(bytes: &[u8]) -> Result<Option<(Ask, usize, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("this is no request"),
    };
    let mut ask = Ask { post: request.method == Some("POST"), ..Ask::default() };
    if !matches!(request.method, Some("GET" | "POST")) {
        return Err("GET and POST are all");
    }
    let target = request.path.filter(|path| path.starts_with('/')).ok_or("no path")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (ask.path, ask.query) = (path.to_owned(), query.to_owned());
    let mut len = None;
    for header in request.headers.iter() {
        let value = str::from_utf8(header.value).map_err(|_| "a header that is no text")?;
        let set = |to: &mut Option<String>| match to.replace(value.to_owned()) {
            Some(_) => Err("a header that is there twice"),
            None => Ok(()),
        };
        match &*header.name.to_ascii_lowercase() {
            "host" => set(&mut ask.host)?,
            "origin" => set(&mut ask.origin)?,
            "sec-fetch-site" => set(&mut ask.site)?,
            "content-length" => set(&mut len)?,
            "transfer-encoding" => return Err("no length"),
            "content-type" => ask.json = value == "application/json",
            "cookie" => ask.cookies = value.to_owned(),
            _ => {}
        }
    }
    let len = len.map_or(Ok(0), |len| len.parse()).map_err(|_| "no length")?;
    Ok(Some((ask, head, len)))
}

/// Sends an answer, and ends the connection.
pub fn write(stream: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    let words = match reply.status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Content Too Large",
        status if status < 500 => "Bad Request",
        _ => "Trouble",
    };
    let head = format!(
        "HTTP/1.1 {} {words}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: \
         no-referrer\r\nX-Frame-Options: DENY\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n{}\r\n",
        reply.status,
        reply.kind,
        reply.body.len(),
        reply.head
    );
    stream.set_write_timeout(Some(TIME))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&reply.body)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // What has come and was not read would take the answer away from who asked.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut rest = [0; 4096];
    for _ in 0..64 {
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let text = b"POST /a/b?x=1&y=2 HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\n\
                     Content-Type: application/json\r\ncontent-length: 3\r\n\r\nabc";
        let (ask, head, len) = parse(text).unwrap().unwrap();
        assert_eq!((head, len), (text.len() - 3, 3));
        assert_eq!((&*ask.path, ask.value("y"), ask.value("z")), ("/a/b", Some("2"), None));
        assert!(ask.post && ask.json && ask.host.as_deref() == Some("h") && ask.cookies == "a=b");
        assert!(parse(&text[..text.len() - 6]).unwrap().is_none());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "OPTIONS / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \u{ff}\0\r\n\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
