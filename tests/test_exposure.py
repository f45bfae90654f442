"""What a training has seen is what its steps were given: no row more, no row less, and what was seen before a kill counts."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_token_counts import said, step_of, user, write

from stages import train
from stages.training import checkpoints, exposure
from stages.training.checkpoints import resume_training, save_checkpoints
from stages.training.models import save_tiny_model

pytestmark = pytest.mark.slow

TALKS = [{"messages": user(letter * (at % 5 + 1)) + said("xyz")} for at, letter in enumerate("abcdefghijklmnopqrst")]
PAIRS = [{"prompt": user(letter), "chosen": said("xy"), "rejected": said("z")} for letter in "abcdefghijklmnop"]
RATED = [
    {"prompt": user(letter), "completion": said("xy"), "label": at % 2 == 0}
    for at, letter in enumerate("abcdefghijklmnop")
]
PROBLEMS = [{"prompt": user(letter), "ground_truth": "a", "extra": "{}"} for letter in "abcdefgh"]
MANY = {"sft": TALKS, "dpo": PAIRS, "orpo": PAIRS, "kto": RATED, "grpo": PROBLEMS}
GRPO = {"num_generations": 2, "max_completion_length": 4}


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/train").mkdir(parents=True)
    save_tiny_model("models/base")


def made(method, tmp_path, rows=None, **args):
    write(method, rows or MANY[method])
    args = {"max_steps": 3, "gradient_accumulation_steps": 1} | (GRPO if method == "grpo" else {}) | args
    return train.make_trainer("s", step_of(method, **args), tmp_path / ".work")


def batches_of(trainer, monkeypatch):
    """What each training step is given, as the texts of its tokens: taken at the model's side of the counting."""
    taken = []
    compute = trainer.compute_loss

    def computed(model, inputs, *arguments, **options):
        assert exposure.PLACE_COLUMN not in inputs
        taken.append({key: value for key, value in inputs.items() if hasattr(value, "shape")})
        return compute(model, inputs, *arguments, **options)

    monkeypatch.setattr(trainer, "compute_loss", computed)
    return taken


def times_of(trainer, method):
    exposure.write_exposure(exposure.exposure_path("s"), trainer, step_of(method), "5f0e")
    return exposure.read_exposure(exposure.exposure_path("s"))


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_rows_that_max_steps_never_reached_are_not_seen(base, tmp_path, monkeypatch, method, accumulate):
    trainer = made(method, tmp_path, gradient_accumulation_steps=accumulate)
    batches = batches_of(trainer, monkeypatch)
    trainer.train()
    times, facts = times_of(trainer, method)
    assert len(times) == len(MANY[method]) and times.sum() == 3 * 2 * accumulate == facts["sequences"]
    assert set(times.tolist()) == {0, 1}
    # the letter of each row's question is a token of its own: those of the batches are those of the rows
    letters = trainer.processing_class.convert_tokens_to_ids(list("abcdefghijklmnopqrst"))
    given = {letter for batch in batches for letter in letters if has(batch, letter)}
    questions = [
        row["messages"][0]["content"][0] if method == "sft" else row["prompt"][0]["content"] for row in MANY[method]
    ]
    assert given == {trainer.processing_class.convert_tokens_to_ids(questions[at]) for at in np.flatnonzero(times)}


def has(batch, letter):
    ids = [batch[key] for key in ("input_ids", "chosen_input_ids", "completion_input_ids") if key in batch]
    return any((each == letter).any() for each in ids)


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto"])
def test_two_epochs_are_two_times_and_the_tokens_of_both(base, tmp_path, method):
    from stages.dryrun import token_counts
    from stages.training.models import renderer
    from stages.training.trl import make_config

    trainer = made(method, tmp_path, max_steps=-1, num_train_epochs=2)
    trainer.train()
    times, facts = times_of(trainer, method)
    assert times.tolist() == [2] * len(MANY[method])
    config = make_config("steps.s", step_of(method), "out")
    once = (
        token_counts.measure_rows("data/train/d.parquet", token_counts.Method(method, config, renderer()))
        .rows["tokens"]
        .sum()
    )
    assert facts["tokens"] == 2 * once


def test_a_part_of_an_epoch_is_counted_as_far_as_it_went(base, tmp_path):
    trainer = made("sft", tmp_path, max_steps=-1, num_train_epochs=0.5)
    trainer.train()
    assert times_of(trainer, "sft")[0].sum() == 10


