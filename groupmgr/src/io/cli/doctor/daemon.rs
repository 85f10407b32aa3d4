//! Whether a daemon runs here, and if not, whether one could.

use std::net::{TcpListener, UdpSocket};

use super::checks::Checks;
use super::seen::Seen;
use crate::io::admin::wire::Facts;
use crate::io::net::interfaces;

pub(super) fn check_daemon(seen: &Seen, checks: &mut Checks) {
    match &seen.group {
        Ok(group) => {
            let Facts { pid, version, .. } = &group.facts;
            checks.ok("daemon", format!("process {pid}, version {version}"));
        }
        Err(why) => checks.warn("daemon", why.clone(), ""),
    }
}

pub(super) fn check_hooks(seen: &Seen, checks: &mut Checks) {
    if let Some(why) = seen.group().and_then(|group| group.facts.hook_failed.as_ref()) {
        checks.warn("hooks", why.clone(), "mend it (--on-start, --on-stop) and restart the daemon");
    }
}

pub(super) fn check_interfaces(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return check_ports(checks) };
    let named: Vec<String> = group.facts.interfaces.iter().map(|i| format!("{} {}", i.name, i.ip)).collect();
    match named.is_empty() {
        true => checks.fail("interfaces", "none is up with a carrier", "connect the network"),
        false => checks.ok("interfaces", named.join(", ")),
    }
}

/// Without a daemon: could one start here?
fn check_ports(checks: &mut Checks) {
    let found = interfaces::list().unwrap_or_default();
    if let Err(error) = interfaces::check(&found, &[]) {
        checks.error("interfaces", &error);
    }
    for wire in interfaces::choose(&found, &[]) {
        let ip = wire.interface.ip;
        let free = UdpSocket::bind((ip, proto::PORT)).and_then(|_| TcpListener::bind((ip, proto::PORT)));
        match free {
            Ok(_) => checks.ok("interface", format!("{} {ip}: {} is free", wire.interface.name, proto::PORT)),
            Err(error) => checks.fail(
                "interface",
                format!("{} {ip}: port {}: {error}", wire.interface.name, proto::PORT),
                "stop the program that has it (ss -lpn sport = :7009)",
            ),
        }
    }
}
