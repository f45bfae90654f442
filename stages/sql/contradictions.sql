-- Rows that claim the opposite of another row: (row, detail). Nobody can say which is right, so none is kept.
WITH claims AS (
    SELECT claim_key, min(id) AS low_id, max(id) AS high_id, arg_min(place, id) AS low_place, arg_max(place, id) AS high_place
    FROM keys
    WHERE claim_key IS NOT NULL
    GROUP BY claim_key
    HAVING min(id) <> max(id)
)
SELECT row, 'contradicts ' || CASE WHEN id = low_id THEN high_id || ' (' || high_place ELSE low_id || ' (' || low_place END || ')' AS detail
FROM keys JOIN claims USING (claim_key)
ORDER BY row
