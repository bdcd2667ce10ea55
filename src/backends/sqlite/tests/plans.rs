//! No statement walks a table of chunks.

use sqlx::SqlSafeStr;

use crate::backends::sqlite::block::Wait;
use crate::backends::sqlite::connection::{Args, Connection};
use crate::backends::sqlite::statements as sql;
use crate::backends::sqlite::{Home, in_memory, row_writes, rows, verify};

/// The plan of a statement, a line per step.
fn plan(connection: &mut Connection, sql: &str) -> Vec<String> {
    let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")).into_sql_str();
    let mut steps = Vec::new();
    connection
        .call(sql, Args::default(), Wait::Park, |_, row| {
            steps.push(rows::get(row, 3)?);
            Ok(())
        })
        .unwrap();
    steps
}

#[test]
#[allow(clippy::too_many_lines)] // Most of them list the statements.
fn every_statement_finds_its_rows_by_an_index() {
    let backend = in_memory().unwrap();
    let Home::Memory(connection) = &backend.home else { panic!("not in memory") };
    let mut guard = connection.lock().unwrap();
    let connection = guard.as_mut().unwrap();
    let reads = [
        ("META", sql::META),
        ("JOB", sql::JOB),
        ("JOBS", sql::JOBS),
        ("ROW", sql::ROW),
        ("ROWS_OF_ONE_JOB", sql::ROWS_OF_ONE_JOB),
        ("ROWS", sql::ROWS),
        ("READY_ONE", sql::READY_ONE),
        ("READY", sql::READY),
        ("READY_OF_MANY", sql::READY_OF_MANY),
        ("READY_JOB", sql::READY_JOB),
        ("DUE_BY", sql::DUE_BY),
        ("DUE_SET_AFTER", sql::DUE_SET_AFTER),
        ("DUE_FIRST", sql::DUE_FIRST),
        ("GUARD", sql::GUARD),
        ("DEPENDENTS", sql::DEPENDENTS),
        ("DEPENDENT_ROWS", sql::DEPENDENT_ROWS),
        ("DEPENDENTS_IN_ONE_JOB", sql::DEPENDENTS_IN_ONE_JOB),
        ("DEPENDENT_ROWS_IN_ONE_JOB", sql::DEPENDENT_ROWS_IN_ONE_JOB),
        ("DEPENDENCIES", sql::DEPENDENCIES),
        ("HELD", sql::HELD),
        ("HELD_BY_ANY", sql::HELD_BY_ANY),
        ("OWNERS", sql::OWNERS),
        ("JOBS_AFTER", sql::JOBS_AFTER),
        ("EDGES", sql::EDGES),
        ("LOG", sql::LOG),
        ("PAIRS", sql::PAIRS),
        ("PAGE_OF_PAIRS", sql::PAGE_OF_PAIRS),
        ("PAGE_OF_RANGES", sql::PAGE_OF_RANGES),
        ("PAGE", sql::PAGE),
        ("LOG_PRUNE", sql::LOG_PRUNE),
        ("UNMET", verify::UNMET),
    ];
    let lists = [
        ("CONTENTS_INSERT", &row_writes::CONTENTS_INSERT),
        ("CONTENTS_UPDATE", &row_writes::CONTENTS_UPDATE),
        ("CONTENTS_DELETE", &row_writes::CONTENTS_DELETE),
        ("STATES_INSERT", &row_writes::STATES_INSERT),
        ("STATES_UPDATE", &row_writes::STATES_UPDATE),
        ("STATES_UPDATE_UNMET", &row_writes::STATES_UPDATE_UNMET),
        ("STATES_MOVE", &row_writes::STATES_MOVE),
        ("STATES_MOVE_UNMET", &row_writes::STATES_MOVE_UNMET),
        ("STATES_DELETE", &row_writes::STATES_DELETE),
        ("EDGES_PUT", &row_writes::EDGES_PUT),
        ("EDGES_DELETE", &row_writes::EDGES_DELETE),
        ("JOBS_PUT", &row_writes::JOBS_PUT),
        ("JOBS_COUNT", &row_writes::JOBS_COUNT),
        ("JOBS_CLAIMABLE", &row_writes::JOBS_CLAIMABLE),
        ("JOBS_DELETE", &row_writes::JOBS_DELETE),
        ("CURSORS_PUT", &row_writes::CURSORS_PUT),
        ("CURSORS_DELETE", &row_writes::CURSORS_DELETE),
    ];
    let mut statements: Vec<(String, String)> =
        reads.iter().map(|(name, sql)| ((*name).into(), (*sql).into())).collect();
    for (name, many) in lists {
        for rows in [1, 2, 32, 256] {
            statements.push((format!("{name} of {rows}"), many.text(rows, false)));
            if many.minds_padding() && rows > 1 {
                statements.push((format!("{name} of {rows}, padded"), many.text(rows, true)));
            }
        }
    }
    let mut bad = Vec::new();
    for (name, sql) in statements {
        for limit in sql.split("LIMIT ").skip(1).filter(|limit| limit.starts_with('$')) {
            assert!(
                limit
                    .trim_start_matches(['$', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
                    .starts_with("+0"),
                "{name} would be prepared anew at every call: {sql}"
            );
        }
        let steps = plan(connection, &sql);
        // What is walked must be a list of ours: JSON, VALUES, a recursion, or the answer of an inner query.
        let walks = |step: &String| {
            step.starts_with("SCAN")
                && [
                    "s",
                    "r",
                    "m",
                    "x",
                    "d",
                    "c",
                    "states",
                    "contents",
                    "dependencies",
                    "jobs",
                    "log",
                    "cursors",
                ]
                .iter()
                .any(|table| step.split(' ').nth(1) == Some(table))
        };
        let sorts_a_table =
            |step: &String| step.contains("TEMP B-TREE FOR ORDER BY") && name != "PAGE_OF_PAIRS";
        // A walk that says USING INDEX is still a walk, except where the index is all there is to answer.
        if steps.iter().any(|step| walks(step) || step.contains("AUTOMATIC") || sorts_a_table(step)) {
            bad.push(format!("{name}: {steps:#?}"));
        }
        // The second half of a composite key is used too.
        for step in steps.iter().filter(|step| step.starts_with("SEARCH")) {
            let whole = [
                "PRIMARY KEY (job=? AND chunk",
                "states_place (job=? AND class",
                "states_due",
                "states_holder",
                "INTEGER PRIMARY KEY",
                "PRIMARY KEY (job=? AND depends_on",
                "dependencies_of (job=? AND chunk",
                "jobs_claimable",
                "PRIMARY KEY (job>?)",
            ];
            let by_job_alone = name == "EDGES" && step.contains("dependencies_of (job=? AND (chunk");
            if !whole.iter().any(|part| step.contains(part)) && !by_job_alone {
                bad.push(format!("{name}: {step}"));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
