//! Is the session alive that a claim names? One answer for everybody who asks, and one table of grace times.
//!
//! | After | a host | because |
//! |---|---|---|
//! | [`LISTEN_FIRST`] | is gone if it was not heard | every host that lives says something within a beacon's interval |
//! | [`TAKE_UP_WITHIN`] | has its sessions again, or they are gone | it keeps them, and has started again |
//! | [`KEEP_GRACE`] | does not come back soon | its daemon is gone, and it keeps its sessions |
//! | [`RENEWED_WITHIN`] | has renewed its claims | a backup of the data store was restored |

use proto::time::Duration;
use proto::{HostName, Instant};

use super::claim_record::ClaimRecord;
use super::env::Ctx;
use crate::directory::Found;
use crate::topology::{Row, Standing};

/// How long a host that has just started listens before it takes one it has not heard for one that is gone.
pub(super) const LISTEN_FIRST: Duration = Duration::from_millis(150);
/// A host that keeps its sessions has taken up those of its earlier run by then, or they are gone.
pub(super) const TAKE_UP_WITHIN: Duration = Duration::from_secs(6);
/// The sessions of a host that keeps them are held this long for its next daemon.
pub(super) const KEEP_GRACE: Duration = Duration::from_secs(10);
/// Every host has noticed by then that a backup was restored, since each reads the registry every 10 s.
pub(super) const RENEWED_WITHIN: Duration = Duration::from_secs(12);
/// Which of two runs of a host lives is known within three beacons; it is looked again as soon as this.
const IN_DOUBT: Duration = Duration::from_millis(20);

/// What is known of the session that a claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// It went with its host, or with its host's run, as everybody can know.
    Dead,
    /// It is gone, as this host alone knows, because it asked.
    Absent,
    /// Its host was not heard yet, or not long enough: listen for so much longer.
    Unknown(Duration),
    /// Its host knows nothing of it: gone, or claimed after the host was asked.
    Doubtful,
    /// The next daemon of its host may take it up; that puts the new run into the claim.
    Restarting,
    /// Its host is up in the same run, as far as can be known.
    Alive,
}

/// Whether the session that a claim names is alive: by what is known of its host, and by what a lookup found.
pub(super) fn liveness(ctx: &Ctx<'_>, claim: &ClaimRecord, found: Option<&Found>) -> Liveness {
    if claim.host == *ctx.name() {
        let session = ctx.sessions.get(claim.session);
        return own(session.map(|session| match session.is_usable() {
            _ if ctx.sessions.straggles(claim.session) => Own::Straggles,
            true => Own::Usable,
            false => Own::Unusable,
        }));
    }
    let is_older = claim.epoch.generation < ctx.store.generation();
    let restored_for = ctx.store.restored_at().map(|at| ctx.now.since(at));
    after_a_restore(of_another_host(ctx, claim, found), is_older, restored_for)
}

/// How a session of this host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// An earlier daemon left it, and it has not said whose it is.
    Straggles,
    Usable,
    /// It is ending.
    Unusable,
}

/// Of a claim that names this host. Whether it is being made at this moment is known to the claims alone.
const fn own(session: Option<Own>) -> Liveness {
    match session {
        Some(Own::Straggles) => Liveness::Restarting,
        Some(Own::Usable) => Liveness::Alive,
        Some(Own::Unusable) => Liveness::Doubtful,
        None => Liveness::Absent,
    }
}

/// The host of a claim may be up, and the claim that of a session which had ended before a backup brought it back:
/// if it is older than the backup, which was restored so long ago.
fn after_a_restore(liveness: Liveness, is_older: bool, restored_for: Option<Duration>) -> Liveness {
    match (liveness, restored_for) {
        (Liveness::Alive, Some(ago)) if is_older && ago < RENEWED_WITHIN => Liveness::Restarting,
        (Liveness::Alive, Some(_)) if is_older => Liveness::Dead,
        _ => liveness,
    }
}

/// What is known of the host that a claim names.
#[derive(Clone, Copy, Debug)]
struct Known {
    standing: Standing,
    /// Whether it is in the run that the claim names.
    same_run: bool,
    /// Whether its sessions outlive its daemon.
    keeps: bool,
    up_for: Duration,
    quiet_for: Duration,
}

