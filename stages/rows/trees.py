"""Trees of replies with ranks, as Open Assistant has them: a prompt, replies to it, replies to these.

    read_tree({"prompt": {"text": "q", "role": "prompter", "replies": [
        {"text": "a", "role": "assistant", "rank": 0}, {"text": "b", "role": "assistant", "rank": 1}]}}, "preference", Options())
    -> ("preference", [{"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}])

As sft, a tree becomes one conversation, with the best reply each time. As preference, each message with several ranked answers
becomes a pair. Rank 0 is the best. A reply without a rank comes after those that have one; a deleted reply is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stages.rows.choices import finite_number
from stages.rows.key_meanings import EMPTY_VALUES, meaning_in_turn, name_forms
from stages.rows.options import Options
from stages.rows.turns import ROLES, assistant, user
from stages.rows.types import Fields, Message, PreferenceRow, SftRow
from stages.rows.values import Unreadable, type_of

UNUSED_REPLIES = "replies in no row"  # counted beside the keys that no row uses
TREE_KEYS = {"text", "role", "rank", "replies"}
MESSAGE_BY_ROLE = {"user": user, "assistant": assistant}


@dataclass
class Reply:
    """A message of a tree and the replies to it, the best first. rank: None if it has none. message: as rows have it."""

    message: Message
    rank: float | None
    parent: "Reply | None"
    replies: list["Reply"]

    def path(self) -> list["Reply"]:
        """The replies from the prompt to this one."""
        replies = [self]
        while replies[-1].parent is not None:
            replies.append(replies[-1].parent)
        return replies[::-1]


def is_tree(record: Fields) -> bool:
    prompt = record.get("prompt")
    return isinstance(prompt, dict) and isinstance(prompt.get("replies"), list)


def read_tree(record: Fields, kind: str, options: Options) -> tuple[str, list[SftRow] | list[PreferenceRow]]:
    """The rows of a tree. Raises Unreadable."""
    picks = pick_replies(replies_of(record), kind, options)
    if kind == "sft":
        return "sft", [{"messages": conversation_to(pick[0]), "tools": None} for pick in picks]
    sides = [(conversation_to(best)[:-1], best.message, worst.message) for best, worst in picks]
    return "preference", [{"prompt": prompt, "chosen": [best], "rejected": [worst]} for prompt, best, worst in sides]


def conversation_to(reply: Reply) -> list[Message]:
    """The messages from the prompt to a reply."""
    return [each.message for each in reply.path()]


def pick_replies(tree: list[Reply], kind: str, options: Options) -> list[tuple[Reply, ...]]:
    """The replies that become a row each: (the last answer of the best path,), or pairs of (better, worse). Raises Unreadable."""
    if kind == "sft":
        last = tree[0]
        while last.replies:
            last = last.replies[0]
        answers = [reply for reply in last.path() if reply.message["role"] == "assistant"]
        if not answers:
            raise Unreadable("ingest.wrong_kind", "a prompt without a reply by the assistant")
        return [(answers[-1],)]
    margin, pairs = options.margin or 0, []
    for reply in tree:
        ranked = [each for each in reply.replies if each.rank is not None and each.message["role"] == "assistant"]
        candidates = [(best, worse) for i, best in enumerate(ranked) for worse in ranked[i + 1 :]]
        candidates = candidates if options.pairs == "all" else [(ranked[0], ranked[-1])] if candidates else []
        pairs += [(best, worse) for best, worse in candidates if (worse.rank or 0) - (best.rank or 0) > margin]
    if not pairs:
        raise Unreadable("ingest.no_pair", f"no two replies to one message whose ranks differ by more than {margin:g}")
    return pairs


def replies_of(record: Fields) -> list[Reply]:
    """All messages of a tree, the prompt first. Raises Unreadable."""
    messages, stack = [], [(record.get("prompt"), None, "prompt")]
    while stack:
        node, parent, where = stack.pop()
        if not isinstance(node, dict):
            raise Unreadable("ingest.wrong_type", f"{where}: expected an object, found {type_of(node)}")
        if parent is not None and node.get("deleted") is True:
            continue
        reply = Reply(message_of_node(node, where), finite_number(node.get("rank")), parent, [])
        messages.append(reply)
        if parent is not None:
            parent.replies.append(reply)
        replies = node.get("replies") if node.get("replies") is not None else []
        if not isinstance(replies, list):
            raise Unreadable("ingest.wrong_type", f"{where}.replies: expected a list, found {type_of(replies)}")
        stack += reversed([(each, reply, f"{where}.replies[{i}]") for i, each in enumerate(replies)])
    for reply in messages:
        reply.replies.sort(key=lambda each: (each.rank is None, each.rank or 0))
    return messages


def message_of_node(node: Fields, where: str) -> Message:
    """A message of a tree as rows have it. Raises Unreadable."""
    role = ROLES.get(node.get("role"), node.get("role")) if isinstance(node.get("role"), str) else None
    if role not in MESSAGE_BY_ROLE:
        raise Unreadable(
            "ingest.wrong_type", f"{where}.role: expected prompter or assistant, found {node.get('role')!r}"
        )
    if not isinstance(node.get("text"), str):
        raise Unreadable("ingest.wrong_type", f"{where}.text: expected text, found {type_of(node.get('text'))}")
    return MESSAGE_BY_ROLE[role](node["text"])


# -- what no row uses -----------------------------------------------------------------------------------------------------


def count_unused_replies(record: Fields, kind: str, options: Options) -> int:
    """How many messages of a tree are in no row: replies that are not the best, deleted ones, prompts without an answer."""
    picked = pick_replies(replies_of(record), kind, options)
    used = {id(reply) for pick in picked for reply in (*pick[0].path(), *pick)}
    return sum(1 for _ in nodes(record)) - len(used)


def nodes(record: Fields) -> Iterator[tuple[str, Fields]]:
    """(place, message) of each message of a tree."""
    stack = [("prompt", record["prompt"])]
    while stack:
        name, node = stack.pop()
        yield name, node
        replies = node.get("replies") if isinstance(node.get("replies"), list) else []  # below a deleted one, anything
        stack += [("prompt.replies[]", each) for each in replies if isinstance(each, dict)]


def unused_tree_values(record: Fields) -> Iterator[tuple[str, str | None, object]]:
    """(name, meaning, value) of the keys of a tree's messages that no row uses. Labels are people's ratings, which have no meaning."""
    for name, node in nodes(record):
        for key, value in node.items():
            if key not in TREE_KEYS and value not in EMPTY_VALUES:
                rated = "label" in name_forms(key)
                yield f"{name}.{key}", None if rated else meaning_in_turn(key, value, str(node.get("role"))), value
