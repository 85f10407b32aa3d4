//! How the lab looks. Everything is there in 80 by 24; a larger terminal shows more desks and more of the log.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table};

use super::keys::{Focus, Mode, Ui};
use super::view::{DeskView, HostView, USERS, View};
use crate::backend::Ground;
use crate::timeline::Event;
use crate::world::Power;
use groupmgr::topology::Standing;

/// Columns that a desk's screen needs to be worth showing beside another.
const SCREEN_WIDTH: u16 = 78;

/// Rows of the log in the smallest terminal.
const LOG_ROWS_MIN: u16 = 4;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, ui: &Ui) {
    let area = frame.area();
    let machines = u16::try_from(view.hosts.len().max(view.desks.len())).unwrap_or(u16::MAX);
    let tables = machines.saturating_add(3).min(area.height / 3);
    let log = (area.height / 4).max(LOG_ROWS_MIN + 1);
    let [title, tables, screens, log, help] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(tables),
        Constraint::Min(3),
        Constraint::Length(log),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(view), title);
    let [hosts, desks] =
        Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(tables);
    draw_hosts(frame, view, ui, hosts);
    draw_desks(frame, view, ui, desks);
    draw_screens(frame, view, ui, screens);
    draw_log(frame, view, log);
    frame.render_widget(help_line(ui), help);
    if ui.mode == Mode::Card {
        draw_cards(frame, view, screens);
    }
}

fn heading(view: &View) -> Line<'static> {
    let ground = match view.ground {
        Ground::Namespaces => "network namespaces",
        Ground::Loopback => "loopback (a cut freezes)",
    };
    let mut line = Line::from(vec![
        " Hotdesk lab ".bold().reversed(),
        format!(" {ground}  {:.1} s ", view.now_ms / 1e3).into(),
    ]);
    if let Some(busy) = &view.busy {
        line.push_span(format!(" {busy} ...").yellow());
    } else if let Some(trouble) = &view.trouble {
        line.push_span(format!(" {trouble}").red());
    }
    line
}

fn draw_hosts(frame: &mut Frame<'_>, view: &View, ui: &Ui, area: Rect) {
    // Last letters tell hosts apart in narrow columns.
    let short = |name: &str| name.rsplit('-').next().unwrap_or(name).chars().take(3).collect::<String>();
    let mut header = vec!["host".to_owned(), "is".to_owned(), "ses".to_owned()];
    header.extend(view.hosts.iter().map(|host| format!("by {}", short(&host.name))));
    let rows = view.hosts.iter().enumerate().map(|(i, host)| {
        let mut cells = vec![
            Cell::from(host.name.clone()),
            power_cell(host.power),
            Cell::from(host.sessions.map_or_else(|| "-".to_owned(), |n| n.to_string())),
        ];
        cells.extend(view.hosts.iter().map(|by| standing_cell(by, host)));
        Row::new(cells).style(chosen(ui.focus == Focus::Hosts && ui.host == i))
    });
    let mut widths = vec![Constraint::Min(6), Constraint::Length(6), Constraint::Length(3)];
    widths.extend(view.hosts.iter().map(|_| Constraint::Length(4)));
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::DIM)))
        .block(block("Hosts, as seen by each", ui.focus == Focus::Hosts));
    frame.render_widget(table, area);
}

/// What one host thinks of another.
fn standing_cell(by: &HostView, of: &HostView) -> Cell<'static> {
    Cell::from(match by.thinks.get(&of.name) {
        Some(Standing::Up) => "up".green(),
        Some(Standing::Silent) => "sil".yellow(),
        Some(Standing::Down) => "down".red(),
        Some(Standing::Left) => "left".dim(),
        None => "-".dim(),
    })
}

fn power_cell(power: Power) -> Cell<'static> {
    Cell::from(match power {
        Power::On => "on".green(),
        Power::Off => "off".red(),
        Power::Frozen => "frozen".cyan(),
        Power::Cut => "cut".magenta(),
    })
}

