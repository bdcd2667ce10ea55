//! CSV and JSON Lines as a whole.

use std::sync::Arc;

use magnetar::block_on;
use magnetar::export::{COLUMNS, Export};

use crate::{places, rows_of, text_of, zoo};

/// The text is the one in the file, or is put there where that is asked for.
fn assert_golden(name: &str, text: &str) {
    let path = format!("{}/tests/export/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("MAGNETAR_BLESS").is_some() {
        std::fs::write(&path, text).expect("the file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the file is there");
    let differing = text.lines().zip(golden.lines()).find(|(now, read)| now != read);
    assert_eq!(differing, None, "MAGNETAR_BLESS=1 writes {name} anew; then read what changed");
    assert_eq!(text, golden);
}

#[test]
fn every_store_exports_the_same_csv_and_it_is_the_one_that_was_read() {
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(zoo::fill(&zoo));
        let (text, exported) = text_of(Export::new(Arc::clone(&zoo.store)).csv());
        println!("{name}: {exported:?}");
        assert_golden("zoo.csv", &text);
        assert_eq!((exported.jobs, exported.chunks), (2, 11));
        assert_eq!(exported.revision, block_on(zoo.store.info()).expect("it tells").revision);
    }
}

#[test]
fn every_store_exports_the_same_json_lines_and_they_are_the_ones_that_were_read() {
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(zoo::fill(&zoo));
        let (text, exported) = text_of(Export::new(Arc::clone(&zoo.store)).json_lines());
        println!("{name}: {exported:?}");
        assert_golden("zoo.jsonl", &text);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}

#[test]
fn a_store_without_jobs_is_a_header_in_csv_and_two_lines_in_json_lines() {
    for (_, place) in places() {
        let zoo = zoo::open(&*place);
        let (text, exported) = text_of(Export::new(Arc::clone(&zoo.store)).csv());
        assert_eq!(text, COLUMNS.join(",") + "\r\n");
        assert_eq!((exported.jobs, exported.chunks, exported.revision), (0, 0, 0));
        let (text, _) = text_of(Export::new(zoo.store).json_lines());
        assert_eq!(
            text,
            "{\"kind\":\"export\",\"format\":1,\"whole_jobs\":true}\n{\"kind\":\"end\",\"revision\":0,\"job_id_max\":0,\"lines\":1,\"xxh3\":\"69559083c90f05b5\"}\n"
        );
    }
}

/// The golden file is only as good as its reader; so the cells are compared with what the store itself says.
#[test]
fn the_csv_crate_reads_every_cell_as_the_store_has_it() {
    for (_, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(zoo::fill(&zoo));
        let (text, _) = text_of(Export::new(Arc::clone(&zoo.store)).csv());
        let rows = rows_of(&text);
        let states = block_on(zoo.store.page_by_status(zoo::JOB, None, None, 100)).expect("the job exists");
        assert_eq!(rows.len(), states.len());
        for (row, state) in rows.iter().zip(&states) {
            let cell = |name: &str| magnetar::export::csv_text(&row[name]).to_owned();
            assert_eq!(cell("chunk"), state.chunk.to_string());
            assert_eq!(cell("status"), state.status.as_str());
            assert_eq!(cell("checksum"), state.checksum.clone().unwrap_or_default());
            assert_eq!(cell("observed_checksum"), state.observed_checksum.clone().unwrap_or_default());
            assert_eq!(cell("payload"), state.payload.as_ref().map_or("", |json| json.as_str()));
            assert_eq!(cell("output"), state.output.as_ref().map_or("", |json| json.as_str()));
            assert_eq!(cell("error"), state.error.clone().unwrap_or_default());
            // A number is a number, below zero too.
            assert_eq!(row["priority"], state.priority.to_string());
            assert_eq!(row["attempts"], state.attempts.to_string());
            assert_eq!(row["losses"], state.losses.to_string());
            assert_eq!(row["attempts_max"], state.attempts_max.to_string());
            assert_eq!(row["losses_max"], state.losses_max.to_string());
            assert_eq!(row["fence"], state.fence.to_string());
            assert_eq!(row["owner"], state.owner.map(|owner| owner.to_string()).unwrap_or_default());
            assert_eq!(row["revision"], state.revision.to_string());
            let on = block_on(zoo.store.get_dependencies(zoo::JOB, state.chunk)).expect("the chunk exists");
            let on: Vec<String> = on.iter().map(u64::to_string).collect();
            assert_eq!(row["depends_on"], on.join(" "));
            assert_eq!(row["lease_until"].is_empty(), state.lease.is_none());
            assert_eq!(row["not_before"].is_empty(), state.not_before.is_none());
        }
    }
}
