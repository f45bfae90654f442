-- The split key with the most rows that are not rejected: (key, number of rows, first row, number of rows in all).
SELECT split_key, count(*) AS rows, min(row) AS first_row, (SELECT count(*) FROM keys) AS whole
FROM keys
GROUP BY split_key
ORDER BY rows DESC, split_key
LIMIT 1
