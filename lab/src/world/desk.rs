//! What a person does at a desk: put a card in, type, look at the screen.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dtu_emu::io::control::Request;

use super::ask::output_by;
use super::{LabError, STORE, World, output};
use crate::timeline::Event;

/// Between two looks at a screen that does not yet show what is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long a DTU may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A card file of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The file that is the card.
    pub file: PathBuf,
    /// What it says, as a DTU is told it.
    pub line: String,
    /// The token it is presented as.
    pub token: String,
}

/// What a DTU shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen(pub String);

impl Screen {
    /// Whether a line of it, without the spaces around, is exactly this. (What was typed is on a line with the
    /// prompt, so only output matches.)
    #[must_use]
    pub fn has_line(&self, wanted: &str) -> bool {
        self.0.lines().any(|line| line.trim() == wanted)
    }

    /// The rest of the last line that begins with this.
    #[must_use]
    pub fn after(&self, start: &str) -> Option<&str> {
        self.0.lines().rev().find_map(|line| line.trim().strip_prefix(start)).map(str::trim)
    }
}

impl World {
    /// Makes a card.
    ///
    /// # Errors
    /// When the command fails or makes something else.
    pub fn new_card(&self, name: &str) -> Result<Card, LabError> {
        let file = self.commands.files.cards().join(name);
        output(self.commands.new_card(&file))?;
        let odd = |why: String| LabError::Odd { what: file.display().to_string(), why };
        let text = std::fs::read_to_string(&file).map_err(|e| odd(e.to_string()))?;
        let card = proto::card::Card::from_file_text(&text).map_err(|e| odd(e.to_string()))?;
        Ok(Card { token: card.token().to_string(), line: card.to_line().to_string(), file })
    }

    /// Registers a card for a user, whose sessions are made from this template.
    ///
    /// # Errors
    /// When the command fails.
    pub fn register(&self, card: &Card, user: &str, template: &str) -> Result<(), LabError> {
        let command = self.commands.register(&card.file, user, template, self.address(STORE)?);
        output_by(command, |command| self.backend.spawn(STORE, command)).map(drop)
    }

    /// Puts a card into a DTU.
    ///
    /// # Errors
    /// When the DTU does not take it.
    pub fn insert(&self, desk: &str, card: &Card) -> Result<(), LabError> {
        self.ask_desk(desk, &Request::Insert { card: card.line.clone() })
    }

    /// Takes the card out.
    ///
    /// # Errors
    /// When the DTU does not answer.
    pub fn remove(&self, desk: &str) -> Result<(), LabError> {
        self.ask_desk(desk, &Request::Remove)
    }

    /// Types at a DTU; a newline is the return key.
    ///
    /// # Errors
    /// When the DTU does not answer.
    pub fn type_text(&self, desk: &str, text: &str) -> Result<(), LabError> {
        let keys = text.replace('\n', "\r").bytes().map(|byte| format!("{byte:02x}")).collect();
        self.ask_desk(desk, &Request::Type { keys, wait_ms: None })
    }

    /// Shows the next display of the session.
    ///
    /// # Errors
    /// When the DTU does not answer.
    pub fn flip(&self, desk: &str) -> Result<(), LabError> {
        self.ask_desk(desk, &Request::Flip)
    }

    /// What a DTU shows now.
    ///
    /// # Errors
    /// When the DTU does not answer.
    pub fn screen(&self, desk: &str) -> Result<Screen, LabError> {
        self.asker().look(desk).map(|look| Screen(look.lines.join("\n")))
    }

    /// Waits until a DTU shows what is wanted. On failure the error holds the screen as it is then.
    ///
    /// # Errors
    /// [`LabError::Late`].
    pub fn wait_for_screen(
        &self,
        desk: &str,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Screen) -> bool,
    ) -> Result<Screen, LabError> {
        let give_up_at = Instant::now() + patience;
        loop {
            let end = self.timeline.end();
            let screen = self.screen(desk)?;
            if wanted(&screen) {
                return Ok(screen);
            }
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let shown: Vec<&str> =
                    screen.0.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
                let what = format!("{what} on the screen of {desk}, which shows: {}", shown.join(" / "));
                return Err(LabError::Late { what, patience });
            }
            let _ = self.timeline.wait(end, LOOK_AGAIN.min(left), |event| event.at(desk));
        }
    }

    /// Waits until a DTU has reported what is wanted since `from`.
    ///
    /// # Errors
    /// [`LabError::Late`].
    pub fn wait_for_desk(
        &self,
        desk: &str,
        from: crate::timeline::Cursor,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, LabError> {
        let found = self.timeline.wait(from, patience, |event| event.at(desk) && wanted(event));
        found.ok_or_else(|| LabError::Late { what: format!("{desk} to be {what}"), patience })
    }

    fn ask_desk(&self, desk: &str, request: &Request) -> Result<(), LabError> {
        self.asker().desk(desk, request, PATIENCE).map(drop)
    }
}
