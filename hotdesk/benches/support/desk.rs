//! One DTU as a process: its events with its own clock, its screen as it is drawn, and a person's hands.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use dtu_emu::io::control::{Reply, Request};
use lab::backend::Ground;
use lab::world::World;
use serde_json::Value;
use terminal::{Size, Terminal};

use super::{DESK, Outcome, PATIENCE, binary, cannot, wait_for};

/// Something that the DTU told or drew, with the moment at which we had it.
enum News {
    Event(Instant, Value),
    Drawn(Instant, Vec<u8>),
}

/// An event of the DTU.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// On the DTU's clock, in milliseconds since its start.
    t_ms: f64,
    pub(crate) fields: Value,
}

impl Told {
    pub(crate) fn is(&self, event: &str) -> bool {
        self.fields["event"] == event
    }

    pub(crate) fn host(&self) -> Option<&str> {
        self.fields["host"].as_str()
    }
}

/// A place in what the DTU told: everything before it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    event: usize,
}

/// The desk of a lab. Killed when dropped.
pub(crate) struct Desk {
    child: Child,
    hands: BufReader<UnixStream>,
    news: Receiver<News>,
    pub(crate) events: Vec<Told>,
    /// What a person sees: only what differs from it is drawn.
    screen: Terminal,
    /// Every prompt that was seen on it, and when it was first.
    prompts: BTreeMap<String, Instant>,
    /// The start of the DTU's clock, as exact as the quickest of its lines came to us.
    origin: Option<Instant>,
}

