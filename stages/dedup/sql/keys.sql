-- The keys of the rows that validate let pass, and the side of the split that each prompt falls on.
-- `parts`: the files of ingest in order, with the number of rows before each.
CREATE TABLE keys AS
SELECT first_row + file_row_number AS row, id, source, line, claim_key, claim,
       ('0x' || substr(sha256($seed || ':' || prompt_key), 1, 8))::UBIGINT / 4294967296 < $eval_fraction AS is_eval
FROM read_parquet($files, file_row_number = true, filename = true) AS rows
JOIN parts ON rows.filename = parts.file
ANTI JOIN read_parquet($rejects) AS rejects USING (id, source, line)
