//! A program that applies the numbers it is told, and whoever tells it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::plan::Plan;
use lab::timeline::{Cursor, Event};
use lab::world::Screen;
use tests::world::TestRng;

use crate::scene::{PATIENCE, Played, Scene, Trouble};

/// Hosts: one dies, one takes over, and one becomes the next secondary.
const HOSTS: usize = 3;
const DESK: &str = "desk-1";
/// Kills, unless HOTDESK_KILLS says otherwise.
const KILLS: u64 = 20;
/// Numbers that are typed ahead of their acknowledgements.
const AHEAD: u64 = 4;
const DRAINS: u32 = 4;
/// A host dies within so long after the typing has begun.
const TYPED_FOR_MS: u64 = 400;
/// Applies each number once: one that is not the next is remembered as wrong, for good. What was applied is said when it
/// is as safe as the session's class promises.
const PROGRAM: &str = r#"
last=$(sessiond state get application last) || last=0
while read -r word; do
    case $word in
    '?'*) echo "have=$last wrong=$(sessiond state get application wrong || echo none) $word" ;;
    *[!0-9]* | '') echo "what is $word?" ;;
    *)
        [ "$word" -eq $((last + 1)) ] || sessiond state put application wrong "$word-after-$last"
        last=$word
        sessiond state put application last "$last"
        echo "did=$last"
        ;;
    esac
done
"#;

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What the program answers to a question.
#[derive(Debug, PartialEq, Eq)]
struct Have {
    last: u64,
    wrong: String,
}

/// Somebody at the desk.
struct Typist {
    scene: Scene,
    questions: u64,
    /// The last number that was typed, and the last that was seen to be acknowledged.
    typed: u64,
    acknowledged: u64,
}

impl Typist {
    fn sit_down(binary: PathBuf) -> Result<Self, Trouble> {
        let mut scene = Scene::not_started(Plan::simple(HOSTS, 1), binary)?;
        scene.world.start_store()?;
        scene.world.start_hosts()?;
        scene.world.wait_for_group(PATIENCE)?;
        let file = scene.world.files().join("ledger.sh");
        std::fs::write(&file, PROGRAM)?;
        let command = serde_json::json!(["/bin/sh", file.to_string_lossy()]);
        let template =
            format!("continuity = \"replicated\"\n[[service]]\nname = \"ledger\"\ncommand = {command}\n");
        scene.world.put_template("default", &template)?;
        scene.world.start_desk(DESK)?;
        let card = scene.world.new_card("ann")?;
        scene.insert(DESK, &card)?;
        Ok(Self { scene, questions: 0, typed: 0, acknowledged: 0 })
    }

    /// The host that the session is on.
    fn host(&self) -> Result<String, Trouble> {
        let look = self.scene.world.asker().look(DESK)?;
        look.host.map(|host| host.to_string()).ok_or_else(|| "the desk is on no host".into())
    }

    /// Asks the program what it has.
    fn ask(&mut self) -> Result<Have, Trouble> {
        self.questions += 1;
        let mark = format!("?{}", self.questions);
        self.scene.world.type_text(DESK, &format!("\n{mark}\n"))?;
        let answer = |screen: &Screen| {
            let line =
                screen.0.lines().rev().map(str::trim).find(|line| line.ends_with(&format!(" {mark}")))?;
            let (last, wrong) = line.strip_prefix("have=")?.split_once(" wrong=")?;
            Some(Have { last: last.parse().ok()?, wrong: wrong.split(' ').next()?.to_owned() })
        };
        let what = format!("the answer to {mark}");
        let screen =
            self.scene.world.wait_for_screen(DESK, &what, PATIENCE, |screen| answer(screen).is_some())?;
        answer(&screen).ok_or_else(|| "no answer".into())
    }

    /// Types numbers for so long, some ahead of their acknowledgements.
    fn type_for(&mut self, time: Duration) -> Played {
        let end = Instant::now() + time;
        while Instant::now() < end {
            while self.typed < self.acknowledged + AHEAD {
                self.typed += 1;
                self.scene.world.type_text(DESK, &format!("{}\n", self.typed))?;
            }
            let before = self.acknowledged;
            let has_more = |screen: &Screen| done(screen) > before;
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(screen) = self.scene.world.wait_for_screen(DESK, "an acknowledgement", left, has_more) {
                self.acknowledged = done(&screen);
            }
        }
        Ok(())
    }

    /// Looks for the last acknowledgement on the screen, as a person does when the host is gone.
    fn look(&mut self) -> Played {
        self.acknowledged = self.acknowledged.max(done(&self.scene.world.screen(DESK)?));
        Ok(())
    }

    /// Whether the desk has said since then that nobody keeps the session: its secondary was too slow for it, as where
    /// other programs take all of the machine's time.
    fn was_alone(&self, mut from: Cursor) -> bool {
        let says = |event: &Event| {
            let text = event.more.get("text").and_then(serde_json::Value::as_str);
            event.is("notice") && event.at(DESK) && text.is_some_and(|text| text.starts_with("unprotected"))
        };
        self.scene.world.timeline().since(&mut from).iter().any(says)
    }

