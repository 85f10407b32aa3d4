//! Answering for this host, and gathering the answers of the others.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::sync::{Arc, Weak};

use authmgr::admission::{Record, token_of, token_prefix};
use datastore::io::Store;
use datastore::{Key, Prefix, StoreError, Value};
use proto::HostName;
use proto::keys::KeyRing;
use proto::line::Line;
use proto::net::Interface;
use sessiond::template::Template;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::audit;
use super::busy::{AtWork, Busy};
use super::keep::Outgoing;
use super::links::Links;
use super::peer::{self, Asker, Connected};
use super::talk::Answering;
use super::wire::{
    Answer, Answers, Ask, Facts, Home, HostAnswer, Outcome, Request, Target, TemplateAsk, write_json,
};
use crate::host::Input;
use crate::host::admin::{Command, Explanation, Reply};
use crate::io::counters::{Counters, Reason};
use crate::io::inbox::{Event, Inbox};
use crate::topology::{RowView, Standing};

/// Accounts of the registry whose home directories are looked at.
const HOMES_MAX: usize = 32;

/// Where templates are in the data store.
const TEMPLATES: &str = "template/";

/// Facts about the daemon's process that are looked up when asked for.
pub(crate) type FactFinder = Box<dyn Fn(Vec<Interface>) -> Facts + Send + Sync>;

/// Where requests of operators are answered.
pub struct AdminService {
    own: HostName,
    ring: Arc<KeyRing>,
    asker: Asker,
    inbox: Inbox,
    store: Arc<dyn Store>,
    counters: Counters,
    facts: FactFinder,
    links: Links,
    busy: Busy,
    /// This service, for the links on which others ask it.
    this: Weak<Self>,
}

impl AdminService {
    pub(crate) fn new(
        own: HostName,
        ring: KeyRing,
        tls: Arc<rustls::ClientConfig>,
        inbox: Inbox,
        store: Arc<dyn Store>,
        counters: Counters,
        facts: FactFinder,
    ) -> Arc<Self> {
        let ring = Arc::new(ring);
        let asker = Asker { own: own.clone(), ring: Arc::clone(&ring), tls };
        let busy = Busy::default();
        let links = Links::new(counters.clone(), busy.clone(), inbox.clone());
        Arc::new_cyclic(|this| {
            let this = Weak::clone(this);
            Self { own, ring, asker, inbox, store, counters, facts, links, busy, this }
        })
    }

    /// Closes the links once nobody waits for an answer. Returns whether all is said and closed.
    pub(crate) fn take_leave(&self) -> bool {
        let is_at_rest = self.busy.is_at_rest();
        if is_at_rest {
            self.links.close();
        }
        is_at_rest && self.links.is_empty()
    }

    /// Keeps the service busy as long as what it returns lives.
    pub(super) fn at_work(&self) -> AtWork {
        self.busy.at_work()
    }

    /// Answers a request of the command line.
    pub(crate) async fn answer(&self, request: Request, by: &str) -> Answers {
        let own = &self.own;
        match request.target {
            Target::Local => vec![self.own_answer(request.ask, by).await],
            Target::Host(host) if host == *own => vec![self.own_answer(request.ask, by).await],
            Target::Host(host) => {
                let rows = self.rows().await;
                vec![self.ask_other(&rows, &host, &request.ask, by).await]
            }
            Target::All => self.ask_all(request.ask, by, |_| true).await,
            Target::Up => self.ask_all(request.ask, by, |row| row.standing == Some(Standing::Up)).await,
        }
    }

    async fn own_answer(&self, ask: Ask, by: &str) -> HostAnswer {
        let answer = self.do_here(ask, by).await;
        HostAnswer { host: self.own.clone(), outcome: Outcome::Answer(answer) }
    }

    /// Asks the others first and at once, since one that is dead takes its time, and this host last, since the
    /// request may be to stop.
    async fn ask_all(&self, ask: Ask, by: &str, is_meant: fn(&RowView) -> bool) -> Answers {
        let rows: Arc<[RowView]> = self.rows().await.into();
        let mut others = JoinSet::new();
        for row in rows.iter().filter(|row| row.trusted && !row.own && is_meant(row)) {
            let Some(admin) = self.this.upgrade() else { continue };
            let (rows, host, ask, by) = (Arc::clone(&rows), row.host.clone(), ask.clone(), by.to_owned());
            others.spawn(async move { admin.ask_other(&rows, &host, &ask, &by).await });
        }
        let mut answers: BTreeMap<HostName, HostAnswer> = BTreeMap::new();
        for answer in others.join_all().await {
            answers.insert(answer.host.clone(), answer);
        }
        answers.insert(self.own.clone(), self.own_answer(ask, by).await);
        answers.into_values().collect()
    }

