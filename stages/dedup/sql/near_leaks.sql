-- Pairs of a train row and an eval row that share a band of their signatures: (train, held_out). A band of more than 20 rows
-- gives each eval row its first train row only; one of more than a tenth of the rows is boilerplate.
WITH sided AS (FROM bands JOIN keys USING (row) SELECT band, row, is_eval),
shared AS (
    SELECT band, min(row) FILTER (NOT is_eval) AS first_train, count(*) AS rows
    FROM sided GROUP BY band
    HAVING bool_or(is_eval) AND NOT bool_and(is_eval) AND count(*) <= greatest(20, (SELECT count(*) FROM keys) // 10)
)
SELECT DISTINCT train.row AS train, held_out.row AS held_out
FROM shared
JOIN sided AS train USING (band)
JOIN sided AS held_out USING (band)
WHERE held_out.is_eval AND NOT train.is_eval AND (shared.rows <= 20 OR train.row = shared.first_train)
ORDER BY held_out, train
