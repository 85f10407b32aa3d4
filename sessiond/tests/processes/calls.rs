//! Services of a session that call each other, as shells do it.

use std::path::Path;

use sessiond::template::Service;

use crate::run_dir;
use crate::support::{Daemon, Pipe, service};

fn named(name: &str, script: &str) -> Service {
    Service { name: name.parse().unwrap(), ..service(script) }
}

pub fn call(dir: &Path) {
    let pipe = Pipe::from_session(dir, "said");
    // Until the other service listens.
    let script = format!(
        r#"exec > {0} 2>&1
        until sessiond state call mail hello 2> /dev/null; do :; done
        sessiond state call mail --json again
        sessiond state call nobody hello; echo "nobody: $?"
        until [ "$(sessiond state call slow hello --within 200 2>&1 | grep -c 'in time')" = 1 ]; do :; done; echo late
        until sessiond state call loop hello 2> /dev/null; do :; done
        head -c 40000 /dev/zero | sessiond state call mail; echo "too large: $?"
        exec cat"#,
        pipe.path.display()
    );
    let mail = "exec sessiond state serve sh -c 'read -r asked; echo \"$HOTDESK_CALLER asks $asked\"'";
    // It calls itself, which nobody hears before its time is over.
    let own = "exec sessiond state serve sh -c 'sessiond state call loop again --within 300 || echo ended'";
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let services = vec![
        service(&script),
        named("loop", own),
        named("mail", mail),
        named("slow", "exec sessiond state serve sleep 60"),
    ];
    daemon.make(1, services);
    for said in ["terminal asks hello", r#"{"reply":"terminal asks again\n"}"#] {
        assert_eq!(pipe.line("a reply"), said);
    }
    assert!(pipe.line("why there is none").contains("there is no such service"));
    assert_eq!(pipe.line("what is said of that"), "nobody: 1");
    assert_eq!(pipe.line("that it is late"), "late");
    assert_eq!(pipe.line("the end of the loop"), "ended");
    assert!(pipe.line("the bound").contains("more than 32768 bytes"));
    assert_eq!(pipe.line("what is said of that"), "too large: 1");
}
