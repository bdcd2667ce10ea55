//! Every record there and back, its bytes pinned, and every way of damaging it.

use super::*;
use crate::machine::News;

const KEY: Key = Key { job: 42, chunk: 7 };

fn claimed() -> Record {
    Record {
        status: JobStatus::Processing,
        attempts: 1,
        fence: 1_000,
        hold: Hold::Open { owner: OwnerId::from_bytes([0xAB; 16]), seq: 3 },
        lease: Some(Deadline { set_at_ms: 1_700_000_000_000, duration_ms: 60_000 }),
        updated_at_ms: 1_700_000_000_000,
        revision: 1_000,
        ..Record::fresh()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn random_text(rng: &mut fastrand::Rng) -> String {
    let length = if rng.u8(..10) == 0 { 70_000 } else { rng.usize(..40) };
    (0..length).map(|_| rng.char(..)).collect()
}

fn some<T>(rng: &mut fastrand::Rng, value: impl FnOnce(&mut fastrand::Rng) -> T) -> Option<T> {
    if rng.bool() { Some(value(rng)) } else { None }
}

/// Small and large values alike: each length of a variable-length integer comes up.
fn any_u64(rng: &mut fastrand::Rng) -> u64 {
    rng.u64(..) >> rng.u32(..64)
}

fn any_u32(rng: &mut fastrand::Rng) -> u32 {
    rng.u32(..) >> rng.u32(..32)
}

fn any_deadline(rng: &mut fastrand::Rng) -> Deadline {
    Deadline { set_at_ms: any_u64(rng), duration_ms: any_u64(rng) }
}

fn any_owner(rng: &mut fastrand::Rng) -> OwnerId {
    OwnerId::from_bytes(rng.u128(..).to_le_bytes())
}

fn any_policy(rng: &mut fastrand::Rng) -> DependencyFailure {
    *rng.choice(&[DependencyFailure::Wait, DependencyFailure::Cancel, DependencyFailure::Ignore]).unwrap()
}

fn any_key(rng: &mut fastrand::Rng) -> Key {
    Key { job: (any_u64(rng) >> 11).cast_signed(), chunk: any_u64(rng) >> 11 }
}

fn any_told(rng: &mut fastrand::Rng) -> Told {
    std::iter::repeat_with(|| rng.u8(..)).find_map(Told::from_code).unwrap()
}

fn any_record(rng: &mut fastrand::Rng) -> Record {
    Record {
        status: *rng.choice(&JobStatus::ALL).unwrap(),
        observed: some(rng, random_text),
        error: some(rng, random_text),
        output: some(rng, |rng| Json::trusted(&random_text(rng))),
        attempts: any_u32(rng),
        losses: any_u32(rng),
        fence: any_u64(rng).max(1),
        hold: match rng.u8(..3) {
            0 => Hold::Free,
            1 => Hold::Settled,
            _ => Hold::Open { owner: any_owner(rng), seq: any_u64(rng) },
        },
        lease: some(rng, any_deadline),
        not_before: some(rng, any_deadline),
        cause: some(rng, any_u64),
        updated_at_ms: any_u64(rng),
        revision: any_u64(rng),
    }
}

fn any_content(rng: &mut fastrand::Rng) -> Content {
    Content {
        checksum: some(rng, random_text),
        payload: some(rng, |rng| Json::trusted(&random_text(rng))),
        left_bytes: 0,
        priority: rng.i32(..) >> rng.u32(..32),
        attempts_max: some(rng, any_u32),
        losses_max: some(rng, any_u32),
        on_dependency_failure: some(rng, any_policy),
        created_at_ms: any_u64(rng),
        updated_at_ms: any_u64(rng),
        revision: any_u64(rng),
    }
}

fn any_job(rng: &mut fastrand::Rng) -> JobRow {
    let mut counts = Counts::default();
    counts.by_class.iter_mut().for_each(|count| *count = any_u64(rng));
    JobRow {
        id: any_key(rng).job,
        spec: JobSpec {
            name: some(rng, random_text),
            attempts_max: some(rng, any_u32),
            losses_max: some(rng, any_u32),
            lease_ms: some(rng, any_u64),
            backoff: some(rng, |rng| Backoff { initial_ms: any_u64(rng), max_ms: any_u64(rng) }),
            on_dependency_failure: some(rng, any_policy),
        },
        phase: *rng.choice(&[JobPhase::Open, JobPhase::Importing, JobPhase::Deleting]).unwrap(),
        owner: some(rng, any_owner),
        seq: any_u64(rng),
        edges: any_u64(rng),
        edges_upward: any_u64(rng),
        counts,
        created_at_ms: any_u64(rng),
        revision: any_u64(rng),
    }
}

fn any_log(rng: &mut fastrand::Rng) -> Vec<LogRun> {
    let mut revision = 1 + any_u64(rng) / 4;
    (0..=rng.usize(..20))
        .map(|_| {
            let subject = *rng
                .choice(&[Subject::Chunk, Subject::ChunkGone, Subject::Job, Subject::JobGone, Subject::Met])
                .unwrap();
            let count = if rng.bool() { 1 } else { 1 + u64::from(any_u32(rng)) };
            revision += if rng.bool() { 0 } else { u64::from(any_u32(rng)) };
            let key = Key { job: rng.i64(0..3), ..any_key(rng) };
            let run = LogRun { subject, revision, key, count };
            revision += count;
            run
        })
        .collect()
}

fn affairs() -> Affairs {
    let text = r#"{
        "standing": {
            "role": "shadow", "epoch": 0, "barred": 1, "peer": "ab", "place": "jobs.db", "copied": 9,
            "backfill": {"base": 4, "job": 42, "chunk": null}
        },
        "consumers": {"reports": 70},
        "unsynced": {"up_to": 80, "by": "cd"},
        "lost": [{"above": 30, "up_to": 40}]
    }"#;
    Affairs::from_text(text).unwrap()
}

#[test]
fn every_row_comes_back_as_it_was_written() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut encoder = Encoder::default();
    for _ in 0..500 {
        let key = any_key(&mut rng);
        let row = any_record(&mut rng);
        assert_eq!(record(key, encoder.record(key, &row)).unwrap(), row);
        let row = any_content(&mut rng);
        assert_eq!(content(key, encoder.content(key, &row)).unwrap(), row);
        let row = any_job(&mut rng);
        let first = encoder.job(&row).to_vec();
        assert_eq!(job(row.id, &first, encoder.counts(&row)).unwrap(), row);
        let row = Cursor { key, after: some(&mut rng, any_u64), told: any_told(&mut rng) };
        assert_eq!(cursor(key, encoder.cursor(&row)).unwrap(), row);
        let list: std::collections::BTreeSet<u64> = (0..rng.usize(1..9)).map(|_| any_u64(&mut rng)).collect();
        let list: Vec<u64> = list.into_iter().collect();
        assert_eq!(dependencies(key, encoder.dependencies(key, &list)).unwrap(), list);
        let row = Meta {
            store_id: rng.u128(..).to_le_bytes(),
            revision: any_u64(&mut rng),
            last_job: any_key(&mut rng).job,
            clock_ms: any_u64(&mut rng),
            cursors: any_u64(&mut rng),
            log_start: any_u64(&mut rng),
            affairs: some(&mut rng, |_| Arc::new(affairs())),
        };
        assert_eq!(meta(encoder.meta(&row)).unwrap(), row);
        let runs = any_log(&mut rng);
        assert_eq!(log(runs[0].revision, encoder.log(&runs)).unwrap(), runs);
        let value = any_u64(&mut rng);
        let seat = Seat::of(Table::Due, key).with(any_u64(&mut rng));
        assert_eq!(read_number(seat, &number(seat, value)).unwrap(), value);
    }
}

