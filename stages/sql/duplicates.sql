-- Rows that say exactly what an earlier row says: (row, detail). `keys` is one dataset in the order of its raw files.
SELECT row, 'duplicate of ' || first_id || ' (' || first_place || ')' AS detail
FROM (
    SELECT row, row_number() OVER same AS nth, first(id) OVER same AS first_id, first(place) OVER same AS first_place
    FROM keys
    WINDOW same AS (PARTITION BY id ORDER BY row)
)
WHERE nth > 1
ORDER BY row
