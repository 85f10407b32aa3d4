//! The variables that the programs of a session are given: those that `login` and `sshd` give, from the same files,
//! and those by which a program finds its session.
//!
//! Nothing is taken from the daemon but how people write and what time it is (`LANG`, `LC_*`, `TZ`): its other
//! variables are its operator's business. What the machine's files say is read again for each session. Later entries
//! of this list win: the daemon's locale, `/etc/environment`, `/etc/default/locale` or `/etc/locale.conf`, the
//! account, the session.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::Home;
use crate::control::SessionSpec;
use crate::io::account::Account;

/// Variables with their values.
pub(super) type Variables = BTreeMap<OsString, OsString>;

/// Where programs are looked for when `/etc/login.defs` does not say: its own defaults on Debian.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The locale of whoever has none that knows UTF-8. Part of the C library since glibc 2.35, and of Debian long before.
const UTF8_LOCALE: &str = "C.UTF-8";

/// Where mail is delivered.
const MAIL: &str = "/var/mail";

/// What is read of one of the machine's files at most, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// The variables of all programs of a session.
pub(super) fn of(spec: &SessionSpec, account: &Account, home: &Home) -> Variables {
    let mut variables = inherited(std::env::vars_os());
    variables.extend(assignments(&read("/etc/environment")));
    variables.extend(assignments(&read("/etc/default/locale")));
    variables.extend(assignments(&read("/etc/locale.conf")));
    write_in_utf8(&mut variables);
    let default_path = default_path(&read("/etc/login.defs"), account.uid.is_root());
    let path = variables.remove(OsStr::new("PATH")).unwrap_or(default_path);
    let mut with_tools = OsString::from(home.bin());
    with_tools.push(":");
    with_tools.push(path);
    let mail = Path::new(MAIL).is_dir().then(|| Path::new(MAIL).join(&account.name));
    let always: [(&str, OsString); 14] = [
        ("PATH", with_tools),
        ("HOME", account.home.clone().into()),
        ("SHELL", account.shell.clone().into()),
        ("USER", account.name.clone().into()),
        ("LOGNAME", account.name.clone().into()),
        ("TERM", "xterm-256color".into()),
        ("HOTDESK_SESSION", spec.session.to_string().into()),
        ("HOTDESK_TOKEN", spec.token.to_string().into()),
        ("HOTDESK_HOST", spec.host.to_string().into()),
        ("HOTDESK_DATA", home.data().into()),
        // What the version before calls it.
        ("HOTDESK_SOCKET", home.data().into()),
        ("HOTDESK_EVENTS", home.events().into()),
        ("HOTDESK_BIN", home.bin().into()),
        ("MAIL", mail.map(OsString::from).unwrap_or_default()),
    ];
    variables.extend(always.map(|(name, value)| (name.into(), value)));
    variables.retain(|name, value| name != "MAIL" || !value.is_empty());
    variables
}

fn read(path: &str) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map(|file| file.take(FILE_MAX));
    // What cannot be read says nothing, as for `login`.
    let _ = file.and_then(|mut file| file.read_to_string(&mut text));
    text
}

fn inherited(all: impl Iterator<Item = (OsString, OsString)>) -> Variables {
    let counts = |name: &OsStr| {
        name.to_str().is_some_and(|name| name == "LANG" || name == "TZ" || name.starts_with("LC_"))
    };
    all.filter(|(name, _)| counts(name)).collect()
}

/// The assignments in a file that `pam_env` or systemd reads: `NAME=value`, perhaps after `export`, perhaps quoted.
fn assignments(text: &str) -> Variables {
    let assignment = |line: &str| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let unquoted = ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_name.then(|| (name.into(), unquoted.unwrap_or(value).into()))
    };
    text.lines()
        .filter_map(assignment)
        .filter(|(_, value): &(OsString, OsString)| !value.is_empty())
        .collect()
}

