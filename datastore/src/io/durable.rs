//! A store over a disk: who writes, in which order, and when a write may be seen.
//!
//! One thread, the committer, does all writes. It takes whatever has queued up while it was busy (the group
//! commit), and for each such batch:
//!
//! 1. decides the writes one after another, each against the newest value ([`Batch::admit`]);
//! 2. **hides** the keys: readers are shown their values from before the batch ([`Hidden`]);
//! 3. writes the batch to the engine, and has the engine **make it safe** (fsync);
//! 4. **publishes**: in one step, under one lock, readers see the new values and watchers are told;
//! 5. answers everybody in the batch.
//!
//! Why this keeps the promise that nothing visible can be lost: a reader holds the view's lock for the whole
//! of its reading, so it falls entirely before step 2, where the engine holds only what is safe, or between
//! 2 and 4, where everything unsafe is hidden, or after 4. A swap is decided in the committer, so that it
//! sees what is newest, and may thus lose against a value that is not safe yet; but its answer waits for
//! step 5 like any other. A watcher that hears of a change and then reads finds it, because telling and
//! showing are one step.
//!
//! When the disk fails, nobody can say whether the batch will be found after a restart. Its writers are told
//! just that, it stays hidden, and no further write is taken: a second fsync after a failed one may well
//! succeed without having written anything.
//!
//! A full disk is another matter. While there is little room no batch is begun, its writers are refused, and nothing
//! needs mending. Should room run out all the same in the middle of a batch, the engine is opened anew once there is some:
//! what it finds then is made safe before anybody sees it, and whoever watches is told that something may have been
//! missed. Only what the system refused to *write* is mended so, never a failed fsync.

mod failure;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proto::StoreId;
use tokio::sync::oneshot;

pub use self::failure::{REFUSES_BROKEN, REFUSES_FULL};

use self::failure::{Failure, is_want_of_room};
use super::store::{Pending, Store, into_result, not_here};
use super::watch::{Watch, Watchers};
use crate::batch::{Batch, Hidden};
use crate::error::{Refusal, StoreError};
use crate::key::{Key, Prefix};
use crate::message::{Answer, Generation, Page, Request, Response, Revision};
use crate::quota::{Quota, Usage};
use crate::value::Value;

/// Writes that wait for the committer; one more is refused as busy.
const QUEUE_MAX: usize = 8 * 1024;

/// Longest time the committer waits for the writers it has just answered to come back with their next write.
/// Without it, a group of steady writers falls apart into the one that is fastest and all others, and every
/// second fsync is spent on a single write.
const GATHER_MAX: Duration = Duration::from_micros(300);

/// How often a store that takes no writes looks whether there is room again.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(500);

