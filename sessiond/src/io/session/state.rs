//! The state sockets of a session (`HOTDESK_STATE`), one for each service: what its programs keep of themselves.
//!
//! Around [`StateSession`], which owns the object and decides what is answered; here are the bytes on their way. Bounds:
//! so many connections, so much that a program does not read. At a bound the program's connection is closed, and nobody
//! else's.

mod calls;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use continuity::session::{Effect, PROGRAMS_MAX, Program, StateSession, Ticket};
use continuity::{Encoded, Object, Restored, Stamp};
use datastore::Request;
use proto::time::{Duration, Instant, WallTime};
use proto::{Epoch, Serial, ServiceName, SessionId};

use super::asking::{Asker, Outcome};
use super::calling::Calls;
use super::looking::Looking;
use super::sockets;

/// Answers and events that a program has not read, at most, in bytes: some of the longest values.
const UNREAD_MAX: usize = 256 * 1024;

/// What the sockets are called, each with its number.
const NAME: &str = "state";

/// What one descriptor waits for.
pub(super) struct Interest<'a> {
    pub(super) service: ServiceName,
    pub(super) program: Option<Program>,
    pub(super) fd: BorrowedFd<'a>,
    pub(super) read: bool,
    pub(super) write: bool,
}

/// The sockets of all services that were ever started.
pub(super) struct StateSockets {
    session: SessionId,
    dir: PathBuf,
    services: BTreeMap<ServiceName, Served>,
    shown_at: Option<Serial>,
    /// Whether versions are safe only when another host has them.
    is_kept: bool,
    epoch: Epoch,
    calls: Calls,
}

/// The socket of one service.
struct Served {
    path: PathBuf,
    listener: UnixListener,
    state: StateSession,
    clients: BTreeMap<Program, Client>,
    next: u32,
    /// Versions that nobody has taken yet; `None` if they are safe as they are.
    committed: Option<Vec<(Encoded, Instant)>>,
    /// What its programs want done once, for which nobody has asked yet.
    asked: Vec<(Ticket, Box<Request>)>,
    /// Calls of other services, and replies to theirs, that nobody has carried yet.
    calls: Vec<Effect>,
    /// What is being looked up of what came from another host.
    looking: Option<Looking>,
}

struct Client {
    stream: UnixStream,
    unsent: Vec<u8>,
    /// It is closed when all was sent.
    is_over: bool,
}

impl StateSockets {
    /// None yet; they will be in `dir`, the session's directory.
    pub(super) fn new(session: SessionId, dir: PathBuf, is_kept: bool) -> Self {
        Self {
            session,
            dir,
            services: BTreeMap::new(),
            shown_at: None,
            is_kept,
            epoch: Epoch { generation: 0, counter: 0 },
            calls: Calls::default(),
        }
    }

