//! House rules as tests: what a reviewer would otherwise have to remember.
//!
//! A rule is a pure function over a path and its text. [`house`] applies each to every file that git tracks or would
//! track; [`planted`] proves that each goes red on a fault planted in front of it. Words that a rule forbids are
//! spelled in two halves here, so that the rules hold for this file too.

use std::path::Path;
use std::process::Command;

/// A line that breaks a rule, and what to do about it.
type Fault = (usize, String);

/// Modules that decide from their arguments alone: `src/{name}.rs` and everything below `src/{name}/`.
const PURE: [&str; 8] = ["model", "machine", "manifest", "graph", "retry", "limits", "codec", "error"];

/// What no pure module may name.
const IMPURE: [&str; 11] = [
    "std::time",
    "std::thread",
    "std::fs",
    "std::net",
    "Clock",
    "redb::",
    "sqlx::",
    "crate::store",
    "crate::engine",
    "crate::backends",
    "crate::clock",
];

/// Tests of a pure module that write the file they are compared with, where they are asked to.
const WRITE_GOLDEN: [&str; 1] = ["src/machine/table.rs"];

/// The pure modules that speak the storage contract's vocabulary.
const SPEAK_CONTRACT: [&str; 2] = ["codec", "machine"];

/// Files below `src/backends` that may name a status: the contract, and where SQLite spells it as a column's text.
const NAME_STATUS: [&str; 2] = ["src/backends/contract.rs", "src/backends/sqlite/columns.rs"];

/// What the top level holds besides dot files.
const TOP: [&str; 15] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "bindings",
    "pkg-template",
    "www",
    "tests",
    "examples",
    "benches",
    "xtask",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
    // Where wasm-bindgen's test runner, and with it wasm-pack, looks for how to start a browser.
    "webdriver.json",
];

/// Where code lives.
const CODE: [&str; 7] = ["src/", "tests/", "xtask/", "examples/", "benches/", "bindings/", "www/"];

const LINES_MAX: usize = 1_000;

// ---------------------------------------------------------------------------------------------------------- rules

fn purity(path: &str, text: &str) -> Vec<Fault> {
    let Some(module) = PURE.iter().find(|module| belongs_to(path, module)) else { return Vec::new() };
    let contract = SPEAK_CONTRACT.contains(module);
    let golden = WRITE_GOLDEN.contains(&path);
    let code = code(text);
    let (imports, rest) = split_imports(&code);
    let mut faults = Vec::new();
    let mut judge = |line, text: &str, name: &str| {
        let allowed = |at: usize| contract && starts_with_path(&text[at..], "crate::backends::contract");
        if occurrences(text, name).any(|at| !allowed(at)) {
            faults.push((line, format!("a pure module names `{name}`; pass what it needs as an argument")));
        }
    };
    for name in IMPURE.into_iter().filter(|name| !(golden && *name == "std::fs")) {
        for (line, import) in &imports {
            judge(*line, &format!("{import}::"), name);
        }
        for (line, text) in numbered(&rest) {
            judge(line, text, name);
        }
    }
    faults
}

fn backends_decide_nothing(path: &str, text: &str) -> Vec<Fault> {
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    if !path.starts_with("src/backends/") || is_test || NAME_STATUS.contains(&path) {
        return Vec::new();
    }
    let code = code(text);
    let (imports, rest) = split_imports(&code);
    let imports = imports.into_iter().map(|(line, import)| (line, import + "::"));
    let rest = numbered(&rest).map(|(line, text)| (line, text.to_owned()));
    imports
        .filter(|(_, import)| {
            occurrences(import, "JobStatus::").any(|at| import.len() > at + "JobStatus::".len())
        })
        .chain(rest.filter(|(_, text)| occurrences(text, "JobStatus::").next().is_some()))
        .map(|(line, _)| {
            (line, "a backend names a status; let the engine decide and hand the answer over".into())
        })
        .collect()
}