    async fn ask_other(&self, rows: &[RowView], host: &HostName, ask: &Ask, by: &str) -> HostAnswer {
        let row = rows.iter().find(|row| row.trusted && !row.own && row.host == *host);
        let outcome = match (row, self.this.upgrade()) {
            (None, _) => Outcome::Unreachable("no host of this name is in the topology table".into()),
            (Some(row), _) if row.standing == Some(Standing::Left) => Outcome::Stopped,
            (Some(_), None) => Outcome::Unreachable("this daemon is ending".into()),
            (Some(row), Some(admin)) => {
                let addrs = addresses(rows, row);
                match self.links.ask(admin, &self.asker, (host, &addrs), ask, by).await {
                    Ok(answer) => Outcome::Answer(answer),
                    Err(error) => Outcome::Unreachable(error.to_string()),
                }
            }
        };
        HostAnswer { host: host.clone(), outcome }
    }

    /// Carries what the host machine says to another host over the link of the two, which is opened if there is none.
    pub(crate) async fn carry(self: Arc<Self>, host: HostName, outgoing: Outgoing) {
        let rows = self.rows().await;
        let row = rows.iter().find(|row| row.trusted && !row.own && row.host == host);
        let addrs = row.map(|row| addresses(&rows, row)).unwrap_or_default();
        let answering = Arc::clone(&self);
        if !self.links.carry(answering, &self.asker, (&host, &addrs), outgoing).await {
            self.inbox.send(Event::Input(Input::PeerLost { host })).await;
        }
    }

    /// The topology table, in which the other hosts are found.
    async fn rows(&self) -> Vec<RowView> {
        match self.command(Command::Topology).await {
            Reply::Topology(rows) => rows,
            _ => Vec::new(),
        }
    }

    /// What this host answers to a request that `by` gave.
    async fn do_here(&self, ask: Ask, by: &str) -> Answer {
        let answer = self.answer_here(ask.clone()).await;
        audit::order(&ask, by, &answer);
        answer
    }

    async fn answer_here(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Host(command @ Command::Explain(_)) => {
                let mut reply = self.command(command).await;
                if let Reply::Explain(explanation) = &mut reply {
                    self.explain_account(explanation).await;
                }
                Answer::Host(reply)
            }
            Ask::Host(command) => Answer::Host(self.command(command).await),
            Ask::Template(ask) => self.template(ask).await.unwrap_or_else(Answer::Refused),
            Ask::Facts => {
                let own = self.rows().await.into_iter().find(|row| row.own);
                let interfaces = own.map(|row| row.interfaces).unwrap_or_default();
                let mut facts = (self.facts)(interfaces.into_iter().map(|i| i.interface).collect());
                if facts.own_accounts {
                    facts.homes.extend(self.registered_accounts().await);
                }
                facts.homes = look_up_homes(facts.homes).await;
                Answer::Facts(Box::new(facts))
            }
        }
    }

    /// Adds to an explanation what the host machine cannot know: whether the account of the token's sessions exists.
    async fn explain_account(&self, explanation: &mut Explanation) {
        let Some(account) = explanation.account.clone() else { return };
        if !(self.facts)(Vec::new()).own_accounts {
            return;
        }
        let wanted = account.clone();
        let found = tokio::task::spawn_blocking(move || nix::unistd::User::from_name(&wanted)).await;
        let what = match found {
            Ok(Ok(Some(_))) => return,
            Ok(Ok(None)) => {
                format!("there is no account {account} here: no session can be made on this host")
            }
            Ok(Err(error)) => format!("the account {account} cannot be looked up here: {error}"),
            Err(_) => return,
        };
        explanation.reasons.insert(0, what);
    }

    /// The accounts that the registry names.
    async fn registered_accounts(&self) -> Vec<Home> {
        let Ok(entries) = self.store.list(&token_prefix()).await else { return Vec::new() };
        let accounts = entries.iter().filter_map(|(key, value)| {
            let record = Record::from_bytes(&token_of(key)?, value.as_bytes()).ok()?;
            record.account.map(|account| account.to_string())
        });
        let accounts: BTreeSet<String> = accounts.collect();
        accounts.into_iter().take(HOMES_MAX).map(|account| Home { account, dir: None }).collect()
    }

    async fn command(&self, command: Command) -> Reply {
        let (answer, reply) = oneshot::channel();
        self.inbox.send(Event::Admin { command, answer }).await;
        reply.await.unwrap_or_else(|_| Reply::Refused("the daemon is ending; start it again first".into()))
    }

    async fn template(&self, ask: TemplateAsk) -> Result<Answer, String> {
        let store_error = |error: StoreError| error.to_string();
        match ask {
            TemplateAsk::List => {
                let prefix: Prefix = TEMPLATES.parse().map_err(|e| format!("{e}"))?;
                let entries = self.store.list(&prefix).await.map_err(store_error)?;
                let names = entries.iter().filter_map(|(key, _)| key.as_str().strip_prefix(TEMPLATES));
                Ok(Answer::Templates(names.map(str::to_owned).collect()))
            }
            TemplateAsk::Show(name) => {
                let value = self.store.get(&key(&name)?).await.map_err(store_error)?;
                let value = value.ok_or_else(|| absent(&name))?;
                Ok(Answer::Template(String::from_utf8_lossy(value.as_bytes()).into_owned()))
            }
            TemplateAsk::Put { name, text } => {
                // Whoever asked has checked it; a host believes nobody about what it will run.
                Template::parse(&text).map_err(|e| format!("{name}: {e}"))?;
                let value = Value::new(text.as_bytes()).map_err(|e| e.to_string())?;
                self.store.put(&key(&name)?, value).await.map_err(store_error)?;
                Ok(Answer::Done)
            }
            TemplateAsk::Remove(name) => {
                let existed = self.store.delete(&key(&name)?).await.map_err(store_error)?;
                if existed { Ok(Answer::Done) } else { Err(absent(&name)) }
            }
        }
    }

    /// Serves another host that greeted on `stream`.
    pub(crate) async fn serve_peer<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        stream: tokio_rustls::server::TlsStream<S>,
        greeting: &Line,
        from: SocketAddrV4,
    ) {
        let (asker, by, stream) = match peer::admit(stream, greeting, &self.own, &self.ring).await {
            Ok(admitted) => admitted,
            Err(why) => {
                self.counters.count(Reason::Peer);
                tracing::warn!(%from, why, "administration refused");
                return;
            }
        };
        let (by, mut stream) = match stream {
            Connected::Single(stream) => (format!("{by}@{asker}"), stream),
            Connected::Link(stream) => {
                let Some(admin) = self.this.upgrade() else { return };
                return self.links.serve(admin, stream, asker, from).await;
            }
        };
        loop {
            match peer::next_ask(&mut stream).await {
                Ok(Some(ask)) => {
                    let _at_work = self.at_work();
                    if write_json(&mut stream, &self.do_here(ask, &by).await).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.counters.count(Reason::Admin);
                    tracing::warn!(%by, %from, %error, "administration");
                    return;
                }
            }
        }
    }
}

