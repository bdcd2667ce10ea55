-- The tables of a Magnetar store. Read them as you like, best through the views at the end; whatever writes to them
-- is found out: each `*_sum` is an xxh3-64 over the part of the row that it is named for, keyed by table and key. Where a
-- chunk stands in the indexes (class, rank, due, holder) follows from the rest of its row, and is compared with that.
--
-- Times are milliseconds since the Unix epoch. Codes are spelled out by the views.

CREATE TABLE meta (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    store_id  TEXT    NOT NULL CHECK (length(store_id) = 32),
    revision  INTEGER NOT NULL CHECK (revision >= 0),
    last_job  INTEGER NOT NULL CHECK (last_job >= 0),
    clock_ms  INTEGER NOT NULL CHECK (clock_ms >= 0),
    cursors   INTEGER NOT NULL CHECK (cursors >= 0),
    log_start INTEGER NOT NULL CHECK (log_start >= 0),
    -- NULL until the first commit, when everything above is still 0.
    meta_sum  INTEGER
) STRICT;

CREATE TABLE jobs (
    job                   INTEGER PRIMARY KEY CHECK (job BETWEEN 0 AND 9007199254740991),
    name                  TEXT,
    attempts_max          INTEGER,
    losses_max            INTEGER,
    lease_ms              INTEGER,
    backoff_initial_ms    INTEGER,
    backoff_max_ms        INTEGER,
    on_dependency_failure INTEGER CHECK (on_dependency_failure BETWEEN 0 AND 2),
    phase                 INTEGER NOT NULL CHECK (phase BETWEEN 1 AND 3),
    owner                 TEXT    CHECK (length(owner) = 32),
    seq                   INTEGER NOT NULL,
    created_at_ms         INTEGER NOT NULL,
    revision              INTEGER NOT NULL,
    spec_sum              INTEGER NOT NULL,
    edges                 INTEGER NOT NULL CHECK (edges >= 0),
    edges_upward          INTEGER NOT NULL CHECK (edges_upward >= 0),
    ready                 INTEGER NOT NULL CHECK (ready >= 0),
    blocked               INTEGER NOT NULL CHECK (blocked >= 0),
    delayed               INTEGER NOT NULL CHECK (delayed >= 0),
    processing            INTEGER NOT NULL CHECK (processing >= 0),
    done                  INTEGER NOT NULL CHECK (done >= 0),
    failed                INTEGER NOT NULL CHECK (failed >= 0),
    cancelled             INTEGER NOT NULL CHECK (cancelled >= 0),
    counts_sum            INTEGER NOT NULL,
    -- Whether `ready` is above 0: a column of its own, so that the index below is written only when that changes.
    claimable             INTEGER NOT NULL DEFAULT 0 CHECK (claimable IN (0, 1))
) STRICT;

CREATE INDEX jobs_claimable ON jobs (job) WHERE claimable = 1;

-- What the manifest said of a chunk. No transition writes here.
CREATE TABLE contents (
    job                   INTEGER NOT NULL,
    chunk                 INTEGER NOT NULL CHECK (chunk BETWEEN 0 AND 9007199254740991),
    checksum              TEXT,
    payload               TEXT,
    priority              INTEGER NOT NULL,
    attempts_max          INTEGER,
    losses_max            INTEGER,
    on_dependency_failure INTEGER CHECK (on_dependency_failure BETWEEN 0 AND 2),
    created_at_ms         INTEGER NOT NULL,
    updated_at_ms         INTEGER NOT NULL,
    revision              INTEGER NOT NULL,
    content_sum           INTEGER NOT NULL,
    PRIMARY KEY (job, chunk)
) STRICT, WITHOUT ROWID;

-- What has happened to a chunk, and where it stands in the indexes. The defaults are those of a chunk to which
-- nothing has happened.
CREATE TABLE states (
    job                  INTEGER NOT NULL,
    chunk                INTEGER NOT NULL CHECK (chunk BETWEEN 0 AND 9007199254740991),
    class                INTEGER NOT NULL CHECK (class BETWEEN 1 AND 7),
    rank                 INTEGER NOT NULL CHECK (rank BETWEEN 0 AND 4294967295),
    due_at_ms            INTEGER,
    due_set_at_ms        INTEGER,
    holder               TEXT    CHECK (length(holder) = 32),
    unmet                INTEGER NOT NULL DEFAULT 0 CHECK (unmet >= 0),
    -- 0 while `unmet` is 0.
    unmet_sum            INTEGER NOT NULL DEFAULT 0,
    status               INTEGER NOT NULL DEFAULT 0 CHECK (status BETWEEN 0 AND 4),
    attempts             INTEGER NOT NULL DEFAULT 0,
    losses               INTEGER NOT NULL DEFAULT 0,
    fence                INTEGER NOT NULL DEFAULT 0,
    open_fence           INTEGER NOT NULL DEFAULT 0,
    owner                TEXT    CHECK (length(owner) = 32),
    claim_seq            INTEGER NOT NULL DEFAULT 0,
    lease_set_at_ms      INTEGER,
    lease_ms             INTEGER,
    not_before_set_at_ms INTEGER,
    not_before_ms        INTEGER,
    cause                INTEGER,
    updated_at_ms        INTEGER NOT NULL DEFAULT 0,
    revision             INTEGER NOT NULL DEFAULT 0,
    observed             TEXT,
    error                TEXT,
    output               TEXT,
    record_sum           INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, chunk)
) STRICT, WITHOUT ROWID;

