//! `mini_fo review` as it runs in tests, and a client that asks it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::sh;

/// A server that runs.
pub struct Served {
    child: Child,
    pub address: String,
    pub port: u16,
    pub token: String,
}

impl Served {
    pub fn start<S: AsRef<OsStr>>(args: &[S]) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mini_fo"))
            .args(["review", "--no-open"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mini_fo");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let said = lines.next().expect("a line").expect("text");
        assert!(said.contains("to be seen at"), "{said}");
        let address = lines.next().expect("a line").expect("text");
        let (start, token) = address.split_once("/?token=").expect("a token");
        let port = start.strip_prefix("http://127.0.0.1:").expect("loopback").parse();
        let token = token.to_owned();
        Served { child, port: port.expect("a port"), token, address }
    }

    pub fn signal(&self, signal: &str) {
        sh(Path::new("/"), &format!("kill -{signal} {}", self.child.id()));
    }

    /// Its exit code, when it ends by itself.
    pub fn ends(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it goes on");
    }

    /// Lets itself in.
    pub fn page(&self) -> Page {
        let entered = self.ask("GET", &format!("/?token={}", self.token), "", b"");
        assert_eq!(entered.status, 200);
        let cookie = entered.header("set-cookie").expect("a cookie").to_owned();
        assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
        let (cookie, rest) = cookie.split_once(';').expect("attributes");
        let path = rest.split_once("Path=").expect("a path").1.split(';').next().expect("a path");
        Page { port: self.port, path: path.to_owned(), cookie: cookie.to_owned() }
    }

    pub fn ask(&self, method: &str, path: &str, head: &str, body: &[u8]) -> Answer {
        let head = format!("Host: 127.0.0.1:{}\r\n{head}", self.port);
        http(self.port, method, path, &head, body)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

pub fn http(port: u16, method: &str, path: &str, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
    let text = format!(
        "{method} {path} HTTP/1.1\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // It may refuse before it has read all.
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(body));
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).expect("an answer") > 2 {
        head += &line;
        line.clear();
    }
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a status");
    let mut answer = Answer { status, head, body: Vec::new() };
    let len = answer.header("content-length").map_or(0, |len| len.parse().expect("a length"));
    answer.body = vec![0; len];
    reader.read_exact(&mut answer.body).expect("a body");
    answer
}

/// What a browser knows that was let in.
pub struct Page {
    port: u16,
    pub path: String,
    pub cookie: String,
}

impl Page {
    pub fn get(&self, path: &str) -> Answer {
        let head = format!("Host: 127.0.0.1:{}\r\nCookie: {}\r\n", self.port, self.cookie);
        http(self.port, "GET", &format!("{}{path}", self.path), &head, b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let head = format!(
            "Host: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\nCookie: {1}\r\n\
             Content-Type: application/json\r\n",
            self.port, self.cookie
        );
        let body = body.to_string();
        http(self.port, "POST", &format!("{}{path}", self.path), &head, body.as_bytes())
    }

    pub fn rows(&self, turn: u64) -> Vec<Value> {
        let mut rows = Vec::new();
        loop {
            let answer = self.get(&format!("api/list?turn={turn}&from={}", rows.len()));
            assert_eq!(answer.status, 200);
            let part = answer.json().as_array().expect("rows").clone();
            if part.is_empty() {
                return rows;
            }
            rows.extend(part);
        }
    }

    pub fn id(&self, turn: u64, path: &str) -> usize {
        let rows = self.rows(turn);
        rows.iter().position(|row| row[0] == path).unwrap_or_else(|| panic!("{path}: {rows:?}"))
    }

    pub fn change(&self, path: &str) -> Value {
        let answer = self.get(&format!("api/change?turn=1&id={}", self.id(1, path)));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }
}
