-- The number of raw records of each file: those that ingest rejected, and those that became one or more rows.
SELECT source, sum(records)::BIGINT AS records FROM (
    SELECT source, count(*) AS records FROM read_parquet($rejected) WHERE stage = 'ingest' GROUP BY source
    UNION ALL SELECT source, count(DISTINCT line) FROM (
        SELECT source, line FROM read_parquet($train)
        UNION ALL SELECT source, line FROM read_parquet($eval)
        UNION ALL SELECT source, line FROM read_parquet($rejected) WHERE stage <> 'ingest') GROUP BY source)
GROUP BY source ORDER BY source
