//! A way to a server on which requests and answers get lost, stuck and replaced: a tiny HTTP/1.1 proxy.
//!
//! Each request goes to the server on a connection of its own. What happens to it is told by the first rule that it
//! matches; without one it passes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Twist {
    /// It reaches nobody, and its sender waits for as long as the proxy lives.
    Hang,
    /// It reaches nobody, and the connection is closed.
    Cut,
    /// The server does what it says; the connection is closed instead of answering.
    LoseAnswer,
    /// The server does what it says; the answer never comes.
    HangAnswer,
    /// It reaches nobody; this status and text are the answer.
    Answer(u16, &'static str),
    /// The server does what it says; this status is the answer.
    ReplaceAnswer(u16),
}

/// What a rule looks at: `PUT /box/some/name`, and whether it creates only what is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub line: String,
    pub creates: bool,
}

type Matches = Box<dyn Fn(&Request) -> bool + Send>;

struct Rule {
    matches: Matches,
    twist: Twist,
    times: usize,
}

#[derive(Default)]
struct Script {
    rules: Vec<Rule>,
    seen: Vec<Request>,
    down: bool,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Mutex<Script>>,
    twisted: Arc<watch::Sender<usize>>,
    refused: Arc<watch::Sender<usize>>,
    connections: Arc<Mutex<JoinSet<()>>>,
    server: u16,
}

pub struct Proxy {
    port: u16,
    shared: Shared,
    accepting: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// In front of the server at this port of this machine.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared {
            script: Arc::default(),
            twisted: Arc::default(),
            refused: Arc::default(),
            connections: Arc::default(),
            server,
        };
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { port, shared, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next `times` requests that match take this twist.
    pub fn twist(&self, times: usize, twist: Twist, matches: impl Fn(&Request) -> bool + Send + 'static) {
        self.shared.script.lock().unwrap().rules.push(Rule { matches: Box::new(matches), twist, times });
    }

    /// Forgets all rules.
    pub fn calm(&self) {
        self.shared.script.lock().unwrap().rules.clear();
    }

    /// Waits until rules were used this often since the beginning.
    pub async fn twisted(&self, times: usize) {
        reached(&self.shared.twisted, times).await;
    }

    /// Goes down as [`Proxy::go_down`] until it has refused this many connections more, and comes up again.
    pub async fn blink(&self, refusals: usize) {
        let before = *self.shared.refused.borrow();
        self.go_down();
        reached(&self.shared.refused, before + refusals).await;
        self.come_up();
    }

    /// What was asked since the last call.
    pub fn take_seen(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.script.lock().unwrap().seen)
    }

    /// The server is gone, as it looks from here: what is under way is cut off, done or not, and nothing goes through.
    pub fn go_down(&self) {
        self.shared.script.lock().unwrap().down = true;
        self.shared.connections.lock().unwrap().abort_all();
    }

    pub fn come_up(&self) {
        self.shared.script.lock().unwrap().down = false;
    }
}

async fn reached(counter: &watch::Sender<usize>, goal: usize) {
    let mut counter = counter.subscribe();
    let reached = counter.wait_for(|count| *count >= goal);
    tokio::time::timeout(Duration::from_secs(120), reached).await.expect("more requests").unwrap();
}

async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        if shared.script.lock().unwrap().down {
            shared.refused.send_modify(|count| *count += 1);
            continue;
        }
        let serving = serve(connection, shared.clone());
        let mut connections = shared.connections.lock().unwrap();
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let _ = serving.await; // whoever was connected sees how it ended
        });
    }
}

async fn serve(mut client: TcpStream, shared: Shared) -> std::io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let request = Request {
        line: head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned(),
        creates: head.to_ascii_lowercase().contains("\r\nif-none-match: *"),
    };
    let twist = shared.twist_of(&request);
    if twist.is_some() {
        shared.twisted.send_modify(|count| *count += 1);
    }
    match twist {
        Some(Twist::Cut) => return Ok(()),
        Some(Twist::Hang) => std::future::pending().await,
        Some(Twist::Answer(status, text)) => return answer(&mut client, status, text).await,
        _ => {}
    }
    let mut server = TcpStream::connect(("127.0.0.1", shared.server)).await?;
    server.write_all(head.trim_end().as_bytes()).await?;
    server.write_all(b"\r\nConnection: close\r\n\r\n").await?;
    server.write_all(&body).await?;
    let mut answered = Vec::new();
    server.read_to_end(&mut answered).await?;
    match twist {
        Some(Twist::LoseAnswer) => Ok(()),
        Some(Twist::HangAnswer) => std::future::pending().await,
        Some(Twist::ReplaceAnswer(status)) => answer(&mut client, status, "").await,
        _ => client.write_all(&answered).await,
    }
}

impl Shared {
    fn twist_of(&self, request: &Request) -> Option<Twist> {
        let mut script = self.script.lock().unwrap();
        script.seen.push(request.clone());
        let rule = script.rules.iter_mut().find(|rule| rule.times > 0 && (rule.matches)(request))?;
        rule.times -= 1;
        Some(rule.twist)
    }
}

async fn answer(client: &mut TcpStream, status: u16, text: &str) -> std::io::Result<()> {
    let length = text.len();
    let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}");
    client.write_all(answer.as_bytes()).await
}

/// Reads up to the end of one request: its head and its body.
async fn read_request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        let end = read.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let mut body = read.split_off(end);
            let missing = length.unwrap_or(0usize).saturating_sub(body.len());
            let mut rest = vec![0; missing];
            client.read_exact(&mut rest).await?;
            body.extend(rest);
            return Ok((head, body));
        }
        if client.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
