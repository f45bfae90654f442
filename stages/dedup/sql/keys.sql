-- The keys of the rows that passed `validate`, and the side of the split of each.
-- `parts`: the files of ingest in order, with the number of rows before each. `pinned`: keys that `eval:` holds out.
-- The split key is the expression of stages/dedup/split.py.
CREATE TABLE keys AS
WITH asked AS (
    SELECT first_row + file_row_number AS row, id, source, line, claim_key, claim, {split_key} AS split_key
    FROM read_parquet($files, file_row_number = true, filename = true) AS rows
    JOIN parts ON rows.filename = parts.file
    ANTI JOIN read_parquet($rejects) AS rejects USING (id, source, line)
), marked AS (
    SELECT *, split_key IN (SELECT key FROM pinned) AS is_pinned FROM asked
)
SELECT *, is_pinned OR ('0x' || substr(sha256($seed || ':' || split_key), 1, 8))::UBIGINT / 4294967296 < $eval_fraction AS is_eval
FROM marked
