//! Arrow record batches and Parquet files, the latter read back by Parquet's own library.

use std::sync::Arc;

use magnetar::export::arrow_array::cast::AsArray;
use magnetar::export::arrow_array::types::{Int8Type, Int64Type, TimestampMillisecondType};
use magnetar::export::arrow_array::{Array, RecordBatch};
use magnetar::export::arrow_schema::{DataType, TimeUnit};
use magnetar::export::{COLUMNS, Export, Exported, schema};
use magnetar::{Completion, Deadline, JobSpec, JobStatus, JobStore, Json, NewChunk, block_on};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::{places, zoo};

/// A Parquet export, its metadata and its batches.
fn read(export: Export<Arc<dyn JobStore>>) -> (Exported, Arc<ParquetMetaData>, Vec<RecordBatch>) {
    let mut file = tempfile::tempfile().expect("a file");
    let exported = block_on(export.parquet(&mut file)).expect("it is exported");
    assert_eq!(exported.bytes, file.metadata().expect("a file").len());
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is a file of Parquet's");
    assert_eq!(reader.schema().fields(), schema().fields(), "what was written is read");
    let metadata = Arc::clone(reader.metadata());
    let batches = reader.build().expect("it is readable").map(|batch| batch.expect("it is whole")).collect();
    (exported, metadata, batches)
}

fn words(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(column).expect("a column");
    let column = column.as_dictionary::<Int8Type>().downcast_dict::<arrow_array::StringArray>();
    column.expect("words").into_iter().map(|word| word.map(str::to_owned)).collect()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(column).expect("a column").as_string::<i32>();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

fn numbers(batch: &RecordBatch, column: &str) -> Vec<Option<i64>> {
    batch.column_by_name(column).expect("a column").as_primitive::<Int64Type>().iter().collect()
}

fn moments(batch: &RecordBatch, column: &str) -> Vec<Option<i64>> {
    let column = batch.column_by_name(column).expect("a column");
    column.as_primitive::<TimestampMillisecondType>().iter().collect()
}

#[test]
fn every_cell_of_a_parquet_file_is_what_the_store_says() {
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(zoo::fill(&zoo));
        let store = zoo.store;
        let (exported, metadata, batches) = read(Export::new(Arc::clone(&store)));
        assert_eq!((exported.jobs, exported.chunks), (2, 11), "{name}");
        let revision = metadata.file_metadata().key_value_metadata().expect("metadata");
        let revision = revision.iter().find(|pair| pair.key == "magnetar.revision").expect("the revision");
        assert_eq!(revision.value, Some(exported.revision.to_string()));

        let [batch] = &batches[..] else { panic!("{} batches", batches.len()) };
        let states = block_on(store.page_by_status(zoo::JOB, None, None, 100)).expect("the job exists");
        let signed = |number: u64| Some(i64::try_from(number).expect("ids fit"));
        let same = |column: &str, of: &dyn Fn(&magnetar::JobState) -> Option<i64>| {
            assert_eq!(numbers(batch, column), states.iter().map(of).collect::<Vec<_>>(), "{name}: {column}");
        };
        same("job_id", &|s| Some(s.job_id));
        same("chunk", &|s| signed(s.chunk));
        same("attempts", &|s| Some(s.attempts.into()));
        same("losses", &|s| Some(s.losses.into()));
        same("attempts_max", &|s| Some(s.attempts_max.into()));
        same("losses_max", &|s| Some(s.losses_max.into()));
        same("unmet_dependencies", &|s| Some(s.unmet_dependencies.into()));
        same("fence", &|s| signed(s.fence));
        same("revision", &|s| signed(s.revision));
        let same = |column: &str, of: &dyn Fn(&magnetar::JobState) -> Option<String>| {
            assert_eq!(texts(batch, column), states.iter().map(of).collect::<Vec<_>>(), "{name}: {column}");
        };
        same("checksum", &|s| s.checksum.clone());
        same("observed_checksum", &|s| s.observed_checksum.clone());
        same("payload", &|s| s.payload.as_ref().map(Json::to_string));
        same("output", &|s| s.output.as_ref().map(Json::to_string));
        same("error", &|s| s.error.clone());
        same("owner", &|s| s.owner.map(|owner| owner.to_string()));
        let same = |column: &str, of: &dyn Fn(&magnetar::JobState) -> Option<u64>| {
            let expected: Vec<_> = states.iter().map(|state| of(state).and_then(signed)).collect();
            assert_eq!(moments(batch, column), expected, "{name}: {column}");
        };
        same("lease_until", &|s| s.lease.map(Deadline::at_ms));
        same("not_before", &|s| s.not_before.map(Deadline::at_ms));
        same("created_at", &|s| Some(s.created_at_ms));
        same("updated_at", &|s| Some(s.updated_at_ms));
        let statuses: Vec<_> = states.iter().map(|s| Some(s.status.to_string())).collect();
        assert_eq!(words(batch, "status"), statuses, "{name}");
        let policy = |chunk: u64| match chunk {
            8 => Some("cancel"),
            9 => Some("ignore"),
            11 => Some("wait"),
            _ => None,
        };
        let policies: Vec<_> = states.iter().map(|s| policy(s.chunk).map(str::to_owned)).collect();
        assert_eq!(words(batch, "on_dependency_failure"), policies, "{name}");
        let causes: Vec<_> = states.iter().map(|s| (s.chunk == 8).then_some(2)).collect();
        assert_eq!(numbers(batch, "cancelled_by"), causes, "{name}");
        let lists = batch.column_by_name("depends_on").expect("a column").as_list::<i32>();
        for (list, state) in lists.iter().zip(&states) {
            let on = block_on(store.get_dependencies(zoo::JOB, state.chunk)).expect("the chunk exists");
            let list = list.expect("a list is never null");
            let list: Vec<u64> =
                list.as_primitive::<Int64Type>().values().iter().map(|on| on.cast_unsigned()).collect();
            assert_eq!(list, on, "{name}: chunk {}", state.chunk);
        }
        let priorities = batch.column_by_name("priority").expect("a column");
        let priorities = priorities.as_primitive::<arrow_array::types::Int32Type>();
        assert_eq!(priorities.values(), &states.iter().map(|s| s.priority).collect::<Vec<_>>()[..]);
    }
}