/// What keeps values on a disk. Written to by one thread at a time.
pub trait Engine: Send + Sync + 'static {
    /// For messages: where the data is.
    fn place(&self) -> String;

    /// Which store this is.
    fn id(&self) -> StoreId;

    /// The store's generation.
    fn generation(&self) -> Generation;

    /// The revision of the last write that was found.
    fn revision(&self) -> Revision;

    /// The value of `key`, safe or not.
    ///
    /// # Errors
    /// When the disk or the engine fails.
    fn get(&self, key: &Key) -> io::Result<Option<Value>>;

    /// The keys `prefix` holds, after `after`, in order.
    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&Key>,
    ) -> Box<dyn Iterator<Item = io::Result<(Key, Value)>> + 'a>;

    /// Stores and deletes, all or nothing as seen after a restart.
    ///
    /// # Errors
    /// When the disk or the engine fails; the engine is not used for writing any more then.
    fn write(
        &self,
        writes: &mut dyn Iterator<Item = (&Key, Option<&Value>)>,
        revision: Revision,
    ) -> io::Result<()>;

    /// Returns when everything written is on the disk and would be found after a power cut.
    ///
    /// # Errors
    /// As [`Engine::write`].
    fn make_safe(&self) -> io::Result<()>;

    /// Whether there is room for another batch.
    ///
    /// # Errors
    /// There is not, or nobody can say.
    fn has_room(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes it usable again after a write that failed for want of room. What it holds then is safe. Answers with the
    /// revision of the last write that was found. Nobody reads meanwhile.
    ///
    /// # Errors
    /// It cannot be used; it may be tried again.
    fn recover(&self) -> io::Result<Revision> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A store that keeps its promises over an [`Engine`].
#[derive(Debug)]
pub struct Durable<E: Engine> {
    shared: Arc<Shared<E>>,
    jobs: Option<SyncSender<Job>>,
    committer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<E> {
    engine: E,
    view: RwLock<View>,
    /// The view's revision, for who must not wait for the view's lock, which a reader may hold while the
    /// disk hangs.
    revision: AtomicU64,
}

#[derive(Debug, Default)]
struct View {
    hidden: Hidden,
    revision: Revision,
    watchers: Watchers,
    /// Why no further write is taken.
    failed: Option<Failure>,
}

#[derive(Debug)]
struct Job {
    request: Request,
    answer: oneshot::Sender<Result<Response, StoreError>>,
}

impl<E: Engine> Durable<E> {
    /// A store over `engine`, all of whose content must be safe already.
    ///
    /// # Errors
    /// When the system gives no thread, or the engine cannot be read.
    pub fn new(engine: E) -> io::Result<Self> {
        Self::with_quota(engine, Quota::default())
    }

    /// The same, with another quota than the usual one.
    ///
    /// # Errors
    /// As [`Durable::new`].
    pub fn with_quota(engine: E, quota: Quota) -> io::Result<Self> {
        let revision = engine.revision();
        let usage = usage_of(&engine, quota)?;
        let shared = Arc::new(Shared {
            engine,
            view: RwLock::new(View { revision, ..View::default() }),
            revision: AtomicU64::new(revision.0),
        });
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let mut committer = Committer { shared: Arc::clone(&shared), queue, gather: None, usage };
        let committer =
            std::thread::Builder::new().name("store commit".into()).spawn(move || committer.run())?;
        Ok(Self { shared, jobs: Some(jobs), committer: Some(committer) })
    }

    /// The store's generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.shared.engine.generation()
    }

    fn submit(&self, request: Request) -> Result<Submitted, StoreError> {
        let (answer, submitted) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(Refusal::Stopping)?;
        match jobs.try_send(Job { request, answer }) {
            Ok(()) => Ok(submitted),
            Err(TrySendError::Full(_)) => Err(Refusal::Busy.into()),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Stopping.into()),
        }
    }

    /// Reads on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared<E>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let result = tokio::task::spawn_blocking(move || read(&shared)).await;
        result.unwrap_or_else(|panicked| Err(failed(&panicked)))
    }
}

type Submitted = oneshot::Receiver<Result<Response, StoreError>>;

impl<E: Engine> Store for Durable<E> {
    fn call(&self, request: Request) -> Pending<'_, Response> {
        Box::pin(async move {
            match request {
                Request::Watch { .. } | Request::Unwatch { .. } => Err(not_here()),
                Request::Status => Ok(self.shared.status()),
                Request::Ping => {
                    let revision = Revision(self.shared.revision.load(Ordering::Acquire));
                    Ok(self.shared.response(revision, Answer::Pong))
                }
                Request::Get { .. } | Request::Scan { .. } => {
                    self.blocking(move |shared| shared.read(&request)).await
                }
                write => self.submit(write)?.await.unwrap_or_else(|_| {
                    Err(unknown(&self.shared.engine.place(), "its committing thread ended"))
                }),
            }
        })
    }

    fn id(&self) -> Option<StoreId> {
        Some(self.shared.engine.id())
    }

    fn watch(&self, prefix: Prefix) -> Pending<'_, Watch> {
        Box::pin(self.blocking(move |shared| {
            let mut view = shared.view_mut();
            let since = view.revision;
            view.watchers.begin(prefix, since).ok_or(Refusal::TooManyWatches.into())
        }))
    }
}

impl<E: Engine> Drop for Durable<E> {
    /// Waits until what was accepted is done.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(committer) = self.committer.take() {
            drop(committer.join());
        }
    }
}

