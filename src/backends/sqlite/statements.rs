//! The text of every statement that reads rows, and of those that every commit ends with.
//!
//! Three rules, each measured and held by a test on the query plans:
//! - Reads name their values `$1`, `$2` ... over the whole script, so a script may leave statements out.
//! - `CROSS JOIN` holds the order of a join where the planner, which knows no sizes, would walk a whole table.
//! - `LIMIT $7+0`, never `LIMIT $7`: to `SQLite` the bare value is a hint for the plan, and the statement is prepared anew
//!   at every call, which takes longer than running it.

/// A row as two JSON arrays, one behind the other, of its state and of its content: one value to hand between threads
/// instead of forty. Where a list is long, up to [`ROWS_PER_PACK`] of them are handed over as one text, a *pack*: handing
/// over costs more than reading.
///
/// What most rows have at its default is a 0 in the place of an array: printing numbers is most of the cost.
macro_rules! row {
    () => {
        concat!(state!(), "||", content!())
    };
}

macro_rules! content {
    () => {
        "json_array(c.job,c.chunk,c.checksum,c.payload,\
         iif(c.priority=0 AND c.attempts_max IS NULL AND c.losses_max IS NULL AND c.on_dependency_failure IS NULL,0,\
         json_array(c.priority,c.attempts_max,c.losses_max,c.on_dependency_failure)),\
         c.created_at_ms,c.updated_at_ms,c.revision,c.content_sum)"
    };
}

macro_rules! state {
    () => {
        "json_array(s.job,s.chunk,s.class,s.rank,iif(s.unmet=0 AND s.unmet_sum=0,0,json_array(s.unmet,s.unmet_sum)),\
         iif(s.revision=0 AND s.record_sum=0 AND s.attempts=0 AND s.losses=0,0,\
         json_array(s.attempts,s.losses,s.fence,s.settled,iif(s.owner IS NULL,NULL,hex(s.owner)),s.claim_seq,\
         s.lease_set_at_ms,s.lease_ms,s.not_before_set_at_ms,s.not_before_ms,s.cause,s.updated_at_ms,s.revision,\
         s.observed,s.error,s.output,s.record_sum)))"
    };
}

/// When the lease or the delay of a row is over, as the index of deadlines has it: 4 is `Class::Processing`, and what is in
/// neither of the two classes is not in the index.
macro_rules! due_at {
    () => {
        "CASE s.class WHEN 4 THEN ifnull(s.lease_set_at_ms,s.updated_at_ms)+s.lease_ms \
         ELSE ifnull(s.not_before_set_at_ms,s.updated_at_ms)+s.not_before_ms END"
    };
}

/// When it began.
macro_rules! due_set_at {
    () => {
        "CASE s.class WHEN 4 THEN ifnull(s.lease_set_at_ms,s.updated_at_ms) \
         ELSE ifnull(s.not_before_set_at_ms,s.updated_at_ms) END"
    };
}

macro_rules! with_content {
    () => {
        " LEFT JOIN contents c ON c.job=s.job AND c.chunk=s.chunk "
    };
}

macro_rules! job {
    () => {
        "json_array(job,name,attempts_max,losses_max,lease_ms,backoff_initial_ms,backoff_max_ms,\
         on_dependency_failure,phase,owner,seq,created_at_ms,revision,spec_sum,edges,edges_upward,\
         json_array(ready,blocked,delayed,processing,done,failed,cancelled),counts_sum)"
    };
}

/// Rows in one pack at most. Even with the largest payloads and outputs, every other character of them escaped, a pack
/// stays below the gigabyte that a value may have in `SQLite`.
pub(super) const ROWS_PER_PACK: usize = 128;

pub(super) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE;";
pub(super) const BEGIN_READ: &str = "BEGIN;";
pub(super) const COMMIT: &str = "COMMIT;";

pub(super) const META: &str = "SELECT json_array(store_id,revision,last_job,clock_ms,cursors,log_start,affairs,meta_sum) FROM meta WHERE id=1;";

/// Moves on whenever another connection has written.
pub(super) const VERSION: &str = "PRAGMA data_version;";

/// What the tables are, see `open::FORMAT`.
pub(super) const FORMAT: &str = "PRAGMA user_version;";

/// Breaks a rule of the schema, and with it ends the transaction, unless the data version is the one given.
pub(super) const GUARD: &str =
    "INSERT OR ROLLBACK INTO meta(id) SELECT 0 FROM pragma_data_version WHERE data_version<>?;";

// Values of a read script

/// How many values a read script has.
pub(super) const READ_VALUES: usize = 32;

/// `$1`: job ids.
pub(super) const JOBS: &str =
    concat!("SELECT ", job!(), " FROM jobs WHERE job IN (SELECT value FROM json_each($1));");

