"""Where a thought ends is known by the template's own marks, of any family; an answer cut before that says nothing to anybody."""

import pytest
import templates
from templates import FAMILIES, assistant, user

from stages.scoring import generation
from stages.training import rollouts
from stages.training.messages import FailedProof
from stages.training.models import save_tiny_model
from stages.training.thoughts import match_evaluated_text, thought_parser
from validators._answers import answer_of
from validators.rewards import numeric_match

pytestmark = pytest.mark.slow

MARKS = {  # of families that write thoughts in a way of their own
    "qwen3": ("<think>", "</think>", False),
    "qwq": ("<think>", "</think>", True),
    "deepseek v3.1, thinking": ("<think>", "</think>", True),
    "deepseek v3.1": ("<think>", "</think>", False),
    "gptoss": ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", False),
    "gemma4": ("<|channel>thought", "<channel|>", False),
    "chatml": ("<think>", "</think>", False),
}
SAID = [user("two and two"), assistant("it is 4", reasoning_content="2 + 2 may be 5")]
SMALL = """{% for message in messages %}{{ '<|' + message.role + '|>' }}{% if message.reasoning_content %}{{ '<think>' + message.reasoning_content + '</think>' }}
{%- endif %}{{ message.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% if opens %}{{ '<think>' }}{% endif %}{% endif %}"""


@pytest.mark.parametrize("family", MARKS)
def test_the_marks_are_those_of_the_template(family):
    found = thought_parser(templates.renderer_of(*FAMILIES[family]))
    assert (found.opening, found.closing, found.opened) == MARKS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_of_any_family_an_answer_says_nothing_until_its_thought_has_ended_and_then_what_it_says(family):
    render = templates.renderer_of(*FAMILIES[family])
    try:
        _, ids, _ = render.answer(SAID[:1], SAID[1:])
    except FailedProof:
        pytest.skip("it writes no thoughts")
    thoughts = thought_parser(render)
    first = next(end for end in range(1, len(ids)) if thoughts.decoded(ids[:end], marks=True).strip())
    thinking = [thoughts.thinks_still(ids[:end]) for end in range(first, len(ids) + 1)]
    assert sorted(thinking, reverse=True) == thinking and not thinking[-1]  # it thinks, and then does so no more
    for end in range(1, len(ids) + 1):
        said = answer_of(thoughts.text_of(ids[:end]))
        assert "5" not in said and "it is 4".startswith(said)
    assert answer_of(thoughts.text_of(ids)) == "it is 4"
    assert sum(thoughts.lengths(ids)) == len(ids)


@pytest.mark.parametrize("family", ["qwen3", "qwq", "gptoss", "chatml"])
def test_an_answer_without_a_thought_is_what_a_decoder_says(family):
    render = templates.renderer_of(*FAMILIES[family])
    thoughts = thought_parser(render)
    ids = render.tokenizer("</think>it is 4" * thoughts.opened or "it is 4", add_special_tokens=False)["input_ids"]
    assert answer_of(thoughts.text_of([*ids, *sorted(render.stops), 0, 0])) == "it is 4"
    assert not thoughts.thinks_still(ids)


def test_a_number_in_a_thought_that_the_prompt_opened_earns_nothing_in_training():
    render = templates.renderer_of(*FAMILIES["qwq"])
    ids = render.tokenizer("2 + 2 is 4", add_special_tokens=False)["input_ids"]
    given = {
        "completions": [[{"role": "assistant", "content": "2 + 2 is 4"}]],
        "completion_ids": [ids],
        "ground_truth": ["4"],
    }
    assert numeric_match(**given) == [1.0]  # as a decoder gives it
    reading = match_evaluated_text(numeric_match, thought_parser(render))
    assert reading(**given) == [0.0] and reading.__name__ == "numeric_match"
    assert rollouts.cut_flags(ids, thought_parser(render)) == {"cut": False, "cut_thinking": True}
    assert rollouts.cut_flags([*ids, min(render.stops)], thought_parser(render)) == {
        "cut": False,
        "cut_thinking": False,
    }