-- The claim order of the ready ones, and the chunk order of every other class: their rank is one and the same.
CREATE INDEX states_place ON states (job, class, rank, chunk);
CREATE INDEX states_due ON states (due_at_ms, due_set_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX states_holder ON states (holder, job, chunk) WHERE holder IS NOT NULL;

CREATE TABLE dependencies (
    job        INTEGER NOT NULL,
    chunk      INTEGER NOT NULL CHECK (chunk BETWEEN 0 AND 9007199254740991),
    depends_on INTEGER NOT NULL CHECK (depends_on BETWEEN 0 AND 9007199254740991),
    met        INTEGER NOT NULL CHECK (met IN (0, 1)),
    edge_sum   INTEGER NOT NULL,
    PRIMARY KEY (job, chunk, depends_on)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_dependents ON dependencies (job, depends_on, chunk);

-- Work on dependents that did not fit into its own commit.
CREATE TABLE cursors (
    job         INTEGER NOT NULL,
    chunk       INTEGER NOT NULL,
    after_chunk INTEGER,
    news        INTEGER NOT NULL,
    cursor_sum  INTEGER NOT NULL,
    PRIMARY KEY (job, chunk)
) STRICT, WITHOUT ROWID;

-- What each commit changed: runs of neighbouring chunks, packed as variable-length integers.
CREATE TABLE log (
    revision INTEGER PRIMARY KEY,
    changes  INTEGER NOT NULL CHECK (changes > 0),
    runs     BLOB    NOT NULL,
    log_sum  INTEGER NOT NULL
) STRICT;

CREATE VIEW jobs_v AS
SELECT
    job AS job_id,
    name,
    CASE phase WHEN 1 THEN 'open' WHEN 2 THEN 'importing' WHEN 3 THEN 'deleting' END AS phase,
    ready + blocked + delayed + processing + done + failed + cancelled AS total_chunks,
    ready + blocked + delayed AS pending,
    ready, blocked, delayed, processing, done, failed, cancelled,
    edges AS dependencies,
    attempts_max, losses_max, lease_ms, backoff_initial_ms, backoff_max_ms,
    CASE on_dependency_failure WHEN 0 THEN 'wait' WHEN 1 THEN 'cancel' WHEN 2 THEN 'ignore' END AS on_dependency_failure,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at_ms / 1000.0, 'unixepoch') AS created_at,
    created_at_ms,
    revision
FROM jobs;

CREATE VIEW chunks_v AS
SELECT
    s.job AS job_id,
    s.chunk,
    CASE s.status WHEN 0 THEN 'pending' WHEN 1 THEN 'processing' WHEN 2 THEN 'done' WHEN 3 THEN 'failed' WHEN 4 THEN 'cancelled' END AS status,
    CASE s.class WHEN 1 THEN 'ready' WHEN 2 THEN 'blocked' WHEN 3 THEN 'delayed' WHEN 4 THEN 'processing' WHEN 5 THEN 'done' WHEN 6 THEN 'failed' WHEN 7 THEN 'cancelled' END AS class,
    c.checksum, s.observed AS observed_checksum, c.payload, s.output, s.error, c.priority,
    s.attempts, s.losses, c.attempts_max, c.losses_max,
    CASE c.on_dependency_failure WHEN 0 THEN 'wait' WHEN 1 THEN 'cancel' WHEN 2 THEN 'ignore' END AS on_dependency_failure,
    s.unmet AS unmet_dependencies,
    s.cause AS cancelled_by,
    s.fence,
    s.holder AS owner,
    strftime('%Y-%m-%dT%H:%M:%fZ', (s.lease_set_at_ms + s.lease_ms) / 1000.0, 'unixepoch') AS lease_until,
    strftime('%Y-%m-%dT%H:%M:%fZ', (s.not_before_set_at_ms + s.not_before_ms) / 1000.0, 'unixepoch') AS not_before,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', iif(s.revision > c.revision, s.updated_at_ms, c.updated_at_ms) / 1000.0, 'unixepoch') AS updated_at,
    max(s.revision, c.revision) AS revision
FROM states s JOIN contents c ON c.job = s.job AND c.chunk = s.chunk;

CREATE VIEW dependencies_v AS
SELECT job AS job_id, chunk, depends_on, iif(met, 'met', 'unmet') AS state FROM dependencies;

INSERT INTO meta VALUES (1, lower(hex(randomblob(16))), 0, 0, 0, 0, 0, NULL);

-- Last, and in the transaction of everything above: a store that has this number is whole.
PRAGMA user_version = 1;
