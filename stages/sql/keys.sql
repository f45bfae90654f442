-- The keys of the rows that validate let pass, and the side of the split that each prompt falls on.
CREATE TABLE keys AS
SELECT file_row_number AS row, id, source || ':' || line AS place, claim_key, claim,
       ('0x' || substr(sha256($seed || ':' || prompt_key), 1, 8))::UBIGINT / 4294967296 < $eval_fraction AS is_eval
FROM read_parquet($rows, file_row_number = true)
ANTI JOIN read_parquet($rejects) AS rejects USING (id, source, line)
ORDER BY row
