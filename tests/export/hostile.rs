//! Texts that were made to do harm.

use std::sync::Arc;

use magnetar::export::{Export, csv_text, disarmed};
use magnetar::{JobSpec, JobStatus, NewChunk, block_on};

use crate::support::{rounds, seed};
use crate::{places, rows_of, text_of, zoo};

const TEXTS: [&str; 27] = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "\u{a0}=1+1",
    "\u{feff}=1+1",
    "\u{200b}@x",
    "\u{202d}=1+1",
    "\u{2066}\u{ad}-1",
    "\u{fe0f}+1",
    "\0=1+1",
    "\u{ff1d}1+1",
    "'=1+1",
    "''",
    "\"",
    "\"\",\"=1+1\"",
    "a;=1+1",
    "a,b\r\nc",
    "=cmd|' /C calc'!A0",
    "",
    "zwölf \u{1f9f2} \u{202e}rtl",
    "\0",
    "1e5",
];

/// What Unicode says is shown as nothing: the direction of text, joiners, selectors of variants.
const INVISIBLE: [std::ops::RangeInclusive<u32>; 8] = [
    0xad..=0xad,
    0x61c..=0x61c,
    0x180b..=0x180f,
    0x200b..=0x200f,
    0x202a..=0x202e,
    0x2060..=0x206f,
    0xfe00..=0xfe0f,
    0xfeff..=0xfeff,
];

/// Whether a spreadsheet could take a cell for a formula, said in another way than the code says it.
fn looks_like_a_formula(cell: &str) -> bool {
    let skipped = |c: &char| {
        c.is_whitespace()
            || (*c as u32) < 0x20
            || (0x7f..0xa0).contains(&(*c as u32))
            || INVISIBLE.iter().any(|range| range.contains(&(*c as u32)))
    };
    let first = cell.chars().find(|c| !skipped(c));
    first.is_some_and(|c| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(c))
}

#[test]
fn no_cell_of_text_is_a_formula_and_every_text_comes_back() {
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        let chunks = TEXTS.iter().zip(0..).map(|(text, id)| Ok(NewChunk::new(id).checksum(*text)));
        block_on(async {
            let chunks = magnetar::chunks(chunks);
            zoo.store.import(1, &JobSpec::new(), chunks, &Default::default()).await.expect("imported");
            for (text, id) in TEXTS.iter().zip(0..) {
                let error = Some((*text).to_owned());
                zoo.store.mark_status(1, id, JobStatus::Failed, error).await.expect("pending");
            }
        });
        let (text, _) = text_of(Export::new(Arc::clone(&zoo.store)).csv());
        let rows = rows_of(&text);
        assert_eq!(rows.len(), TEXTS.len(), "{name}");
        for (row, text) in rows.iter().zip(TEXTS) {
            for column in ["checksum", "error"] {
                let cell = &row[column];
                assert!(!looks_like_a_formula(cell), "{name}: {column} {cell:?}");
                assert_eq!(csv_text(cell), text, "{name}: {column}");
            }
        }
        // Every text is quoted, so that a spreadsheet that splits at semicolons does not make two cells of one.
        assert!(text.contains("\"a;=1+1\""), "{text}");
        let (lines, _) = text_of(Export::new(Arc::clone(&zoo.store)).json_lines());
        let errors: Vec<String> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON"))
            .filter(|line| line["kind"] == "chunk")
            .map(|line| line["error"].as_str().expect("an error").to_owned())
            .collect();
        assert_eq!(errors, TEXTS, "{name}");
    }
}

#[test]
fn an_empty_text_and_none_stay_apart() {
    for (_, place) in places() {
        let zoo = zoo::open(&*place);
        let chunks = [NewChunk::new(0).checksum(""), NewChunk::new(1)].map(Ok);
        block_on(zoo.store.import(1, &JobSpec::new(), magnetar::chunks(chunks), &Default::default()))
            .expect("imported");
        let (text, _) = text_of(Export::new(zoo.store).csv());
        let starts: Vec<&str> = text.lines().skip(1).map(|line| &line[..14]).collect();
        assert_eq!(starts, ["1,0,pending,\"\"", "1,1,pending,,,"]);
    }
}

#[test]
fn whatever_the_text_it_is_disarmed_and_comes_back() {
    let mut random = fastrand::Rng::with_seed(seed("disarmed", 7));
    let letters: Vec<char> =
        "=+-@'\"\t\r\n ;,a\0\u{feff}\u{200b}\u{202e}\u{2069}\u{ff1d}\u{a0}é".chars().collect();
    for _ in 0..rounds(20_000, 1_000_000) {
        let text: String = (0..random.usize(0..6)).map(|_| letters[random.usize(0..letters.len())]).collect();
        let cell = disarmed(&text);
        assert!(!looks_like_a_formula(&cell), "{text:?} became {cell:?}");
        assert_eq!(csv_text(&cell), text);
    }
}
