"""Records as rows: which shape a record has, and the row of the wanted kind that it becomes.

    shape_of(record) -> "sharegpt"
    rows_of(record, "sft") -> [{"messages": [...], "tools": None}]

A shape is told by its keys. Each `read_<shape>` gives (kind, row) of the kind that the record is by nature; `CONVERT`
leads from there to other kinds where nothing has to be invented. A record that does not fit raises Unreadable.
"""

import hashlib
import unicodedata

import msgspec

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
    "function_response": "tool",
}
TYPES = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
ENCODE = msgspec.json.Encoder().encode
PROMPT_KEYS = ("prompt", "question", "problem", "messages")
TRUTH_KEYS = ("ground_truth", "solution", "answer", "target")


class Unreadable(Exception):
    """This record cannot become a row: (check, detail)."""

    def __init__(self, check, detail):
        super().__init__(detail)
        self.check, self.detail = check, detail


def shape_of(record):
    """The name of a record's shape by its keys, or None."""
    keys = record.keys()
    if "preferred_output" in keys and "non_preferred_output" in keys:
        return "openai_preference"
    if "chosen" in keys and "rejected" in keys:
        return "preference"
    if "label" in keys and keys & {"completion", "messages", "conversations", "conversation"}:
        return "feedback"
    if keys & {"conversations", "conversation"}:
        return "sharegpt"
    if "instruction" in keys and keys & {"output", "response"}:
        return "alpaca"
    if "prompt" in keys and "completion" in keys:
        return "prompt_completion"
    if "ground_truth" in keys and keys & set(PROMPT_KEYS):
        return "verifiable"
    if "messages" in keys:
        return "chatml"
    if keys & set(PROMPT_KEYS) and keys & set(TRUTH_KEYS):
        return "verifiable"
    return None


def rows_of(record, kind):
    """The rows of `kind` that a record becomes: one, or two where a pair becomes KTO rows. Raises Unreadable."""
    shape = shape_of(record)
    if shape is None:
        raise Unreadable(
            "ingest.missing_key", f"no known shape has just the keys {', '.join(sorted(record)) or '(none)'}"
        )
    native, row = READ[shape](record)
    if native == kind:
        return [row]
    convert = CONVERT.get((native, kind))
    if convert is None:
        raise Unreadable("ingest.wrong_kind", f"a {shape} record has nothing to make a {kind} row of")
    return convert(row)


# -- parts of a record --------------------------------------------------------------------------------------------


def first(record, keys):
    """The value under the first of `keys` that the record has."""
    for key in keys:
        if key in record:
            return record[key]
    raise Unreadable("ingest.missing_key", f"expected one of {', '.join(keys)}")


def text_of(value, where):
    """A text: as it is, or joined from a list of text parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        kinds = sorted({str(part.get("type")) for part in value if part.get("type") != "text"})
        if kinds:
            raise Unreadable("ingest.multimodal", f"{where}: only text can be trained on, found {', '.join(kinds)}")
        return "".join(text_of(part.get("text"), where) for part in value)
    raise Unreadable(
        "ingest.wrong_type", f"{where}: expected text, found {TYPES.get(type(value), type(value).__name__)}"
    )


def turn_of(turn, where):
    """One message `{role, content, tool_calls}` from ChatML's or ShareGPT's keys."""
    if not isinstance(turn, dict):
        raise Unreadable("ingest.wrong_type", f"{where}: expected an object, found {TYPES.get(type(turn))}")
    role = text_of(first(turn, ("role", "from")), f"{where}.role")
    calls = turn.get("tool_calls")
    if role == "function_call":
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": call_of(turn.get("value", turn.get("content")), where),
        }
    content = turn.get("content", turn.get("value")) if calls else first(turn, ("content", "value"))
    return {
        "role": ROLES.get(role, role),
        "content": None if calls and content is None else text_of(content, f"{where}.content"),
        "tool_calls": objects_of(calls, f"{where}.tool_calls"),
    }


def call_of(value, where):
    """ShareGPT's function call, JSON text with name and arguments, as JSON text of `tool_calls`."""
    try:
        call = msgspec.json.decode(text_of(value, where))
    except (msgspec.DecodeError, RecursionError):
        call = None
    if not isinstance(call, dict):
        raise Unreadable("ingest.wrong_type", f"{where}: the function call is no JSON object")
    return ENCODE([{"type": "function", "function": call}]).decode()


