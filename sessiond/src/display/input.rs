//! Input on its way to a service, each byte once however often it is sent.
//!
//! A DTU numbers its input within a `run`. What it sends again is skipped, a gap is refused. What the service
//! has not taken yet waits here, bounded; only what it took is acknowledged.

use std::collections::VecDeque;

use proto::Nonce;
use proto::frame::INPUT_WINDOW;

/// Most runs remembered: the present one and those whose input may still wait or be sent again.
const RUNS_MAX: usize = 4;

/// Most input that waits for the service, of all runs together.
const WAITING_MAX: usize = 2 * INPUT_WINDOW;

/// Most bytes of the terminal's answers that wait beside it.
const ANSWERS_MAX: usize = 4096;

/// Input that is refused. Nothing of the frame was taken; the DTU is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputFault {
    /// It begins after what was received.
    #[error("input from {seq} on, where {expected} was due")]
    Gap {
        /// Where it begins.
        seq: u64,
        /// Where it should have begun, or before.
        expected: u64,
    },
    /// More is on the way than may be while the service does not read.
    #[error("more than {INPUT_WINDOW} bytes of input beyond what was acknowledged")]
    Window,
}

/// More than any DTU can have typed and not sent, or sent and not seen acknowledged: acknowledging so much more than
/// was applied tells it that nothing of that will be.
pub(super) const DROPPED: u64 = 1 << 40;

#[derive(Debug)]
struct Run {
    name: Nonce,
    received: u64,
    applied: u64,
}

/// The input of all DTUs of one service, in the order it came.
#[derive(Debug)]
pub struct InputQueue {
    waiting: VecDeque<u8>,
    /// Whose bytes wait, in order: adjacent pieces of a run are one. `None` are answers of the terminal.
    pieces: VecDeque<(Option<Nonce>, usize)>,
    /// How many of them are answers.
    answers: usize,
    runs: VecDeque<Run>,
    /// The last typed byte that the service took ended a line, or it took none yet.
    ends_line: bool,
}

impl Default for InputQueue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            pieces: VecDeque::new(),
            answers: 0,
            runs: VecDeque::new(),
            ends_line: true,
        }
    }
}