impl<E: Engine> Shared<E> {
    // A panic under the lock leaves the view whole: each change to it is a single assignment.
    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether writes are taken, and if not, whether they are once there is room.
    fn status(&self) -> Response {
        let view = self.view();
        let broken = matches!(view.failed, Some(Failure::Broken(_)));
        let full = view.failed.is_some() && !broken;
        let says = [(REFUSES_FULL, full), (REFUSES_BROKEN, broken)];
        let says = says.map(|(name, is_so)| (name.to_owned(), u64::from(is_so)));
        self.response(view.revision, Answer::Status(says.to_vec()))
    }

    fn response(&self, revision: Revision, answer: Answer) -> Response {
        Response { generation: self.engine.generation(), revision, answer }
    }

    fn read(&self, request: &Request) -> Result<Response, StoreError> {
        let view = self.view();
        let answer = match request {
            Request::Get { key } => match view.hidden.get(key) {
                Some(before) => Answer::Value(before.clone()),
                None => Answer::Value(self.engine.get(key).map_err(|e| failed(&e))?),
            },
            Request::Scan { prefix, after, limit } => {
                let stored = self.engine.scan(prefix, after.as_ref());
                let shown = view.hidden.correct(prefix, after.as_ref(), stored);
                Answer::Page(Page::fill(*limit, shown).map_err(|e| failed(&e))?)
            }
            _ => return Err(not_here()),
        };
        into_result(self.response(view.revision, answer))
    }

    /// Steps 2 to 4. On failure the batch stays hidden for good.
    fn commit(&self, batch: Batch) -> io::Result<Revision> {
        let revision = batch.revision();
        if batch.changes_something() {
            self.view_mut().hidden = batch.hidden();
            self.engine.write(&mut batch.writes(), revision)?;
            self.engine.make_safe()?;
            let mut view = self.view_mut();
            view.hidden = Hidden::default();
            view.revision = revision;
            view.watchers.tell(&batch.into_events());
            self.revision.store(revision.0, Ordering::Release);
        }
        Ok(revision)
    }
}

struct Committer<E> {
    shared: Arc<Shared<E>>,
    queue: Receiver<Job>,
    /// After a batch of several requests: how many, and how long its fsync took.
    gather: Option<(usize, Duration)>,
    /// What is stored for users, the batch under way included.
    usage: Usage,
}

type Answered = (oneshot::Sender<Result<Response, StoreError>>, Answer);

