//! JSON Lines and CSV.

use std::io::{self, BufReader, Read};

use super::super::records::Records;
use super::*;

fn lines(text: impl AsRef<[u8]>) -> Result<(JobSpec, Vec<NewChunk>)> {
    let (job, chunks) = json_lines(text.as_ref())?;
    Ok((job, chunks.collect::<Result<_>>()?))
}

fn rows(text: impl AsRef<[u8]>) -> Result<Vec<NewChunk>> {
    csv(text.as_ref())?.collect()
}

fn invalid_line(text: &str, chunk: Option<u64>, facts: &[&str]) {
    assert_error(lines(text), ErrorKind::InvalidManifest, chunk, facts);
}

fn invalid_row(text: &str, chunk: Option<u64>, facts: &[&str]) {
    assert_error(rows(text), ErrorKind::InvalidManifest, chunk, facts);
}

/// A source without end, which counts what was read of it.
#[derive(Debug)]
struct Endless<'a> {
    head: &'a [u8],
    read: usize,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = self.head.read(buffer)?;
        buffer[head..].fill(b'x');
        self.read += buffer.len();
        Ok(buffer.len())
    }
}

/// Gives one byte at a time.
struct OneByOne<'a>(&'a [u8]);

impl Read for OneByOne<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn json_lines_are_read_with_and_without_a_job() {
    let chunks = "{\"id\":1}\n{\"id\":2,\"depends_on\":[1],\"path\":\"b\"}\n";
    let (job, first) = lines(chunks).unwrap();
    assert_eq!(job, JobSpec::new());
    assert_eq!(first[1].depends_on, [1]);
    assert_eq!(first[1].payload.as_ref().unwrap().as_str(), r#"{"path":"b"}"#);
    let (job, second) =
        lines(format!("{{\"job\": {{\"name\": \"n\", \"lease\": 5000}}}}\n{chunks}")).unwrap();
    assert_eq!(job, JobSpec::new().name("n").lease_ms(5_000));
    assert_eq!(first, second);
}

#[test]
fn blank_lines_crlf_a_byte_order_mark_and_a_missing_last_line_end_are_fine() {
    let (_, chunks) = lines("\u{feff}\r\n  \n{\"id\":1}\r\n\n\t\r\n{\"id\":2}").unwrap();
    assert_eq!(chunks, [NewChunk::new(1), NewChunk::new(2)]);
    let (_, chunks) = lines("\u{feff}{\"id\":1}\n").unwrap();
    assert_eq!(chunks, [NewChunk::new(1)]);
    assert_eq!(lines("").unwrap().1, []);
    assert_eq!(lines("\n\n").unwrap().1, []);
    assert_eq!(lines("{\"job\":{}}").unwrap().1, []);
    // Never more than a few bytes at once.
    let text = "{\"job\":{\"name\":\"é\"}}\r\n\r\n{\"id\":1}\r\n";
    let (job, chunks) = json_lines(BufReader::with_capacity(1, text.as_bytes())).unwrap();
    assert_eq!((job.name.as_deref(), chunks.count()), (Some("é"), 1));
}

#[test]
fn a_chunk_may_have_a_key_named_job() {
    let (job, chunks) = lines("{\"id\":1,\"job\":\"x\"}\n{\"job\":2,\"id\":2}\n").unwrap();
    assert_eq!(job, JobSpec::new());
    assert_eq!(chunks[1].payload.as_ref().unwrap().as_str(), r#"{"job":2}"#);
}

#[test]
fn an_error_of_a_json_line_names_line_column_chunk_and_key() {
    let after = |line: &str| format!("{{\"id\":1}}\n\n{line}\n{{\"id\":3}}\n");
    invalid_line(
        &after("{\"id\":2,\"priority\":\"x\"}"),
        Some(2),
        &["line 3, column 20: priority: ", "\"x\" is not"],
    );
    invalid_line(&after("{\"priority\":1.5,\"id\":2}"), Some(2), &["line 3, column 13: priority: "]);
    invalid_line(&after("{\"id\":-2}"), None, &["line 3, column 7: id: -2"]);
    invalid_line(&after("{\"id\":1e400}"), None, &["line 3, ", "id: ", "out of range"]);
    invalid_line(&after("{\"checksum\":\"x\"}"), None, &["line 3", "id: missing"]);
    invalid_line(&after("{\"id\":2} {\"id\":4}"), None, &["line 3, column 10", "one chunk"]);
    invalid_line(&after("{\"id\":2,"), None, &["line 3, ", "one chunk"]);
    invalid_line(&after("[1]"), None, &["line 3: ", "one chunk"]);
    invalid_line(&after("{\"job\":{}}"), None, &["line 3", "first line"]);
    invalid_line(
        &after("{\"id\":2,\"depends_on\":[2]}").replace("[2]", "[5,5]"),
        Some(2),
        &["line 3, column 22: depends_on: 5"],
    );
    assert_error(
        lines(after("{\"id\":2,\"depends_on\":[2]}")),
        ErrorKind::DependencyCycle,
        Some(2),
        &["line 3, column 22: depends_on: ", "2 -> 2"],
    );
    invalid_line("{\"job\":{\"nam\":1}}\n", None, &["line 1", "job: nam: unknown key", "name"]);
    invalid_line("{\"job\":{},\"nam\":1}\n", None, &["line 1", "nam: unknown key"]);
    invalid_line("\n{\"job\":{\"lease\":1}}\n", None, &["line 2", "job: lease: ", "1000"]);
    invalid_line("[{\"id\":1}]\n", None, &["line 1", "one chunk"]);
    invalid_line("{\"chunks\":[{\"id\":1}]}\n", None, &["line 1", "id: missing"]);
}

#[test]
fn a_stream_ends_after_its_first_error() {
    let (_, mut chunks) = json_lines(&b"{\"id\":1}\nx\n{\"id\":3}\n"[..]).unwrap();
    assert!(chunks.next().unwrap().is_ok());
    assert!(chunks.next().unwrap().is_err());
    assert!(chunks.next().is_none());
    let mut chunks = csv(&b"id\n1\nx\n3\n"[..]).unwrap();
    assert!(chunks.next().unwrap().is_ok());
    assert!(chunks.next().unwrap().is_err());
    assert!(chunks.next().is_none());
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line() {
    let text = b"{\"id\":1}\n{\"id\":2,\"a\":\"\xFF\"}\n";
    assert_error(lines(text), ErrorKind::InvalidManifest, None, &["line 2, column 14", "UTF-8"]);
    assert_error(lines(b"\xFF\xFE{\0"), ErrorKind::InvalidManifest, None, &["line 1, column 1", "UTF-8"]);
    let text = b"id,checksum\n1,a\n2,\xFF\n";
    assert_error(rows(text), ErrorKind::InvalidManifest, None, &["line 3", "checksum: ", "UTF-8"]);
}

/// A chunk of exactly so many bytes.
fn line_of(bytes: usize) -> String {
    let (head, tail) = ("{\"id\":1", "}");
    format!("{head}{}{tail}", " ".repeat(bytes - head.len() - tail.len()))
}

#[test]
fn a_line_is_taken_at_its_limit_and_refused_one_past_it() {
    let max = limits::MANIFEST_LINE_BYTES_MAX;
    for end in ["", "\n", "\r\n", "\n{\"id\":2}\n"] {
        for start in ["", "\u{feff}", "{\"id\":0}\n"] {
            let count = 1 + usize::from(start.len() > 3) + usize::from(end.len() > 2);
            assert_eq!(lines(format!("{start}{}{end}", line_of(max))).unwrap().1.len(), count);
            let number = if start.len() > 3 { "line 2: " } else { "line 1: " };
            let past = lines(format!("{start}{}{end}", line_of(max + 1)));
            assert_error(past, ErrorKind::TooLarge, None, &[number, "4194304"]);
        }
    }
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_the_memory() {
    let mut source = Endless { head: b"{\"id\":1}\n{\"id\":2,\"a\":\"", read: 0 };
    let (_, chunks) = json_lines(BufReader::new(&mut source)).unwrap();
    assert_error(chunks.collect::<Result<Vec<_>>>(), ErrorKind::TooLarge, None, &["line 2: "]);
    assert!(source.read < limits::MANIFEST_LINE_BYTES_MAX + (1 << 17), "{}", source.read);

    for head in [&b"id\n1\n\"2"[..], b"id\n1\n2", b"id,a\n1,2\n3,\""] {
        let mut source = Endless { head, read: 0 };
        let read = csv(&mut source).unwrap().collect::<Result<Vec<_>>>();
        assert_error(read, ErrorKind::TooLarge, None, &["line 3: ", "4194304"]);
        assert!(source.read < limits::MANIFEST_LINE_BYTES_MAX + (1 << 18), "{}", source.read);
    }
    let mut source = Endless { head: b"", read: 0 };
    assert_error(csv(&mut source), ErrorKind::TooLarge, None, &["line 1: "]);
}

#[test]
fn a_record_is_taken_at_its_limit_and_refused_one_past_it() {
    let record = |bytes: usize| format!("id,a,b,c,d,e\n\n1,{}\n2,,,,,\n", cells(bytes - "1,".len()));
    let max = limits::MANIFEST_LINE_BYTES_MAX;
    // A record of the limit's length is read; its payload then is larger than a payload may be.
    assert_error(rows(record(max)), ErrorKind::TooLarge, Some(1), &["line 3: ", "payload: "]);
    assert_error(rows(record(max + 1)), ErrorKind::TooLarge, None, &["line 3: ", "4194304"]);
}

fn cells(bytes: usize) -> String {
    format!("{},,,,", "x".repeat(bytes - 4))
}

#[test]
fn a_reader_that_fails_is_an_io_error_with_the_line() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the cable is out"))
        }
    }
    let text = &b"id\n1\n"[..];
    let read = csv(text.chain(Failing)).unwrap().collect::<Result<Vec<_>>>();
    assert_error(read, ErrorKind::Io, None, &["the cable is out", "after line"]);
    let text = &b"{\"id\":1}\n"[..];
    let (_, chunks) = json_lines(BufReader::new(text.chain(Failing))).unwrap();
    assert_error(
        chunks.collect::<Result<Vec<_>>>(),
        ErrorKind::Io,
        None,
        &["the cable is out", "after line 1"],
    );
}

#[test]
fn an_interrupted_read_is_tried_again() {
    struct Interrupted<'a>(&'a [u8], bool);
    impl Read for Interrupted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.read(&mut buffer[..1])
        }
    }
    let read = csv(Interrupted(b"\xEF\xBB\xBFid\n1\n2", false)).unwrap().collect::<Result<Vec<_>>>();
    assert_eq!(read.unwrap(), [NewChunk::new(1), NewChunk::new(2)]);
}

