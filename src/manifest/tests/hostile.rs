//! Whatever comes in, an error or a manifest comes out.

use super::super::json_lines::chunk_of_line;
use super::*;

/// Reads the input every way there is.
fn feed(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        for read in [Manifest::from_toml(text), Manifest::from_json(text)] {
            match read {
                Ok(manifest) => manifest.check().expect("it was checked"),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
        let text = without_bom(text);
        if let Ok(manifest) = Manifest::from_toml(text) {
            assert_eq!(toml::from_str::<Manifest>(text).expect("it was read"), manifest);
        }
        if let Ok(manifest) = Manifest::from_json(text) {
            assert_eq!(serde_json::from_str::<Manifest>(text).expect("it was read"), manifest);
            if let Ok(text) = serde_json::to_string(&manifest) {
                let mut back = Manifest::from_json(&text).expect("what was written is read");
                // A number may be written otherwise.
                for (chunk, was) in back.chunks.iter_mut().zip(&manifest.chunks) {
                    assert_eq!(chunk.payload.is_some(), was.payload.is_some());
                    chunk.payload.clone_from(&was.payload);
                }
                assert_eq!(back, manifest);
            }
        }
        if let Ok(manifest) = toml::from_str::<Manifest>(text) {
            let _ = manifest.check();
        }
        if let Ok(manifest) = serde_json::from_str::<Manifest>(text) {
            let _ = manifest.check();
            let _ = (toml::to_string(&manifest), serde_json::to_string(&manifest));
        }
    }
    if let Ok((_, chunks)) = json_lines(input) {
        chunks.for_each(drop);
    }
    if let Ok(chunks) = csv(input) {
        chunks.for_each(drop);
    }
}

const SAMPLES: [&str; 5] = [
    EVERY_KEY,
    "{\"job\": {\"name\": \"n\", \"backoff\": {\"initial_ms\": 1, \"max_ms\": 2}},\n\"chunks\": [{\"id\": 1, \"depends_on\": [2, 3], \"payload\": {\"a\": [1, \"\\ud83d\\ude00\"]}, \"b\": -1.5e3},\n{\"id\": 2, \"checksum\": \"é\", \"priority\": -1}]}",
    "{\"job\": {\"lease\": 5000}}\r\n{\"id\": 1, \"payload\": {\"a\": 1}, \"b\": null}\r\n\r\n{\"id\": 2, \"depends_on\": [1]}\r\n",
    "id,checksum,depends_on,priority,payload,path\n1,a,,3,\"{\"\"x\"\": 1}\",\"p,q\"\n2,,1;7,,,\"multi\nline\"\n",
    "[[chunks]]\nid = 1\ndepends_on = [2]\n[[chunks]]\nid = 2\ndepends_on = [1]\n",
];

#[test]
fn mutated_manifests_never_panic() {
    let seed: u64 = 0x5EED_0002;
    println!("seed {seed:#x}");
    let mut state = seed;
    let mut random = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % bound
    };
    let tokens: [&[u8]; 20] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"\n",
        b"\r",
        b"=",
        b"\0",
        b"\xFF",
        b"\\ud800",
        b"1e400",
        b"-1",
        b"9007199254740992",
        b"nan",
        b"id",
        b"\xEF\xBB\xBF",
        b"payload",
    ];
    for _ in 0..2_000 {
        let mut input = SAMPLES[random(SAMPLES.len())].as_bytes().to_vec();
        for _ in 0..=random(4) {
            let at = random(input.len() + 1);
            match random(4) {
                0 => input.truncate(at.max(1)),
                1 => {
                    let token = tokens[random(tokens.len())];
                    input.splice(at..at, token.iter().copied());
                }
                2 => {
                    let to = (at + random(8)).min(input.len());
                    input.drain(at..to);
                }
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte = u8::try_from(random(256)).expect("a byte");
                    }
                }
            }
        }
        feed(&input);
    }
}

