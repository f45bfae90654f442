-- The first rejects of each check, in the order of the raw files, with their text cut.
-- Only the text of these records is read, because there may be very many others.
WITH numbered AS (
    SELECT file_row_number AS row, row_number() OVER (PARTITION BY "check" ORDER BY source, line, file_row_number) AS place
    FROM read_parquet($file, file_row_number = true)
)
SELECT rejects."check", stage, source, line, left(detail, $width + 1) AS detail, length(detail) AS detail_length,
       left(raw, $width + 1) AS raw, length(raw) AS raw_length
FROM read_parquet($file, file_row_number = true) AS rejects JOIN numbered ON rejects.file_row_number = numbered.row
WHERE place <= $samples
ORDER BY rejects."check", place
