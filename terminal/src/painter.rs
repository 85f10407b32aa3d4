//! Draws a terminal on a real one, and leaves nothing there when it is done.
//!
//! What a program writes never reaches the real terminal: its cells are drawn, and its modes are set. So no question
//! is asked twice, nothing scrolls into a scrollback, and what has to be undone when a card leaves is known.

use crate::cell::{Attrs, Cell, Pen};
use crate::grid::Row;
use crate::snapshot::Writer;
use crate::{Events, Modes, Palette, Size, Terminal};

/// Brings a real terminal from any state into that of an empty one: modes, colours, title and cells. Whether it shows its
/// alternate screen is left alone, and so are the lines that have left the screen.
pub const RESET: &str = "\x1b[!p\x1b[?1;5;9;12;1000;1002;1003;1004;1005;1006;1007;1015;1016;2004;2026l\x1b[?7;25h\
    \x1b[4;20l\x1b>\x1b[0 q\x1b[>4;0m\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b]2;\x1b\\\
    \x1b(B\x0f\x1b[r\x1b[m\x1b[2J\x1b[H";

/// Empties the clipboard that a session has filled, by what is neither base64 nor a question.
const NO_CLIPBOARD: &str = "\x1b]52;c;!\x1b\\";

/// Lines of our own that cover some of a terminal's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Over {
    /// The first row they cover, from 0.
    pub top: usize,
    /// What they say, one row each.
    pub lines: Vec<String>,
    /// Whether the cursor goes where they end, so that it is seen that nothing else is listened to.
    pub takes_cursor: bool,
}

impl Over {
    /// The lines that cover the last rows of a terminal, and take the cursor.
    #[must_use]
    pub fn bottom(size: Size, lines: Vec<String>) -> Self {
        Self { top: usize::from(size.rows).saturating_sub(lines.len()), lines, takes_cursor: true }
    }

    fn covers(&self, row: usize) -> bool {
        (self.top..self.top + self.lines.len()).contains(&row)
    }

    const fn has_cursor(&self) -> bool {
        self.takes_cursor && !self.lines.is_empty()
    }
}

/// What a real terminal shows.
#[derive(Debug)]
struct Shown {
    size: Size,
    rows: Vec<Vec<Cell>>,
    modes: Modes,
    palette: Palette,
    title: String,
    /// The lines of our own.
    over: Over,
    cursor: Option<(usize, usize)>,
}

impl Shown {
    fn blank(size: Size) -> Self {
        let row = vec![Cell::default(); usize::from(size.cols)];
        Self {
            size,
            rows: vec![row; usize::from(size.rows)],
            modes: Modes::default(),
            palette: Palette::default(),
            title: String::new(),
            over: Over::default(),
            cursor: None,
        }
    }
}

/// Knows what a real terminal shows, and draws what has changed since.
#[derive(Debug, Default)]
pub struct Painter {
    shown: Option<Shown>,
    has_clipboard: bool,
}

impl Painter {
    /// Nobody looks; whoever does next needs everything.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// What draws everything, whatever the real terminal shows.
    pub fn draw(&mut self, terminal: &Terminal, over: &Over) -> Vec<u8> {
        self.shown = Some(Shown::blank(terminal.size()));
        let mut bytes = RESET.as_bytes().to_vec();
        bytes.extend(self.update(terminal, over));
        bytes
    }

    /// What draws what has changed; `over` are lines of our own.
    pub fn update(&mut self, terminal: &Terminal, over: &Over) -> Vec<u8> {
        let size = terminal.size();
        let Some(shown) = &mut self.shown else { return self.draw(terminal, over) };
        let mut w = Writer::default();
        if shown.size != size {
            w.put("\x1b[m\x1b[2J");
            (shown.size, shown.rows) = (size, Shown::blank(size).rows);
            shown.over = Over::default();
        }
        terminal.modes().draw_devices(&shown.modes, &mut w.bytes);
        terminal.palette().draw(&shown.palette, &mut w.bytes);
        if terminal.title() != shown.title {
            w.put(&format!("\x1b]2;{}\x1b\\", terminal.title()));
        }
        for (n, (row, before)) in terminal.rows().zip(&mut shown.rows).enumerate() {
            if over.covers(n) {
                continue;
            }
            if shown.over.covers(n) {
                // Our line was there.
                w.go_to(n, 0);
                w.put("\x1b[m\x1b[K");
                w.pen_shown(Pen::default());
                before.fill(Cell::default());
            }
            if row.cells() != before.as_slice() {
                draw_row(&mut w, n, row, before);
                before.clone_from_slice(row.cells());
            }
        }
        if shown.over != *over {
            draw_over(&mut w, size, over);
        }
        // What comes next begins with a plain pen.
        w.pen_shown(Pen::default());
        draw_cursor(&mut w, terminal, size, over, shown);
        shown.modes = terminal.modes().clone();
        shown.palette = terminal.palette().clone();
        terminal.title().clone_into(&mut shown.title);
        shown.over = over.clone();
        w.bytes
    }

