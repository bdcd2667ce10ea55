-- The dependencies stand in the order of what they are on: whoever is done tells those that wait, neighbours one after
-- the other, and each completion asks for them and writes them there.

-- Views that somebody made of them stay as they are: of the table by its name.
PRAGMA legacy_alter_table = ON;
ALTER TABLE dependencies RENAME TO dependencies_before;
PRAGMA legacy_alter_table = OFF;

CREATE TABLE dependencies (
    job        INTEGER NOT NULL,
    chunk      INTEGER NOT NULL CHECK (chunk BETWEEN 0 AND 9007199254740991),
    depends_on INTEGER NOT NULL CHECK (depends_on BETWEEN 0 AND 9007199254740991),
    met        INTEGER NOT NULL CHECK (met IN (0, 1)),
    edge_sum   INTEGER NOT NULL,
    PRIMARY KEY (job, depends_on, chunk)
) STRICT, WITHOUT ROWID;

-- By the index that has this order, so that nothing is sorted in memory.
INSERT INTO dependencies (job, chunk, depends_on, met, edge_sum)
SELECT job, chunk, depends_on, met, edge_sum FROM dependencies_before INDEXED BY dependencies_dependents
ORDER BY job, depends_on, chunk;

DROP TABLE dependencies_before;

CREATE INDEX dependencies_of ON dependencies (job, chunk, depends_on);

-- Last, as in every migration.
PRAGMA user_version = 3;