#[test]
fn columns_are_typed_and_every_nullable_one_has_a_null_in_the_zoo() {
    let schema = schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, COLUMNS);
    let word = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    assert_eq!(schema.field_with_name("status").expect("a column").data_type(), &word);
    for column in ["lease_until", "not_before", "created_at", "updated_at"] {
        let moment = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        assert_eq!(schema.field_with_name(column).expect("a column").data_type(), &moment);
    }
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(zoo::fill(&zoo));
        let (_, metadata, batches) = read(Export::new(zoo.store));
        for (field, column) in schema.fields().iter().zip(batches[0].columns()) {
            let nulls = column.logical_null_count();
            if field.is_nullable() {
                assert!(nulls > 0 && nulls < column.len(), "{name}: {} has {nulls} nulls", field.name());
            } else {
                assert_eq!(nulls, 0, "{name}: {}", field.name());
            }
        }
        // What a reader that knows nothing of Arrow sees.
        let columns = metadata.file_metadata().schema_descr();
        let of = |name: &str| {
            let found = columns.columns().iter().find(|column| column.path().parts()[0] == name);
            found.expect("a column").clone()
        };
        assert_eq!(of("status").converted_type(), ConvertedType::UTF8);
        let Some(LogicalType::Timestamp(moment)) = of("created_at").logical_type_ref().cloned() else {
            panic!("{:?}", of("created_at").logical_type_ref());
        };
        assert!(moment.is_adjusted_to_u_t_c);
        assert_eq!(moment.unit, parquet::basic::TimeUnit::MILLIS);
    }
}