fn draw_desks(frame: &mut Frame<'_>, view: &View, ui: &Ui, area: Rect) {
    let rows = view.desks.iter().enumerate().map(|(i, desk)| {
        let state = if matches!(desk.power, Power::Frozen | Power::Cut) {
            power_cell(desk.power)
        } else {
            Cell::from(desk.state.clone())
        };
        let gap = desk.gap_ms.map_or_else(String::new, |ms| format!("{ms:.0} ms"));
        let card = desk.card.and_then(|card| USERS.get(card)).copied().unwrap_or("-");
        let host = desk.host.clone().unwrap_or_else(|| "-".to_owned());
        Row::new([Cell::from(desk.name.clone()), Cell::from(card), state, Cell::from(host), Cell::from(gap)])
            .style(chosen(ui.focus == Focus::Desks && ui.desk == i))
    });
    let widths = [
        Constraint::Min(7),
        Constraint::Length(5),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(7),
    ];
    let header =
        Row::new(["desk", "card", "state", "host", "gap"]).style(Style::new().add_modifier(Modifier::DIM));
    let table = Table::new(rows, widths).header(header).block(block("Desks", ui.focus == Focus::Desks));
    frame.render_widget(table, area);
}

/// The chosen desk's screen, and those after it as far as there is room.
fn draw_screens(frame: &mut Frame<'_>, view: &View, ui: &Ui, area: Rect) {
    let beside = usize::from(area.width / SCREEN_WIDTH).clamp(1, view.desks.len().max(1));
    let below = usize::from(area.height / 14).clamp(1, view.desks.len().max(1).div_ceil(beside));
    let mut desks = view.desks.iter().cycle().skip(ui.desk).take((beside * below).min(view.desks.len()));
    for row in Layout::vertical(vec![Constraint::Fill(1); below]).split(area).iter() {
        for place in Layout::horizontal(vec![Constraint::Fill(1); beside]).split(*row).iter() {
            if let Some(desk) = desks.next() {
                let typing =
                    ui.mode == Mode::Typing && view.desks.get(ui.desk).is_some_and(|d| d.name == desk.name);
                draw_screen(frame, desk, typing, *place);
            }
        }
    }
}

fn draw_screen(frame: &mut Frame<'_>, desk: &DeskView, typing: bool, area: Rect) {
    let session = desk.session.as_deref().map_or("no session", |id| id.get(..8).unwrap_or(id));
    let hint = if typing { " - typing, Esc ends" } else { "" };
    let block = block(&format!("{} - {session}{hint}", desk.name), typing);
    let room = usize::from(block.inner(area).height);
    // The end of what is written counts, as on any terminal that is too small.
    let lines: Vec<&str> = desk.screen.trim_end().lines().collect();
    let shown = lines[lines.len().saturating_sub(room)..].iter().map(|&line| Line::from(printable(line)));
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()).block(block), area);
}

fn draw_log(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let block = block("What happened", false);
    let room = usize::from(block.inner(area).height);
    let first = view.log.len().saturating_sub(room);
    let lines: Vec<Line<'_>> = view.log.iter().skip(first).map(log_line).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn log_line(event: &Event) -> Line<'static> {
    let place =
        [&event.dtu, &event.host].into_iter().flatten().map(|name| printable(name)).collect::<Vec<_>>();
    let mut line = Line::from(vec![
        Span::from(format!("{:>10.1} ms  ", event.t_ms)).dim(),
        Span::styled(format!("{:<16} ", printable(&event.event)), style_of(&event.event)),
        Span::from(place.join(" <- ")),
    ]);
    if let Some(gap) = event.gap_ms {
        line.push_span(format!("  gap {gap:.1} ms").bold());
    }
    line
}

fn style_of(event: &str) -> Style {
    match event {
        "host_up" | "attached" | "failed_over" | "restored" | "host_healed" | "host_thawed" => {
            Color::Green.into()
        }
        "lost" | "host_killed" | "no_host" | "denied" | "ended" => Color::Red.into(),
        "host_cut" | "host_frozen" | "held" | "display_lost" => Color::Yellow.into(),
        _ => Style::new(),
    }
}

/// The keys, each before what it does; as many as there are must fit into 80 columns.
const ORDERS: [(&str, &str); 10] = [
    ("Tab \u{2191}\u{2193}", ""),
    ("i", "insert"),
    ("r", "remove"),
    ("t", "type"),
    ("k", "kill"),
    ("f", "freeze"),
    ("c", "cut"),
    ("h", "heal"),
    ("s", "restart"),
    ("q", "quit"),
];

fn help_line(ui: &Ui) -> Line<'static> {
    let keys: &[(&str, &str)] = match ui.mode {
        Mode::Typing => &[("all keys", "go to the desk"), ("Esc", "ends that")],
        Mode::Card => &[("1-6", "which card"), ("any other key", "none")],
        Mode::Orders => &ORDERS,
    };
    let word = |&(key, what): &(&'static str, &'static str)| {
        let gap = if what.is_empty() { "" } else { " " };
        [Span::from(key).bold().cyan(), Span::from(gap), Span::from(what), Span::from(" ")]
    };
    Line::from_iter([Span::from(" ")].into_iter().chain(keys.iter().flat_map(word)))
}

