//! Keys that a person types at a desk and that end, stop or interrupt what runs in the session.

use std::path::PathBuf;

use lab::plan::Plan;

use crate::scene::{PATIENCE, Played, Scene};

const INTERRUPT: &str = "\x03";
const STOP: &str = "\x1a";
const QUIT: &str = "\x1c";

const DESK: &str = "desk-1";

impl Scene {
    fn at_desk(binary: PathBuf) -> Result<Self, crate::scene::Trouble> {
        Self::start(Plan::simple(1, 1), binary)
    }

    /// Types and waits until the screen has `text`, which must not be in what was typed.
    fn type_until(&self, keys: &str, text: &str) -> Played {
        self.world.type_text(DESK, keys)?;
        let what = format!("{text:?} after {keys:?}");
        self.world.wait_for_screen(DESK, &what, PATIENCE, |screen| screen.0.contains(text))?;
        Ok(())
    }
}

pub(crate) fn bash(binary: PathBuf) -> Played {
    let scene = Scene::at_desk(binary)?;
    for (key, status) in [(INTERRUPT, 130), (STOP, 148), (QUIT, 131)] {
        // Said by the job itself, which is in the foreground by then.
        let job = format!("clear; sh -c 'echo ru\"\"ns until {status}; exec sleep 1000'\n");
        scene.type_until(&job, &format!("runs until {status}"))?;
        scene.type_until(key, "")?;
        scene.type_until("echo \"ended $?\"\n", &format!("ended {status}"))?;
    }
    // A job that ends by itself in the meantime would end with the right word too.
    scene.type_until("kill %%; clear; timeout 0.2 sleep 1000; echo \"timed out $?\"\n", "timed out 124")
}

pub(crate) fn python(binary: PathBuf) -> Played {
    let scene = Scene::at_desk(binary)?;
    scene.type_until("clear; /usr/bin/python3 -q\n", ">>>")?;
    scene.type_until("import time; print('slee' + 'ping'); time.sleep(1000)\n", "sleeping")?;
    scene.type_until(INTERRUPT, "KeyboardInterrupt")?;
    scene.type_until(STOP, "Stopped")?;
    scene.type_until("fg\n", "fg")?;
    scene.type_until("print('st' + 'ill here')\n", "still here")?;
    scene.type_until(QUIT, "")?;
    scene.type_until("echo \"left $?\"\n", "left 131")
}

pub(crate) fn vim(binary: PathBuf) -> Played {
    let scene = Scene::at_desk(binary)?;
    scene.type_until("clear; vim -u NONE -N -i NONE letter\n", "\"letter\"")?;
    scene.type_until("iDear Ann", "Dear Ann")?;
    // Leaves the insert mode, or the next line would be text.
    scene.type_until(INTERRUPT, "")?;
    scene.type_until(":s/Ann/Bob/\n", "Dear Bob")?;
    scene.type_until(STOP, "Stopped")?;
    scene.type_until("fg\n", "Dear Bob")?;
    // To vim a prefix, of which this command is "go to the normal mode".
    scene.type_until(QUIT, "")?;
    scene.type_until("\x0e:w\n", "written")?;
    scene.type_until(":!tr a-z A-Z < letter\n", "DEAR BOB")
}
