//! `sessiond state`: what a shell of a session keeps of itself.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use continuity::limits::VALUE_MAX;
use continuity::stream::Packet;
use continuity::{Key, Place, SeriesName, StepName};
use proto::io::cli::{Failure, print};
use proto::{Line, ServiceName};

use super::state_client::{SOCKET, StateClient};

/// The number of the operation that `state begin` has begun.
const OPERATION: &str = "HOTDESK_OPERATION";

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Print a value, or what it refers to; exit with 1 if there is none
    Get {
        /// global, composite, step:NAME, interactive or application
        pool: Place,
        /// What the value is called in its pool
        key: Key,
        /// Print of which kind it is instead, and of a query the size of a page and the page
        #[arg(long)]
        about: bool,
    },
    /// Keep a value
    Put {
        /// global, composite, step:NAME, interactive or application
        pool: Place,
        /// What the value is called in its pool
        key: Key,
        /// The value; read from the standard input if left out
        value: Option<String>,
        /// raw, or what the value refers to: store, directory, file, query
        #[arg(long, default_value = "raw")]
        kind: String,
        /// Of a query: hits on a page
        #[arg(long, required_if_eq("kind", "query"))]
        size: Option<u32>,
        /// Of a query: the page, from 0
        #[arg(long)]
        page: Option<u64>,
    },
    /// Remove a value
    Rm {
        /// global, composite, step:NAME, interactive or application
        pool: Place,
        /// What the value is called in its pool
        key: Key,
    },
    /// List the keys of a pool
    Ls {
        /// global, composite, step:NAME, interactive or application
        pool: Place,
    },
    /// Begin a composite step on top of the stack
    Push {
        /// Name of the composite step
        name: StepName,
    },
    /// End the composite step on top of the stack
    Pop,
    /// Keep the current state of a pool to come back to
    Mark {
        /// composite, interactive or application
        pool: SeriesName,
    },
    /// Go to the state before
    Back {
        /// composite, interactive or application
        pool: SeriesName,
    },
    /// Go to the state after
    Forward {
        /// composite, interactive or application
        pool: SeriesName,
    },
    /// Begin an operation and print its number, for HOTDESK_OPERATION of the commands that belong to it
    Begin {
        /// Name of the operation
        name: String,
        /// Go on with one of this name that a lost host has begun, under its number
        #[arg(long)]
        again: bool,
    },
    /// Do something outside of the session once, as part of the operation in HOTDESK_OPERATION
    ///
    /// Prints when it has happened, "now" or "before" at a host that is lost, and what the answer was.
    #[command(subcommand)]
    Effect(EffectCommand),
    /// Call another service of the session, and print its reply
    Call {
        /// The service that is called; one of its programs must answer calls
        service: ServiceName,
        /// What is asked; read from the standard input if left out
        text: Option<String>,
        /// How long the reply may take, in milliseconds; at most 30000
        #[arg(long, default_value_t = 5_000)]
        within: u64,
        /// Print one JSON document instead of the reply as it is
        #[arg(long)]
        json: bool,
    },
    /// Answer the calls of other services until the session ends: run a command for each
    ///
    /// Its standard input is what is asked, its standard output the reply; HOTDESK_CALLER is the service that calls, and
    /// HOTDESK_CALL the caller's operation, if there is one.
    Serve {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Make all changes of the operation in HOTDESK_OPERATION
    Commit,
    /// Make none of them
    Abort,
    /// Print where the object stands
    Status,
    /// Print events until the session ends: restore, missing, connect, disconnect, disable
    Watch,
}