fn draw_cards(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let lines = USERS.iter().enumerate().map(|(i, user)| {
        let at = view.desks.iter().find(|desk| desk.card == Some(i));
        let at = at.map_or_else(String::new, |desk| format!("  (at {})", desk.name));
        Line::from(format!(" {}  {user}{at}", i + 1))
    });
    let height = u16::try_from(USERS.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect { width: 30.min(area.width), height, ..area };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block("Which card", true)), place);
}

fn block(title: &str, active: bool) -> Block<'static> {
    let style = if active { Style::new().fg(Color::Cyan) } else { Style::new().add_modifier(Modifier::DIM) };
    Block::bordered().border_style(style).title(format!(" {} ", printable(title)))
}

fn chosen(yes: bool) -> Style {
    if yes { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() }
}

/// Text from elsewhere, without what could move the cursor of our own terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::tests::view;
    use super::*;

    fn drawn(view: &View, ui: &Ui, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, ui)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn eighty_by_twenty_four_shows_every_host_desk_key_and_the_last_events() {
        let mut view = view(3, 4);
        view.desks[0].screen = "$ echo hello\nhello\n".to_owned();
        for event in ["host_up", "attached", "failed_over"] {
            view.on_event(Event::new(event).dtu("desk-1").host("host-b"));
        }
        let text = drawn(&view, &Ui::default(), 80, 24);
        for wanted in
            ["host-a", "host-b", "host-c", "desk-1", "desk-4", "by c", "up", "at work", "$ echo hello"]
        {
            assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
        }
        for wanted in [
            "host_up",
            "attached",
            "failed_over",
            "insert",
            "remove",
            "kill",
            "freeze",
            "cut",
            "heal",
            "restart",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
        }
        assert!(text.contains("quit"), "{text}");
    }

    #[test]
    fn a_large_terminal_shows_all_desks_at_once() {
        let mut view = view(3, 4);
        for (i, desk) in view.desks.iter_mut().enumerate() {
            desk.screen = format!("screen number {i}");
        }
        let text = drawn(&view, &Ui::default(), 200, 70);
        for i in 0..4 {
            assert!(text.contains(&format!("screen number {i}")), "{i}:\n{text}");
        }
    }

    #[test]
    fn no_size_and_no_screen_content_breaks_the_picture() {
        let mut view = view(26, 40);
        view.desks[0].screen = "a\u{1b}[2J\tb\n".repeat(100);
        view.trouble = Some("x".repeat(300));
        for (width, height) in [(1, 1), (2, 3), (10, 5), (40, 12), (80, 24), (300, 100)] {
            for mode in [Mode::Orders, Mode::Card, Mode::Typing] {
                let text = drawn(&view, &Ui { mode, ..Ui::default() }, width, height);
                assert!(!text.contains('\u{1b}'));
            }
        }
    }

    #[test]
    fn the_choice_of_cards_says_where_each_card_is() {
        let mut view = view(3, 4);
        view.desks[2].card = Some(1);
        let text = drawn(&view, &Ui { mode: Mode::Card, ..Ui::default() }, 80, 24);
        assert!(text.contains("2  bob  (at desk-3)"), "{text}");
    }
}