/// Finds out which of the accounts exist, and where they are at home. The system may ask a server for it.
async fn look_up_homes(homes: Vec<Home>) -> Vec<Home> {
    let look_up = move || {
        let found = |home: Home| {
            let user = nix::unistd::User::from_name(&home.account).ok().flatten();
            Home { dir: user.map(|user| user.dir.display().to_string()), ..home }
        };
        homes.into_iter().map(found).collect()
    };
    tokio::task::spawn_blocking(look_up).await.unwrap_or_default()
}

impl Answering for AdminService {
    fn answer(self: Arc<Self>, ask: Ask, by: String) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        Box::pin(async move { self.do_here(ask, &by).await })
    }
}

/// Where to reach a host: on a wire we share and hear it on, on a subnet we share, at its primary address.
fn addresses(rows: &[RowView], row: &RowView) -> Vec<SocketAddrV4> {
    let own: Vec<&Interface> =
        rows.iter().filter(|r| r.own).flat_map(|r| &r.interfaces).map(|i| &i.interface).collect();
    let shared = |ip: Ipv4Addr| own.iter().any(|i| i.holds(ip));
    let heard = row.interfaces.iter().filter(|i| i.lastpkt >= 0);
    let mut ips: Vec<Ipv4Addr> = heard.map(|i| i.interface.ip).filter(|ip| shared(*ip)).collect();
    ips.extend(row.interfaces.iter().map(|i| i.interface.ip).filter(|ip| shared(*ip)));
    ips.push(row.addr);
    let mut addrs: Vec<SocketAddrV4> = Vec::new();
    for ip in ips.into_iter().filter(|ip| !ip.is_unspecified()) {
        let addr = SocketAddrV4::new(ip, proto::PORT);
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    addrs
}

fn key(name: &str) -> Result<Key, String> {
    let bad = || format!("{name:?} cannot name a template: use letters, digits and \"._-\"");
    if name.contains('/') {
        return Err(bad());
    }
    format!("{TEMPLATES}{name}").parse().map_err(|_| bad())
}

fn absent(name: &str) -> String {
    format!("there is no template {name}; groupmgr template list shows those there are")
}
