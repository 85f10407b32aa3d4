//! The two ends of a display channel against each other, with connections that break anywhere.

use proptest::prelude::*;
use proto::frame::FrameBuffer;
use terminal::Terminal;

use super::*;

const NOW: Instant = Instant::ZERO;
const SIZE: Size = Size { cols: 20, rows: 6 };

/// Output of many kinds. There is no question to the terminal in it: its answer would be among what is typed.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[ -~]{1,12}".prop_map(String::into_bytes),
        2 => Just(b"\r\n".to_vec()),
        2 => "\x1b\\[[0-9;?]{0,8}[@A-Zadfghilmrsu]".prop_map(String::into_bytes),
        1 => "\x1b\\[\\?(6|7|25|1000|1006|1047|1049|2004)[hl]".prop_map(String::into_bytes),
        1 => "\x1b([78DEHMc=>]|\\(0|\\(B|#8|\\]0;x\x07|P1\x1b)".prop_map(String::into_bytes),
        1 => "[äß界👨\u{301}]{1,3}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(28_u8.., 1..4),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn terminal(feed: &DisplayFeed) -> &Terminal {
    let Feed::Terminal(terminal) = &feed.feed;
    terminal.screen()
}

fn same(a: &Terminal, b: &Terminal) -> bool {
    a.snapshot() == b.snapshot() && a.lines() == b.lines()
}

/// A DTU: what it shows, what it has typed, and what it knows of both.
struct Dtu {
    run: Nonce,
    stream: Nonce,
    have: u64,
    screen: Terminal,
    /// All output in one, as long as it was never repainted.
    bytes: Option<Vec<u8>>,
    typed: Vec<u8>,
    acked: u64,
    sent: u64,
    buffer: FrameBuffer,
    exit: Option<i32>,
    pongs: Vec<u64>,
    notices: Vec<String>,
}

impl Dtu {
    fn new(run: u128) -> Self {
        Self {
            run: Nonce(run),
            stream: Nonce(0),
            have: 0,
            screen: Terminal::new(SIZE),
            bytes: Some(Vec::new()),
            typed: Vec::new(),
            acked: 0,
            sent: 0,
            buffer: FrameBuffer::default(),
            exit: None,
            pongs: Vec::new(),
            notices: Vec::new(),
        }
    }

    fn hello(&mut self) -> Hello {
        self.buffer = FrameBuffer::default();
        Hello {
            ticket: Nonce(0),
            serial: "080020abcdef".parse().unwrap(),
            service: "terminal".parse().unwrap(),
            run: self.run,
            stream: self.stream,
            have: self.have,
            size: self.screen.size(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
        while let Some(frame) = self.buffer.next_frame().unwrap() {
            match frame {
                Frame::Welcome { input_applied, stream } => {
                    assert!(input_applied >= self.acked, "what was acknowledged stays applied");
                    if self.stream != stream {
                        self.have = 0;
                    }
                    (self.acked, self.sent, self.stream) = (input_applied, input_applied, stream);
                }
                Frame::Output { offset, bytes } => {
                    assert_eq!(offset, self.have, "output without gap or repetition");
                    self.have += bytes.len() as u64;
                    self.screen.feed(&bytes);
                    if let Some(all) = &mut self.bytes {
                        all.extend(bytes);
                    }
                }
                Frame::Repaint { offset, size, bytes } => {
                    self.have = offset;
                    self.screen = Terminal::new(size);
                    self.screen.feed(&bytes);
                    self.bytes = None;
                }
                Frame::Ack { input, .. } => self.acked = input,
                Frame::Exit(status) => self.exit = Some(status),
                Frame::Pong(number) => self.pongs.push(number),
                Frame::Notice(text) => self.notices.push(text),
                other => panic!("{other:?} is not the session's to send"),
            }
        }
    }

    fn input(&mut self, len_max: usize) -> Option<Frame> {
        let sent = usize::try_from(self.sent).unwrap();
        let rest = self.typed.get(sent..)?;
        let bytes = rest[..rest.len().min(len_max)].to_vec();
        (!bytes.is_empty()).then(|| {
            let frame = Frame::Input { seq: self.sent, bytes };
            self.sent = (sent + len_max).min(self.typed.len()) as u64;
            frame
        })
    }
}

struct Pair {
    feed: DisplayFeed,
    dtu: Dtu,
    now: Instant,
    taken: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            feed: DisplayFeed::new(Nonce(77), Extent::Cells(SIZE)),
            dtu: Dtu::new(1),
            now: NOW,
            taken: Vec::new(),
        };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        let hello = self.dtu.hello();
        self.feed.attach(&hello, &mut Vec::new());
    }

