//! Manifests: what is read, what is refused, and what the refusal says.

mod hostile;
mod streams;

use serde_json::json;

use super::*;
use crate::model::{Backoff, DependencyFailure, Json};

/// Asserts what kind of error it is, which chunk it names and what its text holds.
#[track_caller]
pub(super) fn assert_error<T: std::fmt::Debug>(
    result: Result<T>,
    kind: ErrorKind,
    chunk: Option<u64>,
    facts: &[&str],
) {
    let error = result.expect_err("an error was expected");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert_eq!(error.chunk(), chunk, "{text}");
    for fact in facts {
        assert!(text.contains(fact), "{fact:?} is missing in: {text}");
    }
    assert!(!text.contains('\n'), "more than one line: {text}");
}

fn invalid_toml(text: &str, chunk: Option<u64>, facts: &[&str]) {
    assert_error(Manifest::from_toml(text), ErrorKind::InvalidManifest, chunk, facts);
}

fn invalid_json(text: &str, chunk: Option<u64>, facts: &[&str]) {
    assert_error(Manifest::from_json(text), ErrorKind::InvalidManifest, chunk, facts);
}

fn payload(manifest: &Manifest, index: usize) -> &str {
    manifest.chunks[index].payload.as_ref().expect("a payload").as_str()
}

const EVERY_KEY: &str = r#"
[job]
name = "nightly"
max_attempts = 5
max_losses = 0
lease = 30000
backoff = { initial_ms = 10, max_ms = 20 }
on_dependency_failure = "cancel"

[[chunks]]
id = 1
checksum = "abc123"

[[chunks]]
id = 2
checksum = "def"
depends_on = [1, 99]
priority = -7
max_attempts = 1
max_losses = 2
on_dependency_failure = "ignore"
not_before = 2026-12-01T09:30:00+01:30
path = "b.bin"
day = 2026-01-31
payload = { offset = 4096, at = 2026-01-31T12:00:00Z, deep = { x = [1, 2.5, true, "é"] } }
"#;

/// 2026-12-01T08:00:00Z
const EIGHT_MS: u64 = 1_796_112_000_000;

fn every_key() -> Manifest {
    let job = JobSpec::new()
        .name("nightly")
        .attempts_max(5)
        .losses_max(0)
        .lease_ms(30_000)
        .backoff(Backoff { initial_ms: 10, max_ms: 20 })
        .on_dependency_failure(DependencyFailure::Cancel);
    let payload = r#"{"at":"2026-01-31T12:00:00Z","deep":{"x":[1,2.5,true,"é"]},"offset":4096,"day":"2026-01-31","path":"b.bin"}"#;
    let second = NewChunk::new(2)
        .checksum("def")
        .depends_on([1, 99])
        .priority(-7)
        .attempts_max(1)
        .losses_max(2)
        .on_dependency_failure(DependencyFailure::Ignore)
        .not_before_ms(EIGHT_MS)
        .payload(Json::from_text(payload).unwrap());
    Manifest::new().job(job).chunk(NewChunk::new(1).checksum("abc123")).chunk(second)
}

