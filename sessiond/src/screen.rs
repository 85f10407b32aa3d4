//! What a terminal contributes to its session by itself, and how that is shown again.
//!
//! A [`Screen`] is kept as an object of its own, so it is encoded, compared and carried like what programs say of
//! themselves. What is in it comes from the session's account and is believed for what is shown, and for nothing
//! else: which program is started, as whom and with which variables, is the session's record's and template's.

use std::sync::Arc;

use continuity::{Edit, Key, Object, PathName, Place, Reference, Stamp, Value};
use proto::frame::Size;
use proto::{HostName, Nonce, ServiceName, SessionId};
use terminal::Terminal;

/// Longest picture, in bytes. Half an object: one of a usual screen takes a tenth of it.
pub const PICTURE_MAX: usize = 24 * 1024;
/// Most output since the picture, in bytes; with more of it a new picture is made.
pub const OUTPUT_MAX: usize = 12 * 1024;
/// Longest environment, in bytes. Of a longer one nothing is kept.
pub const ENVIRONMENT_MAX: usize = 8 * 1024;
/// Longest text of a command, in bytes.
pub const COMMAND_MAX: usize = 256;
/// Most bytes of an old screen that are shown above a new one.
const TRANSCRIPT_MAX: usize = 48 * 1024;
/// Most bytes of a command that are named in a line.
const NAMED_MAX: usize = 60;
/// Most runs of input of which it is kept how much was applied.
pub const INPUT_RUNS_MAX: usize = 4;

/// What is around a terminal's programs, as its host sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The directory of the service's first process.
    pub directory: Option<String>,
    /// The command in the foreground, unless that is the service itself.
    pub foreground: Option<String>,
    /// The variables that the service was started with, each with a zero byte behind it.
    pub environment: Arc<[u8]>,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns and rows.
    pub size: Size,
    /// What the service runs, for a person to read.
    pub command: String,
    /// What is around its programs.
    pub around: Whereabouts,
    /// Bytes that make the screen and the lines above it on an empty terminal.
    pub picture: Arc<[u8]>,
    /// What was written since.
    pub output: Vec<u8>,
    /// How much was applied of each run of input.
    pub input: Vec<(Nonce, u64)>,
    /// Nothing is applied after that, and what was applied ends with a whole line.
    pub is_still: bool,
}

impl Screen {
    /// The object that holds it, as the version `stamp`.
    #[must_use]
    pub fn to_object(&self, session: SessionId, service: &ServiceName, stamp: Stamp) -> Object {
        let mut object = Object::new(session, service.clone());
        object.head.stamp = stamp;
        let Size { cols, rows } = self.size;
        let input: String = self.input.iter().map(|(run, applied)| format!("{run} {applied}\n")).collect();
        let Whereabouts { directory, foreground, environment } = &self.around;
        let directory = directory.as_ref().and_then(|path| path.parse::<PathName>().ok());
        let raw = Value::raw;
        let values = [
            ("size", raw(format!("{cols}x{rows}").as_bytes())),
            ("command", raw(self.command.as_bytes())),
            ("directory", directory.map(|path| Value::Reference(Reference::Directory(path)))),
            ("foreground", foreground.as_ref().and_then(|command| raw(command.as_bytes()))),
            ("environment", Some(Value::Raw(Arc::clone(environment)))),
            ("picture", Some(Value::Raw(Arc::clone(&self.picture)))),
            ("output", raw(&self.output)),
            ("input", raw(input.as_bytes())),
            ("still", self.is_still.then(|| raw(b"1")).flatten()),
        ];
        for (key, value) in values {
            if let (Ok(key), Some(value)) = (key.parse::<Key>(), value) {
                // A handful of values in one pool: no bound of an object is near.
                let _ = object.apply(Edit::Put { place: Place::Global, key, value });
            }
        }
        object
    }

    /// The screen that an object holds; `None` if it holds none. What is missing in it is as on an empty terminal.
    #[must_use]
    pub fn of(object: &Object) -> Option<Self> {
        let value = |key: &str| object.get(&Place::Global, &key.parse().ok()?);
        let bytes = |key: &str| value(key).and_then(Value::as_raw).unwrap_or_default();
        let text = |key: &str| core::str::from_utf8(bytes(key)).unwrap_or_default();
        let (cols, rows) = text("size").split_once('x')?;
        let run = |line: &str| {
            let (run, applied) = line.split_once(' ')?;
            Some((run.parse().ok()?, applied.parse().ok()?))
        };
        let directory = match value("directory") {
            Some(Value::Reference(Reference::Directory(path))) => Some(path.to_string()),
            _ => None,
        };
        Some(Self {
            size: Size::clamped(cols.parse().ok()?, rows.parse().ok()?),
            command: text("command").to_owned(),
            around: Whereabouts {
                directory,
                foreground: Some(text("foreground").to_owned()).filter(|text| !text.is_empty()),
                environment: bytes("environment").into(),
            },
            picture: bytes("picture").into(),
            output: bytes("output").to_vec(),
            input: text("input").lines().filter_map(run).take(INPUT_RUNS_MAX).collect(),
            is_still: text("still") == "1",
        })
    }

    /// The same with another picture, and without what takes room and can be missed.
    #[must_use]
    pub fn shortened(&self, picture: Vec<u8>) -> Self {
        let around = Whereabouts { environment: Arc::default(), ..self.around.clone() };
        Self { around, picture: picture.into(), output: Vec::new(), ..self.clone() }
    }

    /// Its text and colours as lines, for a terminal that goes on below them.
    #[must_use]
    pub fn transcript(&self) -> Vec<u8> {
        let mut terminal = Terminal::new(self.size);
        terminal.feed(&self.picture);
        terminal.feed(&self.output);
        terminal.transcript(TRANSCRIPT_MAX)
    }

    /// What a person has to know of what did not come back, in one line. `elsewhere` is where the service starts instead of
    /// in its directory, if that is not there.
    #[must_use]
    pub fn epitaph(&self, lost: Option<&HostName>, elsewhere: Option<&str>, is_moved: bool) -> String {
        let before = match (lost, is_moved) {
            (Some(host), true) => format!("Your session has moved here from host {host}"),
            (Some(host), false) => format!("Host {host} is gone"),
            (None, _) => "The host before this one is gone".to_owned(),
        };
        let dropped = match is_moved && self.is_still {
            true => "",
            false => " Typed input that had not arrived was dropped.",
        };
        let ended = match &self.around.foreground {
            Some(command) => format!("and {} ended with it", clean(proto::line::cut(command, NAMED_MAX))),
            None => "and nothing ran in the foreground".to_owned(),
        };
        let place = match (elsewhere, &self.around.directory) {
            (Some(instead), Some(gone)) => {
                format!("{} is not here, so it starts in {}", clean(gone), clean(instead))
            }
            (_, Some(directory)) => format!("it starts in {}", clean(directory)),
            _ => "it starts where it always does".to_owned(),
        };
        format!(
            "{before}, {ended}. This is a new {}: {place}.{dropped}",
            clean(proto::line::cut(&self.command, NAMED_MAX))
        )
    }
}

/// Text that draws nothing but itself.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests;
