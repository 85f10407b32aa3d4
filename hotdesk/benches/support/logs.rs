//! What the hosts write into their logs about each other.
//!
//! A record's time is the wall clock's, taken by the host when it wrote it. All hosts and this program read the
//! clock of one machine, so a moment of ours is compared with it directly; that nobody set the clock meanwhile is
//! checked against the monotonic one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::world::World;
use serde_json::Value;

use super::{Outcome, cannot, wait_for};

/// How far the two clocks may drift apart within a measurement before it is void.
const DRIFT_MAX: Duration = Duration::from_millis(1);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) mono: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }

    /// Microseconds since 1970.
    pub(crate) fn wall_us(self) -> u64 {
        let since = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether the wall clock went on as the monotonic one did since this moment.
    pub(crate) fn clocks_agree(self) -> bool {
        let now = Self::now();
        let mono = now.mono.duration_since(self.mono);
        now.wall.duration_since(self.wall).is_ok_and(|wall| wall.abs_diff(mono) < DRIFT_MAX)
    }
}

/// What one host says of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Up,
    Silent,
    /// Down, left or restarted.
    Other,
}

/// One record about another host.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) at_us: u64,
    pub(crate) by: String,
    pub(crate) about: String,
    pub(crate) said: Said,
}

/// The logs of all hosts, read as they grow.
pub(crate) struct Logs {
    files: Vec<Follower>,
    pub(crate) records: Vec<Record>,
    /// What each host thinks of each other one.
    standing: BTreeMap<(String, String), Said>,
    /// How often a host noticed that it had not been run.
    pub(crate) absences: usize,
}

struct Follower {
    host: String,
    path: PathBuf,
    read: u64,
    /// The beginning of a line that is not complete yet.
    partial: Vec<u8>,
}

impl Logs {
    pub(crate) fn of(world: &World) -> Self {
        let follower = |host: &str| Follower {
            host: host.to_owned(),
            path: world.files().join("log").join(format!("{host}.log")),
            read: 0,
            partial: Vec::new(),
        };
        let files = world.hosts().map(follower).collect();
        Self { files, records: Vec::new(), standing: BTreeMap::new(), absences: 0 }
    }

    /// Takes in what was written since the last call.
    pub(crate) fn read(&mut self) -> Outcome<()> {
        for file in &mut self.files {
            for line in file.lines()? {
                let Ok(entry) = serde_json::from_slice::<Value>(&line) else { continue };
                let fields = &entry["fields"];
                let said = match fields["message"].as_str() {
                    Some("host up") => Said::Up,
                    Some("host silent") => Said::Silent,
                    Some("host down" | "host stopped" | "host restarted") => Said::Other,
                    Some(text) if text.starts_with("this host was not run") => {
                        self.absences += 1;
                        continue;
                    }
                    _ => continue,
                };
                let at_us = entry["timestamp"].as_str().and_then(micros_of);
                let (Some(at_us), Some(about)) = (at_us, fields["host"].as_str()) else {
                    return Err(format!("{}: not a log record: {entry}", file.path.display()));
                };
                let (by, about) = (file.host.clone(), about.to_owned());
                self.standing.insert((by.clone(), about.clone()), said);
                self.records.push(Record { at_us, by, about, said });
            }
        }
        Ok(())
    }

    /// A host is killed: what it thought of others went with it.
    pub(crate) fn forget_what_is_said_by(&mut self, host: &str) {
        self.standing.retain(|(by, _), _| by != host);
    }

    /// Waits until every host has every other one as up.
    pub(crate) fn wait_until_all_are_up(&mut self) -> Outcome<()> {
        let hosts: Vec<String> = self.files.iter().map(|file| file.host.clone()).collect();
        let pairs: Vec<(String, String)> = hosts
            .iter()
            .flat_map(|by| hosts.iter().filter(move |about| *about != by).map(|a| (by.clone(), a.clone())))
            .collect();
        wait_for(
            || {
                self.read()?;
                let up = pairs.iter().all(|pair| self.standing.get(pair) == Some(&Said::Up));
                Ok(up.then_some(()))
            },
            || "all hosts to see each other".to_owned(),
        )
    }

    /// Waits until every other host has said that `host` is silent since `from`; when the first and the last
    /// did so.
    pub(crate) fn wait_until_silent(&mut self, host: &str, from: Moment) -> Outcome<(Duration, Duration)> {
        let from_us = from.wall_us();
        let others = self.files.len() - 1;
        wait_for(
            || {
                self.read()?;
                // The first word of each counts.
                let mut by = BTreeMap::new();
                let news = self.records.iter().filter(|r| r.at_us >= from_us && r.about == host);
                for record in news.filter(|r| r.by != host && r.said != Said::Up) {
                    by.entry(record.by.clone()).or_insert(record.at_us - from_us);
                }
                let after = |us: Option<&u64>| Duration::from_micros(us.copied().unwrap_or_default());
                Ok((by.len() == others).then(|| (after(by.values().min()), after(by.values().max()))))
            },
            || format!("all hosts to notice that {host} is silent"),
        )
    }
}

impl Follower {
    /// The complete lines that were written since the last call.
    fn lines(&mut self) -> Outcome<Vec<Vec<u8>>> {
        let mut bytes = std::mem::take(&mut self.partial);
        let mut grown = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut bytes)
        };
        self.read += grown().map_err(cannot(&self.path.display().to_string()))? as u64;
        let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.partial = bytes.split_off(end);
        Ok(bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
    }
}

/// Microseconds since 1970 of a time as logs print it: `2026-11-21T12:05:29.123456Z`.
fn micros_of(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let mut part = || date.next()?.ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(str::parse::<u64>);
    let mut part = || time.next()?.ok();
    let seconds = (part()? * 60 + part()?) * 60 + part()?;
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let days = u64::try_from(days_since_1970(year, month, day)).ok()?;
    Some((days * 86_400 + seconds) * 1_000_000 + micros)
}

/// Days of the Gregorian calendar, with years that begin in March so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