#[test]
fn the_bytes_of_every_format_never_change() {
    let mut encoder = Encoder::default();
    let full = Record {
        observed: Some("crc".into()),
        error: Some("no".into()),
        output: Some(Json::trusted("{}")),
        not_before: Some(Deadline { set_at_ms: 1_699_999_999_999, duration_ms: 5 }),
        cause: Some(300),
        ..claimed()
    };
    let settled = Record { hold: Hold::Settled, lease: None, status: JobStatus::Done, ..claimed() };
    let text = Content {
        checksum: Some("abc123".into()),
        payload: Some(Json::trusted("[1]")),
        left_bytes: 0,
        priority: -3,
        attempts_max: Some(5),
        losses_max: Some(0),
        on_dependency_failure: Some(DependencyFailure::Ignore),
        created_at_ms: 1_700_000_000_000,
        updated_at_ms: 1_700_000_000_250,
        revision: 9,
    };
    let row = JobRow {
        id: 42,
        spec: JobSpec {
            name: Some("nightly".into()),
            attempts_max: Some(1),
            losses_max: Some(2),
            lease_ms: Some(30_000),
            backoff: Some(Backoff { initial_ms: 10, max_ms: 1_000 }),
            on_dependency_failure: Some(DependencyFailure::Cancel),
        },
        phase: JobPhase::Importing,
        owner: Some(OwnerId::from_bytes([1; 16])),
        seq: 4,
        edges: 70_000,
        edges_upward: 3,
        counts: Counts { by_class: [1, 2, 3, 4, 5, 6, 1_000_000] },
        created_at_ms: 1_700_000_000_000,
        revision: 12,
    };
    let store = Meta {
        store_id: [9; 16],
        revision: 77,
        last_job: 42,
        clock_ms: 1_700_000_000_000,
        cursors: 2,
        log_start: 1,
        affairs: None,
    };
    let followed = Meta { affairs: Some(Arc::new(affairs())), ..store.clone() };
    let runs = [
        LogRun { subject: Subject::Chunk, revision: 70, key: KEY, count: 5 },
        LogRun { subject: Subject::Chunk, revision: 75, key: Key { job: 42, chunk: 3 }, count: 1 },
        LogRun { subject: Subject::JobGone, revision: 80, key: Key { job: 1, chunk: 0 }, count: 1 },
    ];
    let at = Seat::of(Table::Runs, KEY).with(9);
    let golden = [
        ("claimed", hex(encoder.record(KEY, &claimed()))),
        ("record", hex(encoder.record(KEY, &full))),
        ("settled", hex(encoder.record(KEY, &settled))),
        ("content", hex(encoder.content(KEY, &text))),
        ("job", hex(encoder.job(&row))),
        ("counts", hex(encoder.counts(&row))),
        ("meta", hex(encoder.meta(&store))),
        ("affairs", hex(encoder.meta(&followed))),
        (
            "cursor",
            hex(encoder.cursor(&Cursor { key: KEY, after: Some(1_000), told: Told::of(News::Broken) })),
        ),
        ("log", hex(encoder.log(&runs))),
        ("dependencies", hex(encoder.dependencies(KEY, &[0, 1, 1_000]))),
        ("number", hex(&number(at, 0x0102_0304))),
    ];
    let lines: Vec<String> = golden.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    let written = lines.join("\n") + "\n";
    assert_eq!(written, include_str!("golden.txt"), "got:\n{written}");
}

