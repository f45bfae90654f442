-- Rows that `weights` and `max_rows` leave out: (row, detail). The id is a hash, so its first digits are a fair and stable
-- random number: a row that is in stays in when others are added, until there are `max_rows` lower ids.
WITH weighed AS (
    SELECT row, id, coalesce(weight, 1) AS weight, ('0x' || substr(id, 1, 8))::UBIGINT / 4294967296 AS lot
    FROM keys LEFT JOIN weights USING (source)
), ranked AS (
    SELECT row, weight, lot, row_number() OVER (PARTITION BY lot < weight ORDER BY id, row) AS place FROM weighed
)
SELECT row, CASE WHEN lot < weight THEN 'beyond max_rows ' || $max_rows ELSE 'beyond the weight ' || weight || ' of its file' END AS detail
FROM ranked
WHERE lot >= weight OR place > $max_rows
ORDER BY row
