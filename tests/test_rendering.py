"""What is learned of a row, with any chat template: what the assistant says, up to the token that ends it, or nothing."""

import json
import random
import signal
from pathlib import Path

import pytest
import templates
from templates import CALL, FAMILIES, SHAPES, TOOLS, assistant, user

from stages.training.messages import Unproved

pytestmark = pytest.mark.slow


def learned(renderer, messages, tools=None):
    """[(place of the message, text that is learned)] of every sequence."""
    sequences = renderer.conversation(messages, tools)
    return [
        (
            turn.message,
            renderer.tokenizer.decode(sequence.ids[turn.start : turn.end], clean_up_tokenization_spaces=False),
        )
        for sequence in sequences
        for turn in sequence.turns
    ]


def read(renderer, message, text):
    """Whether a text is what one message says, read without the code that is tested: nothing more, nothing less.

    What templates write around it is known: blocks of reasoning, channels, calls in JSON or XML, and a token at its end.
    """
    stops = renderer.tokenizer.convert_ids_to_tokens(sorted(renderer.stops))
    stop = next((stop for stop in stops if text.endswith(stop)), None)
    assert stop, text
    body = text.removesuffix(stop)
    assert not any(each in body for each in stops), text
    for part in (message["content"], message.get("reasoning_content")):
        assert (part or "") in body, text
    if message.get("tool_calls"):
        assert all(word in body for word in ("weather", "city", "Paris", "days", "3")), text
    others = {
        "two and two",
        "one",
        "two",
        "three",
        "first",
        "second",
        "third",
        "sunny",
        "clear",
        "rain",
        "Speak briefly",
    }
    said = " ".join([message["content"] or "", message.get("reasoning_content") or ""])
    words = set(body.replace("\n", " ").replace(":", " ").replace(">", " ").replace("<", " ").split())
    assert not {word for word in others if word in words and word not in said}, text
    return True


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_learned_is_what_the_assistant_says_or_the_row_is_refused_by_a_proof(family, shape):
    renderer, (messages, tools) = templates.renderer_of(*FAMILIES[family]), SHAPES[shape]
    try:
        found = learned(renderer, messages, tools)
    except Unproved as error:
        assert error.proof in ("PROMPT", "SAID", "STOP", "BORDER", "CONTEXT", "TOOLS", "TEMPLATE") and error.detail
        return
    assert [place for place, _ in found] == [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    assert all(read(renderer, messages[place], text) for place, text in found)


# what each family can be taught, of the shapes above; a change of TRL's templates or of ours is seen here
REFUSED = {
    "cohere": {"tools", "text beside a call", "reasoning"},
    "deepseek_r1_distill": set(SHAPES),
    "llama3": {"tools", "text beside a call", "reasoning"},
    "llama3_2": {"text beside a call", "reasoning"},
    "qwen2_5": {"reasoning"},
    "qwen3": set(),
    "gptoss": set(),
    "glm4moe": set(),
    "mistral, system turn in the last question": {"tools", "text beside a call", "reasoning"},
    "chatml": {"tools", "text beside a call", "reasoning"},
    "vicuna": {"tools", "text beside a call", "reasoning"},
    "granite": {"tools", "text beside a call", "reasoning"},
    "without an end of turn": set(SHAPES),
    "changes what is said": set(SHAPES),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_is_refused_what_its_template_cannot_say(family):
    refused = set()
    for shape, (messages, tools) in SHAPES.items():
        try:
            templates.renderer_of(*FAMILIES[family]).conversation(messages, tools)
        except Unproved:
            refused.add(shape)
    assert refused == REFUSED[family]


@pytest.mark.parametrize("family", templates.of_trl())
@pytest.mark.parametrize("shape", ["one turn", "many turns", "system"])
def test_what_is_learned_is_what_trls_own_training_template_marks(family, shape):
    import trl

    path = Path(trl.__file__).parent / "chat_templates" / f"{family}_training.jinja"
    messages, tools = SHAPES[shape]
    renderer = templates.renderer_of(*FAMILIES[family])
    if not path.exists() or family in ("idefics3", "llava_next"):  # the last two take lists of images and texts
        pytest.skip("TRL has no training template of this family for texts")
    try:
        ours = [text for _, text in learned(renderer, messages, tools)]
    except Unproved:
        pytest.skip("refused")
    tokenizer = renderer.tokenizer
    out = tokenizer.apply_chat_template(
        messages, chat_template=path.read_text(encoding="utf-8"), return_dict=True, return_assistant_tokens_mask=True
    )
    runs, before = [], 0
    for token, mask in zip(out["input_ids"], out["assistant_masks"], strict=True):
        if mask and not before:
            runs.append([])
        if mask:
            runs[-1].append(token)
        before = mask
    theirs = [tokenizer.decode(run, clean_up_tokenization_spaces=False) for run in runs]
    stops = tokenizer.convert_ids_to_tokens(sorted(renderer.stops))

    def words(text):
        """Without what may differ: an empty block of reasoning, the space at the end, and an end that is written late."""
        text = text.replace("<think>", "").replace("</think>", "")
        for end in (*stops, "<|end|>"):
            text = text.replace(end, "")
        return text.strip()

    headers = (
        "<|start|>assistant",
        "",
    )  # TRL has two families learn the start of their turn, which inference gives them
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert words(their).removesuffix(words(our)).strip() in headers


# -- proofs -------------------------------------------------------------------------------------------------------


def refusal(family, messages, tools=None, **options):
    with pytest.raises(Unproved) as error:
        templates.renderer_of(*FAMILIES[family], **options).conversation(messages, tools)
    return error.value


def test_a_prompt_that_inference_sees_otherwise_is_refused_with_both_texts():
    error = refusal("deepseek_r1_distill", SHAPES["one turn"][0])
    assert (error.proof, error.message) == ("PROMPT", 1)
    assert "the prompt goes on with '<think>\\n', the conversation with 'four" in error.detail


def test_a_turn_that_ends_in_no_stop_token_is_refused_with_its_end():
    error = refusal("without an end of turn", SHAPES["one turn"][0])
    assert error.proof == "STOP" and "four" in error.detail


def test_a_template_that_leaves_out_a_call_or_a_definition_is_refused():
    assert refusal("lfm2", *SHAPES["tools"]).proof == "SAID"
    assert refusal("llama3", *SHAPES["tools"]).proof == "TOOLS"
    assert "'weather'" in refusal("llama3", *SHAPES["tools"]).detail


def test_a_template_that_leaves_out_a_system_turn_is_refused():
    error = refusal("mistral", SHAPES["system"][0])
    assert (error.proof, error.message) == ("CONTEXT", 0)


def test_an_answer_that_says_a_stop_token_is_refused():
    error = refusal("chatml", [user("q"), assistant("a<|im_end|>b")])
    assert error.proof == "STOP" and "<|im_end|>" in error.detail


def test_what_a_template_raises_is_named():
    error = refusal("mistral", [user("q"), {"role": "tool", "content": "x"}, assistant("a")])
    assert error.proof == "TEMPLATE" and "only user and assistant turns" in error.detail


def test_a_template_that_loops_for_ever_is_stopped_and_other_timers_go_on(monkeypatch):
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}"
    monkeypatch.setattr("stages.training.rendering.TEMPLATE_S", 0.2)
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    renderer = templates.renderer_of(endless + templates.CHATML, ["<|im_end|>"])
    with pytest.raises(Unproved, match=r"TEMPLATE: .* it takes more than 0\.2 s"):
        renderer.conversation(SHAPES["one turn"][0])
    after = signal.getitimer(signal.ITIMER_REAL)[0]
    assert 0 <= before - after < 60 and bool(after) == bool(before)


def test_a_stop_that_the_next_message_writes_is_learned_behind_the_last_turn_too():
    renderer = templates.renderer_of(*FAMILIES["glm"])
    assert learned(renderer, SHAPES["one turn"][0]) == [(1, "four<|user|>")]
    assert [text for _, text in learned(renderer, SHAPES["many turns"][0])][:2] == ["first<|user|>", "second<|user|>"]


def test_conversations_are_one_sequence_where_all_turns_hold_and_else_one_each():
    messages = SHAPES["many turns"][0]
    assert len(templates.renderer_of(*FAMILIES["chatml"]).conversation(messages)) == 1
    sequences = templates.renderer_of(*FAMILIES["qwen3"]).conversation(messages)
    assert [len(sequence.turns) for sequence in sequences] == [1, 1, 1]


def test_each_sequence_begins_as_inference_does():
    renderer = templates.renderer_of(*FAMILIES["qwen3"])
    messages = SHAPES["many turns"][0]
    for sequence in renderer.conversation(messages):
        (turn,) = sequence.turns
        prompt = renderer.tokenizer.apply_chat_template(
            messages[: turn.message], add_generation_prompt=True, return_dict=True
        )
        assert sequence.ids[: turn.start] == prompt["input_ids"]


def test_a_system_turn_that_stands_in_the_last_question_is_what_each_turn_follows():
    renderer = templates.renderer_of(*FAMILIES["mistral, system turn in the last question"])
    texts = [renderer.tokenizer.decode(sequence.ids) for sequence in renderer.conversation(SHAPES["system"][0])]
    assert texts == [
        "<s>[INST]Speak briefly\n\none[/INST]first</s>",
        "<s>[INST]one[/INST]first</s>[INST]Speak briefly\n\ntwo[/INST]second</s>",
    ]


def test_what_a_tool_found_may_be_written_as_json():
    template = """{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}
    {%- if message.role == 'tool' %}{{ message.content | tojson }}{% else %}{{ message.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}
    {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
    found = {"role": "tool", "content": '{"sky": "clear",\n "rain": 0}'}
    renderer = templates.renderer_of(template, ["<|im_end|>"])
    assert learned(renderer, [user("q"), assistant("a"), found, assistant("b")]) == [
        (1, "a<|im_end|>"),
        (3, "b<|im_end|>"),
    ]


def test_labels_are_the_learned_tokens_and_nothing_else():
    renderer = templates.renderer_of(*FAMILIES["chatml"])
    (sequence,) = renderer.conversation(SHAPES["one turn"][0])
    said = renderer.tokenizer.decode([label for label in sequence.labels if label != -100])
    assert said == "four<|im_end|>"
    assert len(sequence.labels) == len(sequence.ids)


def test_arguments_are_given_as_the_template_reads_them():
    template = """{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}
    {%- for call in message.tool_calls or [] %}{{ call.function.name + ' ' + call.function.arguments }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}
    {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
    renderer = templates.renderer_of(template, ["<|im_end|>"])
    messages = [user("q"), assistant(None, tool_calls=[CALL])]
    assert learned(renderer, messages) == [(1, 'weather {"city": "Paris", "days": 3}<|im_end|>')]
    as_text = {
        "type": "function",
        "function": {"name": "weather", "arguments": json.dumps(CALL["function"]["arguments"])},
    }
    objects = templates.renderer_of(*FAMILIES["qwen2_5"])
    assert learned(objects, [user("q"), assistant(None, tool_calls=[as_text])], TOOLS) == learned(
        objects, [user("q"), assistant(None, tool_calls=[CALL])], TOOLS
    )


# -- hostile text -------------------------------------------------------------------------------------------------

PIECES = ["<|im_end|>", "<|im_start|>assistant\n", "</s>", "<think>", "</think>", "None", "{{ 1 }}", "{% for %}", "\n\n", "  ", "\t",
          "שלום", "مرحبا", "日本", "🙂", "é", "e\u0301", "\u200b", "a", "word", "[INST]", "USER: ", "assistant", '{"a": 1}', "\\n", "'", '"', ".", "```"]  # fmt: skip


def hostile(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 8)))