#[test]
fn every_column_of_csv_is_read() {
    let text = "path, id ,checksum,depends_on,priority,max_attempts,max_losses,on_dependency_failure,not_before,payload,count\n\
        a.bin,1,abc,,,,,,,,\n\
        \"b, \"\"x\"\"\n.bin\", 2 ,,1 ; 7;8 9,-3,4,0,ignore, 2026-12-01T08:00:00Z,\"{\"\"o\"\": [1, 2]}\",007\n";
    let chunks = rows(text).unwrap();
    assert_eq!(
        chunks[0],
        NewChunk::new(1).checksum("abc").payload(Json::from_text(r#"{"path":"a.bin"}"#).unwrap())
    );
    let payload = r#"{"o":[1,2],"path":"b, \"x\"\n.bin","count":"007"}"#;
    let expected = NewChunk::new(2)
        .depends_on([1, 7, 8, 9])
        .priority(-3)
        .attempts_max(4)
        .losses_max(0)
        .on_dependency_failure(DependencyFailure::Ignore)
        .not_before_ms(EIGHT_MS)
        .payload(Json::from_text(payload).unwrap());
    assert_eq!(chunks[1], expected);
}

#[test]
fn csv_takes_crlf_blank_lines_and_a_byte_order_mark() {
    let chunks = rows("\u{feff}id,checksum\r\n\r\n1,a\r\n\r\n\r\n2,\"b\"\r\n3,").unwrap();
    assert_eq!(chunks, [NewChunk::new(1).checksum("a"), NewChunk::new(2).checksum("b"), NewChunk::new(3)]);
    assert_eq!(rows("id\n").unwrap(), []);
    assert_eq!(rows("\u{feff}\"id\",\"checksum\"\n\"1\",\"a\"\n").unwrap(), [NewChunk::new(1).checksum("a")]);
    assert_eq!(rows("id\n1\r").unwrap(), [NewChunk::new(1)]);
    assert_eq!(rows("id,a\n1,\"\"").unwrap(), [NewChunk::new(1)]);
    let text = "id,checksum\r\n1,\"a\r\n\"\"é\"\r\n2,b";
    let bytewise = csv(OneByOne(text.as_bytes())).unwrap().collect::<Result<Vec<_>>>().unwrap();
    assert_eq!(bytewise, [NewChunk::new(1).checksum("a\r\n\"é"), NewChunk::new(2).checksum("b")]);
}

#[test]
fn an_error_of_csv_names_line_and_column() {
    invalid_row("", None, &["line 1: ", "names the columns"]);
    invalid_row("checksum\nx\n", None, &["line 1: id: missing"]);
    invalid_row("checksum,ID\nx,1\n", None, &["line 1: id: missing", "write ID in small letters"]);
    invalid_row("id;checksum\n1;x\n", None, &["line 1: id: missing", "commas"]);
    invalid_row("id,checksum,id\n", None, &["line 1: id: stands twice", "1 and 3"]);
    invalid_row("id,a, a \n", None, &["line 1: a: stands twice"]);
    invalid_row("id,,a\n", None, &["line 1: column 2: ", "no name"]);
    invalid_row("id,checksum,path\n1,a,b\n2,c\n", None, &["line 3: path: missing", "2 cells for 3 columns"]);
    invalid_row("id,path\n1,a\n2,b,c\n", None, &["line 3: column 3: ", "3 cells for 2 columns", "comma"]);
    for (cell, fact) in [
        ("-1", "\"-1\" is not a whole number from 0 to 9007199254740991"),
        ("9007199254740992", "9007199254740992"),
        ("+1", "+1"),
        ("1.0", "1.0"),
        ("1e3", "1e3"),
        ("nan", "nan"),
        ("99999999999999999999999999", "9999999"),
    ] {
        invalid_row(&format!("checksum,id\na,0\nb,{cell}\n"), None, &["line 3: id: ", fact]);
    }
    invalid_row("id,checksum\n,b\n", None, &["line 2: id: empty"]);
    invalid_row("id,priority\n5,high\n", Some(5), &["line 2: priority: \"high\""]);
    invalid_row("id,max_attempts\n5,4294967296\n", Some(5), &["line 2: max_attempts: ", "4294967295"]);
    invalid_row("id,max_losses\n5,-1\n", Some(5), &["line 2: max_losses: "]);
    invalid_row("id,on_dependency_failure\n5,stop\n", Some(5), &["line 2: ", "wait, cancel, ignore"]);
    invalid_row("id,not_before\n5,2026-12-01\n", Some(5), &["line 2: not_before: \"2026-12-01\"", "offset"]);
    invalid_row("id,depends_on\n5,1 x\n", Some(5), &["line 2: depends_on: \"x\""]);
    invalid_row("id,depends_on\n5,1 1\n", Some(5), &["line 2: depends_on: 1 stands twice"]);
    invalid_row("id,payload\n5,{a}\n", Some(5), &["line 2: payload: ", "JSON", "quotes"]);
    invalid_row("id,payload,x\n5,[],1\n", Some(5), &["line 2: payload: ", "x"]);
    invalid_row("id,payload,x\n5,\"{\"\"x\"\":1}\",1\n", Some(5), &["line 2: x: ", "twice"]);
    // Lines are those of the file, blank ones and those within quotes included.
    invalid_row("id,a\n\n\n1,\"x\ny\nz\"\n\n\nq,\"1\n2\"\n", None, &["line 9: id: "]);
    invalid_row("id,a\r\n\r\n1,\"x\r\ny\"\r\n\r\nq,1", None, &["line 6: id: "]);
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_with_its_line() {
    for end in ["", "\n", "\r", "\r\n", "\n\n", "\n2,b", "\n2,b\n", "\n\"\"", "\n\"\"\n"] {
        let text = format!("id,checksum\n\n0,\"b\n\"\n1,\"a{end}");
        invalid_row(&text, None, &["line 5: a quote is never closed", "double"]);
        let read = csv(OneByOne(text.as_bytes())).unwrap().collect::<Result<Vec<_>>>();
        assert_error(read, ErrorKind::InvalidManifest, None, &["line 5: a quote is never closed"]);
    }
    invalid_row("\"", None, &["line 1: a quote is never closed"]);
    invalid_row("\n\"id\n1\n", None, &["line 2: a quote is never closed"]);
    // A quote that opens there closes another.
    for text in ["id,checksum\n1,\"a\n2,\"", "id,checksum\n1,\"a\n2,\"\n", "id,checksum\r1,\"a\n2,\"\r"] {
        assert_eq!(rows(text).unwrap(), [NewChunk::new(1).checksum("a\n2,")]);
    }
}

#[test]
fn quotes_astray_are_text() {
    let read = |cell: &str| rows(format!("id,checksum\n1,{cell}\n2,x")).unwrap();
    let chunks = |checksum| [NewChunk::new(1).checksum(checksum), NewChunk::new(2).checksum("x")];
    assert_eq!(read("5\" pipe"), chunks("5\" pipe"));
    assert_eq!(read("\"a\"b"), chunks("ab"));
    assert_eq!(read("\"a\nb\"c\"d\"\"e"), chunks("a\nbc\"d\"\"e"));
    assert_eq!(read(" \"a\""), chunks("\"a\""));
}

#[test]
fn a_carriage_return_ends_a_line() {
    let expected = [NewChunk::new(1).checksum("a\rb"), NewChunk::new(2)];
    assert_eq!(rows("id,checksum\r\r1,\"a\rb\"\r2,\r").unwrap(), expected);
    invalid_row("id\r\r1\r\"2\r\"\r\n\rx\r", None, &["line 7: id: "]);
    invalid_row("id,checksum\n1,a\rb\n", None, &["line 3: checksum: missing"]);
}

#[test]
fn every_row_has_the_line_that_it_starts_in() {
    for end in ["\n", "\r\n", "\r"] {
        for blank in 0..3 {
            for quoted in 0..3 {
                for has_last_end in [false, true] {
                    let (blank_lines, cell) = (end.repeat(blank), format!("\"{}\"", end.repeat(quoted)));
                    let row = |id: &str| format!("{blank_lines}{id},{cell}{end}");
                    let text = format!("{blank_lines}id,a{end}{}{}", row("1"), row("x"));
                    let text = if has_last_end { &text } else { text.trim_end_matches(['\r', '\n']) };
                    let line = 2 * (blank + 1) + (quoted + 1) + blank;
                    let fact = format!("line {line}: id: ");
                    invalid_row(text, None, &[&fact]);
                    let read = csv(OneByOne(text.as_bytes())).unwrap().collect::<Result<Vec<_>>>();
                    assert_error(read, ErrorKind::InvalidManifest, None, &[&fact]);
                }
            }
        }
    }
}

/// All texts of up to five of these bytes, beside the `csv` crate by itself.
#[test]
fn records_are_those_of_the_csv_crate_with_their_lines() {
    fn by_the_crate(text: &[u8]) -> Vec<(Vec<Vec<u8>>, usize)> {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        let records = reader.byte_records().map(|record| {
            let record = record.unwrap();
            let start = usize::try_from(record.position().unwrap().byte()).unwrap();
            (record.iter().map(<[u8]>::to_vec).collect(), start)
        });
        records.collect()
    }
    fn line_of(text: &[u8], mut at: usize) -> u64 {
        while matches!(text[at], b'\r' | b'\n') {
            at += 1;
        }
        let text = String::from_utf8(text[..at].to_vec()).unwrap().replace("\r\n", "\n");
        1 + text.chars().filter(|c| matches!(c, '\r' | '\n')).count() as u64
    }
    let bytes = *b"a,\"\n\r";
    for length in 0..=5_u32 {
        for number in 0..5_usize.pow(length) {
            let text: Vec<u8> = (0..length).map(|place| bytes[number / 5_usize.pow(place) % 5]).collect();
            let expected = by_the_crate(&text);
            let mut with_end = text.clone();
            with_end.push(b'\n');
            // One more line end changes nothing but a cell that is open.
            let is_open = by_the_crate(&with_end) != expected;
            let mut records = Records::new(&text[..]).unwrap();
            for (at, (cells, start)) in expected.iter().enumerate() {
                if is_open && at + 1 == expected.len() {
                    break;
                }
                assert!(records.advance().unwrap());
                assert_eq!(records.record().iter().collect::<Vec<_>>(), *cells, "{text:?}");
                assert_eq!(records.line(), line_of(&text, *start), "{text:?}");
            }
            assert_eq!(records.advance().ok(), if is_open { None } else { Some(false) }, "{text:?}");
        }
    }
}