/// `$1`: one job. A list, even one of a single id, is read through a table of its own, which takes longer than the row.
pub(super) const JOB: &str = concat!("SELECT ", job!(), " FROM jobs WHERE job=$1;");

/// Chunk `$2` of job `$3`.
pub(super) const ROW: &str =
    concat!("SELECT ", row!(), " FROM states s", with_content!(), "WHERE s.job=$3 AND s.chunk=$2;");

/// `$2`: lists of chunk ids of job `$3`; a pack for each list.
pub(super) const ROWS_OF_ONE_JOB: &str = concat!(
    "SELECT (SELECT group_concat(",
    row!(),
    ",' ') FROM json_each(l.value) n CROSS JOIN states s",
    with_content!(),
    "WHERE s.job=$3+0*n.key AND s.chunk=n.value) FROM json_each($2) l;"
);

/// `$2`: lists of pairs of job and chunk; a pack for each list.
pub(super) const ROWS: &str = concat!(
    "SELECT (SELECT group_concat(",
    row!(),
    ",' ') FROM json_each(l.value) n CROSS JOIN states s",
    with_content!(),
    "WHERE s.job=n.value->>0 AND s.chunk=n.value->>1) FROM json_each($2) l;"
);

/// The first ready rows of job `$4` behind rank `$5` and chunk `$6`, at most `$7`. 1 is `Class::Ready`.
pub(super) const READY: &str = concat!(
    "SELECT group_concat(line,' ') FROM (SELECT ",
    row!(),
    " AS line FROM states s",
    with_content!(),
    "WHERE s.job=$4 AND s.class=1 AND (s.rank,s.chunk)>($5,$6) ORDER BY s.rank,s.chunk LIMIT $7+0);"
);

/// The first one of them.
pub(super) const READY_ONE: &str = concat!(
    "SELECT ",
    row!(),
    " FROM states s",
    with_content!(),
    "WHERE s.job=$4 AND s.class=1 AND (s.rank,s.chunk)>($5,$6) ORDER BY s.rank,s.chunk LIMIT 1;"
);

/// The same as [`READY`] for a list `$1` of (job, rank, chunk), at most `$2` each; each row with the number of its question.
pub(super) const READY_OF_MANY: &str = concat!(
    "SELECT ",
    row!(),
    ",n.key FROM json_each($1) n CROSS JOIN states s",
    with_content!(),
    "WHERE s.job=n.value->>0 AND s.chunk IN (SELECT r.chunk FROM states r WHERE r.job=n.value->>0 AND r.class=1 \
     AND (r.rank,r.chunk)>(n.value->>1,n.value->>2) ORDER BY r.rank,r.chunk LIMIT $2+0);"
);

/// From job `$8` on.
pub(super) const READY_JOB: &str = "SELECT job FROM jobs WHERE claimable=1 AND job>=$8 ORDER BY job LIMIT 1;";

/// Due at `$9`, at most `$10`.
pub(super) const DUE_BY: &str = concat!(
    "SELECT ",
    row!(),
    " FROM states s INDEXED BY states_due",
    with_content!(),
    "WHERE s.class IN (3,4) AND ",
    due_at!(),
    "<=$9 ORDER BY ",
    due_at!(),
    " LIMIT $10+0;"
);

/// Set after `$9`, at most `$10`. What was set after a time is due after it too, which bounds the walk.
pub(super) const DUE_SET_AFTER: &str = concat!(
    "SELECT ",
    row!(),
    " FROM states s INDEXED BY states_due",
    with_content!(),
    "WHERE s.class IN (3,4) AND ",
    due_at!(),
    ">$9 AND ",
    due_set_at!(),
    ">$9 LIMIT $10+0;"
);

/// When the first row falls due.
pub(super) const DUE_FIRST: &str = concat!(
    "SELECT ",
    due_at!(),
    " FROM states s INDEXED BY states_due WHERE s.class IN (3,4) AND ",
    due_at!(),
    ">=0 ORDER BY ",
    due_at!(),
    " LIMIT 1;"
);

macro_rules! edge {
    () => {
        "json_array(d.job,d.chunk,d.depends_on,d.met,d.edge_sum)"
    };
}

/// For a list `$11` of (job, chunk depended on, above this chunk), at most `$12` each: a pack for each
/// that has any.
pub(super) const DEPENDENTS: &str = concat!(
    "SELECT n.key,(SELECT group_concat(edge,' ') FROM (SELECT ",
    edge!(),
    " AS edge FROM dependencies d WHERE d.job=n.value->>0 AND d.depends_on=n.value->>1 AND d.chunk>n.value->>2 \
     ORDER BY d.chunk LIMIT $12+0)) FROM json_each($11) n \
     WHERE EXISTS (SELECT 1 FROM dependencies e WHERE e.job=n.value->>0 AND e.depends_on=n.value->>1);"
);