/// `cfg_attr` is left alone: it changes an attribute, never which code there is.
fn cfg_in_gates(path: &str, text: &str) -> Vec<Fault> {
    let gate = path == "src/lib.rs" || path.ends_with("/mod.rs");
    if !path.starts_with("src/") || gate {
        return Vec::new();
    }
    let code = code(text);
    let chosen = |condition: &str| {
        words(condition).any(|word| {
            word == "feature" || word.starts_with("target") || word == "unix" || word == "windows"
        })
    };
    let attributes = ["#[cfg(", "#![cfg("].into_iter().flat_map(|open| {
        code.match_indices(open)
            .filter(|(at, _)| chosen(in_parentheses(&code[at + open.len()..])))
            .map(|(at, _)| at)
    });
    let macros = occurrences(&code, "cfg!(");
    attributes
        .chain(macros)
        .map(|at| {
            (
                line_of(&code, at),
                "move this choice of feature or target into a gate: lib.rs or a mod.rs".into(),
            )
        })
        .collect()
}

fn no_js_in_src(path: &str, text: &str) -> Vec<Fault> {
    if !path.starts_with("src/") {
        return Vec::new();
    }
    find_words(&code(text), &["wasm_bindgen", "js_sys", "web_sys"], |word| {
        format!("`{word}` is JavaScript's side; convert in bindings/ and pass plain values")
    })
}

fn safe_rust_only(path: &str, text: &str) -> Vec<Fault> {
    if !path.starts_with("src/") {
        return Vec::new();
    }
    let code = code(text);
    let mut faults = find_words(&code, &["unsafe"], |_| "write it without `unsafe`".into());
    if path == "src/lib.rs" && !code.contains("#![forbid(unsafe_code)]") {
        faults.push((1, "put `#![forbid(unsafe_code)]` back".into()));
    }
    faults
}

fn files_are_short(path: &str, text: &str) -> Vec<Fault> {
    let lines = text.lines().count();
    if !is_code(path) || lines <= LINES_MAX {
        return Vec::new();
    }
    vec![(lines, format!("{lines} lines; split it by subject, {LINES_MAX} are the limit"))]
}

fn modules_are_introduced(path: &str, text: &str) -> Vec<Fault> {
    if !is_code(path) || !is_rust(path) || text.trim_start().starts_with("//!") {
        return Vec::new();
    }
    vec![(1, "open the file with a `//!` line: what it is for".into())]
}

fn nothing_is_put_off(path: &str, text: &str) -> Vec<Fault> {
    if matches!(path, "LICENSE" | "Cargo.lock") {
        return Vec::new();
    }
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut faults = find_words(text, &notes, |note| format!("{note}: do it now, or take it to the tracker"));
    if is_rust(path) {
        for call in [concat!("to", "do!"), concat!("unimpl", "emented!"), concat!("db", "g!")] {
            faults.extend(
                numbered(&code(text)).filter(|(_, text)| occurrences(text, call).next().is_some()).map(
                    |(line, _)| {
                        (line, format!("`{call}` is for work in progress; finish it or return an error"))
                    },
                ),
            );
        }
    }
    faults
}

fn top_level_is_known(path: &str, _: &str) -> Vec<Fault> {
    let first = path.split('/').next().unwrap_or(path);
    if first.starts_with('.') || TOP.contains(&first) {
        return Vec::new();
    }
    vec![(1, format!("`{first}` at the top level; put it into the folder of its subject"))]
}

fn no_machine_is_named(path: &str, text: &str) -> Vec<Fault> {
    if matches!(path, "Cargo.lock" | ".deny.toml") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for place in [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("crates", ".io")] {
        for (line, text) in numbered(text) {
            // In the middle of a relative path the same letters are just a folder's name.
            let inside = |at: usize| text[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-".contains(c));
            if text.match_indices(place).any(|(at, _)| !place.starts_with('/') || !inside(at)) {
                faults.push((
                    line,
                    format!("`{place}` is true of one machine or registry only; take it as an input"),
                ));
            }
        }
    }
    faults
}

// ------------------------------------------------------------------------------------------------ reading of texts

fn belongs_to(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix("src/").and_then(|rest| rest.strip_prefix(module));
    rest.is_some_and(|rest| {
        rest == ".rs" || rest.starts_with('/') || (rest.starts_with('_') && is_rust(path))
    })
}

fn is_rust(path: &str) -> bool {
    has_extension(path, &["rs"])
}

fn is_code(path: &str) -> bool {
    CODE.iter().any(|folder| path.starts_with(folder))
        && has_extension(path, &["rs", "js", "mjs", "cjs", "ts"])
}

fn has_extension(path: &str, extensions: &[&str]) -> bool {
    Path::new(path).extension().and_then(|end| end.to_str()).is_some_and(|end| extensions.contains(&end))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !in_word(c)).filter(|word| !word.is_empty())
}