/// Which effect of its operation it is, and how its answer is printed.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Which effect of the operation, from 1 to 16
    #[arg(long, default_value_t = 1)]
    step: u8,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum EffectCommand {
    /// Store a value in the user's permanent data
    Put {
        /// Under which key
        key: datastore::Key,
        /// The value; read from the standard input if left out
        value: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Delete a key of the user's permanent data
    Rm {
        /// The key to delete
        key: datastore::Key,
        #[command(flatten)]
        which: Which,
    },
    /// Say that something begins which the data store does not do; do it only if the answer is "now begun"
    Begin {
        #[command(flatten)]
        which: Which,
    },
    /// Say that it has happened
    Done {
        /// What came of it, for whoever repeats the operation
        outcome: Option<String>,
        #[command(flatten)]
        which: Which,
    },
}

/// Runs one command.
pub(super) fn run(command: StateCommand) -> Result<(), Failure> {
    let path = std::env::var_os(SOCKET).map(PathBuf::from).ok_or_else(|| {
        Failure::no(format!("{SOCKET} is not set: this works inside a session of Hotdesk only"))
    })?;
    let mut client = StateClient::connect(&path)
        .map_err(|error| Failure::nobody(format!("{}: {error}", path.display())))?;
    if let Ok(number) = std::env::var(OPERATION)
        && !matches!(command, StateCommand::Begin { .. })
    {
        let number: u64 = number.parse().map_err(|_no_number| {
            Failure::usage(format!(
                "{OPERATION} is {number:?}: unset it, or set it to what sessiond state begin prints"
            ))
        })?;
        ask(&mut client, Line::new("join").with("operation", number), None)?;
    }
    perform(&mut client, command)
}

fn perform(client: &mut StateClient, command: StateCommand) -> Result<(), Failure> {
    let of = |word: &str, pool: Place| Line::new(word).with("pool", pool);
    let states = |word: &str, pool: SeriesName| Line::new(word).with("pool", pool);
    match command {
        StateCommand::Get { pool, key, about } => {
            let Packet { line, payload } = ask(client, of("get", pool).with("key", &key), None)?;
            match payload {
                Some(_) if about && line.command() == "value" => print(format!("{line}\n")),
                Some(value) if line.command() == "value" => {
                    let is_seen = io::stdout().is_terminal() && !value.ends_with(b"\n");
                    print(value)?;
                    if is_seen { print("\n") } else { Ok(()) }
                }
                _ => Err(Failure::no(format!("there is no {key}"))),
            }
        }
        StateCommand::Put { pool, key, value, kind, size, page } => {
            let value = value.map_or_else(read_value, |value| Ok(value.into_bytes()))?;
            let line = of("put", pool).with("key", key).with("kind", kind);
            let line = line.with_some("size", size).with_some("page", page);
            ask(client, line, Some(&value)).map(drop)
        }
        StateCommand::Rm { pool, key } => ask(client, of("remove", pool).with("key", key), None).map(drop),
        StateCommand::Ls { pool } => list(client, of("list", pool)),
        StateCommand::Push { name } => ask(client, Line::new("push").with("name", name), None).map(drop),
        StateCommand::Pop => ask(client, Line::new("pop"), None).map(drop),
        StateCommand::Mark { pool } => ask(client, states("mark", pool), None).map(drop),
        StateCommand::Back { pool } => ask(client, states("back", pool), None).map(drop),
        StateCommand::Forward { pool } => ask(client, states("forward", pool), None).map(drop),
        StateCommand::Begin { name, again } => {
            let line = Line::new("begin").with("name", name).with("keep", true).with("again", again);
            let Packet { line, .. } = ask(client, line, None)?;
            print(format!("{}\n", line.get("operation").unwrap_or_default()))
        }
        StateCommand::Effect(command) => effect(client, command),
        StateCommand::Call { service, text, within, json } => {
            let payload = text.map_or_else(read_value, |text| Ok(text.into_bytes()))?;
            let line = Line::new("call").with("service", service).with("within", within);
            let reply = ask(client, line, Some(&payload))?.payload.unwrap_or_default();
            match json {
                true => {
                    let reply = String::from_utf8_lossy(&reply);
                    print(format!("{}\n", serde_json::json!({ "reply": reply })))
                }
                false => print(reply),
            }
        }
        StateCommand::Serve { command } => serve(client, &command),
        StateCommand::Commit => ask(client, Line::new("commit"), None).map(drop),
        StateCommand::Abort => ask(client, Line::new("abort"), None).map(drop),
        StateCommand::Status => print(format!("{}\n", ask(client, Line::new("status"), None)?.line)),
        StateCommand::Watch => {
            ask(client, Line::new("watch"), None)?;
            loop {
                match client.event() {
                    Ok(event) => print(format!("{}\n", event.line))?,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

fn serve(client: &mut StateClient, command: &[OsString]) -> Result<(), Failure> {
    let [program, arguments @ ..] = command else { return Err(Failure::usage("no command")) };
    ask(client, Line::new("serve"), None)?;
    loop {
        let event = match client.event() {
            Ok(event) => event,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(call) = event.line.get("call") else { continue };
        let mut run = Command::new(program);
        run.args(arguments).env("HOTDESK_CALLER", event.line.get("from").unwrap_or_default());
        run.env("HOTDESK_CALL", event.line.get("operation").unwrap_or_default());
        let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // One that does not read what is asked closes its end: that is its affair.
        let asked = child.stdin.take().map(|mut input| input.write_all(&event.payload.unwrap_or_default()));
        drop(asked);
        let mut reply = Vec::new();
        let output = child.stdout.take().map(|output| output.take(VALUE_MAX as u64).read_to_end(&mut reply));
        output.transpose()?;
        child.wait()?;
        let answer = client.ask(Line::new("reply").with("call", call), Some(&reply)).map_err(gone)?;
        if answer.line.get("code").is_some_and(|code| code != "noSuchCall") {
            return Err(Failure::no(answer.line.get("text").unwrap_or("refused")));
        }
    }
}

fn effect(client: &mut StateClient, command: EffectCommand) -> Result<(), Failure> {
    let of = |what: &str| Line::new("effect").with("do", what);
    let (line, payload, Which { step, json }) = match command {
        EffectCommand::Put { key, value, which } => {
            let value = value.map_or_else(read_value, |value| Ok(value.into_bytes()))?;
            (of("put").with("key", key), Some(value), which)
        }
        EffectCommand::Rm { key, which } => (of("delete").with("key", key), None, which),
        EffectCommand::Begin { which } => (of("begin"), None, which),
        EffectCommand::Done { outcome, which } => {
            (of("done").with_some("text", outcome.filter(|outcome| !outcome.is_empty())), None, which)
        }
    };
    let Packet { line, .. } = ask(client, line.with("step", step), payload.as_deref())?;
    let [happened, answer, text] = ["happened", "answer", "text"].map(|key| line.get(key));
    let said = if json {
        serde_json::json!({"happened": happened, "answer": answer, "text": text}).to_string()
    } else {
        [happened, answer, text].into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    print(said + "\n")
}

fn list(client: &mut StateClient, line: Line) -> Result<(), Failure> {
    let listed = ask(client, line, None)?.line;
    for _ in 0..listed.lenient::<usize>("count").unwrap_or_default() {
        let entry = client.answer().map_err(gone)?.line;
        print(format!("{}\n", entry.get("key").unwrap_or_default()))?;
    }
    Ok(())
}

/// Asks, and fails if the answer refuses.
fn ask(client: &mut StateClient, line: Line, payload: Option<&[u8]>) -> Result<Packet, Failure> {
    let answer = client.ask(line, payload).map_err(gone)?;
    if answer.line.command() == "error" {
        return Err(Failure::no(answer.line.get("text").unwrap_or("refused")));
    }
    Ok(answer)
}

fn gone(error: io::Error) -> Failure {
    Failure::new(proto::exit::Exit::Unknown, format!("the session does not answer: {error}"))
}

fn read_value() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    io::stdin().lock().take(VALUE_MAX as u64 + 1).read_to_end(&mut value)?;
    if value.len() > VALUE_MAX { Err(Failure::no(format!("more than {VALUE_MAX} bytes"))) } else { Ok(value) }
}