impl Desk {
    /// Switches the desk on.
    pub(crate) fn start(world: &World) -> Outcome<Self> {
        let control = world.files().join("desks");
        let mut command = Command::new(binary());
        command.args(["dtu-emu", "boot", "--headless", "--json", "--serial", DESK]);
        command.arg("--ca").arg(world.files().join("keys/ca.pem")).arg("--control").arg(&control);
        command.arg("--state").arg(&control);
        if world.backend().ground() == Ground::Loopback {
            for host in world.hosts() {
                let ip = world.backend().address(host).map_err(cannot("a host's address"))?;
                command.arg("--server").arg(format!("{ip}:{}", proto::PORT));
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = world.backend().spawn(DESK, command).map_err(cannot("start a DTU"))?;
        let (to, news) = channel();
        let output = child.stdout.take().ok_or("a DTU without output")?;
        let events = to.clone();
        std::thread::spawn(move || read_events(BufReader::new(output), &events));
        let socket = control.join(format!("{DESK}.sock"));
        let hands = BufReader::new(connect(&socket)?);
        let mut eyes = BufReader::new(connect(&socket)?);
        ask(&mut eyes, &Request::Attach)?;
        std::thread::spawn(move || watch_screen(eyes, &to));
        let screen = Terminal::without_scrollback(Size::default());
        let (events, prompts) = (Vec::new(), BTreeMap::new());
        Ok(Self { child, hands, news, events, screen, prompts, origin: None })
    }

    /// Puts a card in.
    pub(crate) fn insert(&mut self, card: &str) -> Outcome<()> {
        ask(&mut self.hands, &Request::Insert { card: card.to_owned() })
    }

    /// Takes it out.
    pub(crate) fn remove(&mut self) -> Outcome<()> {
        ask(&mut self.hands, &Request::Remove)
    }

    /// Types at the desk.
    pub(crate) fn type_text(&mut self, text: &str) -> Outcome<()> {
        ask(&mut self.hands, &Request::Type { keys: proto::hex::encode(text.as_bytes()), wait_ms: None })
    }

    /// The place behind everything so far.
    pub(crate) fn mark(&mut self) -> Mark {
        while let Ok(news) = self.news.try_recv() {
            self.take(news);
        }
        Mark { event: self.events.len() }
    }

    /// Waits for the first event behind `from` that is `wanted`.
    pub(crate) fn wait(&mut self, from: Mark, what: &str, wanted: impl Fn(&Told) -> bool) -> Outcome<Told> {
        self.until(what, |desk| desk.events.iter().skip(from.event).find(|told| wanted(told)).cloned())
    }

    /// Waits until a prompt of a shell of `token` on `host` was seen: its process, and when it first was.
    pub(crate) fn wait_for_prompt(&mut self, host: &str, token: &str) -> Outcome<(String, Instant)> {
        let start = format!("<{host}:{token}:");
        self.until(&format!("a prompt on {host}"), |desk| {
            let mut prompts = desk.prompts.iter();
            prompts.find_map(|(prompt, at)| Some((prompt.strip_prefix(&start)?.to_owned(), *at)))
        })
    }

    /// When the DTU told something, on our clock.
    pub(crate) fn moment(&self, told: &Told) -> Outcome<Instant> {
        let origin = self.origin.ok_or("the DTU told nothing")?;
        Ok(origin + Duration::from_secs_f64(told.t_ms / 1e3))
    }

    /// When a part of a gap was over. The DTU counts all parts from one moment, `gap_ms` before it told of the gap.
    pub(crate) fn part(&self, gap: &Told, part: &str) -> Outcome<Instant> {
        let ms = |key: &str| gap.fields[key].as_f64().ok_or(format!("no {key} in {}", gap.fields));
        let rest = Duration::from_secs_f64((ms("gap_ms")? - ms(part)?).max(0.0) / 1e3);
        self.moment(gap)?.checked_sub(rest).ok_or("a gap before all time".to_owned())
    }

    fn until<T>(&mut self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> Outcome<T> {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            match self.news.recv_timeout(give_up_at.saturating_duration_since(Instant::now())) {
                Ok(news) => self.take(news),
                Err(RecvTimeoutError::Disconnected) => return Err("the DTU has ended".to_owned()),
                Err(RecvTimeoutError::Timeout) => {
                    let last: Vec<String> =
                        self.events.iter().rev().take(6).map(|t| t.fields.to_string()).collect();
                    return Err(format!(
                        "waited {PATIENCE:?} for {what}; the DTU last told: {}",
                        last.join(" ")
                    ));
                }
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Event(at, fields) => {
                let t_ms = fields["t_ms"].as_f64().unwrap_or_default();
                if let Some(origin) = at.checked_sub(Duration::from_secs_f64(t_ms / 1e3)) {
                    self.origin = Some(self.origin.map_or(origin, |known| known.min(origin)));
                }
                self.events.push(Told { t_ms, fields });
            }
            News::Drawn(at, bytes) => {
                self.screen.feed(&bytes);
                for line in self.screen.lines() {
                    if let Some((prompt, _)) =
                        line.split_once('>').filter(|(start, _)| start.starts_with('<'))
                    {
                        self.prompts.entry(prompt.to_owned()).or_insert(at);
                    }
                }
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The socket comes a moment after the process.
fn connect(socket: &Path) -> Outcome<UnixStream> {
    wait_for(|| Ok(UnixStream::connect(socket).ok()), || format!("a DTU behind {}", socket.display()))
}

fn ask(hands: &mut BufReader<UnixStream>, request: &Request) -> Outcome<()> {
    let failed = cannot("ask a DTU");
    let mut line = serde_json::to_vec(request).map_err(cannot("a request"))?;
    line.push(b'\n');
    hands.get_mut().write_all(&line).map_err(&failed)?;
    let mut answer = String::new();
    hands.read_line(&mut answer).map_err(&failed)?;
    let reply: Reply = serde_json::from_str(&answer).map_err(cannot("a DTU's answer"))?;
    if reply.ok { Ok(()) } else { Err(format!("a DTU refused: {:?}", reply.error)) }
}

fn read_events(output: impl std::io::BufRead, to: &Sender<News>) {
    super::go_first();
    for line in output.lines().map_while(Result::ok) {
        let at = Instant::now();
        let Ok(fields) = serde_json::from_str(&line) else { continue };
        if to.send(News::Event(at, fields)).is_err() {
            return;
        }
    }
}

fn watch_screen(mut eyes: BufReader<UnixStream>, to: &Sender<News>) {
    super::go_first();
    let mut bytes = [0; 16 * 1024];
    while let Ok(len @ 1..) = eyes.read(&mut bytes) {
        if to.send(News::Drawn(Instant::now(), bytes[..len].to_vec())).is_err() {
            return;
        }
    }
}
