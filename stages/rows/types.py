"""What travels between records and tables: a message, the rows of each kind, a reject. `tables.py` has them as columns.

{"messages": [{"role": "user", "content": "Reverse abc.", "tool_calls": None}, ...], "tools": None}
"""

from typing import Any, NotRequired, TypedDict

Fields = dict[str, Any]  # a record as its file has it, or an object within it
Row = dict[str, Any]  # a row of a kind that is named beside it
Fault = tuple[str, str]  # (check, detail) of a record that cannot be read


class Message(TypedDict):
    """A turn. tool_calls: JSON text. train: False if an assistant turn is not learned."""

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
    """label: None if the record has none, which the validator reports."""

    prompt: list[Message]
    completion: list[Message]
    label: bool | None


class GrpoRow(TypedDict):
    """extra: a JSON object of the record's other keys."""

    prompt: list[Message]
    ground_truth: str | None
    extra: str


class Identity(TypedDict):
    """Hashes by which rows are the same, ask the same, or are about the same, and what a row claims about it. None if there is no claim."""

    id: str
    prompt_key: str
    claim_key: str | None
    claim: str | None


class Reject(TypedDict):
    """A record or row that was rejected. id: None if no row was made of it. raw: None if its text is withheld."""

    id: str | None
    source: str
    line: int
    stage: str
    check: str
    detail: str
    raw: str | None
