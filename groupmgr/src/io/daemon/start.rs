//! The order of start and of stop.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datastore::arrivals::Limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proto::io::{KeyDir, KeyDirError, random};
use proto::net::Interface;
use proto::{BootId, HostName, Instant};
use sessiond::io::limits::OpenFiles;
use tokio::runtime::{Builder, Handle, LocalOptions, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::event_loop::{EventLoop, Pending};
use super::hooks::{Hooks, Moment};
use super::options::Options;
use crate::announce::Identity;
use crate::host::{Host, HostConfig};
use crate::io::accept::bounds::Bounds;
use crate::io::accept::{Acceptor, Ways};
use crate::io::accounts::{self, AccountError};
use crate::io::admin::service::{AdminService, FactFinder};
use crate::io::admin::wire::{Facts, Home};
use crate::io::caretaker::{Caretaker, Operators};
use crate::io::counters::Counters;
use crate::io::dirs::{self, DirError, RunDir};
use crate::io::inbox::{Event, Inbox};
use crate::io::net::{Changes, Ends, Heard, Listen, Net, NetError};
use crate::io::peers::Peers;
use crate::io::sessions::{SessionDriver, SessionError};
use crate::io::store::{StoreDriver, StoreOpenError};
use crate::io::{clock, rank, vitals};

/// Batches of datagrams that wait for the host machine; more stay in the kernel's buffers.
const HEARD_MAX: usize = 64;
/// How often interfaces are looked at when the kernel reports no change: well within every announcement.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// And when the kernel cannot report changes.
const LOOK_EVERY_BLIND: Duration = Duration::from_secs(1);
/// How long the last words of connections may take at the end.
const FAREWELL_WITHIN: Duration = Duration::from_millis(500);

/// Why a daemon does not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Sessions must not run as they would.
    #[error(transparent)]
    Accounts(#[from] AccountError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyDirError),
    /// A directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The data store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// There is no way to make sessions.
    #[error(transparent)]
    Sessions(#[from] SessionError),
    /// The network cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The administration socket cannot be made.
    #[error("the administration socket in {path}: {source}; choose another directory with --run-dir")]
    Admin {
        /// The directory of that daemon's sockets.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another host has the name.
    #[error(
        "a host named {host} runs already, at {at}; stop it with: groupmgr stop --host {host}, or choose another name with --name"
    )]
    NameTaken {
        /// The name that both have.
        host: HostName,
        /// Where the other host is.
        at: SocketAddrV4,
    },
    /// The system gives no timer.
    #[error("no timer: {0}; raise the limit on open files (ulimit -n)")]
    Timer(io::Error),
    /// The system gives no threads.
    #[error("no threads: {0}; raise the limit on processes (ulimit -u)")]
    Threads(io::Error),
}

/// Runs a daemon until it is told to end. Must be called on a process's main thread, outside a runtime, which then
/// runs the host machine.
///
/// # Errors
/// See [`RunError`].
pub fn run(options: &Options) -> Result<(), RunError> {
    accounts::check(options.account.as_ref())?;
    let keys = KeyDir::open(&options.keys)?;
    let acceptor = TlsAcceptor::from(keys.server_tls_for_dtus(options.name.as_str())?);
    let run_dir = RunDir::take(&options.run_dir, &options.name)?;
    let open_files = OpenFiles::present();
    let fds_max = raise_fds();
    let workers = threads("hotdesk-worker", rank::go_second)?;
    let greeters = threads("hotdesk-greeter", || {})?;
    let (inbox, events) = Inbox::new();
    let boot = BootId(u64::from_be_bytes(random()));
    let store = {
        let _context = workers.enter();
        open_store(options, &keys, boot)?
    };
    let sessions =
        SessionDriver::start(options.keeps_sessions, run_dir.path(), open_files, workers.handle())?;
    accounts::check_with_spawner(options.account.as_ref(), sessions.has_own_accounts())?;
    let options = options.clone();
    let greets = greeters.handle().clone();
    let started = Started { options, keys, run_dir, boot, fds_max, store, sessions, inbox, greeters: greets };
    let main = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    // As a task like all others of the thread: waking what is blocked on costs two more system calls.
    let serve = started.serve(workers.handle().clone(), acceptor, events);
    let served = main.map_err(RunError::Threads)?.block_on(async { tokio::task::spawn_local(serve).await });
    let result = served.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    greeters.shutdown_background();
    workers.shutdown_timeout(FAREWELL_WITHIN);
    result
}

/// Threads for half of the processors, since there are two such sets; each begins with `rank`. More would take turns with
/// each other and with the host machine's, and waking and sleeping is most of what a desk costs in a storm.
fn threads(name: &'static str, rank: fn()) -> Result<Runtime, RunError> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(usize::from(vitals::cpus()).div_ceil(2)).thread_name(name).on_thread_start(rank);
    builder.enable_all().build().map_err(RunError::Threads)
}

fn open_store(options: &Options, keys: &KeyDir, boot: BootId) -> Result<StoreDriver, RunError> {
    if let Some(at) = options.store {
        return Ok(StoreDriver::shared(at, keys)?);
    }
    let dir = options.state_dir.join(options.name.as_str());
    dirs::private_dir(&dir, "--state-dir")?;
    Ok(StoreDriver::own(&dir.join("store"), boot)?)
}

/// What is there when the sockets are to be opened.
struct Started {
    options: Options,
    keys: KeyDir,
    run_dir: RunDir,
    boot: BootId,
    fds_max: u64,
    store: StoreDriver,
    sessions: SessionDriver,
    inbox: Inbox,
    greeters: Handle,
}

impl Started {
    async fn serve(
        mut self,
        workers: Handle,
        tls: TlsAcceptor,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<(), RunError> {
        let counters = Counters::default();
        let limits = Limits::of_descriptors(self.fds_max, vitals::open_files(), self.options.per_address);
        let bounds = Bounds::new(limits);
        let hooks = Hooks::new(&self.options);
        let admin = self.admin(&bounds, &counters, hooks.clone())?;
        let acceptor = Arc::new(Acceptor::new(Ways {
            greeters: self.greeters.clone(),
            workers: workers.clone(),
            tls,
            allows_plain: self.options.allows_plain,
            bounds: bounds.clone(),
            counters: counters.clone(),
            inbox: self.inbox.clone(),
            admin: Arc::clone(&admin),
        }));
        let (heard_sender, heard) = mpsc::channel(HEARD_MAX);
        let net = self.net(&workers, &acceptor, heard_sender, &counters);
        let mut caretaker = self.caretaker(&workers, &admin, &counters, &bounds);
        let host = self.host();
        self.store.watch_link(&workers, self.inbox.clone());
        self.store.follow(&workers, self.inbox.clone());
        let mut event_loop = EventLoop {
            host,
            net,
            store: self.store,
            sessions: self.sessions,
            peers: Peers::new(Arc::clone(&admin), workers.clone()),
            runtime: workers.clone(),
            inbox: self.inbox,
            counters: counters.clone(),
            account: self.options.account.clone(),
            run_dir: self.run_dir.path().to_owned(),
            run_queue: vitals::Sampler::new(),
            mem_mib: vitals::mem_mib(),
            alarm: clock::Alarm::new().map_err(RunError::Timer)?,
            pending: Pending::default(),
        };
        event_loop.take_up(&mut events).await;
        let interfaces = event_loop.net.open()?;
        let admin_socket = self.run_dir.admin_socket();
        caretaker
            .operators
            .open(&admin_socket)
            .map_err(|source| RunError::Admin { path: self.run_dir.path().display().to_string(), source })?;
        let caretaker = Ends::of(workers.spawn(caretaker.watch(event_loop.inbox.clone())).abort_handle());
        background(&workers, &event_loop.inbox);
        let started = hooks.clone();
        let start_hook = workers.spawn(async move { started.run(Moment::Start).await });
        rank::go_first();
        let taken = event_loop.run(interfaces, heard, events).await;
        drop(caretaker);
        drop(std::fs::remove_file(admin_socket));
        event_loop.let_go();
        event_loop.sessions.leave().await;
        let give_up_at = clock::now() + FAREWELL_WITHIN;
        while (!admin.take_leave() || !bounds.is_empty()) && clock::now() < give_up_at {
            clock::until(Some(clock::now() + Duration::from_millis(5))).await;
        }
        // The one at the start has its time before.
        drop(start_hook.await);
        hooks.run(Moment::Stop).await;
        tracing::info!("stopped");
        taken.map_or(Ok(()), |at| Err(RunError::NameTaken { host: self.options.name, at }))
    }

    fn admin(
        &self,
        bounds: &Bounds,
        counters: &Counters,
        hooks: Hooks,
    ) -> Result<Arc<AdminService>, RunError> {
        let tls = self.keys.client_tls()?;
        Ok(AdminService::new(
            self.options.name.clone(),
            self.keys.ring.clone(),
            tls,
            self.inbox.clone(),
            self.store.store(),
            counters.clone(),
            self.facts(bounds.clone(), hooks),
        ))
    }

    fn facts(&self, bounds: Bounds, hooks: Hooks) -> FactFinder {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.into()).display().to_string();
        let (keys, run_dir) = (absolute(&self.options.keys), absolute(self.run_dir.path()));
        let state_dir = absolute(&self.options.state_dir);
        let (fds_max, own_accounts) = (self.fds_max, self.sessions.has_own_accounts());
        let (named, runs_as) = (self.options.account.as_ref().map(ToString::to_string), accounts::own_name());
        let account = if own_accounts { named.clone() } else { Some(runs_as.clone()) };
        Box::new(move |interfaces: Vec<Interface>| Facts {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            keys: keys.clone(),
            run_dir: run_dir.clone(),
            state_dir: state_dir.clone(),
            interfaces,
            connections: bounds.len(),
            fds: vitals::open_files(),
            fds_max,
            own_accounts,
            homes: account.iter().map(|account| Home { account: account.clone(), dir: None }).collect(),
            account: named.clone(),
            runs_as: Some(runs_as.clone()),
            hook_failed: hooks.failed(),
        })
    }

    fn net(
        &self,
        workers: &Handle,
        acceptor: &Arc<Acceptor>,
        heard: mpsc::Sender<Heard>,
        counters: &Counters,
    ) -> Net {
        let (workers, acceptor) = (workers.clone(), Arc::clone(acceptor));
        let listen: Listen = Box::new(move |listener, _| {
            Ends::of(workers.spawn(Arc::clone(&acceptor).listen(listener)).abort_handle())
        });
        Net::new(self.options.net.clone(), heard, counters.clone(), listen)
    }

    fn caretaker(
        &self,
        workers: &Handle,
        admin: &Arc<AdminService>,
        counters: &Counters,
        bounds: &Bounds,
    ) -> Caretaker {
        let operators = Operators::new(Arc::clone(admin), counters.clone(), workers.clone());
        let has_own_store = self.options.store.is_none();
        let disks =
            [Some(self.run_dir.path().to_owned()), has_own_store.then(|| self.options.state_dir.clone())];
        Caretaker {
            run_dir: self.run_dir.clone(),
            operators,
            disks: disks.into_iter().flatten().collect(),
            account: self.options.account.clone().filter(|_| self.sessions.has_own_accounts()),
            bounds: bounds.clone(),
            fds_max: self.fds_max,
        }
    }

    fn host(&self) -> Host {
        let identity = Identity {
            rack: self.options.rack.clone(),
            site: self.options.site.clone(),
            store: self.store.label().clone(),
            keep: self.options.keeps_sessions,
            plain: self.options.allows_plain,
            port: self.options.net.port,
            cpus: vitals::cpus(),
            clock: vitals::clock_mhz(),
            ..Identity::new(self.options.name.clone(), self.boot, vitals::machine())
        };
        let config = HostConfig {
            sessions_max: self.options.sessions_max,
            kept: self.sessions.kept(),
            tools: self.sessions.tools(),
            shared_machine_account: self.options.account.clone(),
            guests: self.options.guests,
            pair: self.options.pair.clone(),
            ..HostConfig::new(identity, self.keys.ring.clone())
        };
        Host::new(clock::now(), config, random())
    }
}

/// What tells the loop of signals and of interfaces.
fn background(workers: &Handle, inbox: &Inbox) {
    workers.spawn(tell_signals(inbox.clone()));
    tokio::task::spawn_local(tell_changes(inbox.clone()));
}

/// The first signal ends the daemon in order, the second one at once.
async fn tell_signals(inbox: Inbox) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!(
            "signals cannot be waited for: the daemon will not say goodbye when it is ended by one"
        );
        return;
    };
    // Started to outlive its terminal (nohup), it is to do so.
    let mut hangup = if is_ignored(libc::SIGHUP) { None } else { signal(SignalKind::hangup()).ok() };
    let mut is_ending = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = hung_up(hangup.as_mut()) => {}
        }
        if is_ending {
            std::process::exit(1);
        }
        is_ending = true;
        inbox.send(Event::End).await;
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether whoever started this process had it ignore a signal.
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null pointer for the new action the call changes nothing and fills in the present one, which is
    // read only when the call says that it has.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

async fn tell_changes(inbox: Inbox) {
    let changes = match Changes::subscribe() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::warn!(%error, "the kernel does not report changes of interfaces; they are looked at every second");
            look_every(&inbox, LOOK_EVERY_BLIND).await;
            return;
        }
    };
    loop {
        if let Ok(Err(error)) = tokio::time::timeout(LOOK_EVERY, changes.next()).await {
            tracing::warn!(%error, "changes of interfaces are no longer reported");
            look_every(&inbox, LOOK_EVERY_BLIND).await;
        }
        inbox.send(Event::Look).await;
    }
}

async fn look_every(inbox: &Inbox, pause: Duration) {
    let mut at: Instant = clock::now();
    loop {
        at += pause;
        clock::until(Some(at)).await;
        inbox.send(Event::Look).await;
    }
}

/// Raises the limit of open files to what is allowed, and says what it is.
fn raise_fds() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}