    fn pull(&mut self) -> (Vec<u8>, Pulled) {
        let mut bytes = Vec::new();
        let pulled = self.feed.pull(self.now, 1000, &mut bytes);
        (bytes, pulled)
    }

    fn deliver(&mut self) -> Pulled {
        loop {
            let (bytes, pulled) = self.pull();
            if bytes.is_empty() {
                return pulled;
            }
            self.dtu.receive(&bytes);
        }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), DtuFault> {
        self.feed.frame(frame, &mut Vec::new())
    }

    fn service_reads(&mut self, len_max: usize) {
        let piece = self.feed.input();
        let piece = piece[..piece.len().min(len_max)].to_vec();
        self.feed.input_taken(self.now, piece.len());
        self.taken.extend(piece);
    }
}

#[test]
fn a_dtu_without_anything_is_shown_the_whole_screen() {
    let mut pair = Pair::new();
    pair.feed.output(b"before\r\n");
    pair.connect();
    pair.deliver();
    assert_eq!(pair.dtu.screen.lines()[0], "before");
    assert_eq!(pair.dtu.have, 8);
}

#[test]
fn a_dtu_that_comes_back_is_sent_what_it_missed_and_nothing_else() {
    let mut pair = Pair::new();
    pair.deliver();
    pair.dtu.bytes = Some(Vec::new());
    pair.feed.output(b"one ");
    pair.deliver();
    pair.feed.output(b"two ");
    let _lost = pair.pull();
    pair.connect();
    pair.deliver();
    assert_eq!(pair.dtu.bytes.as_deref(), Some(b"one two ".as_slice()));
}

#[test]
fn a_dtu_with_part_of_another_stream_is_repainted() {
    let mut pair = Pair::new();
    pair.feed.output(b"old");
    pair.deliver();
    pair.feed = pair.feed.restarted(Nonce(78));
    pair.feed.output(b"new");
    pair.connect();
    pair.deliver();
    assert_eq!((pair.dtu.screen.lines()[0].as_str(), pair.dtu.have, pair.dtu.stream), ("new", 3, Nonce(78)));
}

#[test]
fn a_slow_dtu_is_repainted_and_never_waited_for() {
    let mut pair = Pair::new();
    pair.deliver();
    for n in 0..BACKLOG_MAX / 8 + 10 {
        pair.feed.output(format!("{n:06}\r\n").as_bytes());
    }
    let (bytes, _) = pair.pull();
    assert!(bytes.len() < 2000, "one repaint, not the backlog: {}", bytes.len());
    pair.dtu.receive(&bytes);
    pair.feed.digest();
    assert!(same(&pair.dtu.screen, terminal(&pair.feed)));
}

#[test]
fn another_size_means_a_repaint_and_a_word_to_the_service() {
    let mut pair = Pair::new();
    pair.feed.output(b"0123456789");
    pair.deliver();
    let mut effects = Vec::new();
    let small = Size { cols: 5, rows: 6 };
    pair.feed.frame(Frame::Resize(small), &mut effects).unwrap();
    assert_eq!(effects, [FeedEffect::Resize(Extent::Cells(small))]);
    pair.deliver();
    assert_eq!(pair.dtu.screen.lines()[..2], ["01234", "56789"]);
    effects.clear();
    pair.feed.frame(Frame::Resize(small), &mut effects).unwrap();
    assert_eq!(effects, []);
}

