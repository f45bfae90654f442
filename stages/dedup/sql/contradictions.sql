-- Rows that claim the opposite of another row: (row, detail). Nobody can tell which is right, so both are rejected.
WITH claims AS (
    SELECT claim_key, min(claim) AS low_claim, arg_min(id, claim) AS low_id, arg_max(id, claim) AS high_id,
           arg_min(source || ':' || line, claim) AS low_place, arg_max(source || ':' || line, claim) AS high_place
    FROM keys
    WHERE claim_key IS NOT NULL
    GROUP BY claim_key
    HAVING min(claim) <> max(claim)
)
SELECT row, 'contradicts ' || CASE WHEN claim = low_claim THEN high_id || ' (' || high_place ELSE low_id || ' (' || low_place END || ')' AS detail
FROM keys JOIN claims USING (claim_key)
ORDER BY row
