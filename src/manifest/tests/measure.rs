//! `cargo test --release --lib manifest::tests::measure -- --ignored --nocapture`

use std::fmt::Write;
use std::time::Instant;

use super::*;

fn best(what: &str, per: u32, mut run: impl FnMut()) {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .expect("five");
    println!("{what}: {best:?}, {:.2} M/s", f64::from(per) / best.as_secs_f64() / 1e6);
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    let count = 10_000;
    let toml = (0..count).fold(String::new(), |mut text, i| {
        let _ = write!(text, "[[chunks]]\nid = {i}\nchecksum = \"{i:032x}\"\n\n");
        text
    });
    best("toml, 10,000 chunks: DeTable alone", count, || drop(toml::de::DeTable::parse(&toml).unwrap()));
    best("toml, 10,000 chunks: from_toml", count, || drop(Manifest::from_toml(&toml).unwrap()));
    best("toml, 10,000 chunks: toml::from_str", count, || drop(toml::from_str::<Manifest>(&toml).unwrap()));
    let json = serde_json::to_string(&Manifest::from_toml(&toml).unwrap()).unwrap();
    best("json, 10,000 chunks: from_json", count, || drop(Manifest::from_json(&json).unwrap()));

    let count = 1_000_000;
    let line = |make: fn(&mut String, u32)| {
        (0..count).fold(String::new(), |mut text, i| {
            make(&mut text, i);
            text
        })
    };
    for (what, text) in [
        (
            "id + checksum",
            line(|out, i| {
                let _ = writeln!(out, "{{\"id\":{i},\"checksum\":\"abc\"}}");
            }),
        ),
        (
            "with payload",
            line(|out, i| {
                let _ = writeln!(
                    out,
                    "{{\"id\":{i},\"checksum\":\"abc\",\"payload\":{{\"path\":\"a/b.bin\",\"offset\":{i}}}}}"
                );
            }),
        ),
        (
            "with further keys",
            line(|out, i| {
                let _ =
                    writeln!(out, "{{\"id\":{i},\"checksum\":\"abc\",\"path\":\"a/b.bin\",\"offset\":{i}}}");
            }),
        ),
    ] {
        best(&format!("json lines, {what}"), count, || {
            let (_, chunks) = json_lines(text.as_bytes()).unwrap();
            assert_eq!(chunks.flatten().count(), 1_000_000);
        });
    }
    let text = line(|out, i| {
        if i == 0 {
            out.push_str("id,checksum,path\n");
        }
        let _ = writeln!(out, "{i},abc,a/b.bin");
    });
    best("csv, id + checksum + path", count, || assert_eq!(csv(text.as_bytes()).unwrap().count(), 1_000_000));
}
