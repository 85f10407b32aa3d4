//! Which files of a crate use which: an edge is a `use` or a path from one file to an item that is defined in
//! another, outside of tests. Children count as any other file. Enough of name resolution for our own code: modules,
//! `use` with groups, names and globs, re-exports, and paths that begin with any of these.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Source;

/// The module a file holds, by the names that lead to it from the crate's root.
type Module = Vec<String>;

/// The files of one crate and what they use of each other.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// What resolution needs to know of a file.
struct File<'a> {
    name: &'a str,
    code: &'a str,
    /// Names that `use` brings in, and where each leads.
    imports: BTreeMap<String, Vec<String>>,
    /// Modules of which everything is brought in.
    globs: Vec<Vec<String>>,
}

impl Graph {
    /// Reads the files under `src`, such as `groupmgr/src/`.
    pub(crate) fn of(src: &str, sources: &BTreeMap<String, Source>) -> Self {
        let mut files = BTreeMap::new();
        for (name, source) in sources.iter().filter(|(name, _)| name.starts_with(src)) {
            let Some(module) = module_of(&name[src.len()..]) else { continue };
            let (imports, globs) = imports(source.code());
            files.insert(module, File { name: name.as_str(), code: source.code(), imports, globs });
        }
        let crate_name = src.split('/').next().unwrap_or_default().replace('-', "_");
        let mut graph = Self::default();
        for (module, file) in &files {
            let edges = graph.edges.entry(file.name.to_owned()).or_default();
            for path in used(file) {
                let path = if path[0] == crate_name { with_first(&path, "crate") } else { path };
                if let Some(to) = defined_in(&files, module, &path, 0)
                    && to != file.name
                {
                    edges.insert(to.to_owned());
                }
            }
        }
        graph
    }

    /// All edges, as the names of two files.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges.iter().flat_map(|(from, to)| to.iter().map(|to| (from.as_str(), to.as_str())))
    }

    /// The most files of which each reaches each other, and one way round through two of them; nothing and an empty
    /// way if there is no cycle.
    pub(crate) fn largest_cycle(&self) -> (BTreeSet<String>, Vec<String>) {
        let mut largest = BTreeSet::new();
        let reached: BTreeMap<&String, BTreeSet<&String>> =
            self.edges.keys().map(|from| (from, self.reached_from(from))).collect();
        for (from, to) in &reached {
            let both: BTreeSet<String> =
                to.iter().filter(|to| reached[**to].contains(*from)).map(|to| (**to).clone()).collect();
            if both.len() > largest.len() {
                largest = both;
            }
        }
        let way = largest.first().map(|from| self.way_round(from)).unwrap_or_default();
        (largest, way)
    }

    fn reached_from(&self, from: &String) -> BTreeSet<&String> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = self.edges[from].iter().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(&self.edges[file]);
            }
        }
        reached
    }

    /// The shortest way from a file back to itself.
    fn way_round(&self, from: &String) -> Vec<String> {
        let mut before: BTreeMap<&String, &String> = BTreeMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(file) = next.pop_front() {
            for to in &self.edges[file] {
                if !before.contains_key(to) {
                    before.insert(to, file);
                    next.push_back(to);
                }
            }
        }
        let (mut way, mut at) = (vec![from.clone()], from);
        while let Some(file) = before.get(at) {
            way.insert(0, (*file).clone());
            at = file;
            if at == from {
                break;
            }
        }
        way
    }
}

/// The module of a file, by its name within `src`; programs of their own and unit tests are none of the crate's.
fn module_of(name: &str) -> Option<Module> {
    let path = name.strip_suffix(".rs")?;
    let mut parts: Module = path.split('/').map(str::to_owned).collect();
    if parts[0] == "bin" || parts.iter().any(|part| part == "tests") || path == "main" {
        return None;
    }
    if parts.last().is_some_and(|last| last == "mod" || path == "lib") {
        parts.pop();
    }
    Some(parts)
}

fn with_first(path: &[String], first: &str) -> Vec<String> {
    core::iter::once(first.to_owned()).chain(path[1..].iter().cloned()).collect()
}

