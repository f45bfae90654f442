"""What is learned of a row, with any chat template: what the assistant says, up to the token that ends it, or nothing."""

import json
import random
import re
import signal
import sys
from pathlib import Path

import pytest
import templates
from templates import CALL, FAMILIES, FOUND, SHAPES, TOOLS, assistant, user

from stages.training.messages import FailedProof
from stages.training.trainer_rows import Limits, rows_for_trainer

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
        for turn in sequence.spans
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
    thought, answer = message.get("reasoning_content") or "", message["content"] or ""
    assert answer in body.partition(thought)[2] if thought else answer in body, text
    if message.get("tool_calls"):
        assert all(word in body for word in ("weather", "city", "Paris", "days", "3")), text
    others = {"one", "two", "three", "first", "second", "third", "sunny", "clear", "rain", "pondering", "musing", "Speak", "briefly"}  # fmt: skip
    said = f"{thought} {answer}"
    words = set(body.replace("\n", " ").replace(":", " ").replace(">", " ").replace("<", " ").split())
    assert not {word for word in others if word in words and word not in said}, text
    return True


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_learned_is_what_the_assistant_says_or_the_row_is_refused_by_a_proof(family, shape):
    renderer, (messages, tools) = templates.renderer_of(*FAMILIES[family]), SHAPES[shape]
    try:
        found = learned(renderer, messages, tools)
    except FailedProof as error:
        assert error.proof in ("PROMPT", "SAID", "STOP", "BORDER", "CONTEXT", "TOOLS", "TEMPLATE") and error.detail
        return
    expected = [message["role"] == "assistant" and message.get("train") is not False for message in messages]
    assert [place for place, _ in found] == [place for place, learns in enumerate(expected) if learns]
    assert all(read(renderer, messages[place], text) for place, text in found)