/// The same for a list `$11` of chunks that are depended on, all of job `$28`: taking numbers out of arrays takes longer
/// than finding what they are for.
pub(super) const DEPENDENTS_IN_ONE_JOB: &str = concat!(
    "SELECT n.key,(SELECT group_concat(edge,' ') FROM (SELECT ",
    edge!(),
    " AS edge FROM dependencies d WHERE d.job=$28+0*n.key AND d.depends_on=n.value ORDER BY d.chunk LIMIT $12+0)) \
     FROM json_each($11) n \
     WHERE EXISTS (SELECT 1 FROM dependencies e WHERE e.job=$28+0*n.key AND e.depends_on=n.value);"
);

macro_rules! dependent_rows {
    ($($of:expr),+) => {
        concat!(
            "SELECT ",
            row!(),
            " FROM (SELECT DISTINCT d.job,d.chunk FROM json_each($11) n CROSS JOIN dependencies d WHERE ",
            $($of),+,
            " LIMIT $27+0) w CROSS JOIN states s",
            with_content!(),
            "WHERE s.job=w.job AND s.chunk=w.chunk;"
        )
    };
}

/// Rows of [`DEPENDENTS`], each once, at most `$27` of all together. Those that are lacking then are asked for by
/// themselves.
pub(super) const DEPENDENT_ROWS: &str =
    dependent_rows!("d.job=n.value->>0 AND d.depends_on=n.value->>1 AND d.chunk>n.value->>2");

/// The same of [`DEPENDENTS_IN_ONE_JOB`].
pub(super) const DEPENDENT_ROWS_IN_ONE_JOB: &str =
    dependent_rows!("d.job=$28+0*n.key AND d.depends_on=n.value");

/// For a list `$13` of (job, chunk): a pack for each that has any.
pub(super) const DEPENDENCIES: &str = concat!(
    "SELECT n.key,(SELECT group_concat(",
    edge!(),
    ",' ') FROM dependencies d INDEXED BY dependencies_of WHERE d.job=n.value->>0 AND d.chunk=n.value->>1) \
     FROM json_each($13) n WHERE EXISTS \
     (SELECT 1 FROM dependencies e INDEXED BY dependencies_of WHERE e.job=n.value->>0 AND e.chunk=n.value->>1);"
);

/// Held by `$14`, in hexadecimal, behind (job `$15`, chunk `$16`), at most `$17`.
pub(super) const HELD: &str = concat!(
    "SELECT ",
    row!(),
    " FROM states s INDEXED BY states_holder",
    with_content!(),
    "WHERE s.class=4 AND s.owner=unhex($14) AND (s.job,s.chunk)>($15,$16) ORDER BY s.job,s.chunk LIMIT $17+0;"
);

/// Held by any of the owners in `$31`, at most `$32`: the rows of one after the other, as the index has them.
pub(super) const HELD_BY_ANY: &str = concat!(
    "SELECT ",
    row!(),
    " FROM json_each($31) n CROSS JOIN states s INDEXED BY states_holder",
    with_content!(),
    "WHERE s.class=4 AND s.owner=unhex(n.value) LIMIT $32+0;"
);

/// From one holder to the next, whatever each one holds.
pub(super) const OWNERS: &str = "WITH RECURSIVE o(owner) AS (\
     SELECT (SELECT min(s.owner) FROM states s INDEXED BY states_holder WHERE s.class=4 AND s.owner IS NOT NULL) \
     UNION ALL SELECT (SELECT min(s.owner) FROM states s INDEXED BY states_holder WHERE s.class=4 AND s.owner>o.owner) \
     FROM o WHERE o.owner IS NOT NULL) \
     SELECT hex(owner) FROM o WHERE owner IS NOT NULL;";

/// Above job `$18`, at most `$19`.
pub(super) const JOBS_AFTER: &str =
    concat!("SELECT ", job!(), " FROM jobs WHERE job>$18 ORDER BY job LIMIT $19+0;");

/// Below `$18`, the highest first, at most `$19`.
pub(super) const JOBS_BEFORE: &str =
    concat!("SELECT ", job!(), " FROM jobs WHERE job<$18 ORDER BY job DESC LIMIT $19+0;");

/// Of job `$20`, behind (chunk `$21`, depends on `$22`), at most `$23`, as one pack.
pub(super) const EDGES: &str = concat!(
    "SELECT group_concat(edge,' ') FROM (SELECT ",
    edge!(),
    " AS edge FROM dependencies d WHERE d.job=$20 AND (d.chunk,d.depends_on)>($21,$22) \
     ORDER BY d.chunk,d.depends_on LIMIT $23+0);"
);