#[test]
fn a_ping_is_answered_while_the_service_is_stuck() {
    let mut pair = Pair::new();
    pair.dtu.typed = vec![b'x'; 2 * INPUT_WINDOW];
    pair.deliver();
    let frame = pair.dtu.input(INPUT_WINDOW).unwrap();
    pair.frame(frame).unwrap();
    pair.frame(Frame::Ping(5)).unwrap();
    pair.deliver();
    assert_eq!((pair.dtu.pongs.as_slice(), pair.dtu.acked), ([5].as_slice(), 0));
    let frame = pair.dtu.input(1).unwrap();
    assert_eq!(pair.frame(frame), Err(DtuFault::Input(InputFault::Window)));
}

#[test]
fn who_pings_without_reading_gets_the_newest_answers_only() {
    let mut pair = Pair::new();
    for n in 0..1000 {
        pair.frame(Frame::Ping(n)).unwrap();
    }
    pair.deliver();
    assert_eq!(pair.dtu.pongs, (992..1000).collect::<Vec<_>>());
}

#[test]
fn input_is_acknowledged_when_taken_with_the_echo_or_soon_after() {
    let mut pair = Pair::new();
    pair.dtu.typed = b"ls".to_vec();
    pair.deliver();
    let frame = pair.dtu.input(1).unwrap();
    pair.frame(frame).unwrap();
    pair.service_reads(1);
    pair.deliver();
    assert_eq!(pair.dtu.acked, 0, "an echo may come");
    pair.feed.output(b"l");
    pair.deliver();
    assert_eq!(pair.dtu.acked, 1, "with the echo");
    let frame = pair.dtu.input(1).unwrap();
    pair.frame(frame).unwrap();
    pair.service_reads(1);
    pair.now = pair.feed.poll_at().unwrap();
    pair.deliver();
    assert_eq!((pair.dtu.acked, pair.feed.poll_at()), (2, None));
}

#[test]
fn a_service_that_ends_tells_its_dtu_after_its_last_output() {
    let mut pair = Pair::new();
    pair.feed.output(b"bye");
    pair.feed.end(3);
    assert_eq!(pair.deliver(), Pulled::Finished);
    assert_eq!((pair.dtu.screen.lines()[0].as_str(), pair.dtu.exit), ("bye", Some(3)));
}

#[test]
fn what_is_the_sessions_to_say_is_refused_from_a_dtu() {
    let mut pair = Pair::new();
    pair.deliver();
    assert_eq!(pair.frame(Frame::Exit(0)), Err(DtuFault::OutOfPlace));
    assert_eq!(pair.frame(Frame::Ack { output: 9, input: 0 }), Err(DtuFault::AckAhead));
    assert_eq!(pair.frame(Frame::Other { kind: 99, payload: vec![1] }), Ok(()));
}

#[test]
fn what_a_service_asks_its_terminal_is_answered_once_whoever_looks() {
    let mut pair = Pair::new();
    pair.deliver();
    pair.feed.output(b"\x1b[6n");
    pair.deliver();
    pair.feed.digest();
    assert!(pair.feed.take_answered() && !pair.feed.take_answered());
    pair.dtu = Dtu::new(2);
    pair.connect();
    pair.deliver();
    pair.feed.digest();
    pair.service_reads(usize::MAX);
    assert_eq!(pair.taken, b"\x1b[1;1R", "a repaint asks nothing");
    pair.feed.detach();
    pair.feed.output(b"\x1b[5n");
    pair.feed.digest();
    pair.service_reads(usize::MAX);
    assert_eq!(pair.taken, b"\x1b[1;1R\x1b[0n", "nobody looks, and it is answered all the same");
}

#[test]
fn the_largest_screen_full_of_colours_still_fits_a_frame() {
    let size = Size { cols: Size::MAX, rows: Size::MAX };
    let mut pair = Pair::new();
    pair.feed.resize(Extent::Cells(size), &mut Vec::new());
    for n in 0..u32::from(Size::MAX) * u32::from(Size::MAX) {
        let cell = format!("\x1b[38;2;{};{};9;48;2;{};1;1m@", n % 251, n % 241, n % 239);
        pair.feed.output(cell.as_bytes());
    }
    pair.dtu.screen.resize(size);
    pair.deliver();
    assert_eq!(pair.dtu.screen.lines(), pair.feed.lines());
}

