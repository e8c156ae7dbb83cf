//! A Hub on loopback that misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// What goes wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection closes after so many bytes of the body.
    CutAfter(usize),
    /// All is sent although a part was asked for.
    IgnoreRange,
    /// The right size, other content.
    OtherBytes,
    Longer(usize),
    Shorter(usize),
    /// Status 200 and a web page.
    Page,
    /// A status and, unless empty, the Hub's word for it.
    Refuse(u16, &'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

impl Request {
    pub(crate) fn is_get(&self, file: &str) -> bool {
        self.method == "GET" && self.path.ends_with(file)
    }
}

struct StoredFile {
    bytes: Vec<u8>,
    etag: String,
    /// Whether it is announced as the Hub does large files.
    large: bool,
    redirect: Option<String>,
    faults: VecDeque<Fault>,
}

#[derive(Default)]
struct State {
    commit: String,
    files: BTreeMap<String, StoredFile>,
    renamed: BTreeMap<String, String>,
    intercept: Option<(Fault, usize)>,
    requests: Vec<Request>,
}

pub(crate) struct FakeHub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

impl FakeHub {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { commit: "a".repeat(40), ..State::default() }));
        let stopped = Arc::new(AtomicBool::new(false));
        let hub = Self { address, state: state.clone(), stopped: stopped.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = state.clone();
                // An answer that the client hangs up on is no fault of the test.
                std::thread::spawn(move || stream.and_then(|s| answer(s, &state)));
            }
        });
        hub
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Nobody listens any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        // Until the listener is gone.
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }

    pub(crate) fn add(&self, file: &str, bytes: &[u8], large: bool) {
        let sha: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        let etag = if large { sha } else { sha[..40].to_owned() };
        let stored =
            StoredFile { bytes: bytes.to_vec(), etag, large, redirect: None, faults: VecDeque::new() };
        self.state.lock().unwrap().files.insert(file.to_owned(), stored);
    }

    pub(crate) fn etag(&self, file: &str) -> String {
        self.state.lock().unwrap().files[file].etag.clone()
    }

    pub(crate) fn commit(&self) -> String {
        self.state.lock().unwrap().commit.clone()
    }

    pub(crate) fn commit_as(&self, commit: String) {
        self.state.lock().unwrap().commit = commit;
    }

    /// What goes wrong with the next GETs of a file, one after the other.
    pub(crate) fn fault(&self, file: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().files.get_mut(file).unwrap().faults = faults.into_iter().collect();
    }

    /// The answer to everything.
    pub(crate) fn intercept(&self, fault: Fault) {
        self.intercept_times(fault, usize::MAX);
    }

    pub(crate) fn intercept_times(&self, fault: Fault, times: usize) {
        self.state.lock().unwrap().intercept = Some((fault, times));
    }

    /// Large files lie on another server.
    pub(crate) fn redirect(&self, file: &str, to: &FakeHub) {
        let target = format!("{}/org/net/resolve/main/{file}", to.endpoint());
        self.state.lock().unwrap().files.get_mut(file).unwrap().redirect = Some(target);
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        self.state.lock().unwrap().renamed.insert(from.to_owned(), to.to_owned());
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn forget(&self) {
        self.state.lock().unwrap().requests.clear();
    }
}

/// A safetensors file of `size` bytes with one tensor.
pub(crate) fn tensors(size: usize) -> Vec<u8> {
    let mut header = format!(r#"{{"x":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, size - 200);
    header.push_str(&" ".repeat(192 - header.len()));
    let mut bytes = 192u64.to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend((0..size - 200).map(|i| (i * 31 % 251) as u8));
    bytes
}

/// Reads a request, writes an answer, closes.
fn answer(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, path, range: None, authorization: None };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    if request.method.is_empty() {
        return Ok(());
    }
    let (head, body, sent) = respond(&request, &mut state.lock().unwrap());
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&body[..sent])?;
    }
    stream.flush()
}

/// Head, body, and how much of the body is really sent.
fn respond(request: &Request, state: &mut State) -> (String, Vec<u8>, usize) {
    state.requests.push(request.clone());
    if let Some((fault, times)) = state.intercept.take() {
        if times > 1 {
            state.intercept = Some((fault, times - 1));
        }
        return misbehave(fault);
    }
    let commit = state.commit.clone();
    let path = request.path.trim_start_matches('/');
    let Some((repository, rest)) = path.split_once("/resolve/") else {
        return misbehave(Fault::Refuse(404, ""));
    };
    if let Some(new) = state.renamed.get(repository) {
        let location = format!("Location: /{new}/resolve/{rest}\r\n");
        return whole(307, &location, Vec::new());
    }
    let file = rest.split_once('/').map_or("", |(_, file)| file);
    let Some(stored) = state.files.get_mut(file) else {
        let headers = format!("X-Repo-Commit: {commit}\r\nX-Error-Code: EntryNotFound\r\n");
        return whole(404, &headers, b"Entry not found".to_vec());
    };
    let size = stored.bytes.len();
    let mut headers = format!("X-Repo-Commit: {commit}\r\nETag: \"{}\"\r\n", stored.etag);
    if stored.large {
        headers = format!(
            "X-Repo-Commit: {commit}\r\nETag: W/\"of-the-redirect\"\r\nX-Linked-ETag: \"{}\"\r\nX-Linked-Size: {size}\r\n",
            stored.etag
        );
    }
    if let Some(target) = &stored.redirect {
        return whole(302, &format!("{headers}Location: {target}\r\n"), b"Found".to_vec());
    }
    let fault = if request.method == "GET" { stored.faults.pop_front() } else { None };
    let mut body = stored.bytes.clone();
    match fault {
        Some(Fault::Page | Fault::Refuse(..)) => return misbehave(fault.unwrap_or(Fault::Page)),
        Some(Fault::OtherBytes) => body[size / 2] ^= 1,
        Some(Fault::Longer(n)) => body.extend(vec![0; n]),
        Some(Fault::Shorter(n)) => body.truncate(size - n),
        _ => {}
    }
    let from: usize = match &request.range {
        Some(range) if fault != Some(Fault::IgnoreRange) => {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap()
        }
        _ => 0,
    };
    if from == 0 {
        let (head, body, all) = whole(200, &headers, body);
        return (head, body, cut(fault, all));
    }
    if from >= body.len() {
        return whole(416, "", Vec::new());
    }
    headers.push_str(&format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len()));
    let (head, body, all) = whole(206, &headers, body.split_off(from));
    (head, body, cut(fault, all))
}

fn cut(fault: Option<Fault>, all: usize) -> usize {
    if let Some(Fault::CutAfter(n)) = fault { n.min(all) } else { all }
}

fn misbehave(fault: Fault) -> (String, Vec<u8>, usize) {
    match fault {
        Fault::Refuse(status, code) if !code.is_empty() => {
            whole(status, &format!("X-Error-Code: {code}\r\n"), b"<html>no</html>".to_vec())
        }
        Fault::Refuse(status, _) => whole(status, "Retry-After: 0\r\n", b"<html>no</html>".to_vec()),
        _ => whole(200, "Content-Type: text/html; charset=utf-8\r\n", b"<html>Please log in</html>".to_vec()),
    }
}

fn whole(status: u16, headers: &str, body: Vec<u8>) -> (String, Vec<u8>, usize) {
    let head = format!(
        "HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let all = body.len();
    (head, body, all)
}
