"""What travels between records and tables: a message, the rows of each kind, a reject. `tables.py` has them as columns.

{"messages": [{"role": "user", "content": "Reverse abc.", "tool_calls": None}, ...], "tools": None}
"""

from typing import Any, NotRequired, TypedDict

Fields = dict[str, Any]  # a record as its file has it, or an object within it
Row = dict[str, Any]  # a row of a kind that is named beside it


class Message(TypedDict):
    """A turn. tool_calls: JSON text. train: False where a turn of the assistant's is not learned."""

    role: str
    content: str | None
    tool_calls: str | None
    reasoning_content: NotRequired[str]
    name: NotRequired[str]
    tool_call_id: NotRequired[str]
    train: NotRequired[bool]


class SftRow(TypedDict):
    """tools: JSON text, as in every kind."""

    messages: list[Message]
    tools: str | None


class PreferenceRow(TypedDict):
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


class KtoRow(TypedDict):
    """label: None where the record has none, which the validator names."""

    prompt: list[Message]
    completion: list[Message]
    label: bool | None


class GrpoRow(TypedDict):
    """extra: a JSON object of what else the record has."""

    prompt: list[Message]
    ground_truth: str | None
    extra: str


class Identity(TypedDict):
    """Hashes by which rows are the same, ask the same, or speak about the same; what it claims of that, None where there is nothing."""

    id: str
    prompt_key: str
    claim_key: str | None
    claim: str | None


class Reject(TypedDict):
    """A record or row that was turned away. id: None where there is no row of it. raw: None where its text is withheld."""

    id: str | None
    source: str
    line: int
    stage: str
    check: str
    detail: str
    raw: str | None
