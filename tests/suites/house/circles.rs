//! No two modules of a crate need each other. Read from the paths that begin with `crate` or `super`: an edge runs between the
//! two siblings under which a path starts and ends. A parent with its own children is no circle, test code makes none, and a name
//! that a module re-exports counts where it is defined.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where a module stands in its crate: `["catalog", "rbac"]`.
type Module = Vec<String>;

/// The modules of one crate that need each other, each group with a path through it.
pub fn circles(source: &Path) -> BTreeMap<String, String> {
    let files = files(source);
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    let paths: BTreeMap<&Module, Vec<Module>> =
        files.iter().map(|(module, text)| (module, paths(module, text))).collect();
    let exports: BTreeMap<&Module, BTreeMap<String, Module>> =
        files.iter().map(|(module, text)| (module, exports(module, text, &modules))).collect();
    let mut edges: BTreeMap<Module, BTreeMap<Module, String>> = BTreeMap::new();
    for (from, paths) in &paths {
        for path in paths {
            let to = resolve(path, &modules, &exports);
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if shared < from.len() && shared < to.len() {
                let evidence = format!("{} names {}", from.join("::"), path.join("::"));
                edges.entry(from[..=shared].to_vec()).or_default().entry(to[..=shared].to_vec()).or_insert(evidence);
            }
        }
    }
    groups(&edges)
}

/// The groups of modules that reach each other.
fn groups(edges: &BTreeMap<Module, BTreeMap<Module, String>>) -> BTreeMap<String, String> {
    let reach = |from: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(next) = open.pop() {
            open.extend(
                edges.get(&next).into_iter().flat_map(BTreeMap::keys).filter(|to| seen.insert((*to).clone())).cloned(),
            );
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = edges.keys().map(|from| (from, reach(from))).collect();
    let mut groups = BTreeMap::new();
    for (from, there) in reached.iter().filter(|(from, there)| there.contains(**from)) {
        let group: BTreeSet<&Module> =
            there.iter().filter(|to| reached.get(*to).is_some_and(|back| back.contains(*from))).collect();
        let inner = group.iter().flat_map(|from| &edges[*from]).filter(|(to, _)| group.contains(to));
        let evidence: Vec<&str> = inner.map(|(_, evidence)| evidence.as_str()).collect();
        let names: Vec<_> = group.iter().map(|module| module.join("::")).collect();
        groups.insert(names.join(" <-> "), evidence.join("; "));
    }
    groups
}

/// The module files below a crate's `src`, without comments and test code.
fn files(source: &Path) -> BTreeMap<Module, String> {
    let (mut files, mut tests) = (BTreeMap::new(), BTreeSet::new());
    let mut open: Vec<PathBuf> = vec![source.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the sources can be listed");
            open.extend(entries.map(|entry| entry.expect("the sources can be listed").path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let module = module_of(path.strip_prefix(source).expect("it was found below"));
            let text = std::fs::read_to_string(&path).expect("the sources can be read");
            let (text, test_modules) = without_tests(&text);
            tests.extend(test_modules.into_iter().map(|name| [module.clone(), vec![name]].concat()));
            files.insert(module, text);
        }
    }
    files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    files
}

fn module_of(path: &Path) -> Module {
    let parts = path.with_extension("");
    let mut module: Module = parts.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] || module == ["main"] {
        module.pop();
    }
    module
}

/// The text without comments and without what is compiled for tests alone, and the names of modules that are.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut tests) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let item = lines.next().unwrap_or_default();
            if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
                tests.push(name.1.to_owned());
            } else if item.ends_with('{') {
                lines.by_ref().take_while(|line| *line != "}").for_each(drop);
            }
        } else if !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    (kept, tests)
}

/// Every path of a text that begins with `crate` or `super`, from the crate's root.
fn paths(module: &Module, text: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let mut rest = &text[at..];
            let mut base = if start == "crate::" { Vec::new() } else { module.clone() };
            if let Some(after) = rest.strip_prefix("crate::") {
                rest = after;
            }
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            tree(rest, &base, &mut found);
        }
    }
    found
}

/// Reads `a::{b, c::d}` and adds each path; answers what stands behind it.
fn tree<'t>(text: &'t str, base: &[String], found: &mut Vec<Module>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = tree(rest, base, found).trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if name.is_empty() || name == "self" { base.to_vec() } else { [base, &[name.to_owned()]].concat() };
    if let Some(rest) = rest.strip_prefix("::") {
        return tree(rest, &path, found);
    }
    found.push(path);
    match rest.trim_start().strip_prefix("as ") {
        Some(renamed) => renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_' || c == ' '),
        None => rest,
    }
}

/// The names that a module takes from its own children, with where they stand.
fn exports(module: &Module, text: &str, modules: &BTreeSet<Module>) -> BTreeMap<String, Module> {
    let uses = text.lines().map(|line| {
        line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ")
    });
    let mut exports = BTreeMap::new();
    let starts = uses.filter_map(|line| line.strip_prefix("use "));
    for start in starts {
        let at = start.as_ptr() as usize - text.as_ptr() as usize;
        let mut found = Vec::new();
        tree(text[at..].trim_start_matches("self::"), module, &mut found);
        for path in found.into_iter().filter(|path| path.len() > module.len() + 1) {
            if modules.contains(&path[..=module.len()]) {
                exports.insert(path[path.len() - 1].clone(), path);
            }
        }
    }
    exports
}

/// The module in which what a path names is defined.
fn resolve(
    path: &[String],
    modules: &BTreeSet<Module>,
    exports: &BTreeMap<&Module, BTreeMap<String, Module>>,
) -> Module {
    let known = (0..=path.len()).rev().find(|end| modules.contains(&path[..*end])).unwrap_or(0);
    let module = path[..known].to_vec();
    match path.get(known).and_then(|name| exports.get(&module)?.get(name)) {
        Some(defined) if defined.len() > module.len() => resolve(defined, modules, exports),
        _ => module,
    }
}
