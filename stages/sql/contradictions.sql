-- Rows that claim the opposite of another row: (row, detail). Nobody can say which is right, so none is kept.
SELECT row, 'contradicts ' || CASE WHEN id = low_id THEN high_id || ' (' || high_place ELSE low_id || ' (' || low_place END || ')' AS detail
FROM (
    SELECT row, id, min(id) OVER claim AS low_id, max(id) OVER claim AS high_id,
           arg_min(place, id) OVER claim AS low_place, arg_max(place, id) OVER claim AS high_place
    FROM keys
    WHERE claim_key IS NOT NULL
    WINDOW claim AS (PARTITION BY claim_key)
)
WHERE low_id <> high_id
ORDER BY row
