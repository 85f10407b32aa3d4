//! What a key means.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::view::{USERS, View};
use super::worker::{Deed, Order};

/// Which list the arrow keys move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Focus {
    Hosts,
    #[default]
    Desks,
}

/// What keys do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// They order something.
    #[default]
    Orders,
    /// They choose the card to insert.
    Card,
    /// They go to the chosen desk.
    Typing,
}

/// What the user has chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ui {
    pub(super) focus: Focus,
    pub(super) host: usize,
    pub(super) desk: usize,
    pub(super) mode: Mode,
}

/// What follows from a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    Quit,
    Do(Order),
}

impl Ui {
    /// Takes a key.
    pub(super) fn on_key(&mut self, key: KeyEvent, view: &View) -> Act {
        match self.mode {
            Mode::Orders => self.order(key, view),
            Mode::Card => self.pick_card(key, view),
            Mode::Typing => self.typed(key, view),
        }
    }

    /// The machine that orders go to.
    pub(super) fn machine<'v>(&self, view: &'v View) -> Option<&'v str> {
        match self.focus {
            Focus::Hosts => view.hosts.get(self.host).map(|host| host.name.as_str()),
            Focus::Desks => self.desk(view),
        }
    }

    fn desk<'v>(&self, view: &'v View) -> Option<&'v str> {
        view.desks.get(self.desk).map(|desk| desk.name.as_str())
    }

    fn order(&mut self, key: KeyEvent, view: &View) -> Act {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Act::Quit,
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => {
                self.focus = if self.focus == Focus::Hosts { Focus::Desks } else { Focus::Hosts };
            }
            KeyCode::Up => self.step(view, false),
            KeyCode::Down => self.step(view, true),
            KeyCode::Char(digit @ '1'..='9') => self.jump(view, digit),
            KeyCode::Char('i') => self.mode = Mode::Card,
            KeyCode::Char('t') | KeyCode::Enter => self.mode = Mode::Typing,
            KeyCode::Char('r') => return to(self.desk(view), Deed::Remove),
            KeyCode::Char('k') => return to(self.machine(view), Deed::Kill),
            KeyCode::Char('f') => return to(self.machine(view), Deed::Freeze),
            KeyCode::Char('c') => return to(self.machine(view), Deed::Cut),
            KeyCode::Char('h') => return to(self.machine(view), Deed::Heal),
            KeyCode::Char('s') => return to(self.machine(view), Deed::Restart),
            _ => {}
        }
        Act::Nothing
    }

    fn pick_card(&mut self, key: KeyEvent, view: &View) -> Act {
        self.mode = Mode::Orders;
        let KeyCode::Char(digit) = key.code else { return Act::Nothing };
        match digit.to_digit(10).and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_sub(1)) {
            Some(user) if user < USERS.len() => to(self.desk(view), Deed::Insert(user)),
            _ => Act::Nothing,
        }
    }

    fn typed(&mut self, key: KeyEvent, view: &View) -> Act {
        if key.code == KeyCode::Esc {
            self.mode = Mode::Orders;
            return Act::Nothing;
        }
        bytes(key).map_or(Act::Nothing, |text| to(self.desk(view), Deed::Type(text)))
    }

    fn step(&mut self, view: &View, down: bool) {
        let (at, len) = match self.focus {
            Focus::Hosts => (&mut self.host, view.hosts.len()),
            Focus::Desks => (&mut self.desk, view.desks.len()),
        };
        *at = if down { (*at + 1).min(len.saturating_sub(1)) } else { at.saturating_sub(1) };
    }

    fn jump(&mut self, view: &View, digit: char) {
        let wanted = digit as usize - '1' as usize;
        if wanted < view.desks.len() {
            (self.desk, self.focus) = (wanted, Focus::Desks);
        }
    }
}

fn to(machine: Option<&str>, deed: Deed) -> Act {
    machine.map_or(Act::Nothing, |machine| Act::Do(Order { machine: machine.to_owned(), deed }))
}

/// What a terminal sends for a key; nothing for those that the lab does not pass on.
fn bytes(key: KeyEvent) -> Option<String> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char(c @ 'a'..='z') if control => char::from(c as u8 - b'a' + 1).to_string(),
        KeyCode::Char(c) => c.to_string(),
        KeyCode::Enter => "\n".to_owned(),
        KeyCode::Tab => "\t".to_owned(),
        KeyCode::Backspace => "\u{7f}".to_owned(),
        KeyCode::Up => "\u{1b}[A".to_owned(),
        KeyCode::Down => "\u{1b}[B".to_owned(),
        KeyCode::Right => "\u{1b}[C".to_owned(),
        KeyCode::Left => "\u{1b}[D".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::view;
    use super::*;

    fn press(ui: &mut Ui, code: KeyCode) -> Act {
        ui.on_key(KeyEvent::new(code, KeyModifiers::NONE), &view(3, 4))
    }

    fn order(machine: &str, deed: Deed) -> Act {
        to(Some(machine), deed)
    }

    #[test]
    fn an_order_goes_to_the_chosen_machine_of_the_list_in_focus() {
        let mut ui = Ui::default();
        press(&mut ui, KeyCode::Down);
        assert_eq!(press(&mut ui, KeyCode::Char('k')), order("desk-2", Deed::Kill));
        press(&mut ui, KeyCode::Tab);
        assert_eq!(press(&mut ui, KeyCode::Char('k')), order("host-a", Deed::Kill));
        for _ in 0..9 {
            press(&mut ui, KeyCode::Down);
        }
        assert_eq!(press(&mut ui, KeyCode::Char('c')), order("host-c", Deed::Cut));
        assert_eq!(press(&mut ui, KeyCode::Char('r')), order("desk-2", Deed::Remove), "hosts take no cards");
    }

    #[test]
    fn a_card_is_chosen_by_its_number_and_any_other_key_gives_up() {
        let mut ui = Ui::default();
        press(&mut ui, KeyCode::Char('i'));
        assert_eq!(press(&mut ui, KeyCode::Char('2')), order("desk-1", Deed::Insert(1)));
        press(&mut ui, KeyCode::Char('i'));
        assert_eq!(press(&mut ui, KeyCode::Char('9')), Act::Nothing);
        assert_eq!(press(&mut ui, KeyCode::Char('q')), Act::Quit);
    }

    #[test]
    fn while_typing_every_key_goes_to_the_desk_until_escape() {
        let mut ui = Ui::default();
        press(&mut ui, KeyCode::Char('t'));
        assert_eq!(press(&mut ui, KeyCode::Char('q')), order("desk-1", Deed::Type("q".to_owned())));
        assert_eq!(press(&mut ui, KeyCode::Enter), order("desk-1", Deed::Type("\n".to_owned())));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(ui.on_key(interrupt, &view(1, 1)), order("desk-1", Deed::Type("\u{3}".to_owned())));
        press(&mut ui, KeyCode::Esc);
        assert_eq!(press(&mut ui, KeyCode::Char('q')), Act::Quit);
    }
}
