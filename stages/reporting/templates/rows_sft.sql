-- Each row of an sft dataset with the length of all its turns, and of its last answer, in characters.
-- A table has `tool_calls` only where some row of the dataset has calls; read through JSON it is null elsewhere.
SELECT source, NULL::BOOLEAN AS label, hash(list_filter(messages, lambda turn: turn.role = 'user')[1].content) AS prompt,
       coalesce(list_sum(list_transform(messages, lambda turn: length(coalesce(turn.content, '')) + length(coalesce(to_json(turn) ->> '$.tool_calls', '')))), 0) AS characters,
       length(coalesce(messages[-1].content, '')) AS answer, NULL::BIGINT AS other
FROM read_parquet($file)
