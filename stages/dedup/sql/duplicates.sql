-- Rows that say exactly what an earlier row says: (row, detail). Rows are numbered in the order of the raw files.
WITH firsts AS (
    SELECT id, min(row) AS first_row, arg_min(source || ':' || line, row) AS first_place FROM keys GROUP BY id HAVING count(*) > 1
)
SELECT row, 'duplicate of ' || id || ' (' || first_place || ')' AS detail
FROM keys JOIN firsts USING (id)
WHERE row > first_row
ORDER BY row