fn find_words(text: &str, wanted: &[&str], advice: impl Fn(&str) -> String) -> Vec<Fault> {
    numbered(text)
        .flat_map(|(line, text)| words(text).map(move |word| (line, word)))
        .filter(|(_, word)| wanted.contains(word))
        .map(|(line, word)| (line, advice(word)))
        .collect()
}

/// Where `name` stands in `text` as a whole path, not as a part of longer words.
fn occurrences<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(name)
        .map(|(at, _)| at)
        .filter(|at| !text[..*at].ends_with(in_word) && starts_with_path(&text[*at..], name))
}

fn starts_with_path(text: &str, path: &str) -> bool {
    text.strip_prefix(path).is_some_and(|rest| !path.ends_with(in_word) || !rest.starts_with(in_word))
}

/// The text up to the parenthesis that closes one opened just before it.
fn in_parentheses(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}

/// The text with comments and the insides of literals blanked, so that prose cannot break a rule about code.
fn code(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        let after_word = i > 0 && in_word(at(i - 1)) && !matches!(at(i - 1), 'b' | 'c');
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..text.len()).find(|&j| at(j) == '\n').unwrap_or(text.len()),
            ('/', '*') => end_of_comment(&text, i),
            ('"', _) => end_of_quoted(&text, i, '"'),
            ('\'', '\\') => end_of_quoted(&text, i, '\''),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            ('r', '"' | '#') if !after_word => end_of_raw(&text, i),
            _ => i,
        };
        if end == i {
            code.push(at(i));
            i += 1;
        } else {
            code.extend(text[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    code
}

fn end_of_comment(text: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0_i32, start);
    while i < text.len() {
        let step = match (text[i], text.get(i + 1)) {
            ('/', Some('*')) => 1,
            ('*', Some('/')) => -1,
            _ => 0,
        };
        depth += step;
        i += 1 + usize::from(step != 0);
        if depth == 0 {
            break;
        }
    }
    i
}

fn end_of_quoted(text: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < text.len() && text[i] != quote {
        i += 1 + usize::from(text[i] == '\\');
    }
    (i + 1).min(text.len())
}

/// Past a raw string, or `start` itself where the letter only begins a raw identifier.
fn end_of_raw(text: &[char], start: usize) -> usize {
    let hashes = text[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return start;
    }
    let closes = |i: usize| {
        text[i] == '"' && text[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (open + 1..text.len()).find(|&i| closes(i)).map_or(text.len(), |i| i + 1 + hashes)
}

/// Every imported path written out in full, with its line, and the code without its imports. `super` counts as
/// `crate`: a detour changes nothing.
fn split_imports(code: &str) -> (Vec<(usize, String)>, String) {
    let (mut imports, mut rest, mut from) = (Vec::new(), String::new(), 0);
    let code = code.replace("super::", "crate::");
    for start in occurrences(&code, "use").filter(|at| code[at + 3..].starts_with(char::is_whitespace)) {
        let Some(length) = code[start..].find(';') else { continue };
        let statement = &code[start..start + length];
        expand(&statement[3..], "", line_of(&code, start), &mut imports);
        rest += &code[from..start];
        rest.extend(statement.matches('\n'));
        from = start + length;
    }
    rest += &code[from..];
    (imports, rest)
}

fn expand(tree: &str, prefix: &str, line: usize, imports: &mut Vec<(usize, String)>) {
    let mut depth = 0;
    let branches = tree.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let mut above = 0;
    for branch in branches {
        let blank = &branch[..branch.len() - branch.trim_start().len()];
        let at = line + above + blank.matches('\n').count();
        above += branch.matches('\n').count();
        let branch = branch.trim();
        match branch.split_once('{') {
            Some((path, inner)) => {
                expand(inner.strip_suffix('}').unwrap_or(inner), &format!("{prefix}{path}"), at, imports);
            }
            None if branch.is_empty() => {}
            None => imports.push((at, format!("{prefix}{branch}"))),
        }
    }
}

// ---------------------------------------------------------------------------------------------- the repository

mod house {
    use super::*;

    /// Every file that git tracks, or would after `git add`, as path and text. A binary file has an empty text.
    fn files() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .expect("git starts: the house rules read the list of files from it");
        assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let files: Vec<_> = String::from_utf8(listed.stdout)
            .expect("file names are UTF-8")
            .split_terminator('\0')
            // One that was deleted but not yet committed is still listed.
            .filter_map(|path| Some((path.to_owned(), std::fs::read(root.join(path)).ok()?)))
            .map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap_or_default()))
            .collect();
        assert!(
            files.iter().any(|(path, _)| path == "src/lib.rs"),
            "the list of files is not this repository's"
        );
        files
    }

    fn enforce(rule: fn(&str, &str) -> Vec<Fault>) {
        let faults: Vec<String> = files()
            .iter()
            .flat_map(|(path, text)| rule(path, text).into_iter().map(move |fault| (path, fault)))
            .map(|(path, (line, advice))| format!("{path}:{line}: {advice}"))
            .collect();
        assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    }

    #[test]
    fn pure_modules_name_no_store_clock_thread_or_file() {
        enforce(purity);
    }

    #[test]
    fn backends_name_no_status() {
        enforce(backends_decide_nothing);
    }

    #[test]
    fn features_and_targets_are_chosen_in_gate_files_only() {
        enforce(cfg_in_gates);
    }

    #[test]
    fn no_js_type_enters_src() {
        enforce(no_js_in_src);
    }

    #[test]
    fn src_is_safe_rust() {
        enforce(safe_rust_only);
    }

    #[test]
    fn no_file_is_longer_than_the_limit() {
        enforce(files_are_short);
    }

    #[test]
    fn every_rust_file_opens_with_its_purpose() {
        enforce(modules_are_introduced);
    }

    #[test]
    fn no_work_is_put_off_in_the_text() {
        enforce(nothing_is_put_off);
    }

    #[test]
    fn the_top_level_holds_only_what_it_should() {
        enforce(top_level_is_known);
    }

    #[test]
    fn no_file_names_a_machine_or_a_registry() {
        enforce(no_machine_is_named);
    }
}