    /// In which epoch versions are made from now on.
    pub(super) const fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Listens again wherever nobody can find a socket. Who is connected stays so.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        for served in self.services.values_mut().filter(|served| !served.path.exists()) {
            served.listener = sockets::listen(&served.path)?;
        }
        Ok(())
    }

    /// Removes the sockets.
    pub(super) fn clear(&self) {
        for served in self.services.values() {
            let _ = std::fs::remove_file(&served.path);
        }
    }

    /// Sees to it that a service which is about to start has its socket, and says where it is. What the service keeps of
    /// itself outlives its end.
    pub(super) fn serve(&mut self, service: &ServiceName) -> io::Result<PathBuf> {
        if !self.services.contains_key(service) {
            let object = Object::new(self.session, service.clone());
            self.add(StateSession::new(object, self.epoch, None), None)?;
        }
        self.services.get(service).map(|served| served.path.clone()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// What the programs of a service have said at another host. Its programs find it as they left it, as the version that
    /// is returned.
    pub(super) fn restore(&mut self, object: Object, restored: Restored) -> io::Result<Encoded> {
        let mut state = StateSession::new(object, self.epoch, Some(&restored));
        let version = state.object().encode().map_err(io::Error::other)?;
        let looking = Looking::new(restored);
        if looking.is_some() {
            state.look_up();
        }
        self.add(state, looking)?;
        Ok(version)
    }

    fn add(&mut self, mut state: StateSession, looking: Option<Looking>) -> io::Result<()> {
        // Numbered, since the path of a socket may not be long.
        let path = self.dir.join(format!("{NAME}{}", self.services.len()));
        state.shown(self.shown_at.clone());
        let service = state.object().head.service.clone();
        let served = Served { looking, ..Served::listen(path, state, self.is_kept)? };
        self.services.insert(service, served);
        Ok(())
    }

    /// The versions that were committed since this was asked last, and when; [`StateSockets::safe`] answers them. None of a session
    /// that nobody keeps.
    pub(super) fn take_committed(&mut self) -> Vec<(ServiceName, Encoded, Instant)> {
        let taken = self
            .services
            .iter_mut()
            .filter_map(|(service, served)| Some((service, served.committed.as_mut()?)));
        taken
            .flat_map(|(service, versions)| {
                versions.drain(..).map(|(version, at)| (service.clone(), version, at))
            })
            .collect()
    }

    /// What programs want done once, and what is to be looked up, since this was asked last; [`StateSockets::answered`]
    /// answers it.
    pub(super) fn take_asked(&mut self) -> Vec<(Asker, Request)> {
        let mut all = Vec::new();
        for (service, served) in &mut self.services {
            let asked = served.asked.drain(..);
            all.extend(asked.map(|(ticket, request)| (Asker::Effect(service.clone(), ticket), *request)));
            let questions = served.looking.as_mut().map(Looking::take_questions).unwrap_or_default();
            let asker = |number| Asker::Reference(service.clone(), number);
            all.extend(questions.into_iter().map(|question| (asker(question.number), question.request)));
        }
        all
    }

    /// What was asked is answered.
    pub(super) fn answered(&mut self, now: Instant, wall: WallTime, asker: &Asker, outcome: Outcome) {
        let (Asker::Effect(service, _) | Asker::Reference(service, _)) = asker;
        let Some(served) = self.services.get_mut(service) else { return };
        match asker {
            Asker::Effect(_, ticket) => served.state.answered(now, wall, *ticket, outcome),
            Asker::Reference(_, number) => {
                let done = served.looking.as_mut().and_then(|looking| looking.answered(*number, outcome));
                if let Some(restored) = done {
                    served.looking = None;
                    served.state.looked_up(now, wall, &restored);
                }
            }
        }
        served.settle(now, wall);
    }

    /// Another host has acknowledged a version of what a service's programs say so long after it was committed.
    pub(super) fn acknowledged(&mut self, service: &ServiceName, after: Duration) {
        if let Some(served) = self.services.get_mut(service) {
            served.state.acknowledged(after);
        }
    }

    /// Versions up to `stamp` of what a service's programs say are safe.
    pub(super) fn safe(&mut self, now: Instant, wall: WallTime, service: &ServiceName, stamp: Stamp) {
        if let Some(served) = self.services.get_mut(service) {
            served.state.safe(now, wall, stamp);
            served.settle(now, wall);
        }
    }

    /// What to wait for. Of a program that waits for many answers nothing is read, nor is it noticed that it has gone.
    pub(super) fn interest(&self) -> Vec<Interest<'_>> {
        let mut all = Vec::new();
        for (service, served) in &self.services {
            let interest =
                |program, fd, read, write| Interest { service: service.clone(), program, fd, read, write };
            if served.clients.len() < PROGRAMS_MAX {
                all.push(interest(None, served.listener.as_fd(), true, false));
            }
            for (program, client) in &served.clients {
                let reads = !client.is_over && served.state.reads(*program);
                let writes = !client.unsent.is_empty();
                if reads || writes {
                    all.push(interest(Some(*program), client.stream.as_fd(), reads, writes));
                }
            }
        }
        all
    }

    pub(super) fn accept(&mut self, service: &ServiceName) {
        let Some(served) = self.services.get_mut(service) else { return };
        let Ok((stream, _)) = served.listener.accept() else { return };
        let program = Program(served.next);
        if stream.set_nonblocking(true).is_ok() && served.state.open(program) {
            served.clients.insert(program, Client { stream, unsent: Vec::new(), is_over: false });
            served.next = served.next.wrapping_add(1);
        }
    }

    /// A program can be written to, has said something, or is gone.
    pub(super) fn on_ready(&mut self, now: Instant, wall: WallTime, service: &ServiceName, program: Program) {
        let Some(served) = self.services.get_mut(service) else { return };
        if served.turn(now, wall, program).is_err() {
            served.drop(program);
        }
        served.settle(now, wall);
    }

    /// The session is shown at another DTU, or at none.
    pub(super) fn shown(&mut self, now: Instant, wall: WallTime, at: Option<&Serial>) {
        self.shown_at = at.cloned();
        for served in self.services.values_mut() {
            served.state.shown(at.cloned());
            served.settle(now, wall);
        }
    }
}

