//! Plain HTTP, so that tests can send what no client would.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.text()))
    }
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// Sends these bytes and reads the answer.
pub fn raw(port: u16, request: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // The server may answer and close before it has read all of a body that it refuses.
    let sent = stream.write_all(request);
    let mut bytes = vec![];
    let received = stream.read_to_end(&mut bytes);
    match parse(&bytes) {
        Some(answer) => Ok(answer),
        None => Err(sent.err().or(received.err()).unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into())),
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.trim().to_string(), v.trim().to_string())).collect();
    let rest = &bytes[end + 4..];
    let chunked = headers.iter().any(|(n, v)| n.eq_ignore_ascii_case("transfer-encoding") && v.eq_ignore_ascii_case("chunked"));
    let length = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-length")).and_then(|(_, v)| v.parse::<usize>().ok());
    let body = match (chunked, length) {
        (true, _) => unchunk(rest)?,
        // An answer that was cut off is none.
        (false, Some(length)) if rest.len() < length && status != 304 && !rest.is_empty() => return None,
        _ => rest.to_vec(),
    };
    Some(Answer { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = vec![];
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}

/// A caller with a token.
#[derive(Debug, Clone)]
pub struct Api {
    pub port: u16,
    pub token: String,
    pub project: String,
    pub user: String,
}

impl Api {
    /// A caller who logged in, or why there is no token.
    pub fn try_login(port: u16, user: &str, password: &str, project: &str) -> Result<Self, String> {
        Self::of(port, authenticate(port, user, password, project).map_err(|e| e.to_string())?)
    }

    /// The caller that an answer to a login makes.
    pub fn of(port: u16, answer: Answer) -> Result<Self, String> {
        if answer.status != 201 {
            return Err(format!("{} {}", answer.status, answer.text()));
        }
        let body = answer.json();
        let id = |what: &str| body["token"][what]["id"].as_str().unwrap_or_default().to_string();
        let token = answer.header("X-Subject-Token").ok_or("the answer has no token")?.to_string();
        Ok(Self { port, token, project: id("project"), user: id("user") })
    }

    /// One request; an error when no answer came.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        self.send_as(method, path, kind, body.as_bytes())
    }

    /// The same with header lines and any bytes as the body.
    pub fn send_as(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nX-Auth-Token: {}\r\nContent-Length: {}\r\n{headers}\r\n",
            self.port,
            self.token,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        raw(self.port, &request)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).expect("the API answers")
    }
    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(&body)).expect("the API answers")
    }
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).expect("the API answers")
    }
}

/// Asks for a token by password.
pub fn authenticate(port: u16, user: &str, password: &str, project: &str) -> std::io::Result<Answer> {
    authenticate_for(port, user, password, &json!({"project": {"name": project, "domain": {"id": "default"}}}))
}

/// The same for a domain or the system.
pub fn authenticate_for(port: u16, user: &str, password: &str, scope: &Value) -> std::io::Result<Answer> {
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": "default"}, "password": password}}},
        "scope": scope,
    }});
    Api { port, token: String::new(), project: String::new(), user: String::new() }.send("POST", "/v3/auth/tokens", Some(&body))
}
