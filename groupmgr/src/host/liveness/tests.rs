//! The verdict on every claim, cell by cell: what is known of its host, by what was asked of it.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

use Asked::{Answered, Mute, Never, Passed, Refused};
use Liveness::{Absent, Alive, Dead, Doubtful, Restarting, Unknown};
use Standing::{Down, Left, Silent, Up};

/// What may have been asked, in the order of a row's verdicts.
const ASKED: [Asked; 5] = [Never, Passed, Answered, Mute, Refused];

/// For how long a host that is up has been up, and any host was not heard.
const JUST: Duration = ms(100);
const A_WHILE: Duration = ms(3_000);
const LONG: Duration = ms(60_000);
const SOON: Duration = ms(9_999);
const LATE: Duration = KEEP_GRACE;

/// Some hosts of which the same is thought: an empty list means whatever it is.
struct Row {
    standing: &'static [Standing],
    same_run: &'static [bool],
    keeps: &'static [bool],
    up_for: &'static [Duration],
    quiet_for: &'static [Duration],
    verdicts: [Liveness; 5],
    why: &'static str,
}

const ANY: Row = Row {
    standing: &[],
    same_run: &[],
    keeps: &[],
    up_for: &[],
    quiet_for: &[],
    verdicts: [Dead; 5],
    why: "",
};
const YES: &[bool] = &[true];
const NO: &[bool] = &[false];

const TABLE: &[Row] = &[
    Row {
        standing: &[Left],
        keeps: YES,
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Restarting; 5],
        why: "it said goodbye and left its sessions to its next daemon",
        ..ANY
    },
    Row { standing: &[Left], keeps: YES, quiet_for: &[LATE], why: "no daemon came for them", ..ANY },
    Row { standing: &[Left], keeps: NO, why: "its goodbye was that of its sessions", ..ANY },
    Row {
        standing: &[Silent, Down],
        keeps: YES,
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Dead, Dead, Dead, Dead, Restarting],
        why: "whoever is silent has lost its machine or every way to it, unless the machine says that only its daemon is gone",
        ..ANY
    },
    Row { standing: &[Silent, Down], keeps: YES, quiet_for: &[LATE], why: "no daemon came for them", ..ANY },
    Row { standing: &[Silent, Down], keeps: NO, why: "its sessions went with its daemon", ..ANY },
    Row {
        standing: &[Up],
        same_run: NO,
        keeps: NO,
        why: "the run of the claim is over, and its sessions with it, whatever the new one says",
        ..ANY
    },
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: NO,
        up_for: &[JUST],
        verdicts: [Alive, Unknown(ms(50)), Doubtful, Absent, Dead],
        why: "one that has just come up could not be asked, and is heard soon",
        ..ANY
    },
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: NO,
        up_for: &[A_WHILE, LONG],
        verdicts: [Alive, Alive, Doubtful, Absent, Dead],
        why: "it is up; if it answered without this session, the claim may be newer than its answer; a refusal ends it",
        ..ANY
    },
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: YES,
        up_for: &[JUST],
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Alive, Unknown(ms(50)), Doubtful, Restarting, Restarting],
        why: "it keeps its sessions and may still be taking them up, or its next daemon may",
    },
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: YES,
        up_for: &[A_WHILE],
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Alive, Alive, Doubtful, Restarting, Restarting],
        why: "as above, but it was listened for",
    },
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: YES,
        up_for: &[LONG],
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Alive, Alive, Doubtful, Absent, Restarting],
        why: "it has taken up all that it keeps: one that is mute now is dying",
    },
    Row {
        standing: &[Up],
        same_run: NO,
        keeps: YES,
        up_for: &[JUST],
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Restarting, Unknown(ms(50)), Doubtful, Restarting, Restarting],
        why: "its new run may take the session up, and puts itself into the claim then",
    },
    Row {
        standing: &[Up],
        same_run: NO,
        keeps: YES,
        up_for: &[A_WHILE],
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Restarting, Alive, Doubtful, Restarting, Restarting],
        why: "as above; of one that cannot be asked the worst is not thought",
    },
    Row {
        standing: &[Up],
        same_run: NO,
        keeps: YES,
        up_for: &[LONG],
        quiet_for: &[Duration::ZERO, SOON],
        verdicts: [Dead, Alive, Doubtful, Absent, Restarting],
        why: "had its new run taken the session up, the claim would name it",
    },
    // Those that are up and not heard for so long are silent as soon as anybody looks.
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: YES,
        up_for: &[JUST],
        quiet_for: &[LATE],
        verdicts: [Alive, Unknown(ms(50)), Doubtful, Restarting, Dead],
        why: "a refusal comes too late for its next daemon",
    },
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: YES,
        up_for: &[A_WHILE],
        quiet_for: &[LATE],
        verdicts: [Alive, Alive, Doubtful, Restarting, Dead],
        why: "as above",
    },
    Row {
        standing: &[Up],
        same_run: YES,
        keeps: YES,
        up_for: &[LONG],
        quiet_for: &[LATE],
        verdicts: [Alive, Alive, Doubtful, Absent, Dead],
        why: "as above",
    },
    Row {
        standing: &[Up],
        same_run: NO,
        keeps: YES,
        up_for: &[JUST],
        quiet_for: &[LATE],
        verdicts: [Restarting, Unknown(ms(50)), Doubtful, Restarting, Dead],
        why: "as above",
    },
    Row {
        standing: &[Up],
        same_run: NO,
        keeps: YES,
        up_for: &[A_WHILE],
        quiet_for: &[LATE],
        verdicts: [Restarting, Alive, Doubtful, Restarting, Dead],
        why: "as above",
    },
    Row {
        standing: &[Up],
        same_run: NO,
        keeps: YES,
        up_for: &[LONG],
        quiet_for: &[LATE],
        verdicts: [Dead, Alive, Doubtful, Absent, Dead],
        why: "as above",
    },
];

