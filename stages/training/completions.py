"""Conversations as prompt and completion, for a step that learns the last answer alone."""

import numpy as np
import pyarrow as pa


def last_answers(table):
    """The table with `prompt` (all turns but the last) and `completion` (the last) instead of `messages`."""
    messages = table["messages"].combine_chunks()
    turns, ends = messages.flatten(), np.cumsum(messages.value_lengths().to_numpy(zero_copy_only=False))
    earlier = np.ones(len(turns), bool)
    earlier[ends - 1] = False
    starts = np.concatenate([[0], ends - np.arange(1, len(ends) + 1)])
    prompts = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), turns.filter(pa.array(earlier)))
    answers = pa.ListArray.from_arrays(pa.array(np.arange(len(ends) + 1), pa.int32()), turns.take(pa.array(ends - 1)))
    return table.drop_columns("messages").append_column("prompt", prompts).append_column("completion", answers)