def objects_of(value, where):
    """A list of objects as JSON text, given as the list or as JSON text itself; None where there is none."""
    if isinstance(value, str) and value:
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            raise Unreadable("ingest.wrong_type", f"{where}: expected a list or its JSON text") from None
    if not value and value != 0:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list of objects")
    return ENCODE(value).decode()


def turns_of(value, where):
    """A conversation as messages."""
    if not isinstance(value, list) or not value:
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list of messages, found {TYPES.get(type(value))}")
    return [turn_of(turn, f"{where}[{i}]") for i, turn in enumerate(value)]


def prompt_of(value, where):
    """A prompt as messages: a text is a user's turn."""
    if isinstance(value, list):
        return turns_of(value, where)
    return [user(text_of(value, where))]


def answer_of(value, where):
    """An answer as messages: a text is an assistant's turn, one message may stand without a list."""
    if isinstance(value, list):
        return turns_of(value, where)
    if isinstance(value, dict):
        return [turn_of(value, where)]
    return [assistant(text_of(value, where))]


def user(text):
    return {"role": "user", "content": text, "tool_calls": None}


def assistant(text):
    return {"role": "assistant", "content": text, "tool_calls": None}


# -- shapes -------------------------------------------------------------------------------------------------------


def read_alpaca(record):
    prompt = text_of(record["instruction"], "instruction")
    extra = text_of(record.get("input") or "", "input")
    answer = text_of(first(record, ("output", "response")), "output")
    system = (
        [{"role": "system", "content": text_of(record["system"], "system"), "tool_calls": None}]
        if record.get("system")
        else []
    )
    return "sft", {
        "messages": [*system, user(f"{prompt}\n{extra}" if extra else prompt), assistant(answer)],
        "tools": None,
    }


def read_sharegpt(record):
    return "sft", {
        "messages": turns_of(first(record, ("conversations", "conversation")), "conversations"),
        "tools": objects_of(record.get("tools"), "tools"),
    }


def read_chatml(record):
    return "sft", {
        "messages": turns_of(record["messages"], "messages"),
        "tools": objects_of(record.get("tools"), "tools"),
    }


def read_prompt_completion(record):
    messages = prompt_of(record["prompt"], "prompt") + answer_of(record["completion"], "completion")
    return "sft", {"messages": messages, "tools": objects_of(record.get("tools"), "tools")}


