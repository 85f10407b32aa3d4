//! Many DTUs, in as many processes as their descriptors demand, and what they report.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use lab::world::World;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Outcome, binary, cannot};

/// Descriptors that one process may have here, less what it needs for itself.
const DESCRIPTORS: usize = 19_000;
/// The addresses of DTUs begin here; each has one of its own, since hosts bound what comes from one.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);

/// One line of a fleet, and when it was read.
pub(crate) struct Said {
    pub(crate) at: Instant,
    /// Which of the processes.
    from: usize,
    pub(crate) fields: Value,
}

impl Said {
    pub(crate) fn is(&self, event: &str) -> bool {
        self.fields["event"] == event
    }

    pub(crate) fn word(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// A time in milliseconds.
    pub(crate) fn time(&self, field: &str) -> Duration {
        Duration::from_secs_f64(self.fields[field].as_f64().unwrap_or_default().max(0.0) / 1e3)
    }
}

/// The DTUs. Killed when dropped.
pub(crate) struct Fleet {
    children: Vec<Child>,
    said: Receiver<Said>,
    /// How many are attached, by the last word of each process, at which hosts.
    at: Vec<BTreeMap<String, u64>>,
}

impl Fleet {
    /// Switches `count` DTUs on, `rate` in a second, each with a card of its own.
    pub(crate) fn start(world: &World, count: usize, rate: usize, with_display: bool) -> Outcome<Self> {
        Self::start_at(world, &world.hosts().collect::<Vec<_>>(), count, rate, with_display)
    }

    /// The same with DTUs that know only these hosts, and begin at them in turn.
    pub(crate) fn start_at(
        world: &World,
        hosts: &[&str],
        count: usize,
        rate: usize,
        with_display: bool,
    ) -> Outcome<Self> {
        Self::switch_on(world, hosts, (count, rate), with_display, false)
    }

    /// The same with DTUs that all have one address, as behind a router.
    pub(crate) fn start_behind_one(
        world: &World,
        count: usize,
        rate: usize,
        with_display: bool,
    ) -> Outcome<Self> {
        let hosts: Vec<&str> = world.hosts().collect();
        Self::switch_on(world, &hosts, (count, rate), with_display, true)
    }

    fn switch_on(
        world: &World,
        hosts: &[&str],
        (count, rate): (usize, usize),
        with_display: bool,
        behind_one: bool,
    ) -> Outcome<Self> {
        let each = DESCRIPTORS / if with_display { 2 } else { 1 };
        let processes = count.div_ceil(each).max(1);
        let (to, said) = channel();
        let mut fleet = Self { children: Vec::new(), said, at: vec![BTreeMap::new(); processes] };
        for n in 0..processes {
            let (first, next) = (count * n / processes, count * (n + 1) / processes);
            let mut command = Command::new(binary());
            command.args(["dtu-emu", "fleet", "--json", "--cards"]);
            command.args(["--count", &(next - first).to_string(), "--first", &first.to_string()]);
            command.args(["--rate", &(rate / processes).to_string()]);
            let address = Ipv4Addr::from_bits(FIRST.to_bits() + u32::try_from(first).unwrap_or_default());
            if !behind_one {
                command.args(["--bind", &address.to_string()]);
            }
            if !with_display {
                command.arg("--without-display");
            }
            command.arg("--ca").arg(world.files().join("keys/ca.pem"));
            command.arg("--state").arg(world.files().join("desks"));
            for host in hosts {
                let ip = world.backend().address(host).map_err(cannot("a host's address"))?;
                command.arg("--server").arg(format!("{ip}:{}", proto::PORT));
            }
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
            // What this program holds back for itself would never reach the fleet.
            let listen = || Ok(SigSet::empty().thread_set_mask()?);
            // SAFETY: one system call, between fork and exec, and nothing allocated.
            unsafe { command.pre_exec(listen) };
            // Not on a machine of the lab: what is done to those must not be done to it.
            let mut child = command.spawn().map_err(cannot("start a fleet"))?;
            let output = child.stdout.take().ok_or("a fleet without output")?;
            fleet.children.push(child);
            let to = to.clone();
            std::thread::spawn(move || read(output, n, &to));
        }
        Ok(fleet)
    }

    /// The processes of the fleet.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// The next thing that is said, if it comes before `until`.
    pub(crate) fn hear(&mut self, until: Instant) -> Option<Said> {
        let said = self.said.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
        if let Some(hosts) = said.fields["hosts"].as_object() {
            let counts = hosts.iter().map(|(host, n)| (host.clone(), n.as_u64().unwrap_or_default()));
            self.at[said.from] = counts.collect();
        }
        Some(said)
    }

    /// Takes note of what is said for some time.
    pub(crate) fn let_pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while self.hear(until).is_some() {}
    }

    /// How many are attached at which host, by what was heard so far.
    pub(crate) fn at_hosts(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (host, n) in self.at.iter().flatten() {
            *all.entry(host.clone()).or_default() += n;
        }
        all
    }

    /// How many are attached.
    pub(crate) fn attached(&self) -> usize {
        let all: u64 = self.at.iter().flat_map(BTreeMap::values).sum();
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    /// Switches all off; what each process said at its end.
    pub(crate) fn end(mut self, patience: Duration) -> Outcome<Vec<Value>> {
        for pid in self.pids() {
            let pid = i32::try_from(pid).map_err(cannot("a process id"))?;
            kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(cannot("end a fleet"))?;
        }
        let (mut results, until) = (Vec::new(), Instant::now() + patience);
        while results.len() < self.children.len() {
            match self.hear(until) {
                Some(said) if said.is("result") => results.push(said.fields),
                Some(_) => {}
                None => return Err("a fleet did not end when it was told to".to_owned()),
            }
        }
        Ok(results)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn read(output: ChildStdout, from: usize, to: &Sender<Said>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let at = Instant::now();
        if let Ok(fields) = serde_json::from_str(&line)
            && to.send(Said { at, from, fields }).is_err()
        {
            return;
        }
    }
}
