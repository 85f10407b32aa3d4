//! A session that moves to a desk in a real terminal: what it finds there, and what it leaves.
//!
//! The real terminal is a pseudo terminal with our own emulation at its other end, which shows what was written to it, and
//! would answer what it is asked.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use terminal::{Size, Terminal};

use crate::readme::Hand;
use crate::scene::{PATIENCE, Played, Trouble};

/// What an editor with a mouse sets, by vim itself where there is one. It asks its terminal as well.
const EDITOR: &str = r#"
printf 'nobody else may read this\n' > "$1"
if vim --version 2>/dev/null | grep -q '+mouse_sgr'; then exec vim -u NONE -N --cmd 'set mouse=a ttymouse=sgr title' "$1"; fi
printf '\033[?1049h\033[?1h\033=\033[?1002;1006;2004h\033]2;editor\033\\\033[6n\033[>c\033[H'
cat "$1"
exec sleep 600
"#;

/// A desk in a real terminal.
struct Real {
    master: File,
    desk: Child,
    terminal: Terminal,
    asked: Vec<u8>,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.desk.kill();
        let _ = self.desk.wait();
    }
}

impl Real {
    fn start(hand: &Hand<'_>, line: &str) -> Result<Self, Trouble> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None)?;
        let mut command = hand.command(&format!("exec {line}"));
        let end = || pty.slave.try_clone().map(Stdio::from);
        let desk = command.stdin(end()?).stdout(end()?).stderr(Stdio::null()).spawn()?;
        let mut terminal = Terminal::new(Size { cols: 80, rows: 24 });
        terminal.feed(b"$ what the owner of this terminal had on it\r\n");
        Ok(Self { master: pty.master.into(), desk, terminal, asked: Vec::new() })
    }

    fn type_keys(&mut self, keys: &[u8]) -> Played {
        Ok(self.master.write_all(keys)?)
    }

    /// Reads until the terminal is as wanted, or its program has ended.
    fn until(&mut self, what: &str, wanted: impl Fn(&Terminal) -> bool) -> Played {
        let give_up = Instant::now() + PATIENCE;
        while !wanted(&self.terminal) {
            let left = give_up.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let is_there = poll(&mut fds, timeout)? > 0;
            let mut bytes = [0; 4096];
            let len = if is_there { self.master.read(&mut bytes).unwrap_or(0) } else { 0 };
            if len == 0 {
                let (lines, modes) = (self.terminal.lines(), self.terminal.modes());
                return Err(format!("waited for {what}; there is {lines:#?} {modes:?}").into());
            }
            self.terminal.feed(&bytes[..len]);
            self.asked.extend(self.terminal.take_answers());
        }
        Ok(())
    }

    fn shows(&self, text: &str) -> bool {
        has(&self.terminal, text)
    }
}

fn has_editors_modes(terminal: &Terminal) -> bool {
    let modes = terminal.modes();
    [1, 1006, 2004].iter().all(|mode| modes.is_set(*mode))
        && (modes.is_set(1002) || modes.is_set(1003))
        && modes.keypad()
        && !terminal.title().is_empty()
        && terminal.lines()[0].contains("nobody else may read this")
}

/// Whether a terminal does with keys, mouse and paste what an unused one does.
fn is_calm(terminal: &Terminal) -> bool {
    let calm = Terminal::new(terminal.size());
    terminal.modes() == calm.modes() && terminal.palette() == calm.palette() && terminal.title().is_empty()
}

pub(crate) fn moved(binary: PathBuf) -> Played {
    let dir = tempfile::tempdir()?;
    let mut hand = Hand::new(dir.path(), &binary)?;
    std::fs::write(dir.path().join("editor"), EDITOR)?;
    let template = format!(
        "[[service]]\nname = \"terminal\"\ncommand = [\"/bin/sh\", \"{0}/editor\", \"{0}/file\"]\ncwd = \"/\"\n",
        dir.path().display()
    );
    std::fs::write(dir.path().join("template.toml"), template)?;
    hand.foreground("groupmgr keygen keys")?;
    hand.start("datastore serve --keys keys --dir store --listen 127.0.0.1:7010", "data store ready")?;
    let run = "groupmgr run --keys keys --store 127.0.0.1:7010 --name a --bind 127.0.1.1 --run-dir run --state-dir state";
    hand.start(run, "ready host=")?;
    hand.foreground("groupmgr template put default template.toml --run-dir run --host a")?;
    // Nobody has a session without a card.
    hand.foreground("authmgr policy set pseudo=deny --keys keys --run-dir run")?;
    hand.foreground("authmgr card new ann.card")?;
    let boot = "dtu-emu boot --ca keys/ca.pem --card ann.card";
    hand.start(&format!("{boot} --headless --serial 080020000001 --bind 127.0.200.1"), "shown")?;
    hand.foreground("dtu-emu wait --for 'nobody else may read this' --timeout 15 --dtu 080020000001")?;

    let mut real = Real::start(&hand, &format!("{boot} --serial 080020000002 --bind 127.0.200.2"))?;
    real.until("the editor with its modes", has_editors_modes)?;
    assert!(real.terminal.is_alternate() && real.terminal.above() == 0, "nothing goes into the scrollback");

    // Ctrl-] r: the card is out. The lock screen and the next person have none of it.
    real.type_keys(b"\x1dr")?;
    real.until("a calm lock screen", |t| is_calm(t) && t.lines().iter().all(|l| !l.contains("nobody else")))?;
    real.type_keys(b"\x1diann.card\r")?;
    real.until("the editor again", has_editors_modes)?;

    // Ctrl-] q: the owner has the terminal back as it was.
    real.type_keys(b"\x1dq")?;
    real.until("the owner's terminal", |t| is_calm(t) && !t.is_alternate())?;
    assert!(real.shows("what the owner of this terminal had on it") && !real.shows("nobody else"));
    assert_eq!(
        String::from_utf8_lossy(&real.asked),
        "",
        "the session answers, and a real terminal is asked nothing"
    );
    Ok(())
}