/// What builds wrote that named the owner of a claim that was settled.
fn as_before_settled(encoder: &mut Encoder, open_fence: u64, owner: Option<OwnerId>) -> Vec<u8> {
    encoder.start();
    encoder.put(&RecordHead {
        status: status_code(JobStatus::Done),
        flags: set(owner.is_some(), record_flag::OWNER),
        attempts: 0,
        losses: 0,
        fence: 1_000,
        open_fence,
        claim_seq: 3,
        updated_at_ms: 5,
        revision: 1_001,
    });
    encoder.put_owner(owner);
    encoder.finish(Seat::of(Table::Records, KEY)).to_vec()
}

#[test]
fn a_settled_claim_of_an_older_build_is_read_as_one() {
    let mut encoder = Encoder::default();
    let owner = Some(OwnerId::from_bytes([0xAB; 16]));
    for (open_fence, owner, hold) in [
        (0, owner, Some(Hold::Settled)),
        (0, None, Some(Hold::Free)),
        (1_000, owner, owner.map(|owner| Hold::Open { owner, seq: 3 })),
        (1_000, None, None),
        (999, owner, None),
    ] {
        let bytes = as_before_settled(&mut encoder, open_fence, owner);
        match hold {
            Some(hold) => assert_eq!(record(KEY, &bytes).unwrap().hold, hold),
            None => assert_eq!(record(KEY, &bytes).unwrap_err().kind(), ErrorKind::Corrupt),
        }
    }
}

