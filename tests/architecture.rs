//! The structure of the code: no import cycles, imports only downwards, and the AWS SDK only at the
//! edges. `src/lib.rs` describes the architecture; this test keeps that description true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use syn::visit::{self, Visit};

/// The layers of `src/`, top to bottom. A module may import from its own directory, from a lower
/// layer and, in the lowest layer, from its neighbors.
const LAYERS: &[&[&str]] = &[
    &["runtime"],
    &["handler"],
    &["scale_out"],
    &["health"],
    &["targets"],
    &["audit"],
    &["investigate"],
    &["report", "state", "alert"],
    &["aws"],
    &[
        "arn",
        "audit_message",
        "budget",
        "config",
        "error",
        "event",
        "logging",
        "metrics",
        "pending_report",
        "report_format",
        "response",
        "revocation",
        "text",
        "timestamp",
        "version",
    ],
];

/// The only files that may use the AWS SDK.
const SDK_FILES: &[&str] = &[
    "alert/full_list.rs",
    "alert/publish.rs",
    "alert/topic.rs",
    "aws/bucket.rs",
    "aws/certificate_authorities.rs",
    "aws/clients.rs",
    "aws/connections.rs",
    "aws/failure.rs",
    "investigate/revoker.rs",
    "investigate/trail.rs",
    "investigate/usage.rs",
    "report/fetch.rs",
    "report/request.rs",
    "report/wait.rs",
    "scale_out/queue.rs",
    "state/store.rs",
];

/// Files and directories that do no I/O and never wait: no SDK, no runtime.
const PURE: &[&str] = &[
    "alert/",
    "report/scanner/",
    "revocation/",
    "scale_out/plan.rs",
    "state/",
    "text/",
    "audit_message.rs",
    "config.rs",
    "event.rs",
    "metrics.rs",
    "response.rs",
];

#[test]
fn function_has_no_import_cycle() {
    assert_eq!(cycle(&Sources::read("src").imports()), None);
}

#[test]
fn emulator_has_no_import_cycle() {
    assert_eq!(cycle(&Sources::read("local-aws/src").imports()), None);
}

