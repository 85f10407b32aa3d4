//! What the documents show is so: messages are read by the parsers, templates can be stored, links lead somewhere.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "what cannot be read ends the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use proto::alp::{FromDtu, FromHost, Terminal};
use proto::beacon::Beacon;
use proto::discovery::{ServerQ, ServerR};
use proto::host_message::HostMessage;
use proto::line::Line;
use proto::peer::PeerMessage;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's directory").to_owned()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The texts of all blocks of one language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    document.split(&open).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The same line, read and written by the types of `proto`.
fn again(line: &Line) -> Line {
    let Some(command) = Some(line.command()).filter(|command| !command.is_empty()) else {
        return HostMessage::from_line(line).expect("a host message").to_line();
    };
    let of_a_dtu = line.get("_").is_some() || command == "connRsp";
    match command {
        "serverQ" => ServerQ::from_line(line).expect("a serverQ").to_line(),
        "serverR" => ServerR::from_line(line).expect("a serverR").to_line(),
        "beacon" => Beacon::from_line(line).expect("a beacon").to_line(),
        "display" => Line::new("display").with("session", line.need::<proto::SessionId>("session").unwrap()),
        command if proto::peer::COMMANDS.contains(&command) => {
            PeerMessage::from_line(line).expect("a message of a host").to_line()
        }
        _ if of_a_dtu => {
            let mut terminal = Terminal::default();
            terminal.merge(line);
            let message = FromDtu::from_line(line).expect("a message of a DTU");
            assert!(!matches!(message, FromDtu::Other(_)), "{line}");
            message.to_line(&terminal)
        }
        _ => {
            let message = FromHost::from_line(line).expect("a message of a host to a DTU");
            assert!(!matches!(message, FromHost::Other(_)), "{line}");
            message.to_line()
        }
    }
}

#[test]
fn every_message_shown_is_read_and_written_as_it_is_shown() {
    let document = read("docs/protocol.md");
    let mut commands = std::collections::BTreeSet::new();
    for text in blocks(&document, "hotdesk").into_iter().flat_map(str::lines) {
        let line = Line::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let signature = text.find(" kid=").map_or("", |at| &text[at..]);
        assert_eq!(format!("{}{signature}", again(&line)), text);
        commands.insert(line.command().to_owned());
    }
    for command in proto::peer::COMMANDS.iter().chain(&["serverQ", "serverR", "beacon", "display", "infoReq"])
    {
        assert!(commands.contains(*command), "{command} is not shown");
    }
}

#[test]
fn every_template_shown_can_be_stored() {
    let manual = read("docs/operations.md");
    let example = read("examples/two-services.toml");
    for text in blocks(&manual, "toml").into_iter().chain([example.as_str()]) {
        let template = sessiond::template::Template::parse(text).expect("what can be put");
        assert_eq!(template.services.iter().map(|s| s.required).collect::<Vec<_>>(), [true, false]);
    }
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut documents: Vec<String> = ["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(String::from).into();
    for entry in fs::read_dir(root().join("docs")).expect("docs").flatten() {
        documents.push(format!("docs/{}", entry.file_name().to_string_lossy()));
    }
    let tops =
        ["docs/", "examples/", "tests/", "proto/", "groupmgr/", "hotdesk/", "lab/", "datastore/", ".ci/"];
    for name in documents {
        let text = read(&name);
        let spans = text.split('`').skip(1).step_by(2).filter_map(|span| span.split_whitespace().next());
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for path in spans.filter(|span| tops.iter().any(|top| span.starts_with(top))).chain(links) {
            let is_local = !path.contains(':') && !path.contains('*') && !path.starts_with('#');
            let base = if path.starts_with("..") { root().join("docs") } else { root() };
            let there = base.join(path).exists() || root().join("docs").join(path).exists();
            assert!(!is_local || there, "{name} names {path}");
        }
    }
}
