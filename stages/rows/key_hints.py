"""What a user can type for a key whose value is in no row.

key_hint("passage", "prompt") -> "columns: {prompt: [<the question>, passage]} joins them"
"""

import json
import re

BESIDE = " (beside the records)"  # of a key of the object that holds a file's list of records
MEANING_NAMES = {"prompt": "the prompt", "answer": "the answer", "thought": "the thought", "mark": "what is learned"}
HINTS = {
    "prompt": "columns: {{prompt: [<the question>, {key}]}} joins them",
    "answer": "columns: {{completion: {key}}} if this is the answer (ground_truth: for kind grpo)",
    "thought": "columns: {{reasoning_content: {key}}}",
    "mark": "columns: {{train: {key}}} if false says that a record is not learned",
}
TURN_HINTS = {
    "prompt": "write it into the content of its turn",
    "answer": "write it into the content of its turn if it is the answer",
    "thought": "name it reasoning_content in its turn",
    "mark": "name it train in its turn if false says that the turn is not learned",
}


def key_hint(key: str, meaning: str) -> str:
    """What to do with a key of this meaning, named as in the file: `passage`, `messages[].refusal`."""
    if key.endswith(BESIDE):
        return "system: <that text> puts it before the turns of every row"
    return (TURN_HINTS if "[]." in key else HINTS)[meaning].format(key=quote_yaml(key))


def quote_yaml(text: str) -> str:
    """A text as YAML, in quotes if YAML would read it as something else."""
    plain = r"[A-Za-z][\w./-]*/[\w./-]+|(?!(?:null|true|false)$)[A-Za-z]\w*(\.\w+)*"
    return text if re.fullmatch(plain, text, re.ASCII | re.IGNORECASE) else json.dumps(text, ensure_ascii=False)