def test_a_call_ends_the_thought_of_a_model_that_speaks_in_channels():
    thoughts = thought_parser(templates.renderer_of(*FAMILIES["gptoss"]))
    text = '<|channel|>analysis<|message|>look<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    ids = thoughts.render.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert not thoughts.thinks_still(ids) and answer_of(thoughts.text_of(ids)).endswith('{"a": 1}')


def test_messages_with_calls_of_tools_reach_reward_functions_as_they_are():
    thoughts = thought_parser(templates.renderer_of(*FAMILIES["qwq"]))
    messages = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]
    assert thoughts.completion(messages, [1, 2]) is messages
    assert (
        thoughts.completion([{"role": "assistant", "content": "a", "reasoning_content": "t"}], [1])[0]["content"] == "a"
    )


# -- budgets ----------------------------------------------------------------------------------------------------------

SPOKEN = {  # what is said to a prompt; a token of every letter but of control tokens
    "a": "<think>hm</think>42<|end|>",
    "b": "<think>hm, or is it that other thing",
    "c": "<think></think>12345678",
    "d": "12345678",
    "e": "123<|end|>",
    "f": "\n\n<think>x and so on and on and on",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    save_tiny_model(folder)
    (folder / "chat_template.jinja").write_text(SMALL)
    return folder


def said_of(folder, keys, scripts, thinking, answer=4, **switches):
    """{key: (text, cut, cut_thinking)} of prompts that are answered together by a script for each."""
    import torch

    model = generation.load_for_generation(folder, 8, answer, thinking, switches)
    words = {key: model.tokenizer(text, add_special_tokens=False)["input_ids"] for key, text in scripts.items()}

    class Script:
        def __init__(self):
            self.start = None

        def __call__(self, ids, scores):
            self.start = self.start or ids.shape[1]
            forced = torch.full_like(scores, -1e9)
            for row, key in enumerate(model.tokenizer.batch_decode(ids[:, : self.start], skip_special_tokens=True)):
                script = words[key.replace("<think>", "")[0]]
                at = ids.shape[1] - self.start
                forced[row, script[at] if at < len(script) else 9] = 0
            return forced

    prompts = [[{"role": "user", "content": key * (1 + place)}] for place, key in enumerate(keys)]
    found = generation.generate_batches(model, prompts, None, 1, do_sample=False, logits_processor=[Script()])
    return {key: (found.texts[i][0], found.cut[i][0], found.cut_thinking[i][0]) for i, key in enumerate(keys)}


def test_an_answer_has_a_budget_from_where_its_thought_ends_and_a_batch_says_what_each_row_says_alone(folder):
    together = said_of(folder, list(SPOKEN), SPOKEN, 20)
    assert together == {key: said_of(folder, [key], SPOKEN, 20)[key] for key in SPOKEN}
    assert together["a"] == ("<think>hm</think>42", False, False)
    assert together["b"] == (SPOKEN["b"][:20], False, True)
    assert together["c"] == ("<think></think>1234", True, False)
    assert together["d"] == ("1234", True, False)
    assert together["e"] == ("123", False, False)
    assert together["f"] == (SPOKEN["f"][:20], False, True)


def test_without_a_budget_of_its_own_a_thought_shares_that_of_the_answer(folder):
    found = said_of(folder, list(SPOKEN), SPOKEN, None, answer=18)
    assert found["a"] == ("<think>hm</think>4", True, False)
    assert found["b"] == (SPOKEN["b"][:18], False, True)
    assert found["e"] == ("123", False, False)


def test_a_thought_that_the_prompt_opened_has_its_budget_from_the_first_token(folder):
    scripts = {"a": "hm</think>42<|end|>", "b": "it goes on and on and on", "c": "</think>12345678"}
    found = said_of(folder, list(scripts), scripts, 12, opens=True)
    assert found["a"] == ("hm</think>42", False, False) and answer_of(found["a"][0]) == "42"
    assert found["b"] == ("<think>it goes on a", False, True) and answer_of(found["b"][0]) == ""
    assert found["c"] == ("</think>1234", True, False) and answer_of(found["c"][0]) == "1234"