/// At most `$24`, of the jobs from `$29` to `$30`.
pub(super) const CURSORS: &str = "SELECT job,chunk,after_chunk,news,cursor_sum FROM cursors WHERE job BETWEEN $29 AND $30 ORDER BY job,chunk LIMIT $24+0;";

/// Behind revision `$25`, until `$26` changes are reached. Of the first commit a part may lie before it.
pub(super) const LOG: &str = "SELECT revision,runs,log_sum,changes FROM (SELECT revision,runs,log_sum,changes,\
     sum(min(changes,revision-$25)) OVER (ORDER BY revision ROWS UNBOUNDED PRECEDING)\
     -min(changes,revision-$25) AS ahead FROM log WHERE revision>$25 ORDER BY revision LIMIT $26+0) WHERE ahead<$26;";

// A page of some classes

/// The (class, rank) pairs of job `$1` in classes `$2`, at most `$3`, from one to the next; and how many rows there may
/// be in these classes.
pub(super) const PAIRS: &str = "WITH RECURSIVE p(class,rank) AS (\
       SELECT n.value,(SELECT min(s.rank) FROM states s WHERE s.job=$1 AND s.class=n.value) FROM json_each($2) n \
       UNION ALL \
       SELECT p.class,(SELECT min(s.rank) FROM states s WHERE s.job=$1 AND s.class=p.class AND s.rank>p.rank) \
       FROM p WHERE p.rank IS NOT NULL) \
     SELECT class,rank FROM p WHERE rank IS NOT NULL LIMIT $3+0;";

/// The rows of job `$1` in (class, rank) pairs `$2`, above chunk `$3`, at most `$4`: the first of each pair, merged.
pub(super) const PAGE_OF_PAIRS: &str = concat!(
    "WITH p(chunk) AS MATERIALIZED (SELECT m.chunk FROM json_each($2) n CROSS JOIN states m \
     WHERE m.job=$1+0*n.key AND m.chunk IN (SELECT r.chunk FROM states r WHERE r.job=$1 AND r.class=n.value->>0 \
     AND r.rank=n.value->>1 AND r.chunk>$3 ORDER BY r.chunk LIMIT $4+0) ORDER BY m.chunk LIMIT $4+0) \
     SELECT group_concat(",
    row!(),
    ",' ') FROM p CROSS JOIN states s",
    with_content!(),
    "WHERE s.job=$1+0*p.chunk AND s.chunk=p.chunk;"
);

/// The rows of job `$1` in the classes whose bits `$2` has, above chunk `$3`, at most `$4`, in the order of the table.
pub(super) const PAGE: &str = concat!(
    "SELECT group_concat(line,' ') FROM (SELECT ",
    row!(),
    " AS line FROM states s",
    with_content!(),
    "WHERE s.job=$1 AND s.chunk>$3 AND ($2=-1 OR ($2>>s.class)&1) \
     ORDER BY s.chunk LIMIT $4+0);"
);

/// The rows of job `$1` in the classes whose bits `$2` has, in ranges of `$4` ids above each of `$3`; for each range a
/// pack of their states, and where there is any one of the contents of all rows in it. Each table is gone through from one row to the next: looking up the content
/// of each state takes as long as printing its numbers. By the primary key, whose order is that of the packs: an index of
/// somebody's that has every column may have another one.
pub(super) const PAGE_OF_RANGES: &str = concat!(
    "SELECT (SELECT group_concat(",
    state!(),
    ",' ') FROM states s INDEXED BY sqlite_autoindex_states_1 \
     WHERE s.job=$1+0*n.key AND s.chunk>n.value AND s.chunk<=n.value+$4 \
     AND ($2=-1 OR ($2>>s.class)&1)),\
     iif(EXISTS (SELECT 1 FROM states s INDEXED BY sqlite_autoindex_states_1 \
     WHERE s.job=$1+0*n.key AND s.chunk>n.value AND s.chunk<=n.value+$4 \
     AND ($2=-1 OR ($2>>s.class)&1)),\
     (SELECT group_concat(",
    content!(),
    ",' ') FROM contents c INDEXED BY sqlite_autoindex_contents_1 \
     WHERE c.job=$1+0*n.key AND c.chunk>n.value AND c.chunk<=n.value+$4),NULL) FROM json_each($3) n;"
);

// Writes that every commit has

/// The entry of a commit.
pub(super) const LOG_APPEND: &str = "INSERT INTO log(revision,changes,runs,log_sum) VALUES(?,?,?,?);";

/// A few entries at a time, so that no commit pays for many.
pub(super) const LOG_PRUNE: &str = "DELETE FROM log WHERE revision IN (SELECT revision FROM log WHERE revision<=? ORDER BY revision LIMIT 8);";

pub(super) const META_PUT: &str =
    "UPDATE meta SET revision=?,last_job=?,clock_ms=?,cursors=?,log_start=?,affairs=?,meta_sum=? WHERE id=1;";
