//! What links between hosts cost in memory: hosts are asked what another one has to say, over their command sockets, as
//! an operator would.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use groupmgr::host::admin::Command;
use groupmgr::io::admin::wire::{Ask, Request, Target};
use lab::world::World;
use proto::HostName;
use proto::io::local::ADMIN_SOCKET;

use super::usage::{Usage, of_host};
use super::{Outcome, cannot};

/// Questions at a time over each link: as many as a command socket serves.
const AT_ONCE: usize = 32;
/// So often, one after the other.
const ROUNDS: usize = 10;

/// Bytes of a link of one host: at rest, and after as many questions at a time as a command socket takes.
pub(crate) struct LinkMemory {
    pub(crate) at_rest: i64,
    pub(crate) under_load: i64,
}

/// Memory of links that the first host has opened, and of links that the last one has accepted. The first link of each is not
/// counted, with what a daemon needs for any.
pub(crate) fn memory(world: &World) -> Outcome<[LinkMemory; 2]> {
    let hosts: Vec<&str> = world.hosts().collect();
    let [first, one, others @ .., last] = &hosts[..] else { return Err("a group of less than four".into()) };
    let opened: Vec<_> = others.iter().map(|other| (*first, *other)).collect();
    let accepted: Vec<_> = others.iter().map(|other| (*other, *last)).collect();
    Ok([of_links(world, first, (*first, *one), &opened)?, of_links(world, last, (*one, *last), &accepted)?])
}

/// Memory of the links of `host`: one is opened before it is measured, then `links`, each given as who asks whom.
fn of_links(world: &World, host: &str, before: (&str, &str), links: &[(&str, &str)]) -> Outcome<LinkMemory> {
    let used = || -> Outcome<i64> { Ok(Usage::of([of_host(world, host)?.0]).anonymous as i64) };
    (0..ROUNDS * AT_ONCE).try_for_each(|_| ask(world, before))?;
    let without = used()?;
    links.iter().try_for_each(|link| ask(world, *link))?;
    let at_rest = used()?;
    for _ in 0..ROUNDS {
        std::thread::scope(|scope| {
            let all =
                links.iter().flat_map(|link| std::iter::repeat_n(*link, AT_ONCE / links.len().min(AT_ONCE)));
            let asking: Vec<_> = all.map(|link| scope.spawn(move || ask(world, link))).collect();
            asking.into_iter().try_for_each(|asking| asking.join().unwrap_or(Err("it panicked".into())))
        })?;
    }
    let each = |now: i64| (now - without) / links.len() as i64;
    Ok(LinkMemory { at_rest: each(at_rest), under_load: each(used()?) })
}

/// Asks one host of another.
fn ask(world: &World, (from, to): (&str, &str)) -> Outcome<()> {
    let socket = world.files().join("run").join(from).join(ADMIN_SOCKET);
    let mut stream = UnixStream::connect(socket).map_err(cannot("reach a host"))?;
    let to: HostName = to.parse().map_err(cannot("a host's name"))?;
    let request = Request { target: Target::Host(to), ask: Ask::Host(Command::Topology) };
    let mut line = serde_json::to_vec(&request).map_err(cannot("write a question"))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(cannot("ask a host"))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(cannot("hear a host"))?;
    if answer.contains("topology") { Ok(()) } else { Err(format!("no answer: {answer}")) }
}