#[test]
fn imports_go_down_the_layers() {
    let layer = |file: &str| {
        let module = file.split(['/', '.']).next().expect("a file has a name");
        let layer = LAYERS.iter().position(|layer| layer.contains(&module));
        (
            module.to_owned(),
            layer.unwrap_or_else(|| panic!("{file} is in no layer of {}", file!())),
        )
    };
    let mut wrong = Vec::new();
    for (from, imports) in Sources::read("src").imports() {
        if from == "lib.rs" {
            continue;
        }
        for to in imports {
            let ((from_module, above), (to_module, below)) = (layer(&from), layer(&to));
            let is_down = above < below || (above == below && above == LAYERS.len() - 1);
            if from_module != to_module && !is_down {
                wrong.push(format!("{from} imports {to}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn only_edge_files_use_the_sdk() {
    let users: Vec<String> = files_that_mention(r"^aws_(sdk|smithy|config)");
    assert_eq!(users, SDK_FILES);
}

#[test]
fn pure_modules_do_not_wait_or_do_io() {
    let impure: Vec<String> = files_that_mention(r"^(tokio|aws_|std::(fs|net|env|process))")
        .into_iter()
        .filter(|file| PURE.iter().any(|pure| file.starts_with(pure)))
        .filter(|file| !SDK_FILES.contains(&file.as_str()))
        .collect();
    assert_eq!(impure, Vec::<String>::new());
}

/// A log line's text is its field `message`: another one with that name would hide it.
#[test]
fn log_lines_have_one_message() {
    let second = Regex::new(r"\b(debug|info|warn|error)!\([^;]*[\s(]message( =|,)").expect("valid");
    assert!(second.is_match("info!(id = 1, message = body, \"sent\")"));
    let files = rust_files(Path::new("src")).into_iter();
    let wrong = files.filter(|file| second.is_match(&fs::read_to_string(file).expect("a file")));
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn an_import_cycle_is_found() {
    let sources = Sources::from_text([
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a/mod.rs", "pub mod c; use crate::b::B;"),
        ("a/c.rs", "fn f() { tracing::info!(x = super::Y) }"),
        ("b.rs", "pub use crate::a::c::{C, D};"),
    ]);
    let found = cycle(&sources.imports()).expect("a cycle");
    assert_eq!(found, ["a/c.rs", "a/mod.rs", "b.rs"]);
}

#[test]
fn tests_and_mod_declarations_are_no_imports() {
    let sources = Sources::from_text([
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a.rs", "#[cfg(test)] mod tests { use crate::b::B; }"),
        (
            "b.rs",
            "use crate::a::A; struct crate_; fn f() { std::a::b() }",
        ),
    ]);
    let imports = sources.imports();
    assert!(imports["lib.rs"].is_empty());
    assert!(imports["a.rs"].is_empty());
    assert_eq!(imports["b.rs"].iter().collect::<Vec<_>>(), ["a.rs"]);
}

/// The files of `src` whose code has a path that matches.
fn files_that_mention(pattern: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).expect("a valid pattern");
    let sources = Sources::read("src");
    sources
        .files
        .iter()
        .filter(|(_, file)| {
            file.paths
                .iter()
                .any(|path| pattern.is_match(&path.join("::")))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// The source files of a crate by their path below its root, except its binary.
struct Sources {
    files: BTreeMap<String, Source>,
}

struct Source {
    /// The module that the file defines, such as `["report", "scanner"]`.
    module: Vec<String>,
    /// Every path in it outside of tests, as written.
    paths: BTreeSet<Vec<String>>,
}

impl Sources {
    fn read(root: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let mut texts = Vec::new();
        for path in rust_files(&root) {
            let name = path.strip_prefix(&root).expect("below the root");
            let name = name.to_str().expect("UTF-8").replace('\\', "/");
            if name != "main.rs" {
                texts.push((name, fs::read_to_string(&path).expect("readable")));
            }
        }
        assert!(texts.len() > 10, "{} has no source files", root.display());
        Self::from_text(texts)
    }

    fn from_text<N: Into<String>, T: AsRef<str>>(texts: impl IntoIterator<Item = (N, T)>) -> Self {
        let files = texts.into_iter().map(|(name, text)| {
            let name = name.into();
            let syntax = syn::parse_file(text.as_ref()).expect("valid Rust");
            let mut paths = Paths::default();
            paths.visit_file(&syntax);
            let module = name
                .trim_end_matches(".rs")
                .split('/')
                .filter(|part| !matches!(*part, "lib" | "mod"))
                .map(str::to_owned)
                .collect();
            let paths = paths.found;
            (name, Source { module, paths })
        });
        Self {
            files: files.collect(),
        }
    }

    /// Which files each file imports from. A path counts for the file that defines the innermost
    /// module it names.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let file_of: BTreeMap<&[String], &String> = self
            .files
            .iter()
            .map(|(name, file)| (file.module.as_slice(), name))
            .collect();
        let mut imports = BTreeMap::new();
        for (name, file) in &self.files {
            let imported = file.paths.iter().filter_map(|path| {
                let path = absolute(path, &file.module, &file_of)?;
                let innermost = (0..=path.len())
                    .rev()
                    .find_map(|len| file_of.get(&path[..len]));
                innermost.filter(|to| **to != name).map(|to| (*to).clone())
            });
            imports.insert(name.clone(), imported.collect());
        }
        imports
    }
}

/// A path from the crate's root on; `None` if it leads out of the crate.
fn absolute(
    path: &[String],
    module: &[String],
    file_of: &BTreeMap<&[String], &String>,
) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut start = module.to_vec();
    match first.as_str() {
        "crate" => start.clear(),
        "self" => {}
        "super" => {
            start.pop();
        }
        // A child of the module, as in `pub use child::Item`.
        name => {
            start.push(name.to_owned());
            file_of.get(start.as_slice())?;
        }
    }
    let mut rest = rest;
    while let Some((up, further)) = rest.split_first().filter(|(name, _)| *name == "super") {
        debug_assert_eq!(up, "super");
        start.pop();
        rest = further;
    }
    start.extend_from_slice(rest);
    Some(start)
}

/// Collects every path of a file outside of tests.
#[derive(Default)]
struct Paths {
    found: BTreeSet<Vec<String>>,
}

impl Paths {
    fn add_use(&mut self, mut prefix: Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(prefix, &path.tree);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(prefix.clone(), tree);
                }
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.found.insert(prefix);
            }
            syn::UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.found.insert(prefix);
            }
            syn::UseTree::Rename(name) => {
                prefix.push(name.ident.to_string());
                self.found.insert(prefix);
            }
            syn::UseTree::Glob(_) => {
                self.found.insert(prefix);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = item.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|cfg| cfg == "test")
        });
        if !is_test {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        if path.segments.len() > 1 {
            self.found
                .insert(segments.map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    /// Macros are not parsed: their paths are found in the text of their tokens.
    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        let paths = Regex::new(r"\w+( :: \w+)+").expect("a valid pattern");
        let tokens = invocation.tokens.to_string();
        for path in paths.find_iter(&tokens) {
            let segments = path.as_str().split(" :: ").map(str::to_owned);
            self.found.insert(segments.collect());
        }
    }
}

/// The files of a cycle, each importing from the next and the last from the first.
fn cycle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports
        .keys()
        .find_map(|file| cycle_from(file, imports, &mut Vec::new(), &mut done))
}

fn cycle_from(
    file: &String,
    imports: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|before| before == file) {
        return Some(way[start..].to_vec());
    }
    if done.contains(file) {
        return None;
    }
    way.push(file.clone());
    let found = imports[file]
        .iter()
        .find_map(|to| cycle_from(to, imports, way, done));
    way.pop();
    done.insert(file.clone());
    found
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