impl Served {
    fn listen(path: PathBuf, state: StateSession, is_kept: bool) -> io::Result<Self> {
        let listener = sockets::listen(&path)?;
        let committed = is_kept.then(Vec::new);
        Ok(Self {
            path,
            listener,
            state,
            clients: BTreeMap::new(),
            next: 0,
            committed,
            asked: Vec::new(),
            calls: Vec::new(),
            looking: None,
        })
    }

    fn turn(&mut self, now: Instant, wall: WallTime, program: Program) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&program) else { return Ok(()) };
        client.flush()?;
        if client.is_over || !self.state.reads(program) {
            return Ok(());
        }
        let mut piece = [0; 16 * 1024];
        // One piece a turn: who says a lot must not keep the others waiting.
        match client.stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.state.heard(now, wall, program, &piece[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn drop(&mut self, program: Program) {
        self.clients.remove(&program);
        self.state.close(program);
    }

    /// Does what the machine says until it says nothing more.
    fn settle(&mut self, now: Instant, wall: WallTime) {
        loop {
            let effects = self.state.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Say { program, bytes } => {
                        if self.clients.get_mut(&program).is_some_and(|client| client.say(&bytes).is_err()) {
                            self.drop(program);
                        }
                    }
                    Effect::Close(program) => {
                        if let Some(client) = self.clients.get_mut(&program) {
                            client.is_over = true;
                        }
                        self.clients.retain(|_, client| !client.is_over || !client.unsent.is_empty());
                    }
                    Effect::Committed(version) => match &mut self.committed {
                        Some(committed) => committed.push((version, now)),
                        // A session that is started afresh when its host dies promises no more than this.
                        None => self.state.safe(now, wall, version.stamp()),
                    },
                    Effect::Ask { ticket, request } => self.asked.push((ticket, request)),
                    call @ (Effect::Call { .. } | Effect::Reply { .. }) => self.calls.push(call),
                }
            }
        }
    }
}

impl Client {
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.unsent.len() > UNREAD_MAX {
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        sockets::flush(&mut self.stream, &mut self.unsent)?;
        if self.is_over && self.unsent.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Lets everybody who has said something be heard, until nothing more happens.
    fn settle(sockets: &mut StateSockets, service: &ServiceName) {
        for program in (0..4).map(Program) {
            for _ in 0..32 {
                sockets.on_ready(Instant::ZERO, WallTime::default(), service, program);
            }
        }
    }

    #[test]
    fn who_does_not_read_its_answers_is_cut_off_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut sockets = StateSockets::new(SessionId(1), dir.path().to_owned(), false);
        let service: ServiceName = "s".parse().unwrap();
        let path = sockets.serve(&service).unwrap();
        assert_eq!(
            sockets.serve(&service).unwrap(),
            path,
            "a service that starts again has the socket it had"
        );
        let (mut lazy, mut other) =
            (UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap());
        sockets.accept(&service);
        sockets.accept(&service);
        lazy.write_all(b"put pool=global key=k bytes=30000\n").unwrap();
        lazy.write_all(&[b'x'; 30_000]).unwrap();
        lazy.write_all(format!("\n{}", "get pool=global key=k\n".repeat(40)).as_bytes()).unwrap();
        settle(&mut sockets, &service);
        let programs =
            |sockets: &StateSockets| sockets.interest().iter().filter_map(|i| i.program).collect::<Vec<_>>();
        assert_eq!(programs(&sockets), [Program(1)]);
        other.write_all(b"list pool=global\n").unwrap();
        settle(&mut sockets, &service);
        let mut answer = [0; 64];
        let len = other.read(&mut answer).unwrap();
        assert_eq!(answer[..len], *b"list count=1\nentry key=k kind=raw length=30000\n");
    }
}