def read_preference(record):
    chosen, rejected = answer_of(record["chosen"], "chosen"), answer_of(record["rejected"], "rejected")
    key = next(
        (key for key in ("prompt", "conversations", "conversation", "messages", "question") if key in record), None
    )
    if key:
        prompt = prompt_of(record[key], key)
        # a whole conversation repeats its prompt, but only where an answer is left may it be cut
        whole = chosen[: len(prompt)] == prompt == rejected[: len(prompt)]
        shared = len(prompt) if whole and len(prompt) < min(len(chosen), len(rejected)) else 0
    else:
        shared = next(
            (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
            min(len(chosen), len(rejected)),
        )
        # equal conversations share all: the last turn is the answer, and `chosen differs from rejected` will say so
        shared = min(shared, len(chosen) - 1, len(rejected) - 1)
        prompt = chosen[:shared]
        if not prompt:
            raise Unreadable("ingest.no_prompt", "no prompt, and chosen and rejected share no first turn")
    return "preference", {"prompt": prompt, "chosen": chosen[shared:], "rejected": rejected[shared:]}


def read_openai_preference(record):
    given = first(record, ("input", "prompt"))
    prompt = turns_of(given.get("messages"), "input.messages") if isinstance(given, dict) else prompt_of(given, "input")
    return "preference", {
        "prompt": prompt,
        "chosen": answer_of(record["preferred_output"], "preferred_output"),
        "rejected": answer_of(record["non_preferred_output"], "non_preferred_output"),
    }


def read_feedback(record):
    if "completion" in record:
        prompt = prompt_of(first(record, ("prompt", "question")), "prompt")
        completion = answer_of(record["completion"], "completion")
    else:
        turns = turns_of(first(record, ("messages", "conversations", "conversation")), "messages")
        prompt, completion = turns[:-1], turns[-1:]
    return "kto", {"prompt": prompt, "completion": completion, "label": label_of(record["label"])}


def label_of(value):
    """A KTO label; null stays null for the validator to name."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):  # CSV has no booleans
        return value.lower() == "true"
    raise Unreadable("ingest.label_not_boolean", f"label: expected true or false, found {value!r}")


def read_verifiable(record):
    prompt_key = next(key for key in PROMPT_KEYS if key in record)
    truth_key = next(key for key in TRUTH_KEYS if key in record)
    truth = record[truth_key]
    extra = {key: value for key, value in record.items() if key not in (prompt_key, truth_key)}
    return "grpo", {
        "prompt": prompt_of(record[prompt_key], prompt_key),
        # a number or a list is as verifiable as a text; null stays null for the validator to name
        "ground_truth": truth if truth is None or isinstance(truth, str) else ENCODE(truth).decode(),
        "extra": ENCODE(extra).decode(),
    }


READ = {
    "alpaca": read_alpaca,
    "sharegpt": read_sharegpt,
    "chatml": read_chatml,
    "prompt_completion": read_prompt_completion,
    "preference": read_preference,
    "openai_preference": read_openai_preference,
    "feedback": read_feedback,
    "verifiable": read_verifiable,
}


# -- conversions --------------------------------------------------------------------------------------------------


def preference_to_kto(row):
    return [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"} for side in ("chosen", "rejected")
    ]


def preference_to_sft(row):
    return [{"messages": row["prompt"] + row["chosen"], "tools": None}]


def kto_to_sft(row):
    if row["label"] is not True:
        raise Unreadable("ingest.label_false", "only completions with label true become sft rows")
    return [{"messages": row["prompt"] + row["completion"], "tools": None}]


def verifiable_to_sft(row):
    if row["ground_truth"] is None:
        raise Unreadable("ingest.missing_key", "no answer to make an sft row of")
    return [{"messages": [*row["prompt"], assistant(row["ground_truth"])], "tools": None}]


def sft_to_grpo(row):
    messages = row["messages"]
    if sum(turn["role"] == "user" for turn in messages) != 1 or messages[-1]["role"] != "assistant":
        raise Unreadable("ingest.wrong_kind", "only a conversation of one question and one answer becomes a grpo row")
    return [{"prompt": messages[:-1], "ground_truth": messages[-1]["content"], "extra": "{}"}]


CONVERT = {
    ("preference", "kto"): preference_to_kto,
    ("preference", "sft"): preference_to_sft,
    ("kto", "sft"): kto_to_sft,
    ("grpo", "sft"): verifiable_to_sft,
    ("sft", "grpo"): sft_to_grpo,
}


# -- identity -----------------------------------------------------------------------------------------------------


def identify(row, kind):
    """The row's `id`, `prompt_key`, `claim_key` (sha256 in hexadecimal) and `claim`.

    id: of the canonical JSON of kind and content alone. prompt_key: of the first user turn, normalised. claim_key and
    claim: what the row speaks about and what it says of that, None where rows cannot contradict each other.
    """
    conversation = row["messages"] if kind == "sft" else row["prompt"]
    asked = next((turn["content"] for turn in conversation if turn["role"] == "user" and turn["content"]), None)
    asked = asked or ENCODE(bare(conversation)).decode()
    content = {key: bare(value) if isinstance(value, list) else value for key, value in row.items()}
    content |= {key: canonical(row[key]) for key in ("tools", "extra") if row.get(key)}
    about, claim = claims(kind, content)
    return {
        "id": digest(ENCODE({"kind": kind, **content})),
        "prompt_key": digest(normalised(asked).encode()),
        "claim_key": digest(ENCODE(about)) if about else None,
        "claim": claim,
    }


def claims(kind, content):
    """What a row speaks about, and what it says of that."""
    if kind == "preference":
        sides = [ENCODE(content["chosen"]), ENCODE(content["rejected"])]
        return [content["prompt"], sorted(sides)], digest(sides[0])
    if kind == "kto":
        return [content["prompt"], content["completion"]], str(content["label"])
    if kind == "grpo":
        return content["prompt"], content["ground_truth"]
    return None, None


def bare(turns):
    """Messages for hashing: without the keys that are null, calls in a fixed order of keys."""
    return [
        {key: canonical(value) if key == "tool_calls" else value for key, value in turn.items() if value is not None}
        for turn in turns
    ]


def canonical(text):
    """JSON text with the keys of every object in order: the same value has one text."""
    return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(text), order="sorted"))


def normalised(text):
    """Text with NFC, case and white space folded: what is the same question to a person has one key."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).casefold().split())


def digest(data):
    return hashlib.sha256(data).hexdigest()
