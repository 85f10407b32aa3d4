//! The commands of the README and of the manual, run as they stand there: a newcomer's first hour must not meet a typing error.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use groupmgr::io::accounts::TRIAL_ACCOUNT;
use lab::plan::Plan;
use lab::timeline::Cursor;
use sessiond::io::account::Account;
use sessiond::io::root;

use crate::scene::{PATIENCE, Played, Scene, Trouble};

const README: &str = include_str!("../../../README.md");
const MANUAL: &str = include_str!("../../../docs/operations.md");

/// "See it": every step of both demonstrations is observed.
pub(crate) fn demo(binary: PathBuf) -> Played {
    show(&binary, &["--demo"])?;
    show(&binary, &["--demo", "continuity"])
}

fn show(binary: &Path, words: &[&str]) -> Played {
    assert!(README.contains(&format!("cargo run --release -- lab {}", words.join(" "))));
    let output = Command::new(binary).arg("lab").args(words).arg("--json").stdin(Stdio::null()).output()?;
    let said = String::from_utf8(output.stdout)?;
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    if output.status.success() && last["event"] == "result" && last["ok"] == true {
        return Ok(());
    }
    Err(format!("{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// "A group by hand", from the key directory to the note that is still there after a kill.
pub(crate) fn by_hand(binary: PathBuf) -> Played {
    let dir = tempfile::tempdir()?;
    Hand::new(dir.path(), &binary)?.play()
}

/// "Accounts", safest of all: the spawner is root, the daemon has an account, and sessions another one. These are made in
/// copies of /etc and /home that nobody else sees.
pub(crate) fn accounts(binary: PathBuf) -> Played {
    let lan = "10.77.1.0/24".parse()?;
    let plan = Plan::empty().lan("desks", lan).router("machine", &["desks"]).desk("desk-1", &["desks"]);
    let mut scene = Scene::not_started(plan, binary.clone())?;
    let section = MANUAL.split("## Accounts").nth(1).unwrap_or_default();
    let add = "useradd --create-home --shell /bin/bash desk";
    assert!(section.contains(add));
    let block = section.split("```").nth(1).unwrap_or_default();
    let [install, spawner, daemon] = block.trim().lines().collect::<Vec<_>>()[..] else {
        return Err(format!("three commands, and not: {block}").into());
    };
    let dir = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir()?;
    let program = copy(&binary, dir.path())?;
    for name in ["groupmgr", "sessiond"] {
        std::os::unix::fs::symlink(&program, dir.path().join(name))?;
    }
    let (at, keys) = (dir.path().display(), scene.world.files().join("keys"));
    let script = format!(
        "set -e
        cp -a /etc {at}/etc; mkdir {at}/home
        mount --bind {at}/etc /etc; mount --bind {at}/home /home; mount -t tmpfs tmpfs /run
        export PATH={at}:/usr/sbin:/usr/bin:/sbin:/bin
        {add}
        useradd --system --create-home hotdesk
        cp -r {keys} /home/hotdesk/hotdesk-keys; chown -R hotdesk /home/hotdesk/hotdesk-keys
        {install}
        {spawner} &
        until [ -S /run/hotdesk/a/sessions/spawner/socket ]; do sleep 0.02; done
        cd /home/hotdesk
        exec setpriv --reuid hotdesk --regid hotdesk --init-groups env HOME=/home/hotdesk sh -c 'exec {daemon}'
        ",
        keys = keys.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = scene.world.backend().spawn("machine", command)?;
    until_said(&mut child, daemon, "ready host=a")?;
    scene.world.start_desk("desk-1")?;
    scene.expect("desk-1", Cursor::default(), "shown its session", |e| e.is("shown"))?;
    scene.world.type_text("desk-1", "clear; echo i''am $(id -un) at $PWD\n")?;
    scene.world.wait_for_screen("desk-1", "whose session it is", PATIENCE, |s| {
        s.has_line("iam desk at /home/desk")
    })?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn copy(binary: &Path, into: &Path) -> Result<PathBuf, Trouble> {
    let copy = into.join("program");
    // No copy at all where both are on one disk.
    std::fs::hard_link(binary, &copy).or_else(|_| std::fs::copy(binary, &copy).map(drop))?;
    Ok(copy)
}

/// Somebody who types commands in a directory.
pub(crate) struct Hand<'a> {
    dir: &'a Path,
    user: Option<Account>,
    running: Vec<(String, Child)>,
}

impl<'a> Hand<'a> {
    pub(crate) fn new(dir: &'a Path, binary: &Path) -> Result<Self, Trouble> {
        // A newcomer is an ordinary user. Where root runs the tests it must be able to reach the program.
        let user = root::is_root().then(|| Account::find(TRIAL_ACCOUNT)).transpose()?;
        if let Some(user) = &user {
            std::os::unix::fs::chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let program = if user.is_some() { copy(binary, dir)? } else { binary.to_owned() };
        for name in ["groupmgr", "datastore", "authmgr", "dtu-emu"] {
            std::os::unix::fs::symlink(&program, dir.join(name))?;
        }
        Ok(Self { dir, user, running: Vec::new() })
    }

    fn play(mut self) -> Played {
        let section = MANUAL
            .split("## A group by hand")
            .nth(1)
            .and_then(|rest| rest.split("## ").next())
            .unwrap_or_default();
        let blocks: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
        let [before, after] = blocks.as_slice() else {
            return Err("two blocks of commands, before and after".into());
        };
        for line in before.lines().filter(|line| !line.is_empty()) {
            self.take(line)?;
        }
        // What is left to the reader: `dtu-emu list` says which host the desk is on; that one is killed.
        let list: serde_json::Value = serde_json::from_str(&self.foreground("dtu-emu list --json")?)?;
        let host =
            list["host"].as_str().or_else(|| list[0]["host"].as_str()).ok_or("the desk is on no host")?;
        let word = format!("--name {host} ");
        let (_, daemon) =
            self.running.iter_mut().find(|(line, _)| line.contains(&word)).ok_or("no such daemon")?;
        daemon.kill()?;
        daemon.wait()?;
        // The desk is given the time to move that a reader takes to type: until it is attached there, and not only asks.
        let (host, until) = (host.to_owned(), std::time::Instant::now() + PATIENCE);
        loop {
            let list: serde_json::Value = serde_json::from_str(&self.foreground("dtu-emu list --json")?)?;
            let desk = if list.is_array() { &list[0] } else { &list };
            let moved = desk["host"].as_str().is_some_and(|now_on| now_on != host);
            if moved && desk["state"] == "attached" {
                break;
            }
            assert!(std::time::Instant::now() < until, "the desk stays without a host: {list}");
        }
        let survivor = ["a", "b", "c"].into_iter().find(|name| *name != host).unwrap_or("a");
        for line in after.lines().filter(|line| !line.is_empty()) {
            if line.contains("type") {
                self.foreground("dtu-emu wait --for 'ready>' --timeout 15 --dtu 080020000001")?;
            }
            self.take(&line.replace("--host a", &format!("--host {survivor}")))?;
            if line.contains("type") {
                self.foreground("dtu-emu wait --for 'still here' --timeout 15 --dtu 080020000001")?;
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &str) -> Played {
        if line.starts_with("dtu-emu boot") {
            self.plain_shell()?;
        }
        let ready = if line.starts_with("groupmgr run") {
            "ready host="
        } else if line.starts_with("datastore serve") {
            "data store ready"
        } else if line.starts_with("dtu-emu boot") {
            "shown"
        } else {
            self.foreground(line)?;
            if line.starts_with("dtu-emu insert") {
                self.foreground("dtu-emu wait --for 'ready>' --timeout 15 --dtu 080020000001")?;
            }
            return Ok(());
        };
        self.start(line, ready)
    }

    /// The login shell of whoever runs the tests may ask questions at its start, or take its time: this one has a home
    /// of its own, whose profile says when it is ready. It does not run where the daemons were started.
    pub(crate) fn plain_shell(&self) -> Played {
        let home = self.dir.join("home");
        std::fs::create_dir(&home)?;
        std::fs::write(home.join(".profile"), "PS1='ready> '\n")?;
        let shell =
            ["/bin/bash", "/bin/sh"].into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("sh");
        let text = format!(
            "[[service]]\nname = \"terminal\"\ncwd = \"/\"\nenv = {{ SHELL = \"{shell}\", HOME = {:?} }}\n",
            home.display().to_string()
        );
        std::fs::write(self.dir.join("plain.toml"), text)?;
        self.foreground("groupmgr template put default plain.toml --run-dir run --host a").map(drop)
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let path = format!("{}:{}", self.dir.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).current_dir(self.dir).env("PATH", path).env("HOME", self.dir);
        command.env("XDG_RUNTIME_DIR", self.dir).stdin(Stdio::null());
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    pub(crate) fn foreground(&self, line: &str) -> Result<String, Trouble> {
        let output = self.command(line).output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(format!("{line}\n{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Starts a program that goes on running, and waits until it says `ready`.
    pub(crate) fn start(&mut self, line: &str, ready: &'static str) -> Played {
        let child = self.background(line, ready)?;
        self.running.push((line.to_owned(), child));
        Ok(())
    }

    fn background(&self, line: &str, ready: &'static str) -> Result<Child, Trouble> {
        // Without `exec` the shell would be killed in the place of the daemon.
        let mut child =
            self.command(&format!("exec {line}")).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        until_said(&mut child, line, ready)?;
        Ok(child)
    }
}

/// Waits until a program says `ready`.
fn until_said(child: &mut Child, line: &str, ready: &str) -> Played {
    let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
    let (said, hears) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now()).max(Duration::from_millis(1));
        match hears.recv_timeout(left) {
            Ok(text) if text.contains(ready) => return Ok(()),
            Ok(_) => {}
            Err(why) => return Err(format!("{line}\nnever said {ready:?}: {why}").into()),
        }
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