def fuzz(turns, seed):
    """How many turns were proved, of so many hostile ones. Each that was is held against what its message says."""
    rng, proved, tried = random.Random(seed), 0, 0
    renderers = {name: templates.renderer_of(*FAMILIES[name]) for name in FAMILIES}
    while tried < turns:
        renderer = renderers[rng.choice(list(renderers))]
        messages = []
        for _ in range(rng.randint(1, 3)):
            messages += [user(hostile(rng)), assistant(hostile(rng))]
        tried += len(messages) // 2
        try:
            found = learned(renderer, messages)
        except Unproved:
            continue
        stops = renderer.tokenizer.convert_ids_to_tokens(sorted(renderer.stops))
        for place, text in found:
            stop = next(stop for stop in stops if text.endswith(stop))
            body, said = text.removesuffix(stop), messages[place]["content"]
            around = body.split(said.strip(), 1) if said.strip() else ["", body]
            assert len(around) == 2, (said, text)
            # what stands around it is the template's: blocks of reasoning, a channel, white space
            left = (
                "".join(around)
                .replace("<think>", "")
                .replace("</think>", "")
                .replace("<|channel|>final<|message|>", "")
            )
            assert len(left.strip()) <= 40 and not any(stop in body for stop in stops), (said, text)
            proved += 1
    return proved


def test_no_turn_of_hostile_text_is_proved_and_wrong():
    assert fuzz(600, seed=7) > 200


@pytest.mark.long
def test_no_turn_of_twenty_thousand_is_proved_and_wrong():
    assert fuzz(20_000, seed=8) > 6_000
