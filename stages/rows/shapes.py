"""Records as rows: the shape of a record, and the rows of the wanted kind that it becomes.

    shape_of(record) -> "sharegpt"
    rows_of(record, "sft") -> [{"messages": [...], "tools": None}]

The keys of a record identify its shape. Each `read_<shape>` gives (kind, row) of the shape's own kind; `CONVERTERS`
converts to other kinds if nothing has to be invented. A record that does not fit raises Unreadable.
"""

from collections.abc import Callable, Sequence
from datetime import date, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from stages.rows.calls import CONVERSATION_KEYS, tools_of
from stages.rows.choices import describe_better, read_compared, read_multiple_choice, read_scored, shape_of_choices
from stages.rows.columns import describe_missing_columns, has_any_column, rename_columns
from stages.rows.content import text_of
from stages.rows.marks import with_record_marks, without_marks, without_thoughts
from stages.rows.options import NO_OPTIONS, Options, extract_ground_truth
from stages.rows.trees import UNUSED_REPLIES, count_unused_replies, is_tree, read_tree
from stages.rows.turns import (
    GRPO_TRUTH_KEYS,
    MEDIA_KEYS,
    PROMPT_KEYS,
    ROLES,
    SYSTEM_KEYS,
    TRUTH_KEYS,
    answer_of,
    assistant,
    calls_from_json,
    hh_turns,
    message,
    prompt_of,
    system,
    turns_of,
    user,
    with_system,
)
from stages.rows.types import Fields, GrpoRow, KtoRow, PreferenceRow, Row, SftRow
from stages.rows.values import ENCODE, Unreadable, first_key, first_value, has_value

if TYPE_CHECKING:
    from stages.rows.key_account import KeyAccount

VERIFIABLE_PROMPT_KEYS = (*PROMPT_KEYS, "messages")
# (shape, groups of keys): a record has the first shape of which it has a key of each group
SIGNATURES = [
    ("openai_preference", ("preferred_output",), ("non_preferred_output",)),
    ("preference", ("chosen",), ("rejected",)),
    ("feedback", ("label",), ("completion", "response", *CONVERSATION_KEYS)),
    ("sharegpt", ("conversations", "conversation")),
    ("alpaca", ("instruction",), ("output", "response")),
    ("prompt_completion", ("prompt",), ("completion",)),
    ("verifiable", VERIFIABLE_PROMPT_KEYS, ("ground_truth",)),
    ("chatml", ("messages",)),
    ("query_response", PROMPT_KEYS, ("response",)),
    ("query_calls", ("query",), ("answers",), ("tools",)),
    ("verifiable", VERIFIABLE_PROMPT_KEYS, TRUTH_KEYS),
    ("seed", ("instruction",), ("instances",)),
    ("input_output", ("input",), ("output", "target")),
]


def shape_of(record: Fields) -> str | None:
    """The name of a record's shape by its keys, or None."""
    return shape_and_keys(record)[0]


def shape_and_keys(record: Fields) -> tuple[str | None, tuple[str, ...]]:
    """(shape, the keys that identify it), or (None, ()). A null counts as absent, unless no shape fits then."""
    shape, keys = None, ()
    if is_tree(record):
        return "reply_tree", ("prompt.replies",)
    if is_extractive(record):
        return "extractive", ("question", "answers.text")
    pair = has_value(record, "chosen") and has_value(record, "rejected")
    if not pair and (found := shape_of_choices(record)):
        return found
    if None in record.values():
        # a label of null is a missing label, which a validator reports
        shape, keys = _match_signature(
            tuple(key for key, value in record.items() if value is not None or key == "label")
        )
    if shape is None:
        shape, keys = _match_signature(tuple(record))
    if shape != "chatml":  # most records: what follows is not asked of them
        return shape, keys
    truth = next((key for key in TRUTH_KEYS if has_value(record, key)), None)
    return ("verifiable", ("messages", truth)) if truth and asks_for_answer(record["messages"]) else (shape, keys)


def asks_for_answer(turns: Any) -> bool:
    """Whether a conversation ends with a question, or with an empty turn for the answer."""
    last = turns[-1] if isinstance(turns, list) and turns else None
    if not isinstance(last, dict):
        return False
    role = str(last.get("role", last.get("from")))
    role = ROLES.get(role, role)
    return role == "user" or (role == "assistant" and last.get("content", last.get("value")) == "" and len(turns) > 1)