/// What `login` would set: `ENV_PATH` of `/etc/login.defs`, for root `ENV_SUPATH`.
fn default_path(login_defs: &str, root: bool) -> OsString {
    let (wanted, default) = if root { ("ENV_SUPATH", ROOT_PATH) } else { ("ENV_PATH", PATH) };
    let said = login_defs.lines().find_map(|line| {
        let (name, value) = line.trim().split_once(char::is_whitespace)?;
        (name == wanted).then(|| value.trim().trim_start_matches("PATH="))
    });
    said.filter(|path| !path.is_empty()).unwrap_or(default).into()
}

/// Sees to it that programs write UTF-8, since that is all a display can show. A locale that does is left alone; of
/// another one everything stays but the characters.
fn write_in_utf8(variables: &mut Variables) {
    let is_utf8 = |value: &OsString| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.ends_with("utf-8")
            || value.ends_with("utf8")
            || value.contains("utf-8@")
            || value.contains("utf8@")
    };
    let get = |name: &str| variables.get(OsStr::new(name)).filter(|value| !value.is_empty());
    match get("LC_ALL").or_else(|| get("LC_CTYPE")).or_else(|| get("LANG")) {
        Some(value) if is_utf8(value) => {}
        Some(_) => {
            // LC_ALL would go before LC_CTYPE.
            if let Some(all) = variables.remove(OsStr::new("LC_ALL")) {
                variables.insert("LANG".into(), all);
            }
            variables.insert("LC_CTYPE".into(), UTF8_LOCALE.into());
        }
        None => drop(variables.insert("LANG".into(), UTF8_LOCALE.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(of: &[(&str, &str)]) -> Variables {
        of.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn after(before: &[(&str, &str)]) -> Variables {
        let mut variables = variables(before);
        write_in_utf8(&mut variables);
        variables
    }

    #[test]
    fn a_session_writes_utf_8_whatever_the_daemon_was_started_with() {
        assert_eq!(after(&[]), variables(&[("LANG", "C.UTF-8")]));
        assert_eq!(after(&[("LC_ALL", "")])[OsStr::new("LANG")], "C.UTF-8");
        for good in ["de_DE.UTF-8", "en_US.utf8", "ca_ES.UTF-8@valencia"] {
            assert_eq!(after(&[("LANG", good)]), variables(&[("LANG", good)]));
            assert_eq!(
                after(&[("LANG", "C"), ("LC_ALL", good)]),
                variables(&[("LANG", "C"), ("LC_ALL", good)])
            );
        }
        for bad in ["C", "POSIX", "de_DE@euro", "ja_JP.eucJP"] {
            let expected = variables(&[("LANG", bad), ("LC_CTYPE", "C.UTF-8")]);
            assert_eq!(after(&[("LANG", bad)]), expected);
            assert_eq!(after(&[("LC_ALL", bad)]), expected, "LC_ALL would go before LC_CTYPE");
        }
    }

    #[test]
    fn of_the_daemons_variables_a_session_has_the_locale_and_the_time_zone_only() {
        let all =
            [("LANG", "x"), ("LC_TIME", "x"), ("TZ", "x"), ("PATH", "x"), ("LD_PRELOAD", "x"), ("LC", "x")];
        let kept = inherited(all.iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(kept, variables(&[("LANG", "x"), ("LC_TIME", "x"), ("TZ", "x")]));
    }

    #[test]
    fn the_machines_files_are_read_as_login_reads_them() {
        let text =
            "# a comment\nexport A=1\nB=\"two words\"\nC='3'\n 4D=no\nE=\nF\nLANG=\"de_DE.UTF-8\"\n=x\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "3"), ("LANG", "de_DE.UTF-8")];
        assert_eq!(assignments(text), variables(&expected));
        let defs = "#ENV_PATH PATH=/no\nENV_SUPATH\tPATH=/su\nENV_PATH   PATH=/a:/b\n";
        assert_eq!((default_path(defs, true), default_path(defs, false)), ("/su".into(), "/a:/b".into()));
        assert_eq!((default_path("", true), default_path("", false)), (ROOT_PATH.into(), PATH.into()));
    }
}
