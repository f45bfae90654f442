-- Pairs of rows that share a band of their signatures: (earlier, later). In a band that very many rows share (boilerplate)
-- each row is paired with the band's first row only, so that the number of pairs grows with the rows, not with their square.
WITH shared AS (
    SELECT band, min(row) AS first_row, count(*) AS rows FROM bands GROUP BY band HAVING count(*) > 1
)
SELECT DISTINCT least(a.row, b.row) AS earlier, greatest(a.row, b.row) AS later
FROM shared
JOIN bands AS a USING (band)
JOIN bands AS b USING (band)
WHERE a.row < b.row AND (shared.rows <= 20 OR a.row = shared.first_row)
ORDER BY later, earlier
