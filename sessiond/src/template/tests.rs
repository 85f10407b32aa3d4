//! The text of a template and its flaws.

use super::*;
use proptest::prelude::*;
use proto::time::Duration;

#[test]
fn without_a_word_a_session_is_the_users_shell() {
    let template = Template::default();
    assert_eq!(template.services.len(), 1);
    assert_eq!(template.services[0].name.as_str(), "terminal");
    assert!(template.services[0].required);
    assert_eq!(Template::parse(&template.to_text()), Ok(template));
}

#[test]
fn a_template_says_all_that_a_session_is_made_of() {
    let text = r#"
        user = "alice"
        continuity = "replicated"
        ack = "batch"
        every = 30
        protect = "must"
        promote = "ping"
        size = "132x43"
        [[service]]
        name = "terminal"
        [[service]]
        name = "mail"
        command = ["/usr/bin/mutt", "-R"]
        required = false
        display = "none"
        host = "b"
        cwd = "/srv"
        env = { LANG = "C" }
    "#;
    let (template, ignored) = Template::parse_stored(text).unwrap();
    assert_eq!(template.account.as_deref(), Some("alice"));
    assert_eq!(template.continuity, Continuity::Replicated);
    let ack = Ack::Batch { every: Duration::from_secs(30), versions: Ack::VERSIONS };
    assert_eq!(template.replication, Replication { ack, protect: Protect::Must, promote: Promote::Ping });
    assert_eq!(ignored.iter().map(|flaw| flaw.line).collect::<Vec<_>>(), [16]);
    assert_eq!(template.size, Size { cols: 132, rows: 43 });
    let mail = &template.services[1];
    assert_eq!(mail.command, Command::Words(vec!["/usr/bin/mutt".into(), "-R".into()]));
    assert_eq!((mail.required, mail.display), (false, Display::None));
    assert_eq!(Template::parse_stored(&template.to_text()).unwrap().0, template);
    let (a, b): (HostName, HostName) = ("a".parse().unwrap(), "b".parse().unwrap());
    let at = |host, home| template.services_at(host, home).map(|s| s.name.as_str()).collect::<Vec<_>>();
    assert_eq!(
        (at(&a, &a), at(&b, &a), at(&b, &b)),
        (vec!["terminal"], vec!["mail"], vec!["terminal", "mail"])
    );
}

#[test]
fn what_nothing_implements_is_refused_with_its_line_and_a_stored_one_is_read_without_it() {
    for class in ["carried", "continuous", "checkpoint"] {
        let text = format!("\ncontinuity = {class:?}\n[[service]]\nname = \"t\"\n");
        let error = Template::parse(&text).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.to_string().contains(class) && error.to_string().contains("say restart"), "{error}");
        let (template, ignored) = Template::parse_stored(&text).unwrap();
        assert_eq!((template.continuity, ignored), (Continuity::Restart, vec![error]));
        assert!(Template::parse(&template.to_text()).is_ok(), "what is read can be put");
    }
    let text =
        "continuity = \"restart\"\n[[service]]\nname = \"t\"\n[[service]]\nname = \"u\"\nhost = \"b\"\n";
    let error = Template::parse(text).unwrap_err();
    assert_eq!(error.line, 6);
    assert!(error.to_string().contains("host b"), "{error}");
    assert_eq!(Template::parse_stored(text).unwrap().1, [error]);
}

#[test]
fn a_flaw_is_told_with_its_line_and_its_remedy() {
    let service = "\n[[service]]\nname = \"t\"\n";
    for (text, line, part) in [
        (String::new(), 1, "no service"),
        (format!("user = \"a b\"{service}"), 1, "user's name"),
        (format!("\ncontinuity = \"eternal\"{service}"), 2, "use one of restart, replicated"),
        (format!("continuity = \"replicated\"\nack = \"never\"{service}"), 2, "use one of each, batch"),
        (format!("continuity = \"replicated\"\nevery = 5{service}"), 2, "say ack = \"batch\""),
        (format!("continuity = \"replicated\"\nack = \"batch\"\nversions = 0{service}"), 3, "from 1 to"),
        (format!("protect = \"must\"{service}"), 1, "say continuity = \"replicated\""),
        (format!("promote = \"ping\"{service}"), 1, "say continuity = \"replicated\""),
        (format!("continuity = \"replicated\"\npromote = \"pong\"{service}"), 2, "use one of card, ping"),
        (format!("size = \"80x0\"{service}"), 1, "80x24"),
        (format!("{service}name = \"u\""), 4, "duplicate key"),
        (format!("{service}colour = \"u\""), 4, "unknown field"),
        (format!("{service}command = []"), 2, "command is empty"),
        (format!("{service}cwd = \"srv\""), 2, "begin it with '/'"),
        (format!("{service}env = {{ HOTDESK_HOST = \"x\" }}"), 2, "set by Hotdesk"),
        (format!("{service}{service}"), 5, "second service"),
        (service.repeat(SERVICES_MAX + 1), 1 + 3 * SERVICES_MAX + 1, "too many"),
        (service.replace("\"t\"", "\"a b\""), 3, "service's name"),
        ("x".repeat(TEXT_MAX + 1), 1, "too long"),
        ("a = [".to_owned(), 1, "TOML"),
    ] {
        let error = Template::parse(&text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "one line: {error}");
    }
}

proptest! {
    #[test]
    fn reading_a_template_never_panics(text in "(\\[\\[service\\]\\]|name|size|=|\"|x|[0-9]|\\n|\\PC){0,60}") {
        if let Ok((template, _)) = Template::parse_stored(&text) {
            prop_assert_eq!(Template::parse_stored(&template.to_text()).map(|(read, _)| read), Ok(template));
        }
    }
}

#[test]
fn a_session_of_nothing_is_made_on_purpose_only() {
    let nothing = Template::parse("service = []").unwrap();
    assert!(nothing.services.is_empty());
    assert_eq!(Template::parse(&nothing.to_text()), Ok(nothing));
    let forgotten = Template::parse("").unwrap_err();
    assert!(forgotten.to_string().contains("service = []"), "{forgotten}");
}

#[test]
fn a_replicated_session_waits_for_each_version_unless_its_template_says_otherwise() {
    let service = "[[service]]\nname = \"t\"\n";
    let plain = Template::parse(&format!("continuity = \"replicated\"\n{service}")).unwrap();
    assert_eq!(plain.replication, Replication::default());
    let batch = Template::parse(&format!("continuity = \"replicated\"\nack = \"batch\"\n{service}")).unwrap();
    assert_eq!(batch.replication.ack, Ack::Batch { every: Ack::EVERY, versions: 100 });
    for template in [plain, batch] {
        let Replication { ack, protect, promote } = template.replication;
        assert_eq!((ack.to_string().parse(), protect.as_str().parse()), (Ok(ack), Ok(protect)));
        assert_eq!(promote.as_str().parse(), Ok(promote));
        assert_eq!(Template::parse(&template.to_text()), Ok(template));
    }
}