#[test]
fn the_seed_example_is_read_without_naming_the_type() {
    fn import(manifest: &Manifest) -> usize {
        manifest.chunks.len()
    }
    let text = "[[chunks]]\nid = 1\nchecksum = \"abc123\"";
    let manifest = toml::from_str(text).unwrap();
    assert_eq!(import(&manifest), 1);
    let manifest = serde_json::from_str(r#"{"chunks":[{"id":1,"checksum":"abc123"}]}"#).unwrap();
    assert_eq!(import(&manifest), 1);
    assert_eq!(manifest, toml::from_str(text).unwrap());
}

#[test]
fn every_key_of_toml_is_read() {
    assert_eq!(Manifest::from_toml(EVERY_KEY).unwrap(), every_key());
    assert_eq!(toml::from_str::<Manifest>(EVERY_KEY).unwrap(), every_key());
}

#[test]
fn a_manifest_comes_back_from_toml_and_json_as_it_was() {
    let manifest = every_key();
    let json = serde_json::to_string_pretty(&manifest).unwrap();
    assert_eq!(Manifest::from_json(&json).unwrap(), manifest);
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    assert_eq!(
        serde_json::from_value::<Manifest>(serde_json::to_value(&manifest).unwrap()).unwrap().job,
        manifest.job
    );
    // TOML has no order of keys of its own.
    let toml = toml::to_string(&manifest).unwrap();
    assert!(toml.contains("[[chunks]]\nid = 1\n"), "{toml}");
    let back = Manifest::from_toml(&toml).unwrap();
    assert_eq!(back.job, manifest.job);
    assert_eq!(payload_value(&back.chunks[1]), payload_value(&manifest.chunks[1]), "{toml}");
    for empty in [toml::to_string(&Manifest::new()).unwrap(), "chunks = []".into()] {
        assert_eq!(Manifest::from_toml(&empty).unwrap(), Manifest::new());
    }
}

fn payload_value(chunk: &NewChunk) -> serde_json::Value {
    chunk.payload.as_ref().unwrap().parse().unwrap()
}

#[test]
fn a_payload_of_json_is_kept_to_the_letter_but_for_space() {
    let text = r#"{"chunks": [{"id": 1, "payload": {"z": 1e2, "a" : [ 1.0, 123456789012345678901234567890, 1e400 ],
        "s": "a b\" c\\", "u": "é\u00e9\ud83d\ude00\u0000", "__proto__": {"x": null}}}]}"#;
    let expected = r#"{"z":1e2,"a":[1.0,123456789012345678901234567890,1e400],"s":"a b\" c\\","u":"é\u00e9\ud83d\ude00\u0000","__proto__":{"x":null}}"#;
    assert_eq!(payload(&Manifest::from_json(text).unwrap(), 0), expected);
    // If this fails, serde_json names its raw values otherwise: see `RAW_JSON`.
    assert_eq!(payload(&serde_json::from_str(text).unwrap(), 0), expected);
}

