"""Reads Parquet and CSV exports with Polars and DuckDB, and compares them with what the store said.

Usage: check.py FOLDER, where the test `outside` has written one folder for each store. `cargo xtask test
other-software` does it all.
"""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import polars as pl

STATUSES = ["pending", "processing", "done", "failed", "cancelled"]
TEXTS = ["checksum", "observed_checksum", "payload", "output", "error"]
NUMBERS = ["priority", "attempts", "losses", "attempts_max", "losses_max", "unmet_dependencies", "fence", "revision"]

checks = 0


def same(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        sys.exit(f"{what}:\n  found    {found!r}\n  expected {expected!r}")


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def moment(ms):
    return datetime.fromtimestamp(ms / 1000, tz=timezone.utc)


def deadline(value):
    return None if value is None else moment(value["set_at_ms"] + value["duration_ms"])


def armed(text):
    """Undoes what keeps a spreadsheet from running a cell."""
    return text[1:] if text is not None and text.startswith("'") else text


def compare_stats(reader, count, stats):
    """`count` gives the rows of a job where a condition in SQL holds."""
    for number, job in stats:
        same(f"{reader}: total of job {number}", count(number, "true"), job["total_chunks"])
        for status in STATUSES:
            same(f"{reader}: {status} of job {number}", count(number, f"status = '{status}'"), job[status])
        blocked = "status = 'pending' AND unmet_dependencies > 0"
        same(f"{reader}: blocked of job {number}", count(number, blocked), job["blocked"])
        delayed = "status = 'pending' AND unmet_dependencies = 0 AND not_before IS NOT NULL"
        same(f"{reader}: delayed of job {number}", count(number, delayed), job["delayed"])


def compare_cells(reader, rows, states, text, depends_on):
    same(f"{reader}: rows", len(rows), len(states))
    for row, state in zip(rows, states):
        name = f"{reader}: job {state['job_id']} chunk {state['chunk']}"
        same(f"{name}: ids", (row["job_id"], row["chunk"]), (state["job_id"], state["chunk"]))
        same(f"{name}: status", row["status"], state["status"])
        same(f"{name}: owner", row["owner"], state["owner"])
        for column in NUMBERS:
            same(f"{name}: {column}", row[column], state[column])
        for column in TEXTS:
            same(f"{name}: {column}", text(row[column]), state[column])
        same(f"{name}: depends_on", depends_on(row["depends_on"]), state["depends_on"])
        same(f"{name}: created_at", row["created_at"], moment(state["created_at_ms"]))
        same(f"{name}: updated_at", row["updated_at"], moment(state["updated_at_ms"]))
        same(f"{name}: lease_until", row["lease_until"], deadline(state["lease"]))
        same(f"{name}: not_before", row["not_before"], deadline(state["not_before"]))


def ids(cell):
    return [] if cell is None else [int(number) for number in cell.split(" ")]


def check(folder):
    stats, states = lines(folder / "stats.jsonl"), lines(folder / "states.jsonl")
    parquet, csv = folder / "chunks.parquet", folder / "chunks.csv"

    frame = pl.read_parquet(parquet)
    for column in ["created_at", "updated_at", "lease_until", "not_before"]:
        same(f"polars: type of {column}", frame.schema[column], pl.Datetime("ms", "UTC"))
    same("polars: type of status", frame.schema["status"].base_type() in (pl.Categorical, pl.Enum), True)
    same("polars: type of depends_on", frame.schema["depends_on"], pl.List(pl.Int64))
    compare_cells("polars, Parquet", frame.to_dicts(), states, lambda text: text, lambda list: list)

    text = {name: pl.String for name in TEXTS + ["owner", "depends_on", "on_dependency_failure"]}
    frame_csv = pl.read_csv(csv, schema_overrides=text, try_parse_dates=True, infer_schema_length=None)
    for column in ["created_at", "updated_at"]:
        same(f"polars: type of {column} in CSV", isinstance(frame_csv.schema[column], pl.Datetime), True)
    rows = frame_csv.to_dicts()
    for row in rows:
        for column in ["created_at", "updated_at", "lease_until", "not_before"]:
            if isinstance(row[column], datetime) and row[column].tzinfo is None:
                row[column] = row[column].replace(tzinfo=timezone.utc)
    compare_cells("polars, CSV", rows, states, armed, ids)

    for reader, frame in [("polars, Parquet", frame), ("polars, CSV", frame_csv)]:
        frame = frame.with_columns(pl.col("status").cast(pl.String))
        context = pl.SQLContext(chunks=frame, eager=True)
        compare_stats(
            reader,
            lambda job, where, context=context: context.execute(
                f"SELECT count(*) AS n FROM chunks WHERE job_id = {job} AND ({where})"
            ).item(),
            stats,
        )
    for reader, source in [("duckdb, Parquet", f"read_parquet('{parquet}')"), ("duckdb, CSV", f"read_csv('{csv}')")]:
        connection = duckdb.connect()
        compare_stats(
            reader,
            lambda job, where, source=source, connection=connection: connection.sql(
                f"SELECT count(*) FROM {source} WHERE job_id = {job} AND ({where})"
            ).fetchall()[0][0],
            stats,
        )
        types = {name: str(type) for name, type, *_ in connection.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        for column in ["created_at", "updated_at"]:
            same(f"{reader}: {column} is a time", types[column].startswith("TIMESTAMP"), True)
        texts = connection.sql(f"SELECT chunk, error FROM {source} WHERE job_id = 7 ORDER BY chunk").fetchall()
        expected = [state for state in states if state["job_id"] == 7]
        same(f"{reader}: rows of job 7", len(texts), len(expected))
        for (chunk, error), state in zip(texts, expected):
            # In CSV, DuckDB takes an empty text for none.
            stated = (state["error"] or None) if "CSV" in reader else state["error"]
            found = armed(error) if "CSV" in reader else error
            same(f"{reader}: chunk {chunk}: error", (chunk, found), (state["chunk"], stated))
    # What the statistics are for: a query for one status reads the file's summaries, and answers the same.
    groups = duckdb.sql(f"SELECT DISTINCT compression FROM parquet_metadata('{parquet}')").fetchall()
    same("duckdb: compression", groups, [("SNAPPY",)])
    least = "stats_min_value IS NOT NULL AND stats_max_value IS NOT NULL"
    found = duckdb.sql(f"SELECT count(*) FROM parquet_metadata('{parquet}') WHERE path_in_schema = 'revision' AND {least}")
    same("duckdb: statistics of revision", found.fetchall()[0][0] > 0, True)


def main():
    folders = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    if not folders:
        sys.exit(f"{sys.argv[1]} has no exports in it")
    for folder in folders:
        before = checks
        check(folder)
        print(f"{folder.name}: {checks - before} comparisons, all the same")
    print(f"polars {pl.__version__}, duckdb {duckdb.__version__}: {checks} comparisons in {len(folders)} stores")


main()
