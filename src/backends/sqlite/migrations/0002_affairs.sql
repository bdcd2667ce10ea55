-- What the store is to others: which store it shadows or was moved to, and who follows its changes. JSON, and NULL while
-- it is nothing to anybody; then `meta_sum` is what it was without the column.

ALTER TABLE meta ADD COLUMN affairs TEXT;

-- Last, as in every migration.
PRAGMA user_version = 2;