#[test]
fn a_payload_may_be_any_value_and_null_is_none() {
    for value in ["1", "\"x\"", "[]", "{}", "true", "-0.5"] {
        let manifest =
            Manifest::from_json(&format!(r#"{{"chunks":[{{"payload":{value},"id":1}}]}}"#)).unwrap();
        assert_eq!(payload(&manifest, 0), value);
    }
    let nulls = r#"{"chunks":[{"id":1,"payload":null,"checksum":null,"depends_on":null,"priority":null,
        "max_attempts":null,"max_losses":null,"on_dependency_failure":null,"not_before":null}]}"#;
    assert_eq!(Manifest::from_json(nulls).unwrap().chunks, [NewChunk::new(1)]);
    let merged = Manifest::from_json(r#"{"chunks":[{"id":1,"payload":null,"a":null,"b":"\n"}]}"#).unwrap();
    assert_eq!(payload(&merged, 0), r#"{"a":null,"b":"\n"}"#);
    let merged = Manifest::from_json(r#"{"chunks":[{"a":1,"payload":{ },"id":1}]}"#).unwrap();
    assert_eq!(payload(&merged, 0), r#"{"a":1}"#);
}

#[test]
fn a_moment_needs_a_date_a_time_and_an_offset() {
    let eight = [NewChunk::new(4).not_before_ms(EIGHT_MS)];
    for written in ["2026-12-01T08:00:00Z", "2026-12-01 09:00:00.000+01:00"] {
        let toml = format!("[[chunks]]\nid = 4\nnot_before = {written}");
        assert_eq!(Manifest::from_toml(&toml).unwrap().chunks, eight);
        let json = format!(r#"{{"chunks":[{{"id":4,"not_before":"{written}"}}]}}"#);
        assert_eq!(Manifest::from_json(&json).unwrap().chunks, eight);
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap().chunks, eight);
    }
    for wrong in
        ["2026-12-01T08:00:00", "2026-12-01", "08:00:00", "1796112000", "true", "[1]", "\"soon\"", "\"\""]
    {
        let fact = wrong.trim_matches('"');
        invalid_toml(
            &format!("[[chunks]]\nid = 4\nnot_before = {wrong}"),
            Some(4),
            &["line 3", "not_before:", fact, "2026-12-01T08:00:00Z"],
        );
    }
    invalid_json(
        "{\"chunks\":[{\"id\":4,\n\"not_before\":1796112000000}]}",
        Some(4),
        &["line 2", "not_before:", "1796112000000", "offset"],
    );
}

#[test]
fn further_keys_beside_a_payload_that_is_no_object_are_named() {
    invalid_json(
        r#"{"chunks":[{"id":4,"payload":[1],"path":"a","mode":3}]}"#,
        Some(4),
        &["line 1", "chunks[0]", "payload:", "path, mode"],
    );
    invalid_toml("[[chunks]]\nid = 4\npayload = 1\npath = \"a\"\n", Some(4), &["line 3", "payload:", "path"]);
}

#[test]
fn a_key_beside_the_payload_and_in_it_is_named() {
    invalid_json(
        "{\"chunks\":[{\"id\":4,\n\"payload\":{\"path\":1,\"x\":2},\n\"path\":\"a\",\"x\":3,\"y\":4}]}",
        Some(4),
        &["line 3", "path:", "path, x", "leave one out"],
    );
    invalid_toml("[[chunks]]\nid = 4\npath = 1\n[chunks.payload]\npath = 2", Some(4), &["line 3", "path"]);
}

#[test]
fn a_key_that_is_nearly_one_of_ours_is_named() {
    invalid_json(
        "{\"chunks\":[{\"id\":4,\n\"dependsOn\":[1]}]}",
        Some(4),
        &["line 2", "chunks[0]", "dependsOn:", "nearly depends_on", "payload"],
    );
    invalid_toml("[[chunks]]\nid = 4\npriorty = 1\n", Some(4), &["line 3", "priorty:", "nearly priority"]);
    let error = json_lines(&b"{\"id\": 1}\n{\"id\": 2, \"max_attempt\": 1}\n"[..])
        .unwrap()
        .1
        .nth(1)
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("line 2") && error.to_string().contains("max_attempts"), "{error}");
    let error = csv(&b"id,Checksum\n1,a\n"[..]).unwrap_err();
    assert!(
        error.to_string().contains("line 1: Checksum: no key of a chunk, and nearly checksum"),
        "{error}"
    );
    // What the worker is to get stands where nothing else is looked for.
    let manifest = Manifest::from_json(r#"{"chunks":[{"id":4,"payload":{"dependsOn":[1]}}]}"#).unwrap();
    assert!(manifest.chunks[0].depends_on.is_empty());
}

#[test]
fn a_key_that_stands_twice_is_named() {
    invalid_json(r#"{"chunks":[{"id":4,"id":5}]}"#, Some(4), &["line 1", "id:", "twice"]);
    invalid_json(r#"{"chunks":[{"id":4,"a":5,"a":6}]}"#, Some(4), &["a:", "twice"]);
    invalid_json(r#"{"chunks":[],"chunks":[]}"#, None, &["chunks:", "twice"]);
    invalid_json(r#"{"job":{"name":"a","name":"b"},"chunks":[]}"#, None, &["job: name:", "twice"]);
    invalid_toml("[[chunks]]\nid = 1\nid = 2", None, &["line 3", "duplicate"]);
}

#[test]
fn an_unknown_key_of_the_job_or_of_the_top_is_named() {
    invalid_toml(
        "[job]\nname = \"x\"\nretries = 3\n[[chunks]]\nid = 1",
        None,
        &["line 3", "job:", "retries", "max_attempts"],
    );
    invalid_toml("[[chunk]]\nid = 1", None, &["line 1", "chunk:", "unknown", "chunks"]);
    invalid_toml("id = 1", None, &["line 1", "id:", "[[chunks]]"]);
    invalid_json("{\"job\":{\n\"retries\": 3},\"chunks\":[]}", None, &["line 2, column 12", "job: retries:"]);
    invalid_json("{\"chunks\":[],\n\"jobs\": 3}", None, &["line 2", "jobs", "unknown"]);
    invalid_toml(
        "[job.backoff]\ninitial_ms = 1\nmax = 2",
        None,
        &["line 3", "backoff.max:", "initial_ms and max_ms"],
    );
    invalid_toml("[job]\nlease = \"60s\"", None, &["line 2", "lease: \"60s\" is not", "milliseconds"]);
    invalid_toml("[job.backoff]\ninitial_ms = \"1s\"", None, &["initial_ms: \"1s\" is not", "milliseconds"]);
    invalid_toml("[job.backoff]\ninitial_ms = 1", None, &["line 1", "backoff.max_ms: missing"]);
}

#[test]
fn a_list_at_the_top_is_refused_with_what_to_write() {
    invalid_json(r#"[{"id":1}]"#, None, &["line 1", r#"{"chunks": [...]}"#]);
    let error = serde_json::from_str::<Manifest>("[]").unwrap_err();
    assert!(error.to_string().contains(r#"{"chunks": [...]}"#), "{error}");
    invalid_toml("[chunks]\nid = 1", None, &["line 1", "[[chunks]]"]);
    invalid_toml("", None, &["chunks: missing"]);
    invalid_json("{}", None, &["line 1", "chunks: missing"]);
    for other in ["3", "null", "\"x\"", "true", ""] {
        invalid_json(other, None, &["line 1"]);
    }
}

#[test]
fn an_error_of_form_names_line_column_chunk_and_key() {
    let toml = |key: &str| format!("[[chunks]]\nid = 1\n\n[[chunks]]\nid = 7\n{key}\n");
    let json = |key: &str| format!("{{\"chunks\": [\n{{\"id\": 1}},\n{{{key}, \"id\": 7}}\n]}}");
    for (key, value, facts) in [
        ("priority", "\"high\"", &["\"high\" is not a whole number from -2147483648", "quotes"][..]),
        ("priority", "2147483648", &["2147483648 is not"]),
        ("priority", "1.5", &["1.5 is not", "point"]),
        ("priority", "1.0", &["1.0 is not", "point"]),
        ("max_attempts", "-1", &["-1 is not a whole number from 0 to 4294967295"]),
        ("max_attempts", "4294967296", &["4294967296 is not"]),
        ("max_losses", "true", &["true is not"]),
        ("max_losses", "[]", &["a list is not"]),
        ("checksum", "12", &["12 is not text", "write it in quotes"]),
        ("checksum", "[]", &["a list is not text"]),
        ("checksum", "false", &["false is not text"]),
        ("depends_on", "3", &["not a list", "[1, 2]"]),
        ("depends_on", "\"3\"", &["not a list"]),
        ("depends_on", "[\"3\"]", &["\"3\" is not", "quotes"]),
        ("depends_on", "[-3]", &["-3 is not"]),
        ("depends_on", "[3, 9007199254740992]", &["9007199254740992 is not"]),
        ("on_dependency_failure", "\"Wait\"", &["\"Wait\"", "wait, cancel, ignore"]),
        ("on_dependency_failure", "1", &["1 is not text"]),
    ] {
        let facts = |line: &'static str| {
            let mut all = vec![line, "chunks[1]: ", key];
            all.extend(facts);
            all
        };
        invalid_toml(&toml(&format!("{key} = {value}")), Some(7), &facts("line 6, column 1: "));
        invalid_json(&json(&format!("\"{key}\": {value}")), Some(7), &facts("line 3, column "));
    }
    invalid_json(&json("\"checksum\": {\"a\": 1}"), Some(7), &["line 3", "checksum"]);
    invalid_json(&json("\"depends_on\": [null]"), Some(7), &["line 3", "depends_on", "null"]);
    // What the parser itself refuses is located just so.
    invalid_json(&json("\"priority\": 1e400"), Some(7), &["line 3", "chunks[1]: priority: ", "out of range"]);
    invalid_json(&json("\"checksum\": \"\\ud800\""), Some(7), &["line 3", "chunks[1]: checksum: "]);
    invalid_json("{\"chunks\": [\n3]}", None, &["line 2", "chunks[0]", "object with an id"]);
    invalid_json("{\"chunks\": [\n{\"id\": 1},,]}", None, &["line 2, column 11"]);
    invalid_toml("[[chunks]]\nid = = 3", None, &["line 2, column 6"]);
    invalid_toml("[[chunks]]\nid = 3\nchecksum = \"x", None, &["line 3"]);
}

#[test]
fn a_chunk_id_is_a_whole_number_in_range() {
    let range = "is not a whole number from 0 to 9007199254740991";
    for id in [
        "-1",
        "9007199254740992",
        "18446744073709551615",
        "18446744073709551616",
        "1.5",
        "1.0",
        "1e3",
        "\"1\"",
        "true",
    ] {
        invalid_json(
            &format!("{{\"chunks\":[{{\"checksum\":\"a\",\"id\":{id}}}]}}"),
            None,
            &["chunks[0]: id: ", range],
        );
    }
    for id in [
        "-1",
        "9007199254740992",
        "0x20000000000000",
        "1.5",
        "nan",
        "inf",
        "1e400",
        "\"1\"",
        "2026-01-01",
        "[1]",
    ] {
        invalid_toml(&format!("[[chunks]]\nid = {id}"), None, &["line 2", "chunks[0]: id: "]);
    }
    for id in [0, limits::ID_MAX] {
        assert_eq!(
            Manifest::from_json(&json!({"chunks": [{"id": id}]}).to_string()).unwrap().chunks[0].id,
            id
        );
        assert_eq!(Manifest::from_toml(&format!("[[chunks]]\nid = {id}")).unwrap().chunks[0].id, id);
    }
    invalid_json(r#"{"chunks":[{"id":null}]}"#, None, &["chunks[0]: id: null"]);
    invalid_json(
        "{\"chunks\":[\n {\"checksum\":\"a\"}]}",
        None,
        &["line 2, column 2", "chunks[0]: id: missing"],
    );
    invalid_toml("[[chunks]]\nchecksum = \"a\"", None, &["line 1", "chunks[0]: id: missing"]);
    assert_error(
        Manifest::new().chunk(NewChunk::new(limits::ID_MAX + 1)).check(),
        ErrorKind::InvalidManifest,
        Some(limits::ID_MAX + 1),
        &["id: ", "out of range"],
    );
}

#[test]
fn a_chunk_that_stands_twice_is_named_with_both_places() {
    let facts = ["chunks[2]: id: 5 is taken", "the first is chunks[0]"];
    let ids = [5, 2, 5];
    assert_error(
        Manifest::new().chunks(ids.map(NewChunk::new)).check(),
        ErrorKind::DuplicateChunk,
        Some(5),
        &facts,
    );
    let toml = Manifest::from_toml("[[chunks]]\nid = 5\n[[chunks]]\nid = 2\n[[chunks]]\nid = 5\n");
    assert_error(
        toml,
        ErrorKind::DuplicateChunk,
        Some(5),
        &["line 6, column 1", "at line 1, column 1", facts[0]],
    );
    let json = Manifest::from_json("{\"chunks\": [{\"id\": 5},\n{\"id\": 2},\n{\"id\": 5}]}");
    assert_error(
        json,
        ErrorKind::DuplicateChunk,
        Some(5),
        &["line 3, column 8", "at line 1, column 13", facts[1]],
    );
}

#[test]
fn dependencies_are_checked_as_far_as_the_manifest_goes() {
    let one = |chunk| Manifest::new().chunk(chunk).check();
    one(NewChunk::new(1).depends_on([2, 99])).unwrap();
    assert_error(
        one(NewChunk::new(1).depends_on([2, 1])),
        ErrorKind::DependencyCycle,
        Some(1),
        &["chunks[0]: depends_on: ", "1 -> 1", "remove"],
    );
    assert_error(
        one(NewChunk::new(1).depends_on([3, 2, 3])),
        ErrorKind::InvalidManifest,
        Some(1),
        &["depends_on: 3 stands twice"],
    );
    assert_error(
        one(NewChunk::new(1).depends_on([limits::ID_MAX + 1])),
        ErrorKind::InvalidManifest,
        Some(1),
        &["depends_on: ", "out of range"],
    );
    let max = limits::DEPENDENCIES_PER_CHUNK_MAX as u64;
    one(NewChunk::new(0).depends_on(1..=max)).unwrap();
    assert_error(
        one(NewChunk::new(0).depends_on(1..=max + 1)),
        ErrorKind::TooLarge,
        Some(0),
        &["depends_on: 10001 dependencies", "10000"],
    );
}

#[test]
fn a_cycle_is_named_with_its_line() {
    let toml = "[[chunks]]\nid = 9\ndepends_on = [3]\n[[chunks]]\nid = 3\ndepends_on = [7]\n[[chunks]]\nid = 7\ndepends_on = [50, 9]\n";
    assert_error(
        Manifest::from_toml(toml),
        ErrorKind::DependencyCycle,
        Some(3),
        &["line 6", "chunks[1]: depends_on: ", "3 -> 7 -> 9 -> 3", "remove"],
    );
    let json = "{\"chunks\": [\n{\"id\": 1, \"depends_on\": [2]},\n{\"id\": 2, \"depends_on\": [1]}]}";
    assert_error(
        Manifest::from_json(json),
        ErrorKind::DependencyCycle,
        Some(1),
        &["line 2, column 25", "1 -> 2 -> 1"],
    );
}

#[test]
fn sizes_are_taken_at_their_limit_and_refused_one_past_it() {
    let check = |chunk| Manifest::new().chunk(chunk).check();
    let checksum = |bytes| check(NewChunk::new(7).checksum("x".repeat(bytes)));
    checksum(limits::CHECKSUM_BYTES_MAX).unwrap();
    let past = limits::CHECKSUM_BYTES_MAX + 1;
    assert_error(checksum(past), ErrorKind::TooLarge, Some(7), &["checksum: ", "1025", "1024"]);

    let text = |bytes| Json::from_text(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
    check(NewChunk::new(7).payload(text(limits::PAYLOAD_BYTES_MAX))).unwrap();
    let past = check(NewChunk::new(7).payload(text(limits::PAYLOAD_BYTES_MAX + 1)));
    assert_error(past, ErrorKind::TooLarge, Some(7), &["payload: ", "1048577", "1048576"]);
    let past = Manifest::from_json(&format!(
        "{{\"chunks\":[\n{{\"id\":7,\"blob\":\"{}\"}}]}}",
        "x".repeat(limits::PAYLOAD_BYTES_MAX)
    ));
    assert_error(past, ErrorKind::TooLarge, Some(7), &["line 2", "chunks[0]: payload: "]);

    let name = |bytes| Manifest::new().job(JobSpec::new().name("x".repeat(bytes))).check();
    name(limits::NAME_BYTES_MAX).unwrap();
    assert_error(name(limits::NAME_BYTES_MAX + 1), ErrorKind::TooLarge, None, &["job: name: ", "257", "256"]);
    let lease = Manifest::from_toml("chunks = []\n[job]\nlease = 999\n");
    assert_error(lease, ErrorKind::InvalidManifest, None, &["line 3", "job: lease: ", "999 ms", "1000"]);
    let backoff =
        Manifest::from_json("{\"chunks\":[],\"job\":{\"backoff\":{\"initial_ms\":2,\"max_ms\":1}}}");
    assert_error(backoff, ErrorKind::InvalidManifest, None, &["line 1", "job: backoff: initial_ms 2"]);
}

#[test]
fn a_payload_is_nested_as_deep_as_the_limit_and_no_deeper() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let json =
        |depth| Manifest::from_json(&format!("{{\"chunks\":[{{\"payload\":{},\"id\":1}}]}}", nested(depth)));
    let manifest = json(limits::JSON_DEPTH_MAX).unwrap();
    payload_value(&manifest.chunks[0]);
    assert_eq!(
        serde_json::from_str::<Manifest>(&serde_json::to_string(&manifest).unwrap()).unwrap(),
        manifest
    );
    for past in [limits::JSON_DEPTH_MAX + 1, 1_000_000] {
        assert_error(json(past), ErrorKind::InvalidManifest, Some(1), &["line 1", "payload: ", "100 levels"]);
    }
    let brackets_in_text = Json::new(&"[".repeat(1_000)).unwrap();
    Manifest::new().chunk(NewChunk::new(1).payload(brackets_in_text)).check().unwrap();
    let deep = NewChunk::new(1).payload(Json::trusted(&nested(101)));
    assert_error(
        Manifest::new().chunk(deep.clone()).check(),
        ErrorKind::InvalidManifest,
        Some(1),
        &["payload: "],
    );
    assert!(serde_json::to_string(&deep).unwrap_err().to_string().contains("too deeply"));
    // Through a format that hands over values.
    let value = (0..100).fold(json!(1), |value, _| json!([value]));
    assert!(serde_json::from_value::<NewChunk>(json!({"id": 1, "payload": value})).is_ok());
    invalid_toml(&format!("[[chunks]]\nid = 1\npayload = {}", nested(1_000)), None, &["line 3", "recursion"]);
}

#[test]
fn a_manifest_of_text_is_bounded_by_its_bytes() {
    let mut text = String::from("chunks = []\n#");
    text.push_str(&" ".repeat(limits::MANIFEST_BYTES_MAX - text.len()));
    assert_eq!(Manifest::from_toml(&text).unwrap(), Manifest::new());
    text.push(' ');
    let facts = ["67108865 bytes", "67108864", "JSON Lines"];
    assert_error(Manifest::from_toml(&text), ErrorKind::TooLarge, None, &facts);
    assert_error(Manifest::from_json(&text), ErrorKind::TooLarge, None, &facts);
}

#[test]
fn a_byte_order_mark_and_crlf_are_fine() {
    assert_eq!(Manifest::from_toml("\u{feff}[[chunks]]\r\nid = 1\r\n").unwrap().chunks[0].id, 1);
    assert_eq!(Manifest::from_json("\u{feff}{\"chunks\":[{\"id\":1}]}\r\n").unwrap().chunks[0].id, 1);
}

#[test]
fn what_a_format_cannot_hold_is_an_error_and_never_another_value() {
    let with = |payload| Manifest::new().chunk(NewChunk::new(1).payload(Json::from_text(payload).unwrap()));
    let exact =
        with(r#"[-0,18446744073709551615,-9223372036854775808,100000000000000000000,0.1,{"b":1,"a":[]}]"#);
    assert_eq!(Manifest::from_json(&serde_json::to_string(&exact).unwrap()).unwrap().chunks.len(), 1);
    let text = serde_json::to_string(&exact).unwrap();
    assert!(
        text.contains(
            "18446744073709551615,-9223372036854775808,100000000000000000000,0.1,{\"b\":1,\"a\":[]}"
        ),
        "{text}"
    );
    for payload in ["1e400", "1234567890123456789012345678901234567890123"] {
        let error = serde_json::to_string(&with(payload)).unwrap_err();
        assert!(error.to_string().contains(payload), "{error}");
    }
    assert!(toml::to_string(&with(r#"{"a":[null]}"#)).is_err());
    for value in ["nan", "inf", "-inf", "[1, { a = nan }]"] {
        invalid_toml(
            &format!("[[chunks]]\nid = 1\nweight = {value}"),
            Some(1),
            &["line 3", "weight: ", "no JSON form"],
        );
    }
}

#[test]
fn a_value_of_toml_without_a_form_in_json_is_found_however_deep_it_stands() {
    let of_two = "[[chunks]]\nid = 1\n[[chunks]]\nid = 2\n";
    for (rest, facts) in [
        ("[chunks.sub]\nb = nan", ["chunk 2: line 6, column 5", "sub: nan has"]),
        ("[chunks.sub.below]\nb = 1\nc = inf", ["chunk 2: line 7, column 5", "sub: inf has"]),
        (
            "[[chunks.parts]]\nb = 1\n[[chunks.parts]]\nb = nan",
            ["chunk 2: line 8, column 5", "parts: nan has"],
        ),
        ("a = [\n  1,\n  nan,\n]", ["chunk 2: line 7, column 3", "a: nan has"]),
    ] {
        invalid_toml(&format!("{of_two}{rest}"), Some(2), &facts);
    }
    invalid_toml(
        &format!("{of_two}[job.backoff]\ninitial_ms = nan"),
        None,
        &["line 6, column 14", "job: backoff: "],
    );
    invalid_toml(&format!("name = nan\n{of_two}"), None, &["line 1, column 8", "name: nan has"]);
}

#[test]
fn dates_in_toml_become_text() {
    let toml = "[[chunks]]\nid = 1\na = 2026-01-31\nb = 12:30:00\nc = 2026-01-31T12:30:00.5+01:00\nd = [2026-01-31T12:30:00]\n";
    let expected =
        r#"{"a":"2026-01-31","b":"12:30:00","c":"2026-01-31T12:30:00.5+01:00","d":["2026-01-31T12:30:00"]}"#;
    assert_eq!(payload(&Manifest::from_toml(toml).unwrap(), 0), expected);
    let value: toml::Value = toml::from_str(toml).unwrap();
    assert_eq!(payload(&value.try_into().unwrap(), 0), expected);
}

#[test]
fn a_manifest_may_be_part_of_a_larger_type() {
    #[derive(serde::Deserialize)]
    struct Request {
        job_id: i64,
        #[serde(flatten)]
        manifest: Manifest,
    }
    let text = r#"{"job_id": 3, "chunks": [{"id": 1, "a": {"b": [1, -2, 0.5, null]}}]}"#;
    let request: Request = serde_json::from_str(text).unwrap();
    assert_eq!(request.job_id, 3);
    assert_eq!(payload(&request.manifest, 0), r#"{"a":{"b":[1,-2,0.5,null]}}"#);
}

/// Which is how `serde_json` hands them over where another crate of the program has it keep them as they are written.
#[test]
fn numbers_that_come_as_their_text_are_numbers() {
    #[derive(Debug, serde::Deserialize)]
    struct Request {
        #[serde(flatten)]
        manifest: Manifest,
    }
    let number = |text: &str| format!(r#"{{"$serde_json::private::Number":"{text}"}}"#);
    let read = |id: &str, checksum: &str| {
        let (id, priority, on) = (number(id), number("-2"), number("7"));
        let further = format!("[{},{}]", number("0.5"), number("half"));
        serde_json::from_str::<Request>(&format!(
            r#"{{"chunks":[{{"id":{id},"checksum":{checksum},"priority":{priority},"depends_on":[{on}],"a":{further}}}]}}"#
        ))
    };
    let request = read("1", "null").unwrap();
    let [chunk] = &request.manifest.chunks[..] else { panic!("{request:?}") };
    assert_eq!((chunk.id, chunk.priority, &chunk.depends_on[..]), (1, -2, &[7][..]));
    assert_eq!(payload(&request.manifest, 0), format!(r#"{{"a":[0.5,{}]}}"#, number("half")));
    let error = read("1.5", "null").unwrap_err().to_string();
    assert!(error.contains("1.5 is not a whole number"), "{error}");
    let error = read("1", &number("12")).unwrap_err().to_string();
    assert!(error.contains("12 is not text; write it in quotes"), "{error}");
}

#[test]
fn positions_count_characters_from_one() {
    let text = "a\nüb\n\nx";
    for (offset, expected) in
        [(0, (1, 1)), (1, (1, 2)), (2, (2, 1)), (4, (2, 2)), (6, (3, 1)), (7, (4, 1)), (99, (4, 2))]
    {
        let position = Position::of(text, offset);
        assert_eq!((position.line, position.column), (expected.0, Some(expected.1)), "{offset}");
    }
}
