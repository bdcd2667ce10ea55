-- A chunk's state says each thing once, and is small while the chunk is held too: pages are split where their rows grow,
-- so the longest row that a chunk ever has decides how much room it takes for good.
--
-- The status follows from the class, the index of deadlines and the one of holders from the rest of the row. An owner is
-- named while its claim is open. Rows whose claim was settled before keep theirs until they change: their checksum
-- covers it.

-- Views that somebody made of them stay as they are: of the table by its name.
PRAGMA legacy_alter_table = ON;
ALTER TABLE states RENAME TO states_before;
PRAGMA legacy_alter_table = OFF;

CREATE TABLE states (
    job                  INTEGER NOT NULL,
    chunk                INTEGER NOT NULL CHECK (chunk BETWEEN 0 AND 9007199254740991),
    class                INTEGER NOT NULL CHECK (class BETWEEN 1 AND 7),
    rank                 INTEGER NOT NULL CHECK (rank BETWEEN 0 AND 4294967295),
    unmet                INTEGER NOT NULL DEFAULT 0 CHECK (unmet >= 0),
    -- 0 while `unmet` is 0.
    unmet_sum            INTEGER NOT NULL DEFAULT 0,
    attempts             INTEGER NOT NULL DEFAULT 0,
    losses               INTEGER NOT NULL DEFAULT 0,
    fence                INTEGER NOT NULL DEFAULT 0,
    -- Whether the newest claim was ended by its holder, with a result or with an error.
    settled              INTEGER NOT NULL DEFAULT 0 CHECK (settled IN (0, 1)),
    -- Whose claim is open, and the client's own number of the call.
    owner                BLOB    CHECK (length(owner) = 16),
    claim_seq            INTEGER NOT NULL DEFAULT 0,
    -- Of the claim that is open, even where it has lapsed. NULL where it is `updated_at_ms`; so is `not_before_set_at_ms`.
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

INSERT INTO states
SELECT
    job, chunk, class, rank, unmet, unmet_sum, attempts, losses, fence,
    owner IS NOT NULL AND open_fence = 0, unhex(owner), claim_seq,
    nullif(lease_set_at_ms, updated_at_ms), lease_ms, nullif(not_before_set_at_ms, updated_at_ms), not_before_ms,
    cause, updated_at_ms, revision, observed, error, output, record_sum
FROM states_before
ORDER BY job, chunk;

DROP TABLE states_before;

-- The claim order of the ready ones, and the chunk order of every other class: their rank is one and the same.
CREATE INDEX states_place ON states (job, class, rank, chunk);
-- When a lease or a delay is over, and when it began.
CREATE INDEX states_due ON states (
    CASE class WHEN 4 THEN ifnull(lease_set_at_ms, updated_at_ms) + lease_ms
               ELSE ifnull(not_before_set_at_ms, updated_at_ms) + not_before_ms END,
    CASE class WHEN 4 THEN ifnull(lease_set_at_ms, updated_at_ms)
               ELSE ifnull(not_before_set_at_ms, updated_at_ms) END
) WHERE class IN (3, 4);
CREATE INDEX states_holder ON states (owner, job, chunk) WHERE class = 4;

DROP VIEW chunks_v;

-- `contents.updated_at_ms` is 0 where it is the time of creation, and -1 where it is 0.
CREATE VIEW chunks_v AS
SELECT
    s.job AS job_id,
    s.chunk,
    CASE s.class WHEN 4 THEN 'processing' WHEN 5 THEN 'done' WHEN 6 THEN 'failed' WHEN 7 THEN 'cancelled' ELSE 'pending' END AS status,
    CASE s.class WHEN 1 THEN 'ready' WHEN 2 THEN 'blocked' WHEN 3 THEN 'delayed' WHEN 4 THEN 'processing' WHEN 5 THEN 'done' WHEN 6 THEN 'failed' WHEN 7 THEN 'cancelled' END AS class,
    c.checksum, s.observed AS observed_checksum, c.payload, s.output, s.error, c.priority,
    s.attempts, s.losses, c.attempts_max, c.losses_max,
    CASE c.on_dependency_failure WHEN 0 THEN 'wait' WHEN 1 THEN 'cancel' WHEN 2 THEN 'ignore' END AS on_dependency_failure,
    s.unmet AS unmet_dependencies,
    s.cause AS cancelled_by,
    s.fence,
    iif(s.class = 4, lower(hex(s.owner)), NULL) AS owner,
    iif(s.class = 4, strftime('%Y-%m-%dT%H:%M:%fZ', (ifnull(s.lease_set_at_ms, s.updated_at_ms) + s.lease_ms) / 1000.0, 'unixepoch'), NULL) AS lease_until,
    strftime('%Y-%m-%dT%H:%M:%fZ', (ifnull(s.not_before_set_at_ms, s.updated_at_ms) + s.not_before_ms) / 1000.0, 'unixepoch') AS not_before,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', CASE WHEN s.revision > c.revision THEN s.updated_at_ms WHEN c.updated_at_ms = 0 THEN c.created_at_ms ELSE max(c.updated_at_ms, 0) END / 1000.0, 'unixepoch') AS updated_at,
    max(s.revision, c.revision) AS revision
FROM states s JOIN contents c ON c.job = s.job AND c.chunk = s.chunk;

-- Last, as in every migration.
PRAGMA user_version = 4;