@lru_cache(1024)
def _match_signature(keys: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    for shape, *groups in SIGNATURES:
        first_keys = (next((key for key in group if key in keys), None) for group in groups)
        keys_found = tuple(key for key in first_keys if key is not None)
        if len(keys_found) == len(groups):
            return shape, keys_found
    return None, ()


def describe_shape(record: Fields, options: Options = NO_OPTIONS) -> str:
    """A record's shape and why, in a few words: `chatml (key messages)`."""
    if options.format:
        return f"{options.format} (by format)"
    try:
        record = (rename_columns(record, options.columns) or [record])[0]
    except Unreadable:
        return "unknown"
    shape, keys = shape_and_keys(record)
    why = describe_better(record, keys, options) if shape == "compared" else ""
    why = why or f"key{'s' * (len(keys) > 1)} {', '.join(keys)}"
    return f"{shape} ({why})" if shape else "unknown"


def describe_nearest_shape(record: Fields) -> str:
    """What a record lacks for the nearest shape, in words."""
    keys = {key for key, value in record.items() if value is not None}
    if {"message_id", "role", "text"} <= keys:
        return (
            "one message of a tree, but a record must be a whole tree: put each message into the list `replies` of the one that its "
            'parent_id names, and write one tree per line, {"prompt": {"role": "prompter", "text": ..., "replies": [...]}}'
        )
    if prompt_key := next((key for key in PROMPT_KEYS if key in keys), None):
        inner_truths = [
            f"{key}.{name}"
            for key in record
            for name in TRUTH_KEYS
            if isinstance(record[key], dict) and name in record[key]
        ]
        hint = f"; columns: {{ground_truth: {inner_truths[0]}}} if that is it" if inner_truths else ""
        return f"a prompt ({prompt_key}), but no answer (completion, response) and no ground truth ({', '.join(TRUTH_KEYS)}){hint}"
    for _, *groups in SIGNATURES:
        matches = [next((key for key in group if key in keys), None) for group in groups]
        if any(matches):
            missing_keys = groups[matches.index(None)] if None in matches else ()
            return f"{next(filter(None, matches))}, but no {' or '.join(missing_keys)}"
    return f"no known shape has the keys {', '.join(sorted(record)) or '(none)'}"


def rows_of(record: Fields, kind: str, options: Options = NO_OPTIONS, account: "KeyAccount | None" = None) -> list[Row]:
    """The rows of `kind` that a record becomes: one, or two if a pair becomes KTO rows. Raises Unreadable.

    account: a KeyAccount that counts the keys that no row uses.
    """
    if options.columns and not has_any_column(record, options.columns):
        raise Unreadable(
            "ingest.missing_key", f"none of the columns{describe_missing_columns(record, options.columns)}"
        )
    parts = rename_columns(record, options.columns)
    if not parts:
        raise Unreadable("ingest.missing_key", "the list that columns lead into is empty")
    return [row for part in parts for row in rows_of_part(part, record, kind, options, account)]


def rows_of_part(
    record: Fields, raw_record: Fields, kind: str, options: Options, account: "KeyAccount | None"
) -> list[Row]:
    """The rows of a record whose columns have the names of a shape. raw_record: the record as the file has it."""
    shape = options.format or shape_of(record)
    if shape is None:
        raise Unreadable(
            "ingest.missing_key", describe_nearest_shape(record) + describe_missing_columns(raw_record, options.columns)
        )
    for key in sorted(record.keys() & MEDIA_KEYS):
        if _is_media(record[key], key, shape):
            raise Unreadable("ingest.multimodal", f"{key}: only text can be trained on")
    arguments = {
        "scored": [options],
        "compared": [options],
        "extractive": [kind],
        "verifiable": [GRPO_TRUTH_KEYS if kind == "grpo" else TRUTH_KEYS],
    }.get(shape, [])
    arguments = [kind, options] if shape == "reply_tree" else arguments
    native, parsed = READERS[shape](record, *arguments)
    rows = parsed if isinstance(parsed, list) else [parsed]
    if native != kind:
        convert = CONVERTERS.get((native, kind))
        if convert is None:
            raise Unreadable("ingest.wrong_kind", f"a {shape} record has nothing to make a {kind} row of")
        rows = [converted for row in rows for converted in convert(row)]
        # an answer may be in several pairs of a record: it becomes one row
        rows = [row for i, row in enumerate(rows) if row not in rows[:i]]
    tools = tools_of(record)
    if tools and kind == "grpo":
        raise Unreadable("ingest.tools_unsupported", "TRL's GRPO reads no tool definitions from a dataset")
    rows = [with_record_marks(row, record, shape, kind) for row in rows]
    system_turn = next((record[key] for key in SYSTEM_KEYS if record.get(key)), None)
    rows = [finish_row(row, kind, system_turn, tools, options) for row in rows]
    if account is not None:
        account.add_record(record, shape, kind, rows, options.columns, options.ignore)
        if shape == "reply_tree" and (unused := count_unused_replies(record, kind, options)):
            account.count(UNUSED_REPLIES, unused)
    return rows


def finish_row(row: Row, kind: str, system_turn: Any, tools: str | None, options: Options) -> Row:
    """A row with the record's system turn and tools, and with what params.yaml adds to it."""
    place = "messages" if kind == "sft" else "prompt"
    if system_turn is not None:
        row = row | {place: with_system(row[place], text_of(system_turn, "system"))}
    elif options.system and not any(turn["role"] == "system" for turn in row[place]):
        row = row | {place: [system(options.system), *row[place]]}
    if options.reasoning:
        row = without_thoughts(row, options.reasoning)
    row = without_marks(row, kind)
    if tools or kind == "sft":
        return row | {"tools": tools}
    if kind == "grpo" and options.ground_truth_pattern and row["ground_truth"] is not None:
        answer = row["ground_truth"]
        extra = msgspec.json.decode(row["extra"]) | {"ground_truth_text": answer}
        truth = extract_ground_truth(answer, options.ground_truth_pattern)
        return row | {"ground_truth": truth, "extra": ENCODE(extra).decode()}
    return row


def _is_media(value: object, key: str, shape: str) -> bool:
    # a verifiable record keeps its other fields, and its `image` may be the name of a container image
    return bool(value) and (shape != "verifiable" or key.endswith("s") or isinstance(value, dict))


# -- shapes -------------------------------------------------------------------------------------------------------


def read_alpaca(record: Fields) -> tuple[str, SftRow]:
    prompt = prompt_of(record, first_key(record, ("instruction",)))
    answer = text_of(first_value(record, ("output", "response")), "output")
    return "sft", {"messages": [*prompt, assistant(answer)], "tools": None}


def read_sharegpt(record: Fields) -> tuple[str, SftRow]:
    turns = first_value(record, CONVERSATION_KEYS)
    if isinstance(turns, list) and turns and all(isinstance(text, str) for text in turns):  # LIMA's: texts in turn
        return "sft", {"messages": [(user, assistant)[i % 2](text) for i, text in enumerate(turns)], "tools": None}
    return "sft", {"messages": turns_of(turns, "conversations"), "tools": None}


def read_chatml(record: Fields) -> tuple[str, SftRow]:
    return "sft", {"messages": turns_of(first_value(record, ("messages",)), "messages"), "tools": None}


def read_prompt_completion(record: Fields) -> tuple[str, SftRow]:
    messages = prompt_of(record, first_key(record, ("prompt",))) + answer_of(
        first_value(record, ("completion",)), "completion"
    )
    return "sft", {"messages": messages, "tools": None}


def read_query_response(record: Fields) -> tuple[str, SftRow]:
    messages = prompt_of(record, first_key(record, PROMPT_KEYS)) + answer_of(
        first_value(record, ("response",)), "response"
    )
    return "sft", {"messages": messages, "tools": None}


def read_query_calls(record: Fields) -> tuple[str, SftRow]:
    """xLAM's: the answers to a query are calls of its tools."""
    calls = calls_from_json(first_value(record, ("answers",)), "answers")
    return "sft", {"messages": [*prompt_of(record, "query"), message("assistant", None, calls)], "tools": None}


def read_preference(record: Fields) -> tuple[str, PreferenceRow]:
    sides = [first_value(record, (side,)) for side in ("chosen", "rejected")]
    hh_sides = [turns for text in sides if (turns := hh_turns(text)) is not None]
    chosen, rejected = (
        hh_sides
        if len(hh_sides) == len(sides)
        else [answer_of(*side) for side in zip(sides, ("chosen", "rejected"), strict=True)]
    )
    keys = ("prompt", *CONVERSATION_KEYS, "question", "problem", "query", "instruction", "input")
    shared = next(
        (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
    )
    # equal conversations share every turn: the last one is the answer, and `chosen differs from rejected` reports them
    shared = min(shared, len(chosen) - 1, len(rejected) - 1)
    if key := next((key for key in keys if has_value(record, key)), None):
        prompt = prompt_of(record, key)
        # a whole conversation repeats its prompt: as its beginning, perhaps after a system turn, or as the last turns before
        # the answer. All that both sides share is context.
        starts = [i for i in range(shared - len(prompt) + 1) if chosen[i : i + len(prompt)] == prompt]
        if not any(
            start + len(prompt) == shared or all(turn["role"] == "system" for turn in chosen[:start])
            for start in starts
        ):
            return "preference", {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    if not shared:
        raise Unreadable("ingest.no_prompt", "no prompt, and chosen and rejected share no first turn")
    return "preference", {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}


def read_openai_preference(record: Fields) -> tuple[str, PreferenceRow]:
    key = first_key(record, ("input", "prompt"))
    prompt = record[key]
    return "preference", {
        "prompt": turns_of(prompt.get("messages"), "input.messages")
        if isinstance(prompt, dict)
        else prompt_of(record, key),
        "chosen": answer_of(first_value(record, ("preferred_output",)), "preferred_output"),
        "rejected": answer_of(first_value(record, ("non_preferred_output",)), "non_preferred_output"),
    }


def read_feedback(record: Fields) -> tuple[str, KtoRow]:
    if has_value(record, "completion") or has_value(record, "response"):
        prompt = prompt_of(record, first_key(record, (*PROMPT_KEYS, "instruction")))
        completion = answer_of(first_value(record, ("completion", "response")), "completion")
    else:
        turns = turns_of(first_value(record, ("messages", "conversations", "conversation")), "messages")
        prompt, completion = turns[:-1], turns[-1:]
    return "kto", {"prompt": prompt, "completion": completion, "label": label_of(first_value(record, ("label",)))}


def label_of(value: object) -> bool | None:
    """A KTO label. Null stays null: the validator reports it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):  # CSV has no booleans
        return value.lower() in ("true", "1")
    if isinstance(value, (int, float)) and value in (0, 1):
        return value == 1
    raise Unreadable("ingest.label_not_boolean", f"label: expected true or false, 1 or 0, found {value!r}")


def read_verifiable(record: Fields, truths: Sequence[str] = TRUTH_KEYS) -> tuple[str, GrpoRow]:
    prompt_key, truth_key = first_key(record, VERIFIABLE_PROMPT_KEYS), first_key(record, truths)
    truth = truth_of(record[truth_key], truth_key)
    used_keys = {prompt_key, truth_key} | {key for key in SYSTEM_KEYS if record.get(key)}
    if not isinstance(record[prompt_key], list):
        used_keys |= {key for key in ("input", "context", "history") if record.get(key)}
    return "grpo", {
        "prompt": prompt_of(record, prompt_key),
        "ground_truth": truth,
        "extra": ENCODE({key: value for key, value in record.items() if key not in used_keys}).decode(),
    }


def truth_of(value: object, where: str) -> str | None:
    """A ground truth as a text that an answer can meet: `2`, `0.50`, `2026-01-31`; a list as JSON. Null stays null: the validator reports it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise Unreadable("ingest.wrong_type", f"{where}: {value} is no ground truth")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # a column with a gap makes floats of its whole numbers
    if isinstance(value, (Decimal, date, time)):
        return str(value) if isinstance(value, Decimal) else value.isoformat()
    return ENCODE(value).decode()


def read_seed(record: Fields) -> tuple[str, list[SftRow]]:
    """Self-instruct's seed tasks: an instruction and several instances of it."""
    instances = first_value(record, ("instances",))
    if not isinstance(instances, list) or not instances or not all(isinstance(each, dict) for each in instances):
        raise Unreadable("ingest.wrong_type", "instances: expected a list of objects")
    instruction = first_value(record, ("instruction",))
    return "sft", [read_alpaca({"instruction": instruction} | each)[1] for each in instances]


def is_extractive(record: Fields) -> bool:
    answers = record.get("answers")
    return has_value(record, "question") and isinstance(answers, dict) and isinstance(answers.get("text"), list)


def read_extractive(record: Fields, kind: str) -> tuple[str, SftRow | GrpoRow]:
    """SQuAD's: a question, its context, and texts from it that answer. Each of them is correct; the first is learned."""
    if not is_extractive(record):
        raise Unreadable("ingest.missing_key", "expected question and answers with a list of texts")
    texts = list(dict.fromkeys(text_of(text, "answers.text") for text in record["answers"]["text"]))
    if not texts:
        raise Unreadable("ingest.missing_key", "answers.text: no answer")
    prompt = prompt_of(record, "question")
    if kind == "sft":
        return "sft", {"messages": [*prompt, assistant(texts[0])], "tools": None}
    extra = {
        key: value
        for key, value in record.items()
        if key not in ("question", "context", "history", "input", *SYSTEM_KEYS)
    }
    truth = texts[0] if len(texts) == 1 else ENCODE(texts).decode()
    return "grpo", {"prompt": prompt, "ground_truth": truth, "extra": ENCODE(extra).decode()}


def read_input_output(record: Fields) -> tuple[str, SftRow]:
    answer = answer_of(first_value(record, ("output", "target")), "output")
    return "sft", {"messages": prompt_of(record, "input") + answer, "tools": None}


READERS: dict[str, Callable[..., tuple[str, Any]]] = {
    "alpaca": read_alpaca,
    "sharegpt": read_sharegpt,
    "chatml": read_chatml,
    "prompt_completion": read_prompt_completion,
    "query_response": read_query_response,
    "query_calls": read_query_calls,
    "preference": read_preference,
    "openai_preference": read_openai_preference,
    "feedback": read_feedback,
    "verifiable": read_verifiable,
    "multiple_choice": read_multiple_choice,
    "scored": read_scored,
    "compared": read_compared,
    "seed": read_seed,
    "input_output": read_input_output,
    "reply_tree": read_tree,
    "extractive": read_extractive,
}


# -- conversions --------------------------------------------------------------------------------------------------


def preference_to_kto(row: PreferenceRow) -> list[KtoRow]:
    return [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"} for side in ("chosen", "rejected")
    ]


def preference_to_sft(row: PreferenceRow) -> list[SftRow]:
    return [{"messages": row["prompt"] + row["chosen"], "tools": None}]


def kto_to_sft(row: KtoRow) -> list[SftRow]:
    if row["label"] is not True:
        raise Unreadable("ingest.label_false", "only completions with label true become sft rows")
    return [{"messages": row["prompt"] + row["completion"], "tools": None}]


def verifiable_to_sft(row: GrpoRow) -> list[SftRow]:
    if row["ground_truth"] is None:
        raise Unreadable("ingest.missing_key", "no answer to make an sft row of")
    return [{"messages": [*row["prompt"], assistant(row["ground_truth"])], "tools": None}]


def sft_to_grpo(row: SftRow) -> list[GrpoRow]:
    messages = row["messages"]
    if messages[-1]["role"] == "user":
        raise Unreadable("ingest.wrong_kind", f"a prompt, but no ground truth ({', '.join(TRUTH_KEYS)}) and no answer")
    answer = messages[-1]
    if sum(turn["role"] == "user" for turn in messages) != 1 or answer["role"] != "assistant" or answer["tool_calls"]:
        raise Unreadable("ingest.wrong_kind", "only a conversation of one question and one answer becomes a grpo row")
    return [{"prompt": messages[:-1], "ground_truth": answer["content"], "extra": "{}"}]


CONVERTERS: dict[tuple[str, str], Callable[[Any], list[Any]]] = {
    ("preference", "kto"): preference_to_kto,
    ("preference", "sft"): preference_to_sft,
    ("kto", "sft"): kto_to_sft,
    ("grpo", "sft"): verifiable_to_sft,
    ("sft", "grpo"): sft_to_grpo,
}