impl Known {
    fn of(now: Instant, row: &Row, same_run: bool) -> Self {
        Self {
            standing: row.standing(),
            same_run,
            keeps: row.facts().keep,
            up_for: now.since(row.up_since()),
            quiet_for: now.since(row.heard_at()),
        }
    }
}

/// What a lookup found of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// There was no lookup.
    Never,
    /// It could not be asked.
    Passed,
    /// It has no such session.
    Answered,
    Mute,
    /// It has no daemon.
    Refused,
}

impl Asked {
    fn of(host: &HostName, found: Option<&Found>) -> Self {
        match found {
            None => Self::Never,
            Some(found) if found.gone.contains(host) => Self::Refused,
            Some(found) if found.answers.iter().any(|answer| answer.reach.host == *host) => Self::Answered,
            Some(found) if found.mute.contains(host) => Self::Mute,
            Some(_) => Self::Passed,
        }
    }
}

fn of_another_host(ctx: &Ctx<'_>, claim: &ClaimRecord, found: Option<&Found>) -> Liveness {
    let host = &claim.host;
    if ctx.members.is_in_doubt(host) {
        return Liveness::Unknown(IN_DOUBT);
    }
    let known = ctx.members.row(host).map(|row| Known::of(ctx.now, row, row.boot() == claim.boot));
    judge(known, Asked::of(host, found), ctx.members.up_for(ctx.now))
}

/// What that says of the session, to a host that has listened for so long.
fn judge(host: Option<Known>, asked: Asked, listened: Duration) -> Liveness {
    // Who has just started has not yet listened for as long as a host may be quiet.
    let unheard = || LISTEN_FIRST.checked_sub(listened).map_or(Liveness::Dead, Liveness::Unknown);
    let Some(Known { standing, same_run, keeps, up_for, quiet_for }) = host else { return unheard() };
    let is_refused = asked == Asked::Refused;
    if may_return(standing, keeps, quiet_for, is_refused) {
        return Liveness::Restarting;
    }
    if standing != Standing::Up || is_refused || (!same_run && !keeps) {
        return Liveness::Dead;
    }
    let takes_up = up_for < TAKE_UP_WITHIN;
    match asked {
        Asked::Answered => Liveness::Doubtful,
        // A run that has just begun knows us no sooner than we have spoken, and does not answer before; nor does it
        // while some of what it keeps has not said whose it is. Should it be dying, it is silent soon.
        Asked::Mute if keeps && takes_up => Liveness::Restarting,
        Asked::Mute => Liveness::Absent,
        // One that has just come up could not be asked, and was perhaps not heard yet on the DTU's LAN.
        Asked::Passed => LISTEN_FIRST.checked_sub(up_for).map_or(Liveness::Alive, Liveness::Unknown),
        Asked::Never | Asked::Refused if same_run => Liveness::Alive,
        Asked::Never | Asked::Refused if takes_up => Liveness::Restarting,
        Asked::Never | Asked::Refused => Liveness::Dead,
    }
}

/// Whether the next daemon of a host may still take up the sessions that it keeps: its daemon is gone, as is known
/// from a refusal or its goodbye, and not for long.
fn may_return(standing: Standing, keeps: bool, quiet_for: Duration, is_refused: bool) -> bool {
    (is_refused || standing == Standing::Left) && keeps && quiet_for < KEEP_GRACE
}

/// A host that may have a session of an earlier run of its daemon, of which no claim tells: its next daemon is waited for,
/// or has just come up and has not said whose sessions it has.
pub(super) fn returning_host(ctx: &Ctx<'_>, found: Option<&Found>) -> Option<HostName> {
    let listened = ctx.members.up_for(ctx.now);
    let returns = |row: &&Row| {
        let verdict = judge(Some(Known::of(ctx.now, row, false)), Asked::of(row.host(), found), listened);
        matches!(verdict, Liveness::Restarting | Liveness::Unknown(_))
    };
    ctx.members.rows().find(returns).map(|row| row.host().clone())
}

#[cfg(test)]
mod tests;
