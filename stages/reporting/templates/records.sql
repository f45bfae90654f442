-- How many raw records there were: those that ingest turned away, and those that became rows, perhaps several each.
SELECT (SELECT count(*) FROM read_parquet($rejected) WHERE stage = 'ingest')
     + (SELECT count(*) FROM (
            SELECT DISTINCT source, line FROM (
                SELECT source, line FROM read_parquet($train)
                UNION ALL SELECT source, line FROM read_parquet($eval)
                UNION ALL SELECT source, line FROM read_parquet($rejected) WHERE stage <> 'ingest')))
