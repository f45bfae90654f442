"""Training with TRL, a few steps of each method on a small copy of the project."""

import csv
import hashlib
import json
import shutil

import pytest

from stages._process import only_trainer
from validators._problems import Problems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(built, tmp_path_factory):
    """A built project to train in; each test trains the step `align` anew."""
    return built.copy(tmp_path_factory.mktemp("train") / "copy")


@pytest.fixture
def train(project, monkeypatch):
    """Train a method with changes to its step; gives the model's folder."""
    from stages import preflight
    from stages import train as stage

    monkeypatch.chdir(project.folder)

    def run(method, name="align", **changes):
        shutil.rmtree(project.folder / ".work", ignore_errors=True)  # else a finished model is put back
        params = project.read_params()
        params["steps"][name] = params["methods"][method] | changes
        project.write_params(params)
        preflight.main()
        stage.main(name)
        return project.folder / "models" / name

    return run


def hashes(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def curve_of(project):
    return list(csv.DictReader((project.folder / "scores/align.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto", "grpo"])
def test_a_method_trains_the_same_model_twice_and_leaves_no_pickle(train, project, method):
    # an untrained model earns no exact match, and without a difference in reward there is nothing to learn
    changes = {"rewards": ["one_word"]} if method == "grpo" else {}
    first = hashes(train(method, **changes))
    assert "model.safetensors" in first and "made_of.json" in first
    assert not [name for name in first if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert hashes(train(method, **changes)) == first
    parent = "base" if method in ("sft", "orpo") else "sft"
    assert hashes(project.folder / "models" / parent)["model.safetensors"] != first["model.safetensors"]


def test_the_curve_has_the_loss_and_no_times(train, project):
    params = project.read_params()["methods"]["sft"]
    train("sft", args=params["args"] | {"max_steps": 4, "logging_steps": 2})
    curve = curve_of(project)
    assert [row["step"] for row in curve] == ["2", "4"]
    assert all(float(row["loss"]) > 0 for row in curve)
    assert not [column for column in curve[0] if "time" in column or "second" in column]


def test_a_chain_of_lora_steps_keeps_all_adapters_in_order(train, project):
    lora = {"r": 4, "lora_alpha": 8}
    first = train("sft", lora=lora)
    shutil.rmtree(project.folder / "models/first", ignore_errors=True)
    shutil.copytree(first, project.folder / "models/first")
    params = project.read_params()
    params["steps"]["first"] = params["methods"]["sft"] | {"lora": lora}
    project.write_params(params)
    second = train("dpo", lora=lora, **{"from": "first"})
    assert sorted(path.name for path in (second / "adapters").iterdir()) == ["00_align", "01_align"]
    assert not (second / "config.json").exists()
    config = json.loads((second / "adapters/01_align/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/base"
    assert config["target_modules"] == sorted(config["target_modules"])


def test_full_weights_after_adapters_start_and_refer_to_the_merged_chain(train, project, monkeypatch):
    import torch

    from stages import train as stage
    from stages._models import load_model

    lora = {"r": 4, "lora_alpha": 8}
    shutil.rmtree(project.folder / "models/first", ignore_errors=True)
    shutil.copytree(
        train("sft", lora=lora, args=project.read_params()["methods"]["sft"]["args"] | {"learning_rate": 0.1}),
        project.folder / "models/first",
    )
    params = project.read_params()
    params["steps"]["first"] = params["methods"]["sft"] | {"lora": lora}
    project.write_params(params)
    seen = {}
    make = stage.make_trainer

    def watched(*arguments):
        seen["trainer"] = make(*arguments)
        return seen["trainer"]

    monkeypatch.setattr(stage, "make_trainer", watched)
    train("dpo", **{"from": "first"})
    reference = seen["trainer"].ref_model
    ids = torch.arange(7, 40)[None]
    with torch.inference_mode():
        expected = load_model(project.folder / "models/first")(input_ids=ids).logits
        base = load_model(project.folder / "models/base")(input_ids=ids).logits
        found = reference(input_ids=ids).logits
    assert not torch.allclose(base, expected, atol=1e-2)
    assert torch.allclose(found, expected, atol=1e-4)


def test_what_a_model_is_made_of_is_written_beside_it(train, project):
    made_of = json.loads((train("kto") / "made_of.json").read_text())
    rows = project.folder / "data/train/feedback.parquet"
    assert made_of["rows_sha256"] == hashlib.sha256(rows.read_bytes()).hexdigest()
    assert (made_of["method"], made_of["from"], made_of["dataset"]) == ("kto", "sft", "feedback")
    assert str(project.folder) not in json.dumps(made_of)


def test_a_second_trainer_of_the_same_step_is_refused(train, project, monkeypatch):
    from stages import train as stage

    monkeypatch.setattr(stage, "only_trainer", lambda work: only_trainer(work, timeout_s=0))
    train("dpo")
    with (
        only_trainer(project.folder / ".work/align"),
        pytest.raises(Problems, match="another process trains this step"),
    ):
        stage.main("align")