#[test]
fn a_file_has_row_groups_with_statistics_dictionaries_and_compression() {
    const CHUNKS: u64 = 120_000;
    for (name, place) in places().into_iter().take(1) {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(async {
            let chunks = (0..CHUNKS).map(|id| Ok(NewChunk::new(id).checksum(format!("{:04x}", id % 100))));
            store
                .import(7, &JobSpec::new(), magnetar::chunks(chunks), &Default::default())
                .await
                .expect("imported");
            for state in store.claim_pending_batch(7, 3).await.expect("ready") {
                let checksum = state.checksum.clone().expect("a checksum");
                store.complete(&state.claim(), Completion::new().checksum(checksum)).await.expect("held");
            }
        });
        let (exported, metadata, batches) = read(Export::new(store));
        assert_eq!(exported.chunks, CHUNKS, "{name}");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64, CHUNKS);
        let rows: Vec<i64> = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).collect();
        assert_eq!(rows, [100_000, 20_000]);
        let mut first = 0;
        for group in metadata.row_groups() {
            for column in group.columns() {
                let path = column.column_path().string();
                assert_eq!(column.compression(), Compression::SNAPPY, "{path}");
                let statistics = column.statistics().unwrap_or_else(|| panic!("{path} has no statistics"));
                assert!(statistics.null_count_opt().is_some(), "{path}");
                if path == "status" || path == "checksum" {
                    assert!(column.dictionary_page_offset().is_some(), "{path}");
                    assert!(column.encodings().any(|e| e == Encoding::RLE_DICTIONARY), "{path}");
                }
                if path == "chunk" {
                    let last = first + group.num_rows() - 1;
                    let Statistics::Int64(range) = statistics else { panic!("{statistics:?}") };
                    assert_eq!((range.min_opt(), range.max_opt()), (Some(&first), Some(&last)));
                }
            }
            assert!(group.columns()[0].column_index_offset().is_some(), "pages have statistics too");
            first += group.num_rows();
        }
        let bytes = metadata.row_groups().iter().map(RowGroupMetaData::compressed_size).sum::<i64>();
        assert!(bytes < 2_000_000, "{bytes} bytes for {CHUNKS} chunks that are nearly the same");
    }
}

#[test]
fn an_empty_store_is_a_file_without_rows() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        let (exported, metadata, batches) = read(Export::new(Arc::clone(&store)));
        assert_eq!((exported.chunks, metadata.num_row_groups(), batches.len()), (0, 0, 0));
        assert_eq!(Export::new(store).record_batches().into_iter().count(), 0);
    }
}

#[test]
fn batches_come_one_after_the_other_and_take_the_same_filters() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(async {
            for job in [1, 2] {
                let chunks = magnetar::chunks((0..3_000).map(|id| Ok(NewChunk::new(id))));
                store.import(job, &JobSpec::new(), chunks, &Default::default()).await.expect("imported");
            }
        });
        let since = block_on(store.info()).expect("it tells").revision;
        block_on(async {
            for state in store.claim_pending_batch(2, 10).await.expect("ready") {
                store.complete(&state.claim(), Completion::new()).await.expect("held");
            }
        });
        let mut batches = Export::new(&*store).record_batches();
        let mut rows = Vec::new();
        while let Some(batch) = block_on(batches.next()).expect("exported") {
            assert!(batch.num_rows() <= 2_000);
            rows.extend(numbers(&batch, "job_id").into_iter().zip(numbers(&batch, "chunk")));
        }
        let expected: Vec<_> =
            [1, 2].iter().flat_map(|job| (0..3_000).map(|id| (Some(*job), Some(id)))).collect();
        assert_eq!(rows, expected);
        let done = Export::new(&*store).job(2).status(JobStatus::Done).record_batches();
        let rows: usize = done.into_iter().map(|batch| batch.expect("exported").num_rows()).sum();
        assert_eq!(rows, 10);
        let (exported, _, batches) = read(Export::new(Arc::clone(&store)).since(since).job(2));
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
        assert_eq!(exported.revision, block_on(store.info()).expect("it tells").revision);
    }
}
