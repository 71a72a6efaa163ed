//! A node's daemon as people start it, and a consumer of it, for tests of what they see of it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use forebay::delivery::local::client::{Client, Consumer};
use forebay::delivery::local::record::{FLAG_LAST, Spent};
use forebay::operate;
use forebay_proto::v1;

/// Two classes of a few small images, and the daemon's sockets beside them.
pub struct Node {
    dir: tempfile::TempDir,
    daemon: Child,
}

impl Node {
    /// Starts `forebay serve` over `images` images with more `words` on its command line; DIR in them is its folder.
    pub fn start(images: usize, words: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for number in 0..images {
            let class = dir.path().join("data").join(["ant", "bee"][number % 2]);
            std::fs::create_dir_all(&class).expect("a folder");
            image::RgbImage::new(20, 16).save(class.join(format!("{number}.png"))).expect("an image");
        }
        let config = format!(
            "cpu_threads = 2\nretry_deadline = \"1s\"\narena_budget = \"64MiB\"\n[[root]]\npath = \"{}\"\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("node.toml"), config).expect("a file");
        let daemon = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .current_dir(dir.path())
            .args(["serve", "--config", "node.toml", "--socket", "forebay.sock"])
            .args(words.iter().map(|word| word.replace("DIR", &dir.path().display().to_string())))
            .env_remove("FOREBAY_LOG")
            .stderr(std::fs::File::create(dir.path().join("log")).expect("a file"))
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        let node = Self { dir, daemon };
        drop(node.client());
        node
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.path("forebay.sock")
    }

    /// Tries until it works: a socket's file is there a moment before anybody listens on it.
    fn retried<T, E: std::fmt::Debug>(&self, attempt: impl Fn() -> Result<T, E>) -> T {
        let mut outcome = attempt();
        for _ in 0..2000 {
            if let Ok(done) = outcome {
                return done;
            }
            std::thread::sleep(Duration::from_millis(10));
            outcome = attempt();
        }
        outcome.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log()))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).expect("a log")
    }

    /// Waits until it has logged `word`.
    pub fn await_log(&self, word: &str) -> String {
        for _ in 0..2000 {
            let log = self.log();
            if log.contains(word) {
                return log;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the daemon never logged {word:?}:\n{}", self.log());
    }

    /// Asks for one path over the Unix socket that metrics are served on: status, headers and body.
    pub fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = self.retried(|| UnixStream::connect(self.path("metrics.sock")));
        write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("an answer");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        (status.expect("a status"), head.to_ascii_lowercase(), body.to_owned())
    }

    /// A connection.
    pub fn client(&self) -> Client {
        self.retried(|| operate::connect(&self.socket()))
    }

    /// Opens the images as batches of `rows`, as rank 1 of 2.
    pub fn open(&self, client: &mut Client, rows: u32) -> Consumer {
        self.open_after(client, rows, |_| ())
    }

    /// As `open`, doing something to each image's file after the data was opened and before any is read.
    pub fn open_after(&self, client: &mut Client, rows: u32, change: impl Fn(&Path)) -> Consumer {
        self.open_as(client, rows, "", change)
    }

    /// As `open_after`, with `more` in the image's field.
    pub fn open_as(&self, client: &mut Client, rows: u32, more: &str, change: impl Fn(&Path)) -> Consumer {
        let json = format!(
            r#"{{"jobId":"photos","sources":[{{"folder":{{"path":"{}"}}}}],"fields":[{{"name":"image","transforms":[{{"centerCrop":{{"size":[8]}}}}]{more}}}]}}"#,
            self.path("data").display()
        );
        let job = client.resolve(serde_json::from_str(&json).expect("a spec")).expect("a job");
        for class in ["data/ant", "data/bee"] {
            let files = std::fs::read_dir(self.path(class)).expect("a folder");
            files.for_each(|file| change(&file.expect("a file").path()));
        }
        let request = v1::OpenRequest {
            job: Some(v1::JobRef { order_digest: job.order_digest, content_digest: job.content_digest }),
            partition: Some(v1::Partition { rank: 1, size: 2, ..Default::default() }),
            rows,
            ..Default::default()
        };
        client.open(request).expect("a session")
    }

    /// Ends it as an operator would, and waits for its end.
    pub fn end(&mut self) {
        operate::drain(&self.socket()).expect("it drains");
        self.ended();
    }

    /// Waits for its end, which must be a good one.
    pub fn ended(&mut self) {
        assert!(self.daemon.wait().expect("it ends").success(), "{}", self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Takes a whole epoch, saying of each batch that `waited` was waited for it, and half a second trained. The batches
/// taken.
pub fn consume(consumer: &mut Consumer, waited: Duration) -> u64 {
    let waited_us = waited.as_micros() as u32;
    let spent = Spent { waited_us, trainer_us: 500_000, ..Spent::default() };
    consumer.credit(1).expect("it listens");
    for batches in 1.. {
        let ready = consumer.next_batch().expect("a batch");
        consumer.release(&ready).expect("it listens");
        consumer.credit_after(1, spent).expect("it listens");
        if ready.flags & FLAG_LAST != 0 {
            return batches;
        }
    }
    unreachable!("an epoch ends")
}

/// The path of a file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
