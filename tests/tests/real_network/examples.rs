//! What `examples/` and the manual show, run as it stands there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::readme::Hand;
use crate::scene::{PATIENCE, Played, Trouble};

/// A file of the repository, put where somebody works who may not read the repository.
fn put(hand_dir: &Path, name: &str) -> Result<(), Trouble> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let to = hand_dir.join(Path::new(name).file_name().ok_or("a file")?);
    std::fs::copy(root.join(name), to)?;
    Ok(())
}

/// `examples/minimal-group.sh` ends well, and shows what the session said.
pub(crate) fn minimal_group(binary: PathBuf) -> Played {
    let dir = tempfile::tempdir()?;
    let hand = Hand::new(dir.path(), &binary)?;
    put(dir.path(), "examples/minimal-group.sh")?;
    let said = hand.foreground("./minimal-group.sh")?;
    if said.contains("it is there") { Ok(()) } else { Err(said.into()) }
}

/// `examples/two-services.toml` makes sessions whose second program is started and stopped; and `examples/follow-me.sh`
/// notes where its session is shown.
pub(crate) fn services_and_events(binary: PathBuf) -> Played {
    let dir = tempfile::tempdir()?;
    let mut hand = Hand::new(dir.path(), &binary)?;
    put(dir.path(), "examples/two-services.toml")?;
    // Whoever runs the tests may have no login shell.
    let (file, shell) =
        (dir.path().join("two-services.toml"), "name = \"terminal\"\nenv = { SHELL = \"/bin/sh\" }");
    std::fs::write(&file, std::fs::read_to_string(&file)?.replacen("name = \"terminal\"", shell, 1))?;
    put(dir.path(), "examples/follow-me.sh")?;
    hand.foreground("groupmgr keygen keys")?;
    hand.start("datastore serve --keys keys --dir store --listen 127.0.0.1:7010", "data store ready")?;
    let run = "groupmgr run --keys keys --store 127.0.0.1:7010 --name a --bind 127.0.1.1 --run-dir run --state-dir state";
    hand.start(run, "ready host=")?;
    hand.foreground("groupmgr template put default two-services.toml --run-dir run")?;
    hand.foreground("authmgr card new ann.card")?;
    hand.start("dtu-emu boot --headless --serial 080020000001 --ca keys/ca.pem --bind 127.0.200.1", "shown")?;
    hand.foreground("dtu-emu insert ann.card --dtu 080020000001")?;
    let follow = format!("sh {}/follow-me.sh &", dir.path().display());
    hand.foreground(&format!("dtu-emu type --dtu 080020000001 --enter '{follow}'"))?;

    let sessions = hand.foreground("groupmgr session list --run-dir run --json")?;
    let sessions: serde_json::Value = serde_json::from_str(&sessions)?;
    let rows = sessions["sessions"].as_array().ok_or("a list of sessions")?;
    let is_anns = |row: &&serde_json::Value| row["token"].as_str().is_some_and(|t| t.starts_with("card."));
    let session = rows.iter().find(is_anns).ok_or_else(|| sessions.to_string())?;
    let (id, token) =
        (session["session"].as_str().ok_or("an id")?, session["token"].as_str().ok_or("a token")?);
    hand.foreground(&format!("groupmgr service start {id} clock --run-dir run"))?;
    hand.foreground(&format!("groupmgr service stop {id} clock --run-dir run"))?;

    let noted = format!("datastore get data/{token}/shown-at --keys keys --store 127.0.0.1:7010");
    let until = |wanted: &str| -> Played {
        let begun = Instant::now();
        while hand.foreground(&noted).map_or(true, |now| now.trim() != wanted) {
            if begun.elapsed() > PATIENCE {
                return Err(format!("it is never noted that the session is shown at {wanted}").into());
            }
        }
        Ok(())
    };
    until("080020000001")?;
    hand.foreground("dtu-emu remove --dtu 080020000001")?;
    until("nowhere")?;
    hand.foreground("dtu-emu insert ann.card --dtu 080020000001")?;
    until("080020000001")
}

const MANUAL: &str = include_str!("../../../docs/operations.md");
const PROGRAMS: [&str; 5] = ["groupmgr", "authmgr", "datastore", "dtu-emu", "sessiond"];

/// What the manual says about installing makes programs that can be called.
pub(crate) fn install(binary: PathBuf) -> Played {
    let dir = tempfile::tempdir()?;
    let block = MANUAL.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).ok_or("a block")?;
    let script = block
        .replace("cargo build --release\n", "")
        .replace("target/release/hotdesk", &binary.display().to_string())
        .replace("/usr/local/bin", &dir.path().display().to_string());
    let done = Command::new("sh").args(["-e", "-c", &script]).status()?;
    assert!(done.success(), "{script}");
    for program in PROGRAMS {
        let said = Command::new(dir.path().join(program)).arg("--version").output()?;
        assert!(said.stdout.starts_with(program.as_bytes()), "{program}: {said:?}");
    }
    Ok(())
}

/// Every command that the documents show has the words and options that are shown.
pub(crate) fn every_command(binary: PathBuf) -> Played {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut wrong = Vec::new();
    for name in ["README.md", "SECURITY.md", "CONTRIBUTING.md", "docs/operations.md"] {
        let text = std::fs::read_to_string(root.join(name))?;
        let spans = text.split('`').skip(1).flat_map(str::lines).map(str::trim);
        for span in spans.filter(|span| PROGRAMS.contains(&span.split(' ').next().unwrap_or_default())) {
            if let Err(why) = is_known(&binary, span) {
                wrong.push(format!("{name}: `{span}`: {why}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Asks for the help of the command, and looks for its options there.
fn is_known(binary: &Path, span: &str) -> Result<(), Trouble> {
    let words: Vec<&str> = span.split(" -- ").next().unwrap_or_default().split_whitespace().collect();
    let is_word = |word: &&&str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let commands: Vec<&str> =
        words.iter().take_while(|w| is_word(w) && !w.starts_with('-')).copied().collect();
    let help = (2..=commands.len()).rev().chain([1]).find_map(|n| {
        let mut command = Command::new(binary);
        let output = command.args(&commands[..n]).arg("--help").stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| (n, String::from_utf8_lossy(&output.stdout).into_owned()))
    });
    let (n, help) = help.ok_or("no such command")?;
    if n == 1 && commands.len() > 1 {
        return Err("no such subcommand".into());
    }
    for option in
        words.iter().map(|word| word.trim_matches(|c| "[]".contains(c))).filter(|w| w.starts_with("--"))
    {
        let option = option.split('=').next().unwrap_or(option);
        if !help.contains(option) {
            return Err(format!("no option {option}").into());
        }
    }
    Ok(())
}
