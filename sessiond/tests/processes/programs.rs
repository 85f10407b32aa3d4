//! What programs of a session have of it: permanent data, and where it is shown.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use proto::SessionId;
use sessiond::control::{Bytes, FromSession, ToSession};

use crate::run_dir;
use crate::support::{self, Daemon, service};

pub fn data(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    daemon.make(1, vec![service("cat")]);
    let path = daemon.dir.join("s").join(SessionId(1).to_string()).join("state");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut program = UnixStream::connect(&path).unwrap();
    program.set_read_timeout(Some(support::PATIENCE)).unwrap();
    program.write_all(&[0, 0, 0, 5]).unwrap();
    program.write_all(b"get x").unwrap();
    let (client, request) = daemon.said("Data", |said| match said {
        FromSession::Data { client, request } => Some((*client, request.clone())),
        _ => None,
    });
    assert_eq!(request.0, b"get x");
    let long: Vec<u8> = (0..=250).cycle().take(400_000).collect();
    daemon.tell(1, ToSession::DataReply { client, reply: Bytes(long.clone()) });
    let mut answer = vec![0; 4 + long.len()];
    program.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], (long.len() as u32).to_be_bytes());
    assert!(answer[4..] == long);
    // Another daemon cannot answer what this one was asked.
    program.write_all(&[0, 0, 0, 1, b'?']).unwrap();
    daemon.said("Data", |said| matches!(said, FromSession::Data { .. }).then_some(()));
    daemon.tell(1, ToSession::Describe);
    assert_eq!(program.read(&mut [0]).unwrap(), 0);
}

pub fn events(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    daemon.make(1, vec![service("cat")]);
    let path = daemon.dir.join("s").join(SessionId(1).to_string()).join("events");
    let program = UnixStream::connect(&path).unwrap();
    program.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut lines = BufReader::new(program).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), "disconnect", "how things are");
    daemon.attach(1, 7);
    assert_eq!(line(), "connect dtu=desk1");
    daemon.tell(1, ToSession::Detach);
    assert_eq!(line(), "disconnect");
    daemon.tell(1, ToSession::End);
    assert_eq!(line(), "end");
}
