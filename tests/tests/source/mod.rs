//! Rust source as the style test sees it: without comments, text and tests, and cut into functions. Just enough
//! of a reader for code that the formatter has been over.

pub(crate) mod graph;

/// The text of one source file, and the same without comments and strings.
pub(crate) struct Source {
    text: String,
    /// The same with comments and the contents of text and characters blanked out, line by line as before.
    code: String,
}

/// A function outside of tests.
pub(crate) struct Function {
    pub(crate) name: String,
    /// From its head to its closing brace.
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        Self { text: text.to_owned(), code: without_tests(&blanked(text)) }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Without comments, contents of text, and tests.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn opens_with_a_doc(&self) -> bool {
        self.text.trim_start().starts_with("//!")
    }

    /// Every doc comment, its lines joined.
    pub(crate) fn docs(&self) -> Vec<String> {
        let mut docs: Vec<String> = Vec::new();
        let mut goes_on = false;
        for line in self.text.lines() {
            let line = line.trim_start();
            let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
            match (doc, docs.last_mut().filter(|_| goes_on)) {
                (Some(doc), Some(last)) => last.push_str(doc),
                (Some(doc), None) => docs.push(doc.to_owned()),
                (None, _) => {}
            }
            goes_on = doc.is_some();
        }
        docs
    }

    /// Lines of the file that belong to no tests.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let tests = without_tests(&blanked(&self.text)).matches(TESTS_LINE).count();
        self.text.lines().count() - tests
    }

    /// Whether the code, outside of tests, holds these characters at the beginning of a word.
    pub(crate) fn uses(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
        })
    }

    /// Whether the code, outside of tests, has an inherent `impl` of this type.
    pub(crate) fn implements(&self, name: &str) -> bool {
        let head = format!("impl {name} {{");
        self.code.lines().any(|line| line.starts_with(&head))
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let before = self.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &self.code[at..];
            let name: String = rest[3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // A declaration without a body, or a type such as `fn (u8)`, ends before any brace.
            let Some(open) = rest.find(['{', ';']) else { continue };
            if name.is_empty() || rest[open..].starts_with(';') {
                continue;
            }
            let body = &rest[..open + braced(&rest[open..])];
            found.push(Function { name, lines: body.lines().count() });
        }
        found
    }

    /// The variants of enums called `Command` or `...Command`, as they are typed on a command line.
    pub(crate) fn subcommands(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("enum ") {
            let rest = &self.code[at + 5..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            let Some(open) = rest.find('{').filter(|_| name.ends_with("Command")) else { continue };
            let body = &rest[open..open + braced(&rest[open..])];
            let mut depth = 0_i32;
            for line in body.lines() {
                let word = line.trim_start();
                if depth == 1 && word.starts_with(|c: char| c.is_ascii_uppercase()) {
                    found.push(kebab(word));
                }
                depth += level(line);
            }
        }
        found
    }
}

fn level(line: &str) -> i32 {
    line.chars().fold(0, |depth, c| match c {
        '{' | '(' | '[' => depth + 1,
        '}' | ')' | ']' => depth - 1,
        _ => depth,
    })
}

fn kebab(word: &str) -> String {
    let name = word.chars().take_while(|c| c.is_alphanumeric());
    let mut out = String::new();
    for c in name {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A section of a manifest, its head excluded.
pub(crate) fn section<'a>(manifest: &'a str, head: &str) -> &'a str {
    let Some(at) = manifest.find(head) else { return "" };
    let rest = &manifest[at + head.len()..];
    rest.find("\n[").map_or(rest, |end| &rest[..end])
}

/// The length of a braced part at the beginning of `code`.
fn braced(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// What stands in the place of each line of a module of tests.
const TESTS_LINE: &str = "\u{1}";

/// Code with its modules of tests taken out, a mark left for each of their lines.
fn without_tests(code: &str) -> String {
    const HEAD: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(HEAD) {
        let after = &rest[at..];
        let end = match after.find(['{', ';']) {
            Some(open) if after[open..].starts_with('{') => open + braced(&after[open..]),
            Some(semicolon) => semicolon + 1,
            None => after.len(),
        };
        out.push_str(&rest[..at]);
        out.push_str(&vec![TESTS_LINE; after[..end].lines().count()].join("\n"));
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// The text with comments and the contents of strings and characters replaced by blanks.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_token(&chars, at);
        if end == at + 1 {
            out.push(chars[at]);
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        }
        at = end;
    }
    out
}

/// Where the comment, string or character that begins at `at` ends; one further when none does.
fn end_of_token(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied();
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == Some('/') => find(chars, at, |rest| rest.starts_with(&['\n'])),
        '/' if next(1) == Some('*') => find(chars, at + 2, |rest| rest.starts_with(&['*', '/'])) + 2,
        'r' if !word_before && matches!(next(1), Some('"' | '#')) => end_of_raw(chars, at),
        '"' => end_of_text(chars, at),
        '\'' if next(1) == Some('\\') => find(chars, at + 3, |rest| rest.starts_with(&['\''])) + 1,
        // A lifetime has no quote after its first letter.
        '\'' if next(2) == Some('\'') => at + 3,
        _ => at + 1,
    }
    .min(chars.len())
}

fn find(chars: &[char], from: usize, is_there: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|n| is_there(&chars[*n..])).unwrap_or(chars.len())
}

fn end_of_text(chars: &[char], at: usize) -> usize {
    let mut n = at + 1;
    while n < chars.len() && chars[n] != '"' {
        n += if chars[n] == '\\' { 2 } else { 1 };
    }
    n + 1
}

fn end_of_raw(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at + 1;
    }
    let mut close = vec!['"'];
    close.extend(vec!['#'; hashes]);
    find(chars, at + 2 + hashes, |rest| rest.starts_with(&close)) + close.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r##"//! Doc.
fn short<'a>(c: char, t: &'a str) -> bool {
    let brace = "}{\" // no comment";
    c == '{' || c == '\'' || t == r#"fn not() {"# /* fn nor() { */
}
trait T { fn declared(&self); }
pub(super) enum DtuCommand {
    /// Lists what there is.
    List { on: u8 },
    SetUp(Args),
}
#[cfg(test)]
mod tests {
    fn long_test() {
        tokio::main();
    }
}
"##;

    #[test]
    fn functions_are_measured_whatever_their_text_holds() {
        let source = Source::read(SAMPLE);
        let found: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("short".to_owned(), 4)]);
        assert_eq!(source.lines_without_tests(), 11);
        assert!(source.opens_with_a_doc() && !source.uses("tokio::"));
        assert_eq!(source.subcommands(), ["list", "set-up"]);
    }
}