#[test]
fn a_list_of_dependencies_that_is_empty_or_out_of_order_is_damaged() {
    let mut encoder = Encoder::default();
    for list in [&[][..], &[5, 5], &[5, 4]] {
        let bytes = encoder.dependencies(KEY, list).to_vec();
        assert_eq!(dependencies(KEY, &bytes).unwrap_err().kind(), ErrorKind::Corrupt, "{list:?}");
    }
}

#[test]
fn a_flip_of_any_bit_is_found() {
    let mut encoder = Encoder::default();
    let bytes = encoder.record(KEY, &claimed()).to_vec();
    let small = number(Seat::of(Table::Due, KEY), 17);
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(record(KEY, &bytes).unwrap_err().kind(), ErrorKind::Corrupt, "bit {bit}");
    }
    for bit in 0..small.len() * 8 {
        let mut small = small;
        small[bit / 8] ^= 1 << (bit % 8);
        let error = read_number(Seat::of(Table::Due, KEY), &small).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}");
    }
}

#[test]
fn every_other_value_of_every_byte_is_found() {
    let bytes = Encoder::default().record(KEY, &claimed()).to_vec();
    for at in 0..bytes.len() {
        for change in 1..=255_u8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            assert!(record(KEY, &bytes).is_err(), "byte {at} by {change}");
        }
    }
}

#[test]
fn a_row_that_was_cut_or_stands_under_another_key_is_found() {
    let mut encoder = Encoder::default();
    let bytes = encoder.record(KEY, &claimed()).to_vec();
    for length in 0..bytes.len() {
        assert!(record(KEY, &bytes[..length]).is_err(), "cut to {length}");
    }
    let error = record(Key { job: 42, chunk: 8 }, &bytes).unwrap_err();
    assert_eq!((error.kind(), error.job(), error.chunk()), (ErrorKind::Corrupt, Some(42), Some(8)));
    assert!(error.to_string().contains("verify()"), "{error}");
    assert!(record(Key { job: 7, chunk: 42 }, &bytes).is_err());
    assert!(content(KEY, &bytes).is_err());
    let seat = Seat::of(Table::Runs, KEY);
    assert!(read_number(seat.with(1), &number(seat.with(2), 5)).is_err());
}

/// The same row with its fields changed, and the checksum that it would have been written with.
fn changed(encoder: &mut Encoder, seat: Seat, row: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    encoder.bytes.clear();
    encoder.bytes.extend_from_slice(&row[..row.len() - HASH_BYTES]);
    change(&mut encoder.bytes);
    encoder.finish(seat).to_vec()
}

