//! A static web server for this machine: files of one folder, read only, by GET and HEAD.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

/// No request of a browser has a longer head.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// A server that listens.
pub(crate) struct Server {
    listener: TcpListener,
    folder: PathBuf,
}

impl Server {
    /// Listens on this machine's own address only; port 0 takes a free one.
    pub(crate) fn bind(folder: PathBuf, port: u16) -> io::Result<Server> {
        Ok(Server { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port))?, folder })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for as long as the program runs.
    pub(crate) fn run(self) {
        for stream in self.listener.incoming().flatten() {
            let folder = self.folder.clone();
            // A browser that goes away in the midst of an answer is none of the others' business.
            thread::spawn(move || drop(answer(&stream, &folder)));
        }
    }
}

fn answer(stream: &TcpStream, folder: &Path) -> io::Result<()> {
    let mut head = BufReader::new(stream.take(HEAD_BYTES_MAX));
    let mut request = String::new();
    head.read_line(&mut request)?;
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut stream = stream;
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(method, "GET" | "HEAD") {
        return stream
            .write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let found = path_of(target)
        .map(|path| folder.join(path))
        .and_then(|path| File::open(&path).ok().map(|file| (path, file)));
    let Some((path, mut file)) = found.filter(|(path, _)| path.is_file()) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n",
        type_of(&path),
        file.metadata()?.len()
    )?;
    if method == "GET" {
        io::copy(&mut file, &mut stream)?;
    }
    Ok(())
}

/// The file that a target names below the folder; nothing where it would lead out of it.
fn path_of(target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let plain =
        |part: &str| !part.is_empty() && part != ".." && part != "." && !part.contains(['\\', ':', '%']);
    let path =
        if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path.to_owned() };
    path.split('/').all(plain).then(|| path.into())
}

fn type_of(path: &Path) -> &'static str {
    match path.extension().and_then(|end| end.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_a_file_below_the_folder_or_nothing() {
        let named = |target| path_of(target).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(named("/").as_deref(), Some("index.html"));
        assert_eq!(named("/js/app.js?x=1").as_deref(), Some("js/app.js"));
        assert_eq!(named("/js/").as_deref(), Some("js/index.html"));
        for outside in [
            "/../Cargo.toml",
            "/js/../../Cargo.toml",
            "//etc/passwd",
            "/%2e%2e/x",
            "/C:/x",
            "/a\\..\\b",
            "x",
            "",
        ] {
            assert_eq!(named(outside), None, "{outside}");
        }
    }

    #[test]
    fn a_file_is_served_with_its_type_and_what_is_not_there_is_not_found() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let server = Server::bind(folder.clone(), 0).unwrap();
        let address = server.address().unwrap();
        thread::spawn(|| server.run());
        let ask = |request: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let found = ask("GET /serve.rs HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            found.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"),
            "{found}"
        );
        assert!(found.ends_with(&std::fs::read_to_string(folder.join("serve.rs")).unwrap()));
        assert!(ask("HEAD /serve.rs HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
        assert!(ask("GET /absent.rs HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask("POST /serve.rs HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }
}