impl Row {
    fn is_of(&self, host: &Known) -> bool {
        fn has<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        has(self.standing, &host.standing)
            && has(self.same_run, &host.same_run)
            && has(self.keeps, &host.keeps)
            && has(self.up_for, &host.up_for)
            && has(self.quiet_for, &host.quiet_for)
    }
}

/// Every host that there may be.
fn hosts() -> Vec<Known> {
    let mut all = Vec::new();
    for standing in [Up, Silent, Down, Left] {
        for [same_run, keeps] in [[true, true], [true, false], [false, true], [false, false]] {
            for up_for in [JUST, A_WHILE, LONG] {
                for quiet_for in [Duration::ZERO, SOON, LATE] {
                    all.push(Known { standing, same_run, keeps, up_for, quiet_for });
                }
            }
        }
    }
    all
}

#[test]
fn of_another_host_every_claim_has_one_verdict_by_what_is_known_and_by_what_was_asked() {
    for host in hosts() {
        let rows: Vec<&Row> = TABLE.iter().filter(|row| row.is_of(&host)).collect();
        let [row] = rows[..] else { panic!("{} rows of {host:?}", rows.len()) };
        for (asked, verdict) in ASKED.into_iter().zip(row.verdicts) {
            // How long this host has listened says nothing of one that it has heard.
            for listened in [ms(0), LONG] {
                assert_eq!(judge(Some(host), asked, listened), verdict, "{asked:?}, {host:?}: {}", row.why);
            }
        }
    }
}

#[test]
fn a_host_that_was_not_heard_is_gone_once_it_was_listened_for() {
    for asked in ASKED {
        assert_eq!(judge(None, asked, ms(100)), Unknown(ms(50)), "{asked:?}");
        assert_eq!(judge(None, asked, ms(151)), Dead, "{asked:?}");
    }
}

#[test]
fn of_this_host_its_own_sessions_tell() {
    let table = [
        (Some(Own::Straggles), Restarting, "it has not said whose it is, and may be the one"),
        (Some(Own::Usable), Alive, "it is there"),
        (Some(Own::Unusable), Doubtful, "it is ending, and gives its claim back"),
        (None, Absent, "it is gone, as this host alone knows"),
    ];
    for (session, verdict, why) in table {
        assert_eq!(own(session), verdict, "{session:?}: {why}");
    }
}

#[test]
fn a_claim_that_is_older_than_a_restored_backup_is_good_once_its_host_has_renewed_it() {
    let table = [
        (false, None, Alive, "nothing was restored"),
        (true, None, Alive, "of a generation that was not heard of"),
        (false, Some(ms(0)), Alive, "it was made or renewed since"),
        (true, Some(ms(11_999)), Restarting, "its host may not know yet that it has to renew it"),
        (true, Some(RENEWED_WITHIN), Dead, "its host would have renewed it: the session had ended before"),
    ];
    for (is_older, restored_for, verdict, why) in table {
        assert_eq!(after_a_restore(Alive, is_older, restored_for), verdict, "{why}");
        for other in [Dead, Absent, Unknown(ms(1)), Doubtful, Restarting] {
            assert_eq!(after_a_restore(other, is_older, restored_for), other, "{why}");
        }
    }
}

#[test]
fn a_host_is_waited_for_where_its_next_daemon_may_have_the_session() {
    for Known { standing, keeps, quiet_for, .. } in hosts() {
        for is_refused in [false, true] {
            let is_due = keeps && quiet_for != LATE && (is_refused || standing == Left);
            assert_eq!(may_return(standing, keeps, quiet_for, is_refused), is_due, "{standing:?}");
        }
    }
}
