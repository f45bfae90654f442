"""What a judge is asked, and what its words mean: a clear verdict or none, and none is no tie."""

import pytest

from stages.scoring.judging import Outcome, Pair, outcome, parse_verdict, questions
from stages.scoring.replies import Reply

PAIR = Pair(
    "1",
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Reverse {abc}."}],
    "cba",
    "It is cba.",
)


@pytest.mark.parametrize(
    "text, worth",
    [
        ("[[A]]", 1.0),
        ("[[B]]", 0.0),
        ("[[C]]", 0.5),
        ("Both are right.\n\n[[ tie ]]", 0.5),
        ("B", 0.0),
        ("**A**", 1.0),
        ("The second is wrong.\nVerdict: A", 1.0),
        ("Answer B is better.", 0.0),
        ("It depends.\nMy final verdict is a tie.", 0.5),
        ("I would say [[A]] at first, but it is wrong.\n[[B]]", 0.0),  # FastChat takes the first mark
        ('It says "[[A]]" of itself.\n\nMy verdict: **[[B]]**.', 0.0),
        ("<think>[[A]]? The first is right, is it not?</think>\n[[B]]", 0.0),
    ],
)
def test_the_verdict_is_what_the_text_ends_with(text, worth):
    assert parse_verdict(Reply(text)) == worth


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot compare them.",
        "[[D]]",
        "A\n\nA\n\nB\n\nC",  # SmolLM2-135M, asked for a verdict
        "[[A]] where answer A is better, [[B]] where answer B is, [[C]] where they are equally good.",  # the question, said again
        "The answer is C.",  # the judge's own answer to a question of three choices
        "A is better than B in form, B in content.",
        "<think>The first is better. [[A]]",  # a thought that never ends
    ],
)
def test_what_has_no_clear_verdict_has_none(text):
    assert parse_verdict(Reply(text)) is None


def test_what_was_cut_counts_where_the_verdict_was_there_by_then_and_not_where_it_was_still_weighing():
    assert parse_verdict(Reply("The first is better.\n[[A]]", "cut")) == 1.0
    assert parse_verdict(Reply("[[A]] looks right.\nBut then", "cut")) is None
    assert parse_verdict(Reply("A", "cut")) is None


def test_a_language_model_is_asked_in_both_orders_with_the_whole_conversation():
    first, second = (messages[0]["content"] for messages in questions("chat", PAIR))
    assert "system: Be brief.\n\nuser: Reverse {abc}." in first and first.count("cba") == second.count("cba") == 2
    assert (
        first.index("<answer_a>\ncba\n") < first.index("It is cba.") and "<answer_a>\nIt is cba.\n</answer_a>" in second
    )


def test_calls_of_a_conversation_and_what_could_be_called_are_shown():
    prompt = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "look"}]},
    ]
    [(asked,), _] = questions("chat", Pair("1", prompt, "a", "b", [{"name": "look", "parameters": {}}]))
    assert (
        'assistant: [{"name": "look"}]' in asked["content"]
        and 'tools: [{"name": "look", "parameters": {}}]\n\nuser:' in asked["content"]
    )


def test_a_reward_model_reads_each_answer_where_the_assistant_gives_it():
    ours, theirs = questions("reward", PAIR)
    assert ours == [*PAIR.prompt, {"role": "assistant", "content": "cba"}] and theirs[-1]["content"] == "It is cba."


@pytest.mark.parametrize(
    "said, expected",
    [
        (["[[A]]", "[[B]]"], Outcome(1.0)),  # ours is first, then second
        (["[[B]]", "[[A]]"], Outcome(0.0)),
        (["[[C]]", "[[C]]"], Outcome(0.5)),
        (["[[A]]", "[[A]]"], Outcome(0.5, flips=True, first=True)),  # whatever stands first
        (["[[B]]", "[[B]]"], Outcome(0.5, flips=True)),
        (["[[A]]", "[[C]]"], Outcome(0.75, flips=True)),
        (["[[A]]", "I cannot say."], Outcome(None, why="unreadable")),  # no half vote: it would be that of one order
    ],
)
def test_a_win_counts_half_where_one_order_alone_sees_it(said, expected):
    assert outcome("chat", [Reply(text) for text in said]) == expected


def test_a_row_without_a_verdict_says_why():
    assert outcome("chat", [Reply("[[A]]"), Reply("<think>so", "cut")]).why == "cut"
    assert outcome("chat", [Reply("[[A]]"), Reply("maximum context length", "refused")]).why == "refused"
    assert outcome("reward", [Reply("1.5"), Reply("2,000 tokens", "long")]) == Outcome(None, why="long")


def test_the_higher_reward_wins_and_equal_answers_need_no_judge():
    assert [
        outcome("reward", [Reply(a), Reply(b)]).win for a, b in (("-1.5", "-2"), ("1e-3", "2e-3"), ("0.5", "0.5"))
    ] == [1.0, 0.0, 0.5]
    assert outcome("chat", []) == Outcome(0.5)
