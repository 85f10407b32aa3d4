//! The program that runs in every simulated session: a small shell whose state shows whether it is the same
//! process as before.
//!
//! ```text
//!  count        counts up and prints `count=N`
//!  pid          prints `pid=N`
//!  put K TEXT   stores TEXT in the user's data
//!  get K        prints what is stored there
//!  keep TEXT    keeps TEXT for another host to go on with; prints `kept=TEXT` when that is safe
//!  pay TEXT     pays TEXT once, whatever becomes of its host; prints `paid=TEXT` when that is safe, or `unpaid=TEXT`
//!  kept         prints `has=TEXT`, what is kept
//!  exit N       ends with status N
//!  TEXT         prints `TEXT?`
//! ```

use datastore::wire::Call;
use datastore::{Answer, Request, RequestId, Response, StoreError, Value};

/// What a shell does about a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Does {
    Print(String),
    Ask(Box<Call>),
    Keep(String),
    Pay(String),
    TellKept,
    Exit(i32),
}

/// One running shell.
#[derive(Debug)]
pub(super) struct Shell {
    host: String,
    pub(super) pid: u32,
    count: u64,
    asked: u64,
    line: Vec<u8>,
}

impl Shell {
    pub(super) fn new(host: &str, pid: u32) -> Self {
        Self { host: host.to_owned(), pid, count: 0, asked: 0, line: Vec::new() }
    }

    pub(super) fn prompt(&self) -> String {
        format!("{}:{}$ ", self.host, self.pid)
    }

    /// Takes what was typed: echoes it, and does what a finished line says.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Does> {
        let mut does = Vec::new();
        for byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                does.push(Does::Print("\r\n".into()));
                let line = String::from_utf8_lossy(&core::mem::take(&mut self.line)).into_owned();
                self.run(line.trim(), &mut does);
            } else {
                self.line.push(*byte);
                does.push(Does::Print(char::from(*byte).to_string()));
            }
        }
        does
    }

    fn run(&mut self, line: &str, does: &mut Vec<Does>) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => does.push(Does::Print(self.prompt())),
            "count" => {
                self.count += 1;
                does.push(self.says(&format!("count={}", self.count)));
            }
            "pid" => does.push(self.says(&format!("pid={}", self.pid))),
            "put" | "get" => does.push(self.asks(word, rest)),
            "keep" => does.push(Does::Keep(rest.to_owned())),
            "pay" => does.push(Does::Pay(rest.to_owned())),
            "kept" => does.push(Does::TellKept),
            "exit" => does.push(Does::Exit(rest.parse().unwrap_or(0))),
            _ => does.push(self.says(&format!("{line}?"))),
        }
    }

    pub(super) fn says(&self, text: &str) -> Does {
        Does::Print(format!("{text}\r\n{}", self.prompt()))
    }

    fn asks(&mut self, word: &str, rest: &str) -> Does {
        let (key, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let (Ok(key), Ok(value)) = (key.parse(), Value::new(text.as_bytes())) else {
            return self.says("bad key or value");
        };
        let request = if word == "put" { Request::Put { key, value } } else { Request::Get { key } };
        self.asked += 1;
        Does::Ask(Box::new(Call { id: RequestId(self.asked), request }))
    }

    /// Prints the data store's answer.
    pub(super) fn answered(&self, answer: Result<Response, StoreError>) -> Does {
        match answer.map(|response| response.answer) {
            Ok(Answer::Stored) => self.says("stored"),
            Ok(Answer::Value(Some(value))) => {
                self.says(&format!("value={}", String::from_utf8_lossy(value.as_bytes())))
            }
            Ok(Answer::Value(None)) => self.says("no value"),
            Ok(Answer::Failed(error)) | Err(error) => self.says(&format!("error: {error}")),
            Ok(other) => self.says(&format!("{other:?}")),
        }
    }
}
