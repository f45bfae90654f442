-- The number of raw records: those that ingest rejected, and those that became one or more rows.
SELECT (SELECT count(*) FROM read_parquet($rejected) WHERE stage = 'ingest')
     + (SELECT count(*) FROM (
            SELECT DISTINCT source, line FROM (
                SELECT source, line FROM read_parquet($train)
                UNION ALL SELECT source, line FROM read_parquet($eval)
                UNION ALL SELECT source, line FROM read_parquet($rejected) WHERE stage <> 'ingest')))