@pytest.mark.parametrize("passes", [1, 2])
def test_a_prompt_of_grpo_counts_once_for_each_time_that_answers_are_sampled(base, tmp_path, monkeypatch, passes):
    trainer = made("grpo", tmp_path, gradient_accumulation_steps=2, num_iterations=passes, max_steps=2)
    asked, generate = [], trainer._generate_and_score_completions

    def generated(inputs):
        assert all(exposure.PLACE_COLUMN not in row for row in inputs)
        asked.extend(row["prompt"][0]["content"] for row in inputs)
        return generate(inputs)

    monkeypatch.setattr(trainer, "_generate_and_score_completions", generated)
    trainer.train()
    times, facts = times_of(trainer, "grpo")
    assert times.tolist() == [asked.count(row["prompt"][0]["content"]) / 2 for row in PROBLEMS]
    assert times.sum() == 4 / passes == facts["sequences"] and facts["tokens"] > 0


def test_a_row_that_is_several_sequences_counts_as_its_most_frequent_one(base, tmp_path):
    trainer = made("sft", tmp_path)
    trainer.exposure = exposure.Exposure(np.array([0, 1, 2, 2]), np.array([4, 4, 0, 1]), np.array([1, 3, 2]), 7)
    times, facts = times_of(trainer, "sft")
    assert times[:5].tolist() == [2, 2, 0, 0, 3] and (facts["tokens"], facts["sequences"]) == (7, 6)


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "wrapped"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_in_packed_sequences_are_known(base, tmp_path, strategy, shuffled):
    trainer = made(
        "sft", tmp_path, packing=True, packing_strategy=strategy, max_length=24, shuffle_dataset=shuffled, max_steps=1
    )
    letters = trainer.processing_class.convert_tokens_to_ids([row["messages"][0]["content"][0] for row in TALKS])
    for item, ids in enumerate(trainer.train_dataset["input_ids"]):
        inside = set(trainer.exposure.rows[trainer.exposure.items == item].tolist())
        asked = {row for row, letter in enumerate(letters) if letter in ids}
        # of a row that goes on in another sequence, the question may stand in the first alone
        assert asked <= inside and (strategy == "wrapped" or inside == asked)
    trainer.train()
    assert 0 < (times_of(trainer, "sft")[0] > 0).sum() < len(TALKS)


def test_shuffled_rows_keep_their_numbers(base, tmp_path):
    trainer = made("sft", tmp_path, shuffle_dataset=True)
    letters = trainer.processing_class.convert_tokens_to_ids([row["messages"][0]["content"][0] for row in TALKS])
    for row, ids in zip(trainer.exposure.rows, trainer.train_dataset["input_ids"], strict=True):
        assert letters[row] in ids


@pytest.mark.parametrize("method", ["sft", "kto", "grpo"])
def test_what_was_seen_before_a_kill_counts(base, tmp_path, monkeypatch, method):
    args = {"max_steps": 6, "logging_steps": 2}
    whole = made(method, tmp_path, **args)
    whole.train()
    expected, facts = times_of(whole, method)
    before = exposure.exposure_path("s").read_bytes()

    class Killed(BaseException):
        pass

    work = tmp_path / ".work"
    killed = save_checkpoints(made(method, tmp_path, **args), every_s=0)
    step = killed.training_step

    def killing(*arguments, **options):
        if killed.state.global_step == 3:
            raise Killed
        return step(*arguments, **options)

    killed.training_step = killing
    with pytest.raises(Killed):
        resume_training(killed, work)
    assert checkpoints.last_checkpoint(work).name == "checkpoint-2"
    again = save_checkpoints(made(method, tmp_path, **args), every_s=0)
    resume_training(again, work)
    times, more = times_of(again, method)
    assert times.tolist() == expected.tolist() and more == facts
    assert exposure.exposure_path("s").read_bytes() == before


def test_the_file_says_what_it_is_of_in_short(base, tmp_path):
    trainer = made("sft", tmp_path)
    trainer.train()
    times_of(trainer, "sft")
    found = exposure.exposure_summary(exposure.exposure_path("s"))
    assert (found["rows"], found["seen"], found["sequences"]) == (20, 6, 6) and found["tokens"] > 50
    assert exposure.exposure_summary("scores/none.seen.parquet") is None
    assert pq.read_schema(exposure.exposure_path("s")).names == ["times"]