#[test]
fn hostile_inputs_are_refused_with_a_reason() {
    let deep = 20_000;
    let values = [
        "9007199254740992",
        "-1",
        "1e400",
        "NaN",
        "\"1\"",
        "1.5",
        "-0.0",
        "Infinity",
        "0x10",
        "01",
        "1e1",
        "null",
        "{}",
        "[[]]",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "18446744073709551616",
        "-9223372036854775809",
    ];
    for value in values {
        for key in ["id", "depends_on", "priority", "max_attempts"] {
            let json = format!("{{\"{key}\": {value}}}");
            if !(key != "id" && value == "null") {
                assert!(lines_fail(&json), "{json}");
            }
        }
    }
    for payload in
        ["\"\\ud800\"", "\"\\udc00x\"", "\"\\ud800\\ud800\"", "{\"\\udfff\":1}", "\"\\ud83d\\u0041\""]
    {
        let line = format!("{{\"id\":1,\"payload\":{payload}}}");
        assert_error(
            chunk_of_line(line.as_bytes(), 3),
            ErrorKind::InvalidManifest,
            Some(1),
            &["line 3", "payload: ", "half a character"],
        );
    }
    let accepted = [
        "{\"id\":1,\"checksum\":\"a\\u0000b\"}",
        "{\"id\":1,\"__proto__\":{\"x\":1},\"constructor\":null,\"\":0,\"\\u0000\":1}",
        "{\"id\":1,\"$serde_json::private::RawValue\":\"]\",\"$__toml_private_datetime\":\"x\"}",
        "{\"id\":1,\"payload\":{\"$serde_json::private::RawValue\":\"]\"}}",
    ];
    for line in accepted {
        let chunk = chunk_of_line(line.as_bytes(), 1).unwrap();
        if let Some(payload) = &chunk.payload {
            let text: &serde_json::value::RawValue = serde_json::from_str(payload.as_str()).unwrap();
            assert!(line.contains(&text.get()[1..text.get().len() - 1]), "{text}");
        }
        feed(line.as_bytes());
    }
    for open in [
        "[",
        "{\"chunks\":",
        "{\"chunks\":[",
        "{\"id\":1,\"a\":[",
        "a=[",
        "a={b=",
        "[[chunks]]\nid=1\na.",
        "\"",
        "id,\"",
    ] {
        feed(open.repeat(deep).as_bytes());
        feed(format!("{{\"id\":1,\"payload\":{}", open.repeat(deep)).as_bytes());
        feed(format!("[[chunks]]\nid = 1\npayload = {}", open.repeat(deep)).as_bytes());
    }
    for key in ["\"$serde_json::private::RawValue\"", "\"$__toml_private_datetime\""] {
        let toml = format!("[[chunks]]\nid = 1\npayload = {{ {key} = \"]\" }}");
        let manifest = Manifest::from_toml(&toml).unwrap();
        Json::from_text(payload(&manifest, 0)).unwrap();
    }
    // As many keys as a line can have do not take their square in time.
    let keys = |count: u32| {
        (0..count).fold(String::new(), |mut keys, i| {
            problem::push(&mut keys, format_args!(",\"k{i}\":1"));
            keys
        })
    };
    let chunk = chunk_of_line(format!("{{\"id\":1{}}}", keys(200_000)).as_bytes(), 1).unwrap_err();
    assert_eq!(chunk.kind(), ErrorKind::TooLarge);
    let twice = format!("{{\"id\":1,\"payload\":{{\"k7\":1}}{}}}", keys(100_000));
    let twice = chunk_of_line(twice.as_bytes(), 1);
    assert_error(twice, ErrorKind::InvalidManifest, Some(1), &["k7"]);
    // Nor do columns.
    let header = (0..400_000).fold(String::from("id"), |mut header, i| {
        problem::push(&mut header, format_args!(",k{i}"));
        header
    });
    let row = csv(format!("{header}\n7\n").as_bytes()).unwrap().next().expect("there is a row");
    assert_error(row, ErrorKind::InvalidManifest, None, &["line 2", "k0", "400001 columns"]);
    let twice = csv(format!("{header},k7\n").as_bytes()).map(drop);
    assert_error(twice, ErrorKind::InvalidManifest, None, &["k7", "columns 9 and 400002"]);
}

fn lines_fail(line: &str) -> bool {
    let error = chunk_of_line(line.as_bytes(), 2).err();
    error.is_some_and(|error| {
        error.kind() == ErrorKind::InvalidManifest && error.to_string().contains("line 2")
    })
}

#[test]
fn every_truncation_of_a_manifest_is_read_without_panic() {
    for sample in SAMPLES {
        (0..=sample.len()).for_each(|end| feed(&sample.as_bytes()[..end]));
    }
}
