//! Files for other software to read: `check.py` beside this compares them with what the store says.
//!
//! `cargo xtask test other-software` does both. By itself the test writes into a folder of its own.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use magnetar::export::Export;
use magnetar::{Completion, JobSpec, JobStatus, JobStore, Json, NewChunk, block_on};

use crate::support::chunks_of;
use crate::{places, zoo};

/// A job of many chunks in every status, some with texts that are hard to read.
async fn fill(store: &dyn JobStore) {
    let texts = ["=1+1", "'", "a \"b\", c", "two\r\nlines", "zwölf \u{1f9f2}", "", "plain"];
    let chunks = (0..3_000_usize).map(|id| {
        let payload = Json::new(&serde_json::json!({ "text": texts[id % texts.len()], "n": id }))?;
        let chunk = NewChunk::new(id as u64).payload(payload).attempts_max(1);
        Ok(if id % 7 == 6 { chunk.depends_on([id as u64 - 1, id as u64 - 2]) } else { chunk })
    });
    store.import(7, &JobSpec::new(), magnetar::chunks(chunks), &Default::default()).await.expect("imported");
    let claimed = store.claim_pending_batch(7, 1_000).await.expect("ready");
    for (at, state) in claimed.iter().enumerate() {
        let claim = state.claim();
        match at % 4 {
            0 => {
                let output = Json::new(&serde_json::json!({ "rows": at })).expect("JSON");
                let result = Completion::new().checksum(texts[at % texts.len()]).output(output);
                store.complete(&claim, result).await.expect("held");
            }
            1 => {
                store.fail(&claim, texts[at % texts.len()]).await.expect("held");
            }
            2 => {
                store.mark_status(7, state.chunk, JobStatus::Cancelled, None).await.expect("held");
            }
            _ => {}
        }
    }
}

fn write(store: &Arc<dyn JobStore>, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let file = |name: &str| File::create(folder.join(name)).expect("a file");
    let parquet = Export::new(Arc::clone(store)).parquet(file("chunks.parquet"));
    let parquet = block_on(parquet).expect("exported");
    let csv =
        block_on(Export::new(Arc::clone(store)).csv().write_to(&mut file("chunks.csv"))).expect("exported");
    assert_eq!((parquet.chunks, parquet.revision), (csv.chunks, csv.revision));
    // What the store itself says, by other calls than an export's.
    let (mut counts, mut states) = (String::new(), String::new());
    for job in block_on(store.list_jobs(None, 100)).expect("listed") {
        let counted = block_on(store.get_stats(job.job_id)).expect("the job exists");
        writeln!(counts, "{}", serde_json::to_string(&(job.job_id, &counted)).expect("JSON"))
            .expect("memory");
        for state in block_on(chunks_of(&**store, job.job_id)) {
            let mut line = serde_json::to_value(&state).expect("JSON");
            line["payload"] = state.payload.as_ref().map(Json::as_str).into();
            line["output"] = state.output.as_ref().map(Json::as_str).into();
            line["depends_on"] =
                block_on(store.get_dependencies(job.job_id, state.chunk)).expect("the chunk exists").into();
            writeln!(states, "{line}").expect("memory");
        }
    }
    std::fs::write(folder.join("stats.jsonl"), counts).expect("written");
    std::fs::write(folder.join("states.jsonl"), states).expect("written");
}

#[test]
fn files_are_written_for_other_software_to_read() {
    let scratch = tempfile::tempdir().expect("a folder");
    let root = std::env::var_os("MAGNETAR_EXPORTS").map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(async {
            zoo::fill(&zoo).await;
            fill(&*zoo.store).await;
        });
        let folder = root.join(name.replace(' ', "-"));
        write(&zoo.store, &folder);
        println!("{name}: {}", folder.display());
        assert!(std::fs::metadata(folder.join("chunks.parquet")).expect("a file").len() > 1_000);
    }
}
