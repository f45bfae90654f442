"""Batches say what each row alone would have said."""

import numpy as np
import pytest
import torch

from stages.scoring import generation
from stages.training.models import save_tiny_model

pytestmark = pytest.mark.slow

PROMPTS = [
    [{"role": "user", "content": text}] for text in ("x", "Reverse abc.", "a much longer prompt than the others")
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    save_tiny_model(folder)
    return generation.load_for_generation(folder, batch_size=2, max_new_tokens=5)


def test_batches_hold_rows_of_similar_length_the_longest_first():
    assert generation.batches_by_length([3, 9, 1, 9, 4], 2) == [[1, 3], [4, 0], [2]]


def test_a_batch_of_long_rows_has_fewer_of_them():
    assert generation.batches_by_length([30, 10, 10, 5, 5, 5, 5], 4, 20) == [[0], [1, 2], [3, 4, 5, 6]]
    assert generation.batches_by_length([0, 0, 0], 2, 20) == [[0, 1], [2]]
    lengths = np.random.default_rng(1).integers(0, 100, 500).tolist()
    found = generation.batches_by_length(lengths, 16, 16 * 20)
    assert sorted(i for batch in found for i in batch) == list(range(500))
    assert all(len(batch) == 1 or len(batch) * lengths[batch[0]] <= 320 for batch in found)


def test_generation_of_a_batch_is_that_of_each_prompt_alone(model):
    together = generation.generate(model, PROMPTS).texts
    assert together == [generation.generate(model, [prompt]).texts[0] for prompt in PROMPTS]
    assert generation.generate(model, []) == generation.Generated()


def test_an_answer_without_a_token_that_stops_was_cut(model, monkeypatch):
    assert generation.generate(model, PROMPTS).cut == [True] * len(
        PROMPTS
    )  # of random weights, five tokens end nothing
    monkeypatch.setattr(model.render, "stops", set(range(len(model.tokenizer))))
    assert generation.generate(model, PROMPTS).cut == [False] * len(PROMPTS)


def test_a_text_of_any_length_is_encoded_without_a_word_of_the_tokenizer(model, monkeypatch):
    said = []
    monkeypatch.setattr("transformers.tokenization_utils_base.logger.warning", lambda text, *_: said.append(text))
    monkeypatch.setattr(model.tokenizer, "model_max_length", 4)
    model.render.encode(["a text of more than four tokens"])
    assert said == []
    monkeypatch.setattr(model.tokenizer, "deprecation_warnings", {})
    model.render.encode(["a text of more than four tokens"])
    assert "indexing errors" in said[0]  # it would have


def test_samples_are_the_same_for_a_seed_and_others_for_another(model):
    first, again, other = (generation.sample(model, PROMPTS, 4, 1.0, seed).texts for seed in (1, 1, 2))
    assert first == again != other
    assert [len(said) for said in first] == [4, 4, 4] and len(set(first[0])) > 1


def test_samples_come_from_the_whole_distribution_whatever_the_models_own_settings_say(model, monkeypatch):
    monkeypatch.setattr(model.model.generation_config, "top_k", 1)
    assert len(set(generation.sample(model, PROMPTS[:1], 8, 1.0, 1).texts[0])) > 1


def test_a_sample_so_cold_is_the_greedy_answer(model):
    cold = generation.sample(model, PROMPTS, 2, 1e-4, 1).texts
    assert cold == [[said] * 2 for said in generation.generate(model, PROMPTS).texts]


def test_token_scores_are_those_of_each_row_alone(model):
    rng = np.random.default_rng(0)
    ids = [rng.integers(7, 260, length).tolist() for length in (4, 17, 9, 17, 2)]
    masks = [[0, *rng.integers(0, 2, len(row) - 1).tolist()] for row in ids]
    nll, tokens, right = generation.token_scores(model, ids, masks)
    for place, (row, mask) in enumerate(zip(ids, masks, strict=True)):
        with torch.inference_mode():
            logp = torch.log_softmax(model.model(torch.tensor([row])).logits[0], -1)
        counted = [i for i in range(1, len(row)) if mask[i]]
        assert nll[place] == pytest.approx(-sum(logp[i - 1, row[i]].item() for i in counted), abs=1e-4)
        assert tokens[place] == len(counted)
        assert right[place] == sum(logp[i - 1].argmax().item() == row[i] for i in counted)
