"""What makes a KTO row right: a prompt, one answer, and whether the answer is good.

{"prompt": [{"role": "user", "content": "Reverse abc."}], "completion": [{"role": "assistant", "content": "cba"}],
 "label": true}
"""

import pandera.polars as pa
import polars as pl

from validators._messages import (
    check,
    empty_failures,
    ends_with,
    flatten,
    is_true,
    message_schema,
    row_failures,
    turn_failures,
)

CHECKS = {
    "kto.known_roles": "every role is system, user, assistant or tool",
    "kto.non_empty_turns": "every turn of the prompt and of the completion says something",
    "kto.roles_alternate": "after an optional system turn, user and assistant take turns; the completion follows the user",
    "kto.prompt_ends_with_user": "the prompt's last turn is the user's or a tool's",
    "kto.ends_with_assistant": "the completion ends with the assistant's turn",
    "kto.label_present": "the label is true or false, not missing",
}
PROMPT = message_schema("kto").add_columns({"ends": pa.Column(bool, check("kto.prompt_ends_with_user", is_true))})
COMPLETION = message_schema("kto").add_columns({"ends": pa.Column(bool, check("kto.ends_with_assistant", is_true))})
LABEL = pa.DataFrameSchema({"labelled": pa.Column(bool, check("kto.label_present", is_true))})


def failing(table):
    """(row, check, detail) of every failure in a table of KTO rows."""
    prompts = flatten(table["prompt"], "prompt")
    completions = flatten(table["completion"], "completion", begins="user")
    labels = pl.DataFrame({"labelled": pl.from_arrow(table["label"]).is_not_null()})
    return pl.concat(
        [
            turn_failures(PROMPT, prompts.with_columns(ends=ends_with(prompts, ["user", "tool"]))),
            turn_failures(COMPLETION, completions.with_columns(ends=ends_with(completions, ["assistant"]))),
            row_failures(LABEL, labels),
            empty_failures(table["prompt"], "kto.prompt_ends_with_user", "prompt"),
            empty_failures(table["completion"], "kto.ends_with_assistant", "completion"),
        ]
    )