/// What `use` brings into a file: names, and modules of which everything is.
fn imports(code: &str) -> (BTreeMap<String, Vec<String>>, Vec<Vec<String>>) {
    let (mut names, mut globs) = (BTreeMap::new(), Vec::new());
    for path in use_paths(code) {
        let (path, name) = match path.iter().position(|part| part == "as") {
            Some(at) => (path[..at].to_vec(), path[at + 1].clone()),
            None => (path.clone(), path[path.len() - 1].clone()),
        };
        if name == "*" {
            globs.push(path[..path.len() - 1].to_vec());
        } else if path.last().is_some_and(|last| last == "self") {
            let path = path[..path.len() - 1].to_vec();
            if let Some(name) = path.last().cloned() {
                names.insert(name, path);
            }
        } else {
            names.insert(name, path);
        }
    }
    (names, globs)
}

/// The paths of all `use` declarations, groups taken apart; `as` stays as a part of its own.
fn use_paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line = &code[code[..at].rfind('\n').map_or(0, |n| n + 1)..at];
        // What stands before it on its line: nothing, or its visibility.
        if !line.trim().is_empty() && !line.trim_start().starts_with("pub") {
            continue;
        }
        let rest = &code[at + 4..];
        let end = rest.find(';').unwrap_or(rest.len());
        expand(&[], &tokens(&rest[..end]), &mut found);
    }
    found
}

/// Takes a use tree apart: `a::{b, c::d}` are `a::b` and `a::c::d`.
fn expand(prefix: &[String], tree: &[String], found: &mut Vec<Vec<String>>) {
    let Some(open) = tree.iter().position(|token| token == "{") else {
        found.push(prefix.iter().cloned().chain(tree.iter().filter(|t| *t != "::").cloned()).collect());
        return;
    };
    let prefix: Vec<String> =
        prefix.iter().cloned().chain(tree[..open].iter().filter(|t| *t != "::").cloned()).collect();
    let (mut depth, mut from) = (0, open + 1);
    for at in open..tree.len() {
        match tree[at].as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if (depth == 1 && tree[at] == ",") || depth == 0 {
            if at > from {
                expand(&prefix, &tree[from..at], found);
            }
            from = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
}

/// Words, `::` and single characters.
pub(crate) fn tokens(code: &str) -> Vec<String> {
    let chars: Vec<char> = code.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let word: String = chars[at..].iter().take_while(|c| is_word(**c)).collect();
        if !word.is_empty() {
            at += word.chars().count();
            found.push(word);
        } else if chars[at] == ':' && chars.get(at + 1) == Some(&':') {
            at += 2;
            found.push("::".to_owned());
        } else {
            if !chars[at].is_whitespace() {
                found.push(chars[at].to_string());
            }
            at += 1;
        }
    }
    found
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// All paths in a file, those of its `use` declarations included. The path of a visibility is none.
fn used(file: &File<'_>) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for path in use_paths(file.code) {
        let end = path.iter().position(|part| part == "as").unwrap_or(path.len());
        found.insert(path[..end].to_vec());
    }
    let tokens = tokens(file.code);
    let mut at = 0;
    while at < tokens.len() {
        let begins = tokens[at].starts_with(|c: char| is_word(c)) && (at == 0 || tokens[at - 1] != "::");
        let is_visibility = at >= 2 && tokens[at - 1] == "in" && tokens[at - 2] == "(";
        let mut path = vec![tokens[at].clone()];
        while begins
            && tokens.get(at + 1).is_some_and(|t| t == "::")
            && tokens.get(at + 2).is_some_and(|t| t.starts_with(|c: char| is_word(c)))
        {
            path.push(tokens[at + 2].clone());
            at += 2;
        }
        if path.len() > 1 && !is_visibility {
            found.insert(path);
        }
        at += 1;
    }
    found
}

/// The file that defines what `path` leads to, as it is written in the file of `module`.
fn defined_in<'a>(
    files: &BTreeMap<Module, File<'a>>,
    module: &Module,
    path: &[String],
    depth: usize,
) -> Option<&'a str> {
    // Two globs that name each other would never end.
    if depth > 16 {
        return None;
    }
    let mut at = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {}
        first => {
            let imported = files.get(module)?.imports.get(first).filter(|to| to[0] != first);
            if let Some(to) = imported {
                let whole: Vec<String> = to.iter().chain(&path[1..]).cloned().collect();
                return defined_in(files, module, &whole, depth + 1);
            }
        }
    }
    while rest.first().is_some_and(|part| part == "super") {
        at.pop()?;
        rest = &rest[1..];
    }
    while let Some(part) = rest.first() {
        at.push(part.clone());
        if !files.contains_key(&at) {
            at.pop();
            break;
        }
        rest = &rest[1..];
    }
    // A module is no item: only what is taken out of it is.
    let item = rest.first()?;
    let file = files.get(&at)?;
    // A `use` of everything is one of the file.
    if item == "*" || defines(file.code, item) {
        return Some(file.name);
    }
    if let Some(to) = file.imports.get(item) {
        let whole: Vec<String> = to.iter().chain(&rest[1..]).cloned().collect();
        let is_itself = at == *module && whole == path;
        return if is_itself { None } else { defined_in(files, &at, &whole, depth + 1) };
    }
    file.globs.iter().find_map(|glob| {
        let whole: Vec<String> = glob.iter().chain(rest).cloned().collect();
        defined_in(files, &at, &whole, depth + 1)
    })
}