impl<E: Engine> Committer<E> {
    fn run(&mut self) {
        loop {
            let waits = self.shared.view().failed.is_some();
            let next = match waits {
                true => self.queue.recv_timeout(LOOK_FOR_ROOM_EVERY),
                false => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(first) => self.serve(first),
                Err(RecvTimeoutError::Timeout) => self.look_for_room(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn serve(&mut self, first: Job) {
        self.look_for_room();
        let failure = self.shared.view().failed.clone();
        if let Some(failure) = failure {
            drop(first.answer.send(Err(failure.refusal().into())));
            return;
        }
        let (batch, answers) = self.collect(first);
        let size = batch.requests();
        let start = Instant::now();
        let shared = &self.shared;
        // The engine's own panics must neither take the readers down nor leave writers unanswered.
        let result = catch_unwind(AssertUnwindSafe(|| shared.commit(batch)))
            .unwrap_or_else(|_| Err(io::Error::other("the engine panicked")));
        self.gather = (size > 1).then(|| (size, start.elapsed()));
        match result {
            Ok(revision) => self.answer(answers, revision),
            Err(error) => self.fail(answers, &error),
        }
    }

    /// Whether there is room, and if there was none, whether all is well again.
    fn look_for_room(&mut self) {
        let failed = self.shared.view().failed.clone();
        let now = match failed {
            Some(Failure::Broken(_)) => return,
            Some(Failure::NoRoom) => match self.shared.engine.has_room() {
                Ok(()) => self.recover(),
                Err(_) => return,
            },
            None | Some(Failure::LittleRoom) => {
                // Whoever cannot say how much there is finds out by writing.
                let full = self.shared.engine.has_room().is_err_and(|error| is_want_of_room(&error));
                full.then_some(Failure::LittleRoom)
            }
        };
        if now == failed {
            return;
        }
        let place = self.shared.engine.place();
        match &now {
            None => tracing::warn!("data store {place}: there is room again, writes are taken"),
            Some(failure) => tracing::error!("data store {place}: {}", failure.refusal()),
        }
        self.shared.view_mut().failed = now;
    }

    /// Opens the engine anew. Returns what is still wrong.
    fn recover(&mut self) -> Option<Failure> {
        let mut view = self.shared.view_mut();
        let engine = &self.shared.engine;
        let recovered = catch_unwind(AssertUnwindSafe(|| {
            let revision = engine.recover()?;
            Ok((revision, usage_of(engine, self.usage.quota())?))
        }));
        match recovered.unwrap_or_else(|_| Err(io::Error::other("the engine panicked"))) {
            Ok((revision, usage)) if revision >= view.revision => {
                self.usage = usage;
                view.hidden = Hidden::default();
                view.revision = revision;
                view.watchers.tell_lagged();
                self.shared.revision.store(revision.0, Ordering::Release);
                None
            }
            Ok(_) => Some(Failure::Broken("what was safe is gone".to_owned())),
            Err(error) => {
                tracing::debug!("data store {}: not usable yet: {error}", engine.place());
                Some(Failure::NoRoom)
            }
        }
    }

    /// Step 1: the first job and whatever else is there, or is about to come.
    fn collect(&mut self, first: Job) -> (Batch, Vec<Answered>) {
        let mut batch = Batch::new(self.shared.view().revision);
        let mut answers = Vec::new();
        let (wanted, patience) = self.gather.take().unwrap_or_default();
        let until = Instant::now() + (patience / 2).min(GATHER_MAX);
        let mut next = Some(first);
        while let Some(job) = next.take() {
            self.decide(job, &mut batch, &mut answers);
            if !batch.has_room() {
                break;
            }
            let wait = if answers.len() < wanted { until } else { Instant::now() };
            next = self.queue.recv_timeout(wait.saturating_duration_since(Instant::now())).ok();
        }
        (batch, answers)
    }

    fn decide(&mut self, job: Job, batch: &mut Batch, answers: &mut Vec<Answered>) {
        let (engine, usage) = (&self.shared.engine, &mut self.usage);
        let admit = || batch.admit(&job.request, usage, |key| engine.get(key));
        let decided = catch_unwind(AssertUnwindSafe(admit))
            .unwrap_or_else(|_| Err(io::Error::other("the engine panicked")));
        match decided {
            Ok(Some(answer)) => answers.push((job.answer, answer)),
            Ok(None) => drop(job.answer.send(Err(not_here()))),
            Err(error) => drop(job.answer.send(Err(failed(&error)))),
        }
    }

    fn answer(&self, answers: Vec<Answered>, revision: Revision) {
        for (sender, answer) in answers {
            // Who has given up waiting is not told; the write is done all the same.
            drop(sender.send(into_result(self.shared.response(revision, answer))));
        }
    }

    fn fail(&self, answers: Vec<Answered>, error: &io::Error) {
        let place = self.shared.engine.place();
        let failure = match is_want_of_room(error) {
            true => Failure::NoRoom,
            false => Failure::Broken(plainly(error)),
        };
        let why = failure.refusal().to_string();
        tracing::error!("data store {place}: {why}");
        self.shared.view_mut().failed = Some(failure);
        for (sender, _) in answers {
            drop(sender.send(Err(unknown(&place, &why))));
        }
    }
}

/// The system's own words of an error that the engine passed on in the form of a debugger.
fn plainly(error: &io::Error) -> String {
    let text = error.to_string();
    let said = text.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    said.map_or_else(|| text.clone(), |(said, _)| said.to_owned())
}

/// What is stored for users.
fn usage_of(engine: &impl Engine, quota: Quota) -> io::Result<Usage> {
    let mut usage = Usage::new(quota);
    let data: Prefix = "data/".parse().map_err(io::Error::other)?;
    for entry in engine.scan(&data, None) {
        let (key, value) = entry?;
        usage.add(&key, &value);
    }
    Ok(usage)
}

fn failed(why: &dyn std::fmt::Display) -> StoreError {
    Refusal::Failed { why: why.to_string() }.into()
}

fn unknown(at: &str, why: &str) -> StoreError {
    StoreError::OutcomeUnknown { at: at.into(), why: why.into() }
}

#[cfg(test)]
mod tests;