const fn is_line_end(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

impl InputQueue {
    /// How much of the run's input the service has taken.
    #[must_use]
    pub fn applied(&self, run: Nonce) -> u64 {
        self.runs.iter().find(|r| r.name == run).map_or(0, |r| r.applied)
    }

    /// Takes in what was not received before.
    ///
    /// # Errors
    /// See [`InputFault`].
    pub fn receive(&mut self, name: Nonce, seq: u64, bytes: &[u8]) -> Result<(), InputFault> {
        let waiting = self.waiting.len() - self.answers;
        let run = self.run(name);
        let known = run.received.checked_sub(seq).ok_or(InputFault::Gap { seq, expected: run.received })?;
        let fresh = usize::try_from(known).ok().and_then(|n| bytes.get(n..)).unwrap_or(&[]);
        if fresh.is_empty() {
            return Ok(());
        }
        let ahead = run.received - run.applied + fresh.len() as u64;
        if ahead > INPUT_WINDOW as u64 || waiting + fresh.len() > WAITING_MAX {
            return Err(InputFault::Window);
        }
        run.received += fresh.len() as u64;
        self.append(Some(name), fresh);
        Ok(())
    }

    /// Adds answers of the terminal, all or none: a service that asks and does not read misses some. Returns whether
    /// there is something to read now.
    pub fn answer(&mut self, answers: &[u8]) -> bool {
        let fits = !answers.is_empty() && self.answers + answers.len() <= ANSWERS_MAX;
        if fits {
            self.answers += answers.len();
            self.append(None, answers);
        }
        fits
    }

    fn append(&mut self, name: Option<Nonce>, bytes: &[u8]) {
        self.waiting.extend(bytes);
        match self.pieces.back_mut() {
            Some((last, len)) if *last == name => *len += bytes.len(),
            _ => self.pieces.push_back((name, bytes.len())),
        }
    }

    /// How much was applied of each run.
    pub fn runs(&self) -> impl Iterator<Item = (Nonce, u64)> {
        self.runs.iter().map(|run| (run.name, run.applied))
    }

    /// What was typed in a run beyond what was `applied` at another host is applied nowhere: it is acknowledged, and its
    /// next byte has a number far above it.
    pub fn drop_rest(&mut self, name: Nonce, applied: u64) {
        let run = self.run(name);
        run.applied = applied.saturating_add(DROPPED);
        run.received = run.applied;
    }

    /// What was typed in a run beyond what was `applied` at another host was applied nowhere, and is taken from there on.
    pub fn take_on(&mut self, name: Nonce, applied: u64) {
        let run = self.run(name);
        (run.applied, run.received) = (applied, applied);
    }

    /// The same as [`Self::drop_rest`] for a run of which nothing is known.
    pub fn drop_unless_known(&mut self, name: Nonce) {
        if !self.runs.iter().any(|run| run.name == name) {
            self.drop_rest(name, 0);
        }
    }

    fn run(&mut self, name: Nonce) -> &mut Run {
        let found = self.runs.iter().position(|run| run.name == name);
        let at = found.unwrap_or_else(|| {
            if self.runs.len() == RUNS_MAX {
                self.runs.pop_front();
            }
            self.runs.push_back(Run { name, received: 0, applied: 0 });
            self.runs.len() - 1
        });
        &mut self.runs[at]
    }

    /// What the service should be given next; empty when nothing waits.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.waiting.as_slices().0
    }

    /// Whether what the service has taken ends with a whole line.
    #[must_use]
    pub const fn ends_line(&self) -> bool {
        self.ends_line
    }

    /// The same as [`InputQueue::front`], but nothing beyond the line that the service has taken a part of.
    #[must_use]
    pub fn rest_of_line(&self) -> &[u8] {
        let front = if self.ends_line { &[] } else { self.front() };
        front.split_inclusive(|byte| is_line_end(*byte)).next().unwrap_or_default()
    }

    /// The service took `count` bytes of [`InputQueue::front`].
    pub fn taken(&mut self, count: usize) {
        let mut left = count.min(self.waiting.len());
        let taken: Vec<u8> = self.waiting.drain(..left).collect();
        while left > 0 {
            let Some((name, len)) = self.pieces.front_mut() else { return };
            let (name, part) = (*name, left.min(*len));
            *len -= part;
            left -= part;
            if *len == 0 {
                self.pieces.pop_front();
            }
            match name {
                None => self.answers -= part,
                Some(name) => {
                    let last = taken.len() - left - 1;
                    self.ends_line = taken.get(last).copied().is_some_and(is_line_end);
                    if let Some(run) = self.runs.iter_mut().find(|run| run.name == name) {
                        run.applied += part as u64;
                    }
                }
            }
        }
    }

    /// The service is gone and with it whoever could have read what waits; it must not reach the next one.
    pub fn lose(&mut self) {
        self.taken(self.waiting.len());
        self.ends_line = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: Nonce = Nonce(1);

    fn drain(queue: &mut InputQueue) -> Vec<u8> {
        let mut all = Vec::new();
        while !queue.front().is_empty() {
            let piece = queue.front().to_vec();
            queue.taken(piece.len());
            all.extend(piece);
        }
        all
    }

    #[test]
    fn input_sent_again_is_applied_once_and_a_gap_is_refused() {
        let mut queue = InputQueue::default();
        queue.receive(RUN, 0, b"abc").unwrap();
        queue.receive(RUN, 0, b"abc").unwrap();
        queue.receive(RUN, 2, b"cde").unwrap();
        assert_eq!(queue.receive(RUN, 6, b"x"), Err(InputFault::Gap { seq: 6, expected: 5 }));
        assert_eq!(drain(&mut queue), b"abcde");
        assert_eq!(queue.applied(RUN), 5);
    }

    #[test]
    fn a_service_that_does_not_read_stops_its_dtu_not_us() {
        let mut queue = InputQueue::default();
        queue.receive(RUN, 0, &vec![b'x'; INPUT_WINDOW]).unwrap();
        assert_eq!(queue.receive(RUN, INPUT_WINDOW as u64, b"y"), Err(InputFault::Window));
        assert_eq!(queue.applied(RUN), 0, "nothing is acknowledged before it is taken");
        queue.taken(1);
        queue.receive(RUN, INPUT_WINDOW as u64, b"y").unwrap();
        assert_eq!(queue.applied(RUN), 1);
    }

    #[test]
    fn answers_of_the_terminal_come_in_order_are_bounded_and_take_no_place_of_what_is_typed() {
        let mut queue = InputQueue::default();
        queue.receive(RUN, 0, b"a").unwrap();
        assert!(queue.answer(b"\x1b[0n") && !queue.answer(b""));
        queue.receive(RUN, 1, b"b").unwrap();
        assert_eq!(drain(&mut queue), b"a\x1b[0nb");
        assert_eq!(queue.applied(RUN), 2);
        let answers = (0..1000).filter(|_| queue.answer(&[b'x'; 100])).count();
        assert_eq!(answers, ANSWERS_MAX / 100);
        queue.receive(RUN, 2, &vec![b'x'; INPUT_WINDOW]).unwrap();
        assert_eq!(drain(&mut queue).len(), ANSWERS_MAX / 100 * 100 + INPUT_WINDOW);
        assert!(queue.answer(b"x"), "there is room again");
    }

    #[test]
    fn many_desks_together_are_bounded_too() {
        let mut queue = InputQueue::default();
        for run in 0..2 {
            queue.receive(Nonce(run), 0, &vec![b'x'; INPUT_WINDOW]).unwrap();
        }
        assert_eq!(queue.receive(Nonce(2), 0, b"y"), Err(InputFault::Window));
    }

    #[test]
    fn what_a_lost_service_did_not_read_never_reaches_the_next() {
        let mut queue = InputQueue::default();
        queue.receive(RUN, 0, b"rm ").unwrap();
        queue.lose();
        queue.receive(RUN, 0, b"rm -r").unwrap();
        assert_eq!(drain(&mut queue), b"-r");
    }

    proptest! {
        #[test]
        fn each_run_arrives_whole_and_once_whatever_is_sent_again(
            sends in proptest::collection::vec((0_u128..3, 0_usize..50, 1_usize..30, 0_usize..40), 1..60)
        ) {
            let typed: Vec<Vec<u8>> = (0..3_u8).map(|run| (0..200).map(|n| run * 80 + n % 80).collect()).collect();
            let mut queue = InputQueue::default();
            let mut got = vec![Vec::new(); 3];
            let mut arrived = [0; 3];
            let mut order = Vec::new();
            for (run, from, len, take) in sends {
                let n = usize::try_from(run).unwrap();
                let bytes = &typed[n][from..(from + len).min(200)];
                if queue.receive(Nonce(run), from as u64, bytes).is_ok() {
                    let upto = (from + bytes.len()).max(arrived[n]);
                    order.extend(typed[n][arrived[n]..upto].iter().map(|b| (n, *b)));
                    arrived[n] = upto;
                } else {
                    prop_assert!(from > arrived[n]);
                }
                let piece = queue.front();
                let piece = piece[..piece.len().min(take)].to_vec();
                queue.taken(piece.len());
                for byte in piece {
                    let (run, expected) = order.remove(0);
                    prop_assert_eq!(byte, expected);
                    got[run].push(byte);
                }
                for (run, got) in (0..).zip(&got) {
                    prop_assert_eq!(queue.applied(Nonce(run)), got.len() as u64);
                }
            }
        }
    }
}