    /// What passes on an event to a real terminal.
    pub fn pass_on(&mut self, events: &Events) -> Vec<u8> {
        let mut bytes = Vec::new();
        if events.bell {
            bytes.push(0x07);
        }
        if let Some((which, content)) = &events.clipboard {
            bytes.extend_from_slice(format!("\x1b]52;{which};{content}\x1b\\").as_bytes());
            self.has_clipboard = true;
        }
        bytes
    }

    /// What takes back what was passed on, when the session is no longer here to be seen.
    pub fn take_back(&mut self) -> Vec<u8> {
        let bytes = if self.has_clipboard { NO_CLIPBOARD.as_bytes() } else { &[] };
        self.has_clipboard = false;
        bytes.to_vec()
    }
}

/// Draws what has changed in a row.
fn draw_row(w: &mut Writer, n: usize, row: &Row, before: &[Cell]) {
    let cells = row.cells();
    let differs = |at: &usize| cells[*at] != before[*at];
    let (Some(mut first), Some(last)) =
        ((0..cells.len()).find(differs), (0..cells.len()).rev().find(differs))
    else {
        return;
    };
    // Wide characters are drawn whole.
    while first > 0 && (cells[first].width() == 0 || before[first].width() == 0) {
        first -= 1;
    }
    let mut end = last + 1;
    while end < cells.len() && (cells[end].width() == 0 || before[end].width() == 0) {
        end += 1;
    }
    let written = row.len_written();
    let rest_is_blank = end > written;
    w.go_to(n, first);
    let drawn_to = if rest_is_blank { written.max(first) } else { end };
    for (at, cell) in cells.iter().enumerate().take(drawn_to).skip(first) {
        if cell.width() == 0 {
            continue;
        }
        w.cell_shown(cell);
        // Terminals do not agree on how wide some characters are.
        if cell.width() == 2 || !cell.marks().is_empty() {
            w.put(&format!("\x1b[{}G", (at + usize::from(cell.width()) + 1).min(cells.len())));
            if at + usize::from(cell.width()) == cells.len() {
                break;
            }
        }
    }
    if rest_is_blank {
        w.pen_shown(Pen::default());
        w.put("\x1b[K");
    }
}

fn draw_over(w: &mut Writer, size: Size, over: &Over) {
    let mut inverse = Pen::default();
    inverse.attrs.set(Attrs::INVERSE, true);
    for (n, line) in (over.top..usize::from(size.rows)).zip(&over.lines) {
        w.go_to(n, 0);
        w.pen_shown(inverse);
        w.put(&cut(line, size));
        w.pen_shown(Pen::default());
        w.put("\x1b[K");
    }
}

/// As much of a line as fits, without anything that a terminal would obey.
fn cut(line: &str, size: Size) -> String {
    let mut left = usize::from(size.cols);
    let chars = line.chars().filter(|c| !c.is_control()).take_while(|c| {
        let width = crate::charset::width(*c);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    });
    chars.collect()
}

fn draw_cursor(w: &mut Writer, terminal: &Terminal, size: Size, over: &Over, shown: &mut Shown) {
    // Where a line of ours ends, so that it is seen that nothing else is listened to.
    let at_line = over.lines.last().filter(|_| over.takes_cursor).map(|line| {
        let col = cut(line, size).chars().map(crate::charset::width).sum::<usize>();
        let row = over.top + over.lines.len() - 1;
        (col.min(usize::from(size.cols) - 1), row.min(usize::from(size.rows) - 1))
    });
    let is_hidden = !terminal.modes().is_set(25);
    let cursor = at_line.or(terminal.cursor());
    if at_line.is_some() && is_hidden && !shown.over.has_cursor() {
        w.put("\x1b[?25h");
    } else if at_line.is_none() && is_hidden && shown.over.has_cursor() {
        w.put("\x1b[?25l");
    }
    if let Some((col, row)) = cursor
        && (shown.cursor != cursor || !w.bytes.is_empty())
    {
        w.go_to(row, col);
    }
    shown.cursor = cursor;
}