    /// Judges what the program has after a take-over, and goes on from there.
    fn judge(&mut self, have: &Have) -> Played {
        if have.wrong != "none" {
            return Err(format!("{} was applied", have.wrong).into());
        }
        if have.last < self.acknowledged {
            return Err(
                format!("{} was acknowledged, and {} is the last", self.acknowledged, have.last).into()
            );
        }
        if have.last > self.typed {
            return Err(format!("{} was applied, and {} is the last typed", have.last, self.typed).into());
        }
        (self.typed, self.acknowledged) = (have.last, have.last);
        Ok(())
    }

    /// Waits until another host keeps the session.
    fn until_kept(&self) -> Result<String, Trouble> {
        let (host, session) =
            (self.host()?, self.scene.world.asker().look(DESK)?.session.ok_or("no session")?);
        self.scene.world.wait_until_kept(&host, &session, PATIENCE)?;
        Ok(host)
    }
}

/// The highest number that the screen says is done.
fn done(screen: &Screen) -> u64 {
    let numbers = screen.0.lines().filter_map(|line| line.trim().strip_prefix("did=")?.parse().ok());
    numbers.max().unwrap_or_default()
}

/// The host under a typing person is killed again and again.
pub(crate) fn kills(binary: PathBuf) -> Played {
    let (kills, seed) = (number("HOTDESK_KILLS", KILLS), number("HOTDESK_SEED", 1));
    let mut rng = TestRng::new(seed);
    let mut typist = Typist::sit_down(binary)?;
    let (mut lost, mut alone) = (0, 0);
    for kill in 1..=kills {
        let played = (|| {
            let host = typist.until_kept()?;
            let kept_from = typist.scene.now();
            typist.type_for(Duration::from_millis(rng.below(TYPED_FOR_MS)))?;
            let from = typist.scene.now();
            typist.scene.world.kill(&host)?;
            typist.look()?;
            if typist.was_alone(kept_from) {
                // What was shown then is lost with the host, as was said.
                alone += 1;
                typist.acknowledged = 0;
            }
            typist.scene.failed_over(DESK, from)?;
            let (typed, have) = (typist.typed, typist.ask()?);
            typist.judge(&have)?;
            lost += typed - have.last;
            typist.scene.world.start_host(&host)?;
            typist.scene.world.wait_for_group(PATIENCE).map_err(Trouble::from)
        })();
        played.map_err(|why| format!("kill {kill} of {kills}, seed {seed}: {why}"))?;
    }
    eprintln!("{kills} kills: {} numbers applied, {lost} typed ones dropped and said", typist.typed);
    eprintln!("{alone} of them while the desk said that the session was unprotected");
    if alone > kills / 2 {
        return Err("the session was unprotected most of the time".into());
    }
    if typist.typed < kills { Err("next to nothing was typed".into()) } else { Ok(()) }
}

/// The host under a typing person is drained again and again, and nothing that was typed is lost.
pub(crate) fn drains(binary: PathBuf) -> Played {
    let seed = number("HOTDESK_SEED", 1);
    let mut rng = TestRng::new(seed);
    let mut typist = Typist::sit_down(binary)?;
    for drain in 1..=DRAINS {
        let played = (|| {
            let host = typist.until_kept()?;
            typist.type_for(Duration::from_millis(rng.below(TYPED_FOR_MS)))?;
            let from = typist.scene.now();
            let counts = typist.scene.world.asker().command(&host, &["drain"])?;
            // The session that the desk had before its card was put in may be here, too.
            if !matches!(counts["moving"].as_u64(), Some(1 | 2)) || counts["staying"] != 0 {
                return Err(format!("drain says {counts}").into());
            }
            typist.type_for(Duration::from_millis(500))?;
            let is_elsewhere = |e: &Event| e.is("attached") && e.host.as_deref() != Some(&*host);
            typist.scene.expect(DESK, from, "sent to another host", is_elsewhere)?;
            let have = typist.ask()?;
            if have.last != typist.typed {
                return Err(format!("{} of {} typed numbers were applied", have.last, typist.typed).into());
            }
            typist.judge(&have)?;
            typist.scene.world.asker().command(&host, &["undrain"]).map(drop).map_err(Trouble::from)
        })();
        played.map_err(|why| format!("drain {drain}, seed {seed}: {why}"))?;
    }
    eprintln!("{DRAINS} drains: {} numbers typed and applied", typist.typed);
    Ok(())
}

/// A number that is missing, one that comes twice, and an acknowledged one that is lost are all found.
pub(crate) fn sees_what_is_wrong(binary: PathBuf) -> Played {
    let mut typist = Typist::sit_down(binary)?;
    typist.typed = 2;
    typist.scene.world.type_text(DESK, "1\n2\n")?;
    typist.acknowledged = 2;
    let have = typist.ask()?;
    if have != (Have { last: 2, wrong: "none".to_owned() }) {
        return Err(format!("{have:?}").into());
    }
    typist.judge(&have)?;
    typist.acknowledged = 3;
    if typist.judge(&have).is_ok() {
        return Err("a lost number is not found".into());
    }
    typist.acknowledged = 2;
    typist.scene.world.type_text(DESK, "2\n")?;
    let have = typist.ask()?;
    if have.wrong != "2-after-2" || typist.judge(&have).is_ok() {
        return Err(format!("one that was applied twice is not found: {have:?}").into());
    }
    Ok(())
}