#[derive(Clone, Debug)]
enum Step {
    Output(Vec<u8>),
    Flood(u8),
    Type(Vec<u8>),
    Send(usize),
    ServiceReads(usize),
    Deliver,
    /// The connection breaks after so many bytes.
    Break(usize),
    Ack,
    Digest,
    Resize(u16, u16),
    Later,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => output().prop_map(Step::Output),
        1 => (1_u8..3).prop_map(Step::Flood),
        2 => "[a-z]{1,20}".prop_map(|text| Step::Type(text.into_bytes())),
        3 => (1_usize..30).prop_map(Step::Send),
        2 => (1_usize..40).prop_map(Step::ServiceReads),
        4 => Just(Step::Deliver),
        2 => (0_usize..300).prop_map(Step::Break),
        2 => Just(Step::Ack),
        1 => Just(Step::Digest),
        1 => (1_u16..30, 1_u16..10).prop_map(|(cols, rows)| Step::Resize(cols, rows)),
        1 => Just(Step::Later),
    ]
}

fn run(steps: Vec<Step>) -> (Pair, Vec<u8>) {
    let mut pair = Pair::new();
    let mut written = Vec::new();
    for step in steps {
        match step {
            Step::Output(bytes) => {
                pair.feed.output(&bytes);
                written.extend(bytes);
            }
            Step::Flood(n) => {
                let flood = format!("flood {n}\r\n").repeat(BACKLOG_MAX / 9 * usize::from(n));
                pair.feed.output(flood.as_bytes());
                written.extend(flood.into_bytes());
            }
            Step::Type(bytes) => pair.dtu.typed.extend(bytes),
            Step::Send(len_max) => {
                if let Some(frame) = pair.dtu.input(len_max) {
                    pair.frame(frame).unwrap();
                }
            }
            Step::ServiceReads(len_max) => pair.service_reads(len_max),
            Step::Deliver => drop(pair.deliver()),
            Step::Break(at) => {
                let (bytes, _) = pair.pull();
                pair.dtu.receive(&bytes[..at.min(bytes.len())]);
                pair.connect();
            }
            // A DTU speaks of what it has; before the welcome of a connection it has heard nothing to speak of.
            Step::Ack => {
                pair.deliver();
                pair.frame(Frame::Ack { output: pair.dtu.have, input: 0 }).unwrap();
            }
            Step::Digest => pair.feed.digest(),
            Step::Resize(cols, rows) => {
                let size = Size::clamped(cols, rows);
                pair.dtu.screen.resize(size);
                pair.frame(Frame::Resize(size)).unwrap();
            }
            Step::Later => pair.now += ACK_DELAY,
        }
        assert!(pair.feed.feed.kept() <= BACKLOG_MAX);
    }
    (pair, written)
}

proptest! {
    // A flood is a lot of work for a terminal model that is not optimised.
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn however_connections_break_the_dtu_has_what_was_written_and_the_service_what_was_typed(
        steps in proptest::collection::vec(step(), 0..60)
    ) {
        let (mut pair, written) = run(steps);
        pair.connect();
        loop {
            pair.deliver();
            let Some(frame) = pair.dtu.input(usize::MAX / 2) else { break };
            pair.frame(frame).unwrap();
        }
        while !pair.feed.input().is_empty() {
            pair.service_reads(usize::MAX);
        }
        pair.now += ACK_DELAY;
        pair.deliver();
        pair.feed.digest();
        prop_assert_eq!(&pair.taken, &pair.dtu.typed);
        prop_assert_eq!(pair.dtu.acked, pair.dtu.typed.len() as u64);
        prop_assert_eq!(pair.dtu.have, written.len() as u64);
        prop_assert!(same(&pair.dtu.screen, terminal(&pair.feed)), "{:?}\n{:?}", pair.dtu.screen.lines(), terminal(&pair.feed).lines());
        if let Some(bytes) = pair.dtu.bytes {
            prop_assert_eq!(bytes, written);
        }
    }
}