/// A service that says who it is, and what it is told.
const SAYS: &str = r#"printf '%s is here\r\n' "$1"; while read -r word; do echo "$1 was told $word"; done"#;

/// Two services of a session, flipped between with the key at a desk in a real terminal, and by command at another one.
pub(crate) fn flipped(binary: PathBuf) -> Played {
    let dir = tempfile::tempdir()?;
    let mut hand = Hand::new(dir.path(), &binary)?;
    std::fs::write(dir.path().join("says"), SAYS)?;
    let service = |name: &str| {
        let says = dir.path().join("says");
        format!(
            "[[service]]\nname = \"{name}\"\ncommand = [\"/bin/sh\", {says:?}, \"{name}\"]\ncwd = \"/\"\n"
        )
    };
    let two = service("terminal") + &service("mail");
    std::fs::write(dir.path().join("two.toml"), &two)?;
    std::fs::write(dir.path().join("continuous.toml"), format!("continuity = \"continuous\"\n{two}"))?;
    std::fs::write(dir.path().join("elsewhere.toml"), format!("{two}host = \"b\"\n"))?;
    hand.foreground("groupmgr keygen keys")?;
    hand.start("datastore serve --keys keys --dir store --listen 127.0.0.1:7010", "data store ready")?;
    let run = "groupmgr run --keys keys --store 127.0.0.1:7010 --name a --bind 127.0.1.1 --run-dir run --state-dir state";
    hand.start(run, "ready host=")?;
    for (file, line) in [("continuous", "line 1"), ("elsewhere", "line 9")] {
        let put = format!("groupmgr template put default {file}.toml --run-dir run --host a 2>&1 || true");
        let said = hand.foreground(&put)?;
        assert!(said.contains(line), "{file}: {said}");
    }
    hand.foreground("groupmgr template put default two.toml --run-dir run --host a")?;
    hand.foreground("authmgr card new ann.card")?;
    let boot = "dtu-emu boot --ca keys/ca.pem --card ann.card";
    let mut real = Real::start(&hand, &format!("{boot} --serial 080020000002 --bind 127.0.200.2"))?;
    real.until("the first display", |t| has(t, "terminal is here"))?;
    real.type_keys(b"one\r")?;
    real.until("what was typed there", |t| has(t, "terminal was told one"))?;
    real.type_keys(b"\x1dn")?;
    real.until("the second", |t| has(t, "mail is here") && has(t, "Display 2 of 2: mail"))?;
    assert!(!real.shows("terminal"), "{:#?}", real.terminal.lines());
    real.type_keys(b"two\r")?;
    real.until("what was typed there", |t| has(t, "mail was told two"))?;
    hand.foreground("dtu-emu list --json | grep '\"service\":\"mail\"'")?;
    hand.foreground("dtu-emu flip --dtu 080020000002")?;
    real.until("the first again", |t| has(t, "terminal was told one") && !has(t, "told two"))?;
    // What the version before took is stored as it is there, told, and made sessions of all the same.
    hand.foreground("groupmgr template show default --run-dir run --host a | grep mail")?;
    real.type_keys(b"\x1dq")?;
    real.until("the owner's terminal", is_calm)?;
    crowded(&hand, &["a", "b", "c", "d", "e", "f"].map(service).concat())
}

/// A session with a service that nobody has started, one that cannot be, and six others: more than a desk shows.
fn crowded(hand: &Hand<'_>, others: &str) -> Played {
    let idle = "[[service]]\nname = \"idle\"\nrequired = false\n";
    let broken = "[[service]]\nname = \"broken\"\nrequired = false\ncommand = [\"/no/such\"]\n";
    hand.foreground(&format!("printf '%s' '{idle}{broken}{others}' > many.toml"))?;
    hand.foreground("groupmgr template put many many.toml --run-dir run --host a")?;
    hand.foreground("authmgr card new bob.card")?;
    hand.foreground("groupmgr session new bob.card --template many --run-dir run --host a")?;
    let boot = "dtu-emu boot --ca keys/ca.pem --card bob.card --serial 080020000003 --bind 127.0.200.3";
    let mut real = Real::start(hand, boot)?;
    real.until("why nothing is shown", |t| {
        has(t, "idle is not started. Start it with: groupmgr service start")
    })?;
    real.until("how many there are", |t| {
        has(t, "Display 1 of 6: idle.") && has(t, "The session has 2 more:")
    })?;
    real.type_keys(b"\x1dn")?;
    real.until("the second", |t| has(t, "broken is not started."))?;
    let token = "card.$(sed -n 's/^card .* id=\\([^ ]*\\).*/\\1/p' bob.card)";
    hand.foreground(&format!("groupmgr service start {token} broken --run-dir run --host a 2>&1 || true"))?;
    real.until("why it does not run", |t| has(t, "broken could not be started: ") && has(t, "/no/such"))?;
    real.type_keys(b"\x1dn")?;
    real.until("the third", |t| has(t, "a is here") && has(t, "Display 3 of 6: a"))?;
    real.type_keys(b"\x1dq")?;
    real.until("the owner's terminal", is_calm)
}

fn has(terminal: &Terminal, text: &str) -> bool {
    terminal.lines().iter().any(|line| line.contains(text))
}