# what each family can be taught, of the shapes above; a change of TRL's templates or of ours is seen here
CALLS = {shape for shape, (_, tools) in SHAPES.items() if tools}
REFUSED = {
    "cohere": CALLS,
    "deepseek_r1_distill": CALLS,
    "llama3": CALLS,
    "llama3_2": {"text beside a call", "thought before a call"},
    "qwen2_5": set(),
    "qwen3": set(),
    "gptoss": set(),
    "glm4moe": set(),
    "gemma4": set(),
    "nemotron_3_nano": set(),
    "qwen3_5_nothink": {"reasoning", "thought in the last turn", "thought before a call"},
    "llava_next": CALLS,
    "mistral, system turn in the last question": CALLS,
    "mistral with tools": {"system", "text beside a call", "thought before a call"},
    "qwq": CALLS,
    "deepseek v3.1": {
        "tools",
        "text beside a call",
        "reasoning",
        "thought in the last turn",
        "thought before a call",
        "ids of calls",
    },
    "chatml": CALLS,
    "vicuna": CALLS,
    "granite": CALLS,
    "without an end of turn": set(SHAPES),
    "changes what is said": set(SHAPES),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_is_refused_what_its_template_cannot_say(family):
    refused = set()
    for shape, (messages, tools) in SHAPES.items():
        try:
            templates.renderer_of(*FAMILIES[family]).conversation(messages, tools)
        except FailedProof:
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
    except FailedProof:
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

    # TRL has four families learn the start of their turn, which inference gives them
    headers = ("<|start|>assistant", "<｜Assistant｜>", "")
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert words(their).removesuffix(words(our)).strip() in headers


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_of_a_pair_is_what_is_learned_of_a_conversation_that_ends_with_it(family, shape):
    """Rows of preference, orpo and kto are answers to a prompt, those of grpo the prompt alone."""
    renderer, (messages, tools) = templates.renderer_of(*FAMILIES[family]), SHAPES[shape]
    *prompt, said = messages
    try:
        asked, answer, labels = renderer.answer(prompt, [said], tools)
    except FailedProof as error:
        assert error.proof in ("PROMPT", "SAID", "STOP", "BORDER", "CONTEXT", "TOOLS", "TEMPLATE") and error.detail
        with pytest.raises(FailedProof):
            renderer.conversation(messages, tools, [len(prompt)])
        return
    assert read(renderer, said, renderer.tokenizer.decode(answer, clean_up_tokenization_spaces=False))
    assert asked == rows_for_trainer("grpo", {"prompt": prompt, "tools": tools}, renderer, Limits())[0]["prompt_ids"]
    (sequence,) = renderer.conversation(messages, tools, [len(prompt)])
    assert sequence.labels[: len(asked)] == [-100] * len(asked)
    assert sequence.labels[len(asked) : len(asked) + len(answer)] == answer == labels
    if said.get("reasoning_content"):
        try:
            masked = renderer.answer(prompt, [said], tools, masks=True)
            [sequence] = renderer.conversation(messages, tools, [len(prompt)], masks=True)
        except FailedProof as error:
            assert error.proof == "SAID"
            return
        assert masked[:2] == (asked, answer) and masked[2] == sequence.labels[len(asked) : len(asked) + len(answer)]
        assert masked[2] != answer


# -- thoughts -----------------------------------------------------------------------------------------------------

THOUGHT = {"reasoning_content": "musing\n\non <it>\n"}


@pytest.mark.parametrize(
    "family, asked, answer",
    [  # what a model sees, and what it is taught to write there: the thought first, and its end
        ("qwen3", "assistant\n", "<think>\nmusing\n\non <it>\n</think>\n\nsecond<|im_end|>"),
        ("chatml", "assistant\n", "<think>\nmusing\n\non <it>\n</think>\n\nsecond<|im_end|>"),
        ("qwq", "assistant\n<think>\n", "musing\n\non <it>\n</think>\n\nsecond<|im_end|>"),
        ("deepseek_r1_distill", "<｜Assistant｜><think>\n", "musing\n\non <it>\n</think>\n\nsecond<｜end▁of▁sentence｜>"),
        ("deepseek v3.1, thinking", "<｜Assistant｜><think>", "musing\n\non <it></think>second<｜end▁of▁sentence｜>"),
        ("nemotron_3_nano", "assistant\n<think>\n", "musing\n\non <it>\n\n</think>\nsecond<|im_end|>"),
        ("qwen3_5_think", "assistant\n<think>\n", "musing\n\non <it>\n</think>\n\nsecond<|im_end|>"),
    ],
)  # fmt: skip
def test_a_thought_is_learned_where_a_model_would_write_it(family, asked, answer):
    renderer = templates.renderer_of(*FAMILIES[family])
    prompt = [user("one"), assistant("first", reasoning_content="pondering"), user("two")]
    ids, said, _ = renderer.answer(prompt, [assistant("second", **THOUGHT)])
    assert renderer.tokenizer.decode(ids).endswith(asked)
    assert renderer.tokenizer.decode(said) == answer
    assert (
        ids
        == renderer.tokenizer.apply_chat_template(
            renderer.template_messages(prompt), add_generation_prompt=True, return_dict=True
        )["input_ids"]
    )


@pytest.mark.parametrize(
    "family, answer",
    [
        ("qwq", "</think>\n\nfour<|im_end|>"),
        ("deepseek_r1_distill", "</think>\n\nfour<｜end▁of▁sentence｜>"),
        ("qwen3_5_think", "</think>\n\nfour<|im_end|>"),
        ("deepseek v3.1, thinking", "</think>four<｜end▁of▁sentence｜>"),
        ("nemotron_3_nano", "</think>four<|im_end|>"),
    ],
)
def test_a_thought_that_the_prompt_opens_is_closed_at_once_where_a_row_has_none(family, answer):
    assert learned(templates.renderer_of(*FAMILIES[family]), SHAPES["one turn"][0]) == [(1, answer)]


def test_an_answer_that_writes_the_end_of_a_thought_itself_is_not_cut():
    renderer = templates.renderer_of(*FAMILIES["nemotron_3_nano"])
    for said in ("</think>four", "<think></think>four", "a</think>four"):
        try:
            ((_, text),) = learned(renderer, [user("q"), assistant(said)])
        except FailedProof as error:
            assert error.proof in ("SAID", "PROMPT")
        else:
            assert text.count(said) == 1


def test_an_answer_that_a_template_takes_for_a_thought_is_refused():
    for family in ("glm4moe", "qwen3"):
        with pytest.raises(FailedProof, match=r"SAID of message 2: '</think>' is not in what is learned"):
            templates.renderer_of(*FAMILIES[family]).conversation([user("q"), assistant("four\n\n</think>")])


def test_an_answer_is_sought_behind_its_thought():
    template = templates.CHATML.replace("message.content", "(message.reasoning_content or message.content)")
    with pytest.raises(FailedProof, match="SAID"):
        templates.renderer_of(template, ["<|im_end|>"]).conversation(
            [user("q"), assistant("42", reasoning_content="is it 42")]
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_with_mask_no_label_overlaps_a_thought_and_without_it_all_of_it_is_learned(family):
    renderer = templates.renderer_of(*FAMILIES[family])
    messages = [user("one"), assistant("first", reasoning_content=" pondering\nthink\n"), user("two"), assistant("second", reasoning_content="i")]  # fmt: skip
    try:
        sequences = renderer.conversation(messages)
    except FailedProof as error:
        with pytest.raises(FailedProof, match=error.proof):
            renderer.conversation(messages, masks=True)
        return
    for sequence, without in zip(sequences, renderer.conversation(messages, masks=True), strict=True):
        assert sequence.ids == without.ids
        for turn in sequence.spans:
            check_turn(renderer, messages[turn.message], sequence.ids[turn.start : turn.end])
            check_mask(renderer, messages[turn.message], sequence.ids, without, turn)


def test_a_thought_that_stands_twice_is_not_masked():
    template = templates.CHATML.replace("message.content", "(message.reasoning_content or '') * 2 + message.content")
    renderer = templates.renderer_of(template, ["<|im_end|>"])
    talk = [user("q"), assistant("a", reasoning_content="t")]
    assert learned(renderer, talk) == [(1, "tta<|im_end|>")]
    with pytest.raises(FailedProof, match="SAID of message 2: its thought cannot be located in the text"):
        renderer.conversation(talk, masks=True)


# -- what a row says is learned ---------------------------------------------------------------------------------------


def test_turns_that_say_so_are_context():
    renderer = templates.renderer_of(*FAMILIES["chatml"])
    messages, _ = SHAPES["context turn"]
    assert learned(renderer, messages) == [(3, "second<|im_end|>")]
    whole = "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\nsecond<|im_end|>\n"
    assert renderer.tokenizer.decode(renderer.conversation(messages)[0].ids) == whole


@pytest.mark.parametrize(
    "learns, trained, why",
    [
        ("assistant", [False, False], "SAID: all turns of the assistant say train: false"),
        ("completion", [True, False], "SAID of message 4: it says train: false, and nothing else of the row is learned"),
        ("completion", [False, True], None),
        ("all", [False, True], "SAID of message 2: it has train: false, but the step learns everything: assistant_only_loss is false"),
        ("all", [True, None], None),
    ],
)  # fmt: skip
def test_a_row_that_is_not_to_be_learned_as_the_step_learns_is_refused(learns, trained, why):
    renderer = templates.renderer_of(*FAMILIES["chatml"])
    row = {"messages": [user("q"), assistant("a", train=trained[0]), user("q"), assistant("b", train=trained[1])]}
    if why is None:
        assert rows_for_trainer("sft", row, renderer, Limits(learns=learns))
        return
    with pytest.raises(FailedProof) as error:
        rows_for_trainer("sft", row, renderer, Limits(learns=learns))
    assert str(error.value) == why


def test_a_step_that_learns_all_of_a_row_cannot_mask_its_thoughts():
    renderer = templates.renderer_of(*FAMILIES["chatml"])
    row = {"messages": [user("q"), assistant("a", reasoning_content="t")]}
    assert rows_for_trainer("sft", row, renderer, Limits(learns="all"))
    with pytest.raises(FailedProof, match="a thought, and reasoning: mask, but the step learns everything"):
        rows_for_trainer("sft", row, renderer, Limits(learns="all", reasoning="mask"))


def test_no_template_is_told_what_is_learned():
    template = "{% for message in messages %}{% if message.train is defined %}{{ raise_exception('train') }}{% endif %}{% endfor %}"
    renderer = templates.renderer_of(template + templates.CHATML, ["<|im_end|>"])
    assert learned(renderer, SHAPES["context turn"][0]) == [(3, "second<|im_end|>")]
    assert renderer.template_messages([assistant("a", train=False)]) == [assistant("a")]


# -- how templates read messages ----------------------------------------------------------------------------------------


def test_ids_of_calls_are_made_where_a_template_refuses_those_of_most_rows():
    renderer = templates.renderer_of(*FAMILIES["mistral with tools"])
    calls = [CALL | {"id": "call_b"}, CALL | {"id": "call_a"}]
    found = [{"role": "tool", "content": "sunny", "tool_call_id": id} for id in ("call_a", "call_b")]
    talk = [user("q"), assistant(None, tool_calls=calls), *found, assistant("a")]
    text = renderer.tokenizer.decode(renderer.conversation(talk, TOOLS)[0].ids)
    assert [part[:9] for part in text.split('id": "')[1:]] == ["000000001", "000000002", "000000002", "000000001"]
    without = [user("q"), assistant(None, tool_calls=[CALL, CALL]), FOUND, FOUND, assistant("a")]
    text = renderer.tokenizer.decode(renderer.conversation(without, TOOLS)[0].ids)
    assert [part[:9] for part in text.split('id": "')[1:]] == ["000000001", "000000002", "000000001", "000000002"]


def test_ids_of_calls_stay_where_a_template_takes_them():
    template = templates.CHATML.replace("message.content", "message.content + (message.tool_calls or []) | tojson")
    renderer = templates.renderer_of(template, ["<|im_end|>"])
    assert "call_a1b2" in learned(renderer, SHAPES["ids of calls"][0])[0][1]


def test_content_is_given_in_parts_to_a_template_that_reads_nothing_else():
    renderer = templates.renderer_of(*FAMILIES["content in parts"])
    assert learned(renderer, SHAPES["system"][0]) == [(2, "first<|im_end|>"), (4, "second<|im_end|>")]
    assert renderer.template_messages([user("q")]) == [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
    assert templates.renderer_of(*FAMILIES["chatml"]).template_messages([user("q")]) == [user("q")]


def test_what_becomes_of_a_row_does_not_depend_on_the_rows_before_it():
    for family in FAMILIES:
        rows = [SHAPES["ids of calls"], SHAPES["tools"], SHAPES["reasoning"]]
        texts = []
        for order in (rows, rows[::-1]):
            renderer = templates.renderer_of(*FAMILIES[family])
            texts.append([renderer.template_messages(messages) for messages, _ in order])
        assert texts[0] == texts[1][::-1]


# -- proofs -------------------------------------------------------------------------------------------------------


def refusal(family, messages, tools=None, **options):
    with pytest.raises(FailedProof) as error:
        templates.renderer_of(*FAMILIES[family], **options).conversation(messages, tools)
    return error.value


def test_a_prompt_that_inference_sees_otherwise_is_refused_with_both_texts():
    error = refusal("qwen3_5_nothink", SHAPES["reasoning"][0])
    assert (error.proof, error.message) == ("PROMPT", 1)
    assert "the prompt continues with '\\n</think>\\n\\n', the conversation with 'pondering" in error.detail


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
    monkeypatch.setattr("stages.training.rendering.TEMPLATE_TIMEOUT_S", 0.2)
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    renderer = templates.renderer_of(endless + templates.CHATML, ["<|im_end|>"])
    with pytest.raises(FailedProof, match=r"TEMPLATE: .* it takes more than 0\.2 s"):
        renderer.conversation(SHAPES["one turn"][0])
    after = signal.getitimer(signal.ITIMER_REAL)[0]
    assert 0 <= before - after < 60 and bool(after) == bool(before)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limit of memory")
@pytest.mark.parametrize(
    "greedy",
    [
        "{{ 'x' * 10 ** 10 }}",
        "{% set ns = namespace(text='x') %}{% for a in range(99) %}{% set ns.text = ns.text + ns.text %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' * 99999 }}{% endfor %}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",
    ],
)
def test_a_template_that_fills_the_memory_is_stopped(monkeypatch, greedy):
    import resource

    monkeypatch.setattr("stages.training.rendering.TEMPLATE_MAX_BYTES", 2**28)
    monkeypatch.setattr("stages.training.rendering.TEMPLATE_TIMEOUT_S", 2)
    before = resource.getrlimit(resource.RLIMIT_AS)
    renderer = templates.renderer_of(greedy + templates.CHATML, ["<|im_end|>"])
    with pytest.raises(FailedProof, match=r"TEMPLATE: .* it takes more than (0\.25 GiB of memory|2 s)"):
        renderer.conversation(SHAPES["one turn"][0])
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_template_that_writes_more_than_anybody_reads_is_refused():
    renderer = templates.renderer_of("{{ 'x' * 30000000 }}" + templates.CHATML, ["<|im_end|>"])
    with pytest.raises(FailedProof, match=r"TEMPLATE: .* it writes 30,000,\d+ characters, at most 20,000,000 are read"):
        renderer.conversation(SHAPES["one turn"][0])


def test_a_long_conversation_is_read_once_and_each_turn_of_it_checked_once(monkeypatch):
    from stages.training import rendering

    checked, check = [], rendering.check_context
    monkeypatch.setattr(
        rendering, "check_context", lambda messages, *rest: checked.append(len(messages)) or check(messages, *rest)
    )
    renderer = templates.renderer_of(*FAMILIES["chatml"])
    talk = [turn for i in range(100) for turn in (user(f"q{i}"), assistant(f"a{i}"))]
    written, put = [], renderer.dialect.convert
    monkeypatch.setattr(renderer.dialect, "convert", lambda messages: written.append(1) or put(messages))
    assert len(renderer.conversation(talk)[0].spans) == 100
    assert (len(written), sum(checked)) == (1, 199)


def test_a_stop_that_the_next_message_writes_is_learned_behind_the_last_turn_too():
    renderer = templates.renderer_of(*FAMILIES["glm"])
    assert learned(renderer, SHAPES["one turn"][0]) == [(1, "four<|user|>")]
    assert [text for _, text in learned(renderer, SHAPES["many turns"][0])][:2] == ["first<|user|>", "second<|user|>"]


def test_conversations_are_one_sequence_where_all_turns_hold_and_else_one_each():
    messages = SHAPES["many turns"][0]
    assert len(templates.renderer_of(*FAMILIES["chatml"]).conversation(messages)) == 1
    sequences = templates.renderer_of(*FAMILIES["qwen3"]).conversation(messages)
    assert [len(sequence.spans) for sequence in sequences] == [1, 1, 1]


def test_each_sequence_begins_as_inference_does():
    renderer = templates.renderer_of(*FAMILIES["qwen3"])
    messages = SHAPES["many turns"][0]
    for sequence in renderer.conversation(messages):
        (turn,) = sequence.spans
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
            thought = {"reasoning_content": hostile(rng)} if rng.random() < 0.3 else {}
            messages += [user(hostile(rng)), assistant(hostile(rng), train=rng.random() < 0.9, **thought)]
        tried += len(messages) // 2
        try:
            sequences = renderer.conversation(messages)
        except FailedProof:
            continue
        masked = renderer.conversation(messages, masks=True)
        for sequence, without in zip(sequences, masked, strict=True):
            assert sequence.ids == without.ids
            for turn in sequence.spans:
                check_turn(renderer, messages[turn.message], sequence.ids[turn.start : turn.end])
                check_mask(renderer, messages[turn.message], sequence.ids, without, turn)
                proved += 1
    return proved


def check_turn(renderer, message, ids):
    """Nothing but what one message says is in what is learned of it, and the thought before the answer."""
    assert message.get("train") is not False
    text = renderer.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    stops = renderer.tokenizer.convert_ids_to_tokens(sorted(renderer.stops))
    body, around = text.removesuffix(next(stop for stop in stops if text.endswith(stop))), ""
    assert not any(stop in body for stop in stops), text
    for part in (message.get("reasoning_content", "").strip(), message["content"].strip()):
        before, found, body = body.partition(part) if part else ("", True, body)
        assert found, (part, text)
        around += before
    # what stands around it is the template's: blocks of reasoning, channels, white space
    left = re.sub(r"</?think>|<\|?[a-z_]+\|?>|assistant|to=self|analysis|final|thought", "", around + body)
    assert len(left.strip()) <= 20, (message, text)


def check_mask(renderer, message, ids, without, turn):
    """What is not learned of a turn with `mask` is its thought, to the letter."""
    labels = without.labels[turn.start : turn.end]
    hidden = [id for id, label in zip(ids[turn.start : turn.end], labels, strict=True) if label == -100]
    assert (
        renderer.tokenizer.decode(hidden, clean_up_tokenization_spaces=False)
        == message.get("reasoning_content", "").strip()
    )


def test_no_turn_of_hostile_text_is_proved_and_wrong():
    assert fuzz(600, seed=7) > 200


@pytest.mark.long
def test_no_turn_of_twenty_thousand_is_proved_and_wrong():
    assert fuzz(20_000, seed=8) > 10_000


@pytest.mark.parametrize("family", ["qwen3", "gptoss", "phi3"])
def test_tokens_of_a_turn_are_those_of_its_whole_text_though_only_its_end_is_encoded_anew(family, monkeypatch):
    renderer, encoded = templates.renderer_of(*FAMILIES[family]), []
    encode = renderer.encode
    monkeypatch.setattr(renderer, "encode", lambda texts: encoded.extend(texts) or encode(texts))
    talk = [
        user("one  "),
        assistant(" two\n\n"),
        user("three"),
        assistant("four"),
        user("\tfive"),
        assistant("six é😀"),
    ]
    sequences = renderer.conversation(talk)
    assert len(sequences) == 3
    for place, sequence in zip((1, 3, 5), sequences, strict=True):
        answer = renderer.answer_at(renderer.as_conversation(talk), place)
        assert sequence.ids == encode([answer.prompt + answer.text])[0][0]
    assert not encoded[-1].startswith(encoded[0][:40])


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3_instruct_2507", "glm4moe", "gemma4"])
def test_thoughts_of_an_answer_of_several_messages_are_masked_each(family):
    renderer = templates.renderer_of(*FAMILIES[family])
    said = [
        assistant("", tool_calls=[CALL], reasoning_content="musing"),
        FOUND,
        assistant("second", reasoning_content="pondering"),
    ]
    if family == "gemma4":  # it writes the first thought elsewhere once a tool has answered
        with pytest.raises(FailedProof, match="SAID of message 2: its thought cannot be located in the text"):
            renderer.answer([user("one")], said, TOOLS, masks=True)
        return
    prompt, answer, labels = renderer.answer([user("one")], said, TOOLS, masks=True)
    assert (prompt, answer, answer) == renderer.answer([user("one")], said, TOOLS)
    learned = renderer.tokenizer.decode([label for label in labels if label != -100])
    assert "musing" not in learned and "pondering" not in learned
    assert "weather" in learned and "second" in learned and len(labels) == len(answer)
