-- Each rated completion with its length in characters.
WITH sides AS (
    SELECT source, label, hash(prompt) AS prompt,
           coalesce(list_sum(list_transform(prompt, lambda turn: length(coalesce(turn.content, '')))), 0) AS asked,
           coalesce(list_sum(list_transform(completion, lambda turn: length(coalesce(turn.content, '')))), 0) AS answer
    FROM read_parquet($file)
)
SELECT source, label, prompt, asked + answer AS characters, answer, NULL::BIGINT AS other FROM sides
