-- Each prompt with its length in characters; the model generates the answers.
SELECT source, NULL::BOOLEAN AS label, hash(prompt) AS prompt,
       coalesce(list_sum(list_transform(prompt, lambda turn: length(coalesce(turn.content, '')))), 0) AS characters,
       length(coalesce(ground_truth, '')) AS answer, NULL::BIGINT AS other
FROM read_parquet($file)