/// Whether a file defines an item of this name.
fn defines(code: &str, name: &str) -> bool {
    const KINDS: [&str; 9] =
        ["struct", "enum", "fn", "const", "static", "type", "trait", "union", "macro_rules!"];
    code.match_indices(name).any(|(at, _)| {
        let ends = !code[at + name.len()..].starts_with(is_word);
        let before = code[..at].trim_end();
        ends && before.len() < at && KINDS.iter().any(|kind| before.ends_with(kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let read = |(name, text): &(&str, &str)| (format!("x/src/{name}"), Source::read(text));
        Graph::of("x/src/", &files.iter().map(read).collect())
    }

    fn edges(graph: &Graph) -> Vec<String> {
        let of = |(from, to): (&String, &BTreeSet<String>)| {
            to.iter().map(|to| format!("{} {}", &from[6..], &to[6..])).collect::<Vec<_>>()
        };
        graph.edges.iter().flat_map(of).collect()
    }

    #[test]
    fn an_edge_is_a_use_or_a_path_to_what_another_file_defines() {
        let found = graph(&[
            ("lib.rs", "pub mod a; pub mod b; mod c; mod d; pub use a::One; fn main() {}"),
            (
                "a/mod.rs",
                "mod deep;\nuse crate::One as Own;\npub(in crate::b) struct One;\npub use deep::Two;",
            ),
            ("a/deep.rs", "pub struct Two;\npub(super) fn three() {}"),
            // Through two re-exports, by a module, by a path without `use`, and by a glob.
            ("b.rs", "use crate::One;\nuse super::a;\nfn f(_: a::Two) { crate::c::four(); }"),
            (
                "c.rs",
                "use crate::d::*;\npub fn four() -> Five { Five }\n#[cfg(test)]\nmod tests { use crate::b::f; }",
            ),
            ("d.rs", "//! crate::b::f\npub struct Five;\nfn g() -> &'static str { \"crate::b::f\" }"),
        ]);
        let wanted = ["b.rs a/deep.rs", "b.rs a/mod.rs", "b.rs c.rs", "c.rs d.rs", "lib.rs a/mod.rs"];
        let wanted: Vec<&str> = [&["a/mod.rs a/deep.rs"], &wanted[..]].concat();
        assert_eq!(edges(&found), wanted);
        assert_eq!(found.largest_cycle(), (BTreeSet::new(), Vec::new()));
    }

    #[test]
    fn a_cycle_is_found_and_shown_with_parent_and_child() {
        let found = graph(&[
            ("lib.rs", "mod a;\nmod other;"),
            ("a.rs", "mod child;\npub(crate) struct Parent;\nfn f() { child::g() }"),
            ("a/child.rs", "use super::Parent;\npub(super) fn g() {}"),
            ("other.rs", "use crate::a::Parent;"),
        ]);
        let (files, way) = found.largest_cycle();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), ["x/src/a.rs", "x/src/a/child.rs"]);
        assert_eq!(way, ["x/src/a.rs", "x/src/a/child.rs", "x/src/a.rs"]);
    }
}