#[test]
fn a_row_that_says_what_no_build_has_written_is_damaged_though_its_checksum_is_right() {
    let mut rng = fastrand::Rng::with_seed(7);
    let encoder = &mut Encoder::default();
    let of = |table| Seat::of(table, KEY);
    let content_row = encoder.content(KEY, &any_content(&mut rng)).to_vec();
    let record_row = encoder.record(KEY, &claimed()).to_vec();
    let fresh_row = encoder.record(KEY, &Record::fresh()).to_vec();
    let new_job = JobRow { id: KEY.job, phase: JobPhase::Open, ..any_job(&mut rng) };
    let (job_row, counts_row) = (encoder.job(&new_job).to_vec(), encoder.counts(&new_job).to_vec());
    let cursor_row = encoder.cursor(&Cursor { key: KEY, after: None, told: Told::of(News::Met) }).to_vec();
    let log_row =
        encoder.log(&[LogRun { subject: Subject::Chunk, revision: 9, key: KEY, count: 1 }]).to_vec();
    let is_damaged = |error: Error, what: &str| assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}");
    let read_content = |row: &[u8]| content(KEY, row).unwrap_err();
    let read_record = |row: &[u8]| record(KEY, row).unwrap_err();
    let read_job = |row: &[u8]| {
        let error = job(KEY.job, row, &counts_row).unwrap_err();
        assert_eq!((error.job(), error.chunk()), (Some(KEY.job), None));
        error
    };
    let longer = |row: &mut Vec<u8>| row.push(0);
    let (contents, records, jobs) =
        (of(Table::Contents), of(Table::Records), Seat::of_job(Table::Jobs, KEY.job));
    is_damaged(read_content(&changed(encoder, contents, &content_row, longer)), "a longer content");
    is_damaged(read_record(&changed(encoder, records, &record_row, longer)), "a longer record");
    is_damaged(read_job(&changed(encoder, jobs, &job_row, longer)), "a longer job");
    let counts_seat = Seat::of_job(Table::Counts, KEY.job);
    let error = job(KEY.job, &job_row, &changed(encoder, counts_seat, &counts_row, longer)).unwrap_err();
    assert_eq!((error.job(), error.chunk()), (Some(KEY.job), None));
    is_damaged(error, "longer counts");
    let row = changed(encoder, of(Table::Cursors), &cursor_row, longer);
    is_damaged(cursor(KEY, &row).unwrap_err(), "a longer cursor");
    let row = changed(encoder, of(Table::Cursors), &cursor_row, |row| *row.last_mut().unwrap() = 6);
    is_damaged(cursor(KEY, &row).unwrap_err(), "unknown news");
    for bit in [64, 128] {
        let row = changed(encoder, contents, &content_row, |row| row[1] |= bit);
        is_damaged(read_content(&row), "an unknown flag of a content");
        let row = changed(encoder, log_seat(9), &log_row, |row| row[1] |= bit);
        is_damaged(log(9, &row).unwrap_err(), "an unknown flag of the log");
    }
    for subject in [0, 6, 7] {
        let row =
            changed(encoder, log_seat(9), &log_row, |row| row[1] = row[1] & !log_flag::SUBJECT | subject);
        is_damaged(log(9, &row).unwrap_err(), "an unknown subject");
    }
    is_damaged(read_job(&changed(encoder, jobs, &job_row, |row| row[2] |= 128)), "an unknown flag of a job");
    for phase in [0, 4] {
        is_damaged(read_job(&changed(encoder, jobs, &job_row, |row| row[1] = phase)), "an unknown phase");
    }
    let status = u8::try_from(JobStatus::ALL.len()).unwrap();
    is_damaged(
        read_record(&changed(encoder, records, &record_row, |row| row[1] = status)),
        "an unknown status",
    );
    let store = Meta {
        store_id: [9; 16],
        revision: 77,
        last_job: 42,
        clock_ms: 0,
        cursors: 0,
        log_start: 0,
        affairs: Some(Arc::new(affairs())),
    };
    let (followed_row, plain_row) =
        (encoder.meta(&store).to_vec(), encoder.meta(&Meta { affairs: None, ..store }).to_vec());
    for (version, row) in [(FORMAT, followed_row), (FORMAT_WITH_AFFAIRS, plain_row)] {
        let row = changed(encoder, META_SEAT, &row, |row| row[0] = version);
        is_damaged(meta(&row).unwrap_err(), "affairs and a version that do not go together");
    }
    // It came with version 2.
    let row = changed(encoder, records, &fresh_row, |row| row[2] |= record_flag::SETTLED);
    is_damaged(read_record(&row), "a settled claim in version 1");
    let row = changed(encoder, records, &fresh_row, |row| row[0] = FORMAT_WITH_SETTLED);
    is_damaged(read_record(&row), "nothing settled in version 2");
    for row in [&record_row, &fresh_row] {
        is_damaged(read_record(&changed(encoder, records, row, |row| row[0] = 0)), "version 0");
    }
}

#[test]
fn a_higher_version_is_named_as_such() {
    let mut encoder = Encoder::default();
    encoder.bytes.extend([FORMAT_WITH_SETTLED + 1, 0xFF, 0xFF]);
    let bytes = encoder.finish(Seat::of(Table::Records, KEY));
    assert_eq!(record(KEY, bytes).unwrap_err().kind(), ErrorKind::NewerFormat);
}

#[test]
fn a_claimed_record_is_small() {
    let bytes = Encoder::default().record(KEY, &claimed()).len();
    assert!(bytes <= 60, "{bytes} bytes");
}