// ------------------------------------------------------------------------------------------------ planted faults

mod planted {
    use super::*;

    /// The lines on which a rule finds a fault.
    fn lines(faults: &[Fault]) -> Vec<usize> {
        let mut lines: Vec<_> = faults.iter().map(|(line, _)| *line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    #[test]
    fn an_impure_word_is_found_however_it_is_spelled() {
        let text = "use std::{\n    fmt,\n    time::Duration,\n};\nuse super::engine::Engine;\nfn f(c: &dyn Clock) {\n    \
                    std::fs::read(p); redb::Database::open(p);\n}\nuse crate::backends::contract::Row;\n";
        assert_eq!(lines(&purity("src/machine/step.rs", text)), [3, 5, 6, 7]);
        assert_eq!(lines(&purity("src/model.rs", text)), [3, 5, 6, 7, 9]);
        assert_eq!(
            lines(&purity("src/codec.rs", "use crate::backends::{contract::Row, redb::Disk};\n")),
            [1]
        );
        assert_eq!(lines(&purity("src/engine.rs", text)), []);
    }

    #[test]
    fn prose_and_longer_words_are_not_impure() {
        let text =
            "//! No `std::time` here.\nuse crate::error::Clockwork;\nconst NOTE: &str = \"std::fs\";\n";
        assert_eq!(lines(&purity("src/error.rs", text)), []);
    }

    #[test]
    fn a_backend_that_names_a_status_is_found_and_the_mapping_file_is_not() {
        let text =
            "use crate::model::JobStatus;\nfn f(s: JobStatus) -> bool {\n    s == JobStatus::Done\n}\n";
        assert_eq!(lines(&backends_decide_nothing("src/backends/redb/write.rs", text)), [3]);
        assert_eq!(lines(&backends_decide_nothing("src/backends/sqlite/columns.rs", text)), []);
        let imported = "use crate::model::{JobSpec, JobStatus::*};\n";
        assert_eq!(lines(&backends_decide_nothing("src/backends/redb/write.rs", imported)), [1]);
    }

    #[test]
    fn a_choice_outside_a_gate_is_found_and_a_test_module_is_not() {
        let text = "#[cfg(test)]\nmod tests {}\n#[cfg(all(\n    unix,\n    feature = \"redb\",\n))]\nfn f() {}\n\
                    fn g() -> bool { cfg!(debug_assertions) }\n#![cfg(target_family = \"wasm\")]\n";
        assert_eq!(lines(&cfg_in_gates("src/store.rs", text)), [3, 8, 9]);
        for gate in ["src/lib.rs", "src/commit/mod.rs", "src/clock/mod.rs", "tests/conformance.rs"] {
            assert_eq!(lines(&cfg_in_gates(gate, text)), []);
        }
    }

    #[test]
    fn a_js_type_in_src_is_found() {
        let text = "//! js_sys stays out.\nuse wasm_bindgen::JsValue;\nfn f(a: js_sys::Array, b: web_sys::Window) {}\n";
        assert_eq!(lines(&no_js_in_src("src/store.rs", text)), [2, 3]);
        assert_eq!(lines(&no_js_in_src("bindings/src/lib.rs", text)), []);
    }

    #[test]
    fn unsafe_code_and_its_missing_ban_are_found() {
        assert_eq!(lines(&safe_rust_only("src/lib.rs", "//! Manual.\nmod store;\n")), [1]);
        assert_eq!(lines(&safe_rust_only("src/lib.rs", "#![forbid(unsafe_code)]\n")), []);
        assert_eq!(lines(&safe_rust_only("src/store.rs", "fn f() {\n    unsafe { g() }\n}\n")), [2]);
    }

    #[test]
    fn a_file_at_the_limit_passes_and_one_past_it_does_not() {
        let text = "//\n".repeat(LINES_MAX);
        assert_eq!(lines(&files_are_short("src/store.rs", &text)), []);
        assert_eq!(lines(&files_are_short("src/store.rs", &(text.clone() + "//\n"))), [LINES_MAX + 1]);
        assert_eq!(lines(&files_are_short("tests/golden/matrix.txt", &(text + "//\n"))), []);
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert_eq!(lines(&modules_are_introduced("tests/crash/main.rs", "// A note.\nfn main() {}\n")), [1]);
        assert_eq!(
            lines(&modules_are_introduced("tests/crash/main.rs", "//! Kills it.\nfn main() {}\n")),
            []
        );
    }

    #[test]
    fn work_that_is_put_off_is_found_in_comments_and_in_calls() {
        let note = format!("//! Fine.\n// {}: later\n", concat!("TO", "DO"));
        assert_eq!(lines(&nothing_is_put_off("www/index.html", &note)), [2]);
        let call = format!("fn f() {{\n    {}(1)\n}}\n// {0}\n", concat!("db", "g!"));
        assert_eq!(lines(&nothing_is_put_off("src/store.rs", &call)), [2]);
        assert_eq!(lines(&nothing_is_put_off("README.md", &call)), []);
    }

    #[test]
    fn a_stranger_at_the_top_level_is_found() {
        assert_eq!(lines(&top_level_is_known("scripts/build.sh", "")), [1]);
        assert_eq!(lines(&top_level_is_known("notes.md", "")), [1]);
        assert_eq!(lines(&top_level_is_known(".ci/run", "")), []);
        assert_eq!(lines(&top_level_is_known("src/notes/mod.rs", "")), []);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_relative_folder_is_not() {
        let text = format!("cd {}main\ncp a{0}b\nsee {}\n", concat!("/wo", "rk/"), concat!("crates", ".io"));
        assert_eq!(lines(&no_machine_is_named("README.md", &text)), [1, 3]);
        assert_eq!(lines(&no_machine_is_named("Cargo.lock", &text)), []);
    }

    #[test]
    fn the_reader_blanks_comments_and_literals_and_keeps_lines_and_lifetimes() {
        let text = "a(\"x//\\\"y\", 'z', '\\'', r#\"q\"q\"#, br\"w\"); // c\nfn f<'a>(b: &'a r#type) /* d /* e\n */ */ {}\n";
        let code = code(text);
        assert_eq!(words(&code).collect::<Vec<_>>(), ["a", "b", "fn", "f", "a", "b", "a", "r", "type"]);
        assert_eq!(line_of(&code, code.find('{').unwrap()), 3);
    }
}
