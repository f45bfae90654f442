-- The rows of one dataset that two builds do not hold in the same place: `changes` (change, and key, source, line and
-- place of the old and the new row, NULL where there is none).
-- `old_kept`, `new_kept`: (key, source, line, place) of train and eval, where a key stands once. `old_rejects`,
-- `new_rejects`: the same of the rejects, where it may stand many times: the n-th goes with the n-th.
CREATE OR REPLACE TABLE changes AS
WITH old_rejected AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY key, place ORDER BY source, line) AS nth
    FROM old_rejects ANTI JOIN new_rejects USING (key, place, source, line)
), new_rejected AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY key, place ORDER BY source, line) AS nth
    FROM new_rejects ANTI JOIN old_rejects USING (key, place, source, line)
), old_rows AS (
    SELECT key, source, line, place FROM old_kept ANTI JOIN new_kept USING (key, place)
    UNION ALL
    SELECT key, source, line, place FROM old_rejected ANTI JOIN new_rejected USING (key, place, nth)
), new_rows AS (
    SELECT key, source, line, place FROM new_kept ANTI JOIN old_kept USING (key, place)
    UNION ALL
    SELECT key, source, line, place FROM new_rejected ANTI JOIN old_rejected USING (key, place, nth)
), old_keys AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY key ORDER BY source, line, place) AS nth FROM old_rows
), new_keys AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY key ORDER BY source, line, place) AS nth FROM new_rows
-- what is left has no text in common: the same line of the same file is the same record, edited. Where lines were put in
-- or taken out above it, it stands as far from the unchanged row before it as it stood
), gone AS MATERIALIZED (
    SELECT *, line - dense_rank() OVER (PARTITION BY source ORDER BY line) AS run
    FROM old_keys ANTI JOIN new_keys USING (key, nth)
), before AS MATERIALIZED (
    SELECT DISTINCT source, first_line - step AS line
    FROM (SELECT source, min(line) AS first_line FROM gone GROUP BY source, run), range(1, 9) AS steps(step)
), unchanged AS (
    SELECT o.source, o.line, n.line - o.line AS shift
    FROM (FROM old_kept SEMI JOIN before USING (source, line)) AS o JOIN new_kept AS n USING (key, place)
    WHERE o.source = n.source
), old_lines AS MATERIALIZED (
    SELECT key, source, line, place, line + coalesce(shift, 0) AS new_line,
           row_number() OVER (PARTITION BY source, line ORDER BY key) AS nth
    FROM gone ASOF LEFT JOIN unchanged USING (source, line)
), new_lines AS MATERIALIZED (
    SELECT key, source, line, place, line AS new_line, row_number() OVER (PARTITION BY source, line ORDER BY key) AS nth
    FROM new_keys ANTI JOIN old_keys USING (key, nth)
), pairs AS (
    SELECT 'moved' AS change, o.key AS old_key, o.source AS old_source, o.line AS old_line, o.place AS old_place,
           n.key AS new_key, n.source AS new_source, n.line AS new_line, n.place AS new_place
    FROM old_keys AS o JOIN new_keys AS n USING (key, nth)
    UNION ALL
    SELECT CASE WHEN o.key IS NULL THEN 'added' WHEN n.key IS NULL THEN 'removed' ELSE 'changed' END,
           o.key, o.source, o.line, o.place, n.key, n.source, n.line, n.place
    FROM old_lines AS o FULL JOIN new_lines AS n USING (source, new_line, nth)
)
FROM pairs
