//! Templates that are stored: can a session be made of them, and is all done that they ask for?

use sessiond::template::Template;

use super::checks::Checks;

/// Judges templates by their names and texts.
pub(super) fn judge(templates: &[(String, String)], checks: &mut Checks) {
    let mut fine = Vec::new();
    for (name, text) in templates {
        match Template::parse_stored(text) {
            Ok((_, ignored)) if ignored.is_empty() => fine.push(name.as_str()),
            Ok((_, ignored)) => {
                for flaw in ignored {
                    checks.warn(
                        "template",
                        format!("{name}, line {}: {}", flaw.line, flaw.flaw.problem),
                        format!("{}, and put it again: groupmgr template put {name} FILE", flaw.flaw.remedy),
                    );
                }
            }
            Err(error) => checks.fail(
                "template",
                format!("{name}: {error}"),
                format!("mend it: groupmgr template put {name} FILE"),
            ),
        }
    }
    if !fine.is_empty() {
        checks.ok("template", fine.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::Rating;
    use super::*;

    #[test]
    fn a_stored_template_that_asks_for_too_much_is_warned_of_and_one_that_makes_no_session_fails() {
        let service = "[[service]]\nname = \"t\"\n";
        let carried = format!("continuity = \"carried\"\n{service}host = \"b\"\n");
        let templates = [("a", service), ("b", carried.as_str()), ("c", "user = 1"), ("d", service)];
        let templates = templates.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut checks = Checks::default();
        judge(&templates, &mut checks);
        let said: Vec<_> = checks
            .0
            .iter()
            .map(|check| (check.verdict, format!("{}; {}", check.found, check.remedy)))
            .collect();
        let verdicts = [Rating::Warn, Rating::Warn, Rating::Fail, Rating::Ok];
        assert_eq!(said.iter().map(|(verdict, _)| *verdict).collect::<Vec<_>>(), verdicts, "{said:?}");
        let has = |n: usize, parts: &[&str]| parts.iter().all(|part| said[n].1.contains(part));
        assert!(has(0, &["b, line 1", "carried", "say restart", "groupmgr template put b FILE"]), "{said:?}");
        assert!(has(1, &["b, line 4", "host b"]) && has(2, &["c: line 1"]) && has(3, &["a, d"]), "{said:?}");
    }
}
