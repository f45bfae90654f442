-- Each pair with its length in characters. The longer answer counts, as in preflight. answer: chosen, other: rejected.
WITH sides AS (
    SELECT source, hash(prompt) AS prompt,
           coalesce(list_sum(list_transform(prompt, lambda turn: length(coalesce(turn.content, '')))), 0) AS asked,
           coalesce(list_sum(list_transform(chosen, lambda turn: length(coalesce(turn.content, '')))), 0) AS answer,
           coalesce(list_sum(list_transform(rejected, lambda turn: length(coalesce(turn.content, '')))), 0) AS other
    FROM read_parquet($file)
)
SELECT source, NULL::BOOLEAN AS label, prompt, asked + greatest(answer, other) AS characters, answer, other FROM sides
