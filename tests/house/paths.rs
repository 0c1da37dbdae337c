//! Which file names which: the paths in product code, followed through re-exports.

use super::tree::File;
use std::collections::{BTreeMap, BTreeSet};

/// The files of `host/` as modules, by the path that names each: `gateway::edge::peer`.
pub struct Modules<'a> {
    files: BTreeMap<String, &'a File>,
    /// Re-exports of each module: name → path.
    exports: BTreeMap<String, Vec<(String, String)>>,
}

/// The module path of a file: the crates of `host/` count as the rooms that they are.
fn module_of(path: &str) -> String {
    let inner = path.trim_start_matches("host/").trim_end_matches(".rs").replace("/src/", "/");
    let inner = inner.strip_suffix("/mod").or(inner.strip_suffix("/lib")).unwrap_or(&inner);
    if inner == "lib" { String::new() } else { inner.replace('/', "::") }
}

/// `a::{b, c::{d, e as f}}` → `a::b`, `a::c::d`, `a::c::e as f`.
fn expand(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let body = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in body.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part.trim())).map(|path| format!("{}{path}", head.trim())).collect()
}

/// The places of the statements `use …;` in a text, without their visibility.
fn use_statements(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ").chain(code.match_indices("use\n")) {
        let line = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with("pub") {
            found.extend(code[at..].find(';').map(|end| (at, at + end)));
        }
    }
    found
}

/// The statements `use …;` of a text: visibility, and the paths.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for (begin, end) in use_statements(code) {
        let line = code[..begin].rsplit('\n').next().unwrap_or_default().trim();
        let tree = code[begin + 4..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let tree = tree.trim_start_matches("::");
        found.extend(expand(tree).into_iter().map(|path| (line.starts_with("pub"), path)));
    }
    found
}

/// Paths that stand in code outside of `use`: `crate::policy::Failure`, `wasmtime::Engine`.
fn inline(code: &str) -> Vec<String> {
    let mut rest = code.to_owned();
    for (begin, end) in use_statements(code) {
        rest.replace_range(begin..end, &" ".repeat(end - begin));
    }
    let words = rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let paths = words.map(|word| word.trim_start_matches("::").trim_end_matches(':'));
    let paths = paths.filter(|path| path.contains("::") || path.starts_with("oncegate_"));
    paths.map(str::to_owned).collect()
}

impl<'a> Modules<'a> {
    pub fn of(files: &'a [File]) -> Self {
        let product = files.iter().filter(|file| file.is_product());
        let files: BTreeMap<String, &File> = product.map(|file| (module_of(&file.path), file)).collect();
        let mut modules = Self { files, exports: BTreeMap::new() };
        let mut exports = BTreeMap::new();
        for (module, file) in &modules.files {
            let mut own = Vec::new();
            for (is_public, path) in uses(&file.code()) {
                let (path, name) = match path.split_once(" as ") {
                    Some((path, name)) => (path.to_owned(), name.to_owned()),
                    None => (path.clone(), path.rsplit("::").next().unwrap_or_default().to_owned()),
                };
                if let (true, Some(path)) = (is_public, modules.absolute(module, &path)) {
                    own.push((name, path));
                }
            }
            exports.insert(module.clone(), own);
        }
        modules.exports = exports;
        modules
    }

    /// A path as written in `module`, from the root of `host/`; none if it leads out of it.
    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        let room = module.split("::").next().unwrap_or_default();
        let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
        let path = path.split(" as ").next()?.trim();
        // `self::super::x` is `super::x`.
        let path = path.strip_prefix("self::").filter(|rest| rest.starts_with("super")).unwrap_or(path);
        let mut parts = path.split("::").peekable();
        match parts.peek().copied()? {
            "crate" => {
                parts.next();
                base.clear();
                if self.is_crate(room) {
                    base.push(room);
                }
            }
            "self" => _ = parts.next(),
            "super" => {
                while parts.peek() == Some(&"super") {
                    parts.next();
                    base.pop();
                }
            }
            other => {
                if let Some(room) = other.strip_prefix("oncegate_") {
                    parts.next();
                    base = vec![room];
                } else if !self.files.contains_key(format!("{module}::{other}").trim_start_matches(':')) {
                    return None;
                }
            }
        }
        base.extend(parts);
        Some(base.join("::"))
    }

    fn is_crate(&self, room: &str) -> bool {
        self.files.get(room).is_some_and(|file| file.path.ends_with("/lib.rs"))
    }

    /// The modules that a path means. `a::*` means `a` and all that `a` re-exports.
    fn meant(&self, path: &str) -> Vec<String> {
        let Some(module) = path.strip_suffix("::*") else {
            return self.resolve(path, 0).into_iter().collect();
        };
        let exports = self.exports.get(module).into_iter().flatten();
        let targets = exports.filter_map(|(_, target)| self.resolve(target, 0));
        self.resolve(module, 0).into_iter().chain(targets).collect()
    }

    /// The module that a path means, through re-exports.
    fn resolve(&self, path: &str, depth: usize) -> Option<String> {
        let parts: Vec<&str> = path.split("::").collect();
        for end in (0..=parts.len()).rev() {
            let module = parts[..end].join("::");
            if !self.files.contains_key(&module) {
                continue;
            }
            let Some(name) = parts.get(end) else { return Some(module) };
            let exports = self.exports.get(&module).map_or(&[][..], Vec::as_slice);
            let found = exports.iter().find(|(exported, _)| exported == name);
            return match found {
                Some((_, target)) if depth < 8 => {
                    let rest = parts[end + 1..].iter().map(|part| format!("::{part}")).collect::<String>();
                    self.resolve(&format!("{target}{rest}"), depth + 1)
                }
                _ => Some(module),
            };
        }
        None
    }

    /// Each module with the modules that it names. What a module only re-exports of its children it does not
    /// need.
    pub fn arrows(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut arrows = BTreeMap::new();
        for (module, file) in &self.files {
            let code = file.code();
            let is_need =
                |path: &str| ["crate::", "super::", "oncegate_"].iter().any(|root| path.starts_with(root));
            let used = uses(&code).into_iter().filter(|(is_public, path)| !is_public || is_need(path));
            let named = used
                .map(|(_, path)| path)
                .chain(inline(&code))
                .filter_map(|path| self.absolute(module, &path));
            let resolved = named.flat_map(|path| self.meant(&path)).filter(|other| other != module);
            arrows.insert(module.clone(), resolved.collect());
        }
        arrows
    }

    /// The paths from outside of `host/` that a module names: `hyper::client::conn::http1`.
    pub fn outside(&self) -> BTreeMap<String, BTreeSet<String>> {
        let outside = |module: &String, file: &&File| {
            let code = file.code();
            let paths = uses(&code).into_iter().map(|(_, path)| path).chain(inline(&code));
            paths.filter(|path| self.absolute(module, path).is_none()).collect()
        };
        self.files.iter().map(|(module, file)| (module.clone(), outside(module, file))).collect()
    }
}

/// The room of a module: its first part.
pub fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Groups of modules that reach one another.
pub fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for other in arrows.get(module).into_iter().flatten() {
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|module| (module, reach(module))).collect();
    let (mut circles, mut done) = (Vec::new(), BTreeSet::new());
    for (module, others) in &reached {
        if others.contains(module) && !done.contains(module) {
            let circle: Vec<String> = others
                .iter()
                .filter(|other| reached.get(**other).is_some_and(|back| back.contains(module)))
                .map(|other| (*other).clone())
                .collect();
            done.extend(reached.keys().filter(|one| circle.contains(**one)).copied());
            circles.push(circle);
        }
    }
    circles
}
