"""A killed training goes on where it was, bit by bit, and only where nothing that decides its result has changed."""

import csv
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from commands.builds.repairs import repair
from stages.training import checkpoints

METHODS = ["sft", "dpo", "orpo", "kto", "grpo"]
LORA = {"r": 4, "lora_alpha": 8}
LINE = {"step": 2, "loss": 3.0}


class Killed(BaseException):
    """In place of SIGKILL, which would end the test as well: nothing in a training catches it."""


# -- without a training ---------------------------------------------------------------------------------------------


@pytest.fixture
def step(tmp_path, monkeypatch):
    """A step whose data and models are there, as small as can be."""
    monkeypatch.chdir(tmp_path)
    for path in ("data/train/chat.parquet", "models/base/a.safetensors", "models/sft/a.safetensors"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    return {"from": "sft", "dataset": "chat", "backend": "transformers", "args": {"beta": 0.1}, "load_in_4bit": False}


def folder(step, work):
    work.mkdir(exist_ok=True)
    return checkpoints.identity_folder(work, checkpoints.training_identity(step))


def test_the_same_step_has_the_same_folder(step, tmp_path):
    first = folder(step, tmp_path / "work")
    (first / "checkpoint-2").mkdir()
    assert folder(dict(step), tmp_path / "work") == first
    assert (first / "checkpoint-2").exists()


@pytest.mark.parametrize("path", ["data/train/chat.parquet", "models/base/a.safetensors", "models/sft/a.safetensors"])
def test_other_rows_or_models_have_another_folder_and_the_old_one_goes(step, tmp_path, path):
    first = folder(step, tmp_path / "work")
    (tmp_path / path).write_text("changed")
    assert folder(step, tmp_path / "work") != first
    assert not first.exists()


def test_other_params_code_versions_or_processes_have_another_folder(step, tmp_path, monkeypatch):
    seen = [folder(step, tmp_path / "work"), folder(step | {"args": {"beta": 0.2}}, tmp_path / "work")]
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        seen.append(folder(step, tmp_path / "work"))
        patch.setenv("ACCELERATE_USE_FSDP", "true")  # two processes as before, and checkpoints of another form
        seen.append(folder(step, tmp_path / "work"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "library_versions", lambda step: {"torch": "9"})
        seen.append(folder(step, tmp_path / "work"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "code_hash", lambda name: "another")
        seen.append(folder(step, tmp_path / "work"))
    assert len(set(seen)) == 6


def test_a_checkpoint_that_is_given_up_is_told_with_the_reason(step, tmp_path, monkeypatch, capsys):
    first = folder(step, tmp_path / "work")
    checkpoints.mark_complete(checkpoint(first, 6))
    folder(step, tmp_path / "work")
    assert "given up" not in capsys.readouterr().out
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "data/train/chat.parquet").write_text("changed")
    second = folder(step, tmp_path / "work")
    assert f"{first}/checkpoint-6 is given up: it has other rows, processes (1, now 2)\n" in capsys.readouterr().out
    monkeypatch.delenv("WORLD_SIZE")
    folder(step, tmp_path / "work")
    assert not second.exists() and "given up" not in capsys.readouterr().out  # it had none


def checkpoint(folder, number):
    path = folder / f"checkpoint-{number}"
    path.mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(b"12345")
    (path / "trainer_state.json").write_text("{}")
    return path


def test_the_newest_complete_checkpoint_is_taken(tmp_path):
    checkpoints.mark_complete(checkpoint(tmp_path, 9))
    newest = checkpoint(tmp_path, 10)
    assert checkpoints.last_checkpoint(tmp_path).name == "checkpoint-9"
    checkpoints.mark_complete(newest)
    assert checkpoints.last_checkpoint(tmp_path).name == "checkpoint-10"
    assert not (tmp_path / "checkpoint-9").exists()


def test_a_training_that_is_stopped_by_hand_says_where_it_goes_on(tmp_path):
    from stages.train import describe_resume

    assert describe_resume(tmp_path) == "there is no checkpoint yet, so `dvc repro` begins it anew"
    (tmp_path / "checkpoint-170").mkdir()
    (tmp_path / "checkpoint-170/complete.json").write_text("{}")
    assert describe_resume(tmp_path).startswith("`dvc repro` resumes it at step 170; ")


def test_a_checkpoint_with_a_shorter_or_a_missing_file_is_passed_over(tmp_path):
    assert checkpoints.last_checkpoint(tmp_path) is None
    path = checkpoint(tmp_path, 10)
    checkpoints.mark_complete(path)
    (path / "optimizer.pt").write_bytes(b"1")
    assert checkpoints.last_checkpoint(tmp_path) is None
    (path / "optimizer.pt").unlink()
    assert checkpoints.last_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ({}, 1),
        ({"steps_per_generation": 4, "num_iterations": 1, "gradient_accumulation_steps": 4}, 1),
        ({"steps_per_generation": 4, "num_iterations": 2, "gradient_accumulation_steps": 1}, 8),
        ({"steps_per_generation": 6, "num_iterations": 1, "gradient_accumulation_steps": 4}, 3),
    ],
)
def test_grpo_goes_on_only_from_where_all_its_answers_are_used(config, steps):
    assert checkpoints.optimizer_steps_per_generation(SimpleNamespace(**config)) == steps


def test_the_loss_before_a_checkpoint_is_counted_by_its_steps():
    assert (
        checkpoints.total_loss([LINE, {"step": 4, "loss": 1.0}, {"step": 4, "train_runtime": 1}]) == 2 * 3.0 + 2 * 1.0
    )


def test_a_finished_model_is_put_back_as_it_was_and_a_changed_one_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, curve, work = (tmp_path.relative_to(tmp_path) / name for name in ("models/sft", "scores/sft.csv", "work"))
    for path in (model / "adapters/00_sft/a.safetensors", curve):
        path.parent.mkdir(parents=True)
        path.write_text(path.name)
    work.mkdir()
    assert not checkpoints.restore_finished(work, [curve, model])
    checkpoint(work, 4)
    checkpoints.store_finished(work, [curve, model])
    assert not (work / "checkpoint-4").exists()
    shutil.rmtree(model)
    curve.unlink()
    assert checkpoints.restore_finished(work, [curve, model])
    assert (model / "adapters/00_sft/a.safetensors").read_text() == "a.safetensors"
    assert curve.read_text() == "sft.csv"
    kept = work / "finished" / curve
    kept.write_text("another")
    assert not checkpoints.restore_finished(work, [curve, model])


def test_a_model_made_on_another_disk_appears_in_one_rename_too(tmp_path, monkeypatch):
    made, model, replace = tmp_path / "made", tmp_path / "models/sft", os.replace
    made.mkdir()
    (made / "a.safetensors").write_text("a")

    def of_one_disk(source, target):
        if str(source) == str(made):
            raise OSError(errno.EXDEV, "another disk")
        replace(source, target)

    monkeypatch.setattr(os, "replace", of_one_disk)
    checkpoints.move_into_place(made, model)
    assert (model / "a.safetensors").read_text() == "a"
    assert [path.name for path in model.parent.iterdir()] == ["sft"]


@pytest.mark.slow
def test_grpo_goes_on_in_the_order_of_its_epoch():
    from trl.trainer.utils import RepeatSampler

    def sampler(*_):
        return RepeatSampler(list(range(20)), mini_repeat_count=1, seed=7)

    epochs = sampler()
    orders = [list(epochs) for _ in range(3)]
    assert orders[0] != orders[1] != orders[2]
    for epoch, order in enumerate(orders):
        trainer = checkpoints.advance_prompt_order(SimpleNamespace(_get_train_sampler=sampler), epoch)
        assert list(trainer._get_train_sampler()) == order


# -- trainings that are killed --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(built, tmp_path_factory):
    return built.copy(tmp_path_factory.mktemp("resume") / "copy")


@pytest.fixture
def train(project, monkeypatch):
    """Train the step `align` and give the hashes of what it made; killed where a patch of the trainer says so."""
    from stages import preflight
    from stages import train as stage

    monkeypatch.chdir(project.folder)

    def prepare(method, lora):
        shutil.rmtree(project.folder / ".work", ignore_errors=True)
        params = project.read_params()
        args = {"max_steps": 8, "logging_steps": 2, "per_device_train_batch_size": 32, "learning_rate": 1e-3}
        if method == "grpo":
            args |= {"max_completion_length": 4, "num_generations": 4, "gradient_accumulation_steps": 2, "beta": 0.1}
        rewards = {"rewards": ["one_word"]} if method == "grpo" else {}
        changes = {"args": args, "lora": LORA if lora else None} | rewards
        params["steps"]["align"] = params["methods"][method] | changes
        project.write_checked(params)
        preflight.main()

    def run(every_s="0"):
        monkeypatch.setenv("TILTH_CHECKPOINT_S", every_s)
        stage.main("align")
        return hashes(project.folder)

    return SimpleNamespace(prepare=prepare, run=run)


def hashes(folder):
    kept = ("scores/align.csv", "scores/align.seen.parquet", "scores/align.rollouts.parquet")
    made = [*(folder / path for path in kept), *sorted((folder / "models/align").rglob("*.*"))]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in made}


def kill_in(monkeypatch, name, steps):
    """Kill in a method of transformers' Trainer, when it has done its work after so many optimizer steps."""
    from transformers import Trainer

    original = getattr(Trainer, name)

    def killed(self, *arguments, **options):
        result = original(self, *arguments, **options)
        if self.state.global_step == steps:
            raise Killed
        return result

    monkeypatch.setattr(Trainer, name, killed)


# where it is killed: (method of the Trainer, after how many steps), and the checkpoint that is left
KILLS = {
    "between two checkpoints": ("training_step", 3, 2),
    "just after a checkpoint": ("_maybe_log_save_evaluate", 6, 6),
    "while a checkpoint is written": ("_save_optimizer_and_scheduler", 6, 4),
}


OFTEN = {  # each method once and each kill twice; the whole matrix, 70 trainings, is `long`
    "sft-full": ["between two checkpoints", "while a checkpoint is written"],
    "dpo-lora": ["just after a checkpoint"],
    "orpo-full": ["while a checkpoint is written"],
    "kto-lora": ["between two checkpoints"],
    "grpo-full": ["just after a checkpoint"],
}
CELLS = [f"{method}-{way}" for method in METHODS for way in ("full", "lora")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "kills"),
    [
        *(pytest.param(cell, kills, id=cell) for cell, kills in OFTEN.items()),
        *(pytest.param(cell, list(KILLS), id=f"{cell}-every-kill", marks=pytest.mark.long) for cell in CELLS),
    ],
)
def test_a_killed_run_ends_as_one_that_was_never_killed(train, project, cell, kills, monkeypatch, capsys):
    method, way = cell.split("-")
    train.prepare(method, way == "lora")
    expected = train.run(every_s="3600")
    for where in kills:
        name, steps, left = KILLS[where]
        shutil.rmtree(project.folder / ".work")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in(patch, name, steps)
            train.run()
        capsys.readouterr()
        assert train.run() == expected, where
        assert f"checkpoint-{left}\n" in capsys.readouterr().out, where


@pytest.mark.slow
def test_changed_rows_start_from_the_beginning(train, project, monkeypatch, capsys):
    train.prepare("sft", False)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in(patch, "training_step", 4)
        train.run()
    rows = project.folder / "data/train/chat.parquet"
    kept = rows.read_bytes()
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(rows).slice(0, None).replace_schema_metadata({"a": "b"}), rows)
    capsys.readouterr()
    train.run()
    assert "resumes from" not in capsys.readouterr().out
    rows.write_bytes(kept)


@pytest.mark.slow
def test_a_model_whose_dvc_was_killed_before_it_was_stored_is_not_trained_again(train, project, capsys):
    train.prepare("sft", False)
    expected = train.run()
    shutil.rmtree(project.folder / "models/align")
    (project.folder / "scores/align.csv").unlink()
    capsys.readouterr()
    assert train.run() == expected
    assert "put back from" in capsys.readouterr().out
    assert not list((project.folder / ".work/align").glob("*/checkpoint-*"))


# -- a build that is killed -----------------------------------------------------------------------------------------


def one_step(project):
    """The project cut down to one dataset of 60 rows and one step of 4 optimizer steps."""
    params = project.read_params()
    params["datasets"] = {"feedback": params["datasets"]["feedback"] | {"kind": "sft", "max_reject_share": 0.9}}
    args = {"max_steps": 4, "logging_steps": 1, "per_device_train_batch_size": 8, "learning_rate": 1e-3}
    params["steps"] = {"sft": params["methods"]["sft"] | {"dataset": "feedback", "args": args}}
    project.write_params(params)
    raw = project.folder / "data/raw/feedback/feedback.jsonl"
    raw.write_text("".join(raw.read_text().splitlines(True)[:60]))
    shutil.rmtree(project.folder / ".work", ignore_errors=True)
    start_anew(project)
    return project


def start_anew(project):
    for path in ("dvc.lock", "data/train.json", "data/eval.json"):
        (project.folder / path).unlink(missing_ok=True)
    for path in (
        ".dvc/cache",
        ".dvc/tmp",
        "data/ingested",
        "data/validated",
        "data/train",
        "data/eval",
        "models",
        ".work",
    ):
        shutil.rmtree(project.folder / path, ignore_errors=True)


def build(project):
    repair(project.folder)  # as `tilth check` does: dvc may have been killed while it wrote a file of its own
    environment = os.environ | {"TILTH_CHECKPOINT_S": "0", "DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment["PATH"]
    return subprocess.Popen(
        ["dvc", "repro", "train@sft"], cwd=project.folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def outputs(project):
    found = {}
    for out in (
        "data/ingested",
        "data/validated",
        "data/train",
        "data/eval",
        "data/rejected",
        "models/sft",
        "scores/sft.csv",
        "scores/sft.seen.parquet",
        "scores/sft.rollouts.parquet",
    ):
        path = project.folder / out
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file():
                found[str(file.relative_to(project.folder))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.long)])
def test_kills_at_random_moments_leave_no_trace_in_what_is_built(built, tmp_path, kills):
    """Even kills end dvc alone, as an out-of-memory killer does, odd ones every process that the build has started."""
    project = one_step(built.copy(tmp_path / "copy", real=True))
    began = time.monotonic()
    done = build(project)
    output, _ = done.communicate()
    assert done.returncode == 0, output
    whole_s, expected = time.monotonic() - began, outputs(project)
    assert "models/sft/model.safetensors" in expected and "data/train/feedback.parquet" in expected
    moments, rebuilt = random.Random(7), 0
    start_anew(project)
    for kill in range(kills):
        running = build(project)
        try:
            told, _ = running.communicate(timeout=moments.uniform(0.2, whole_s * 0.45))
        except subprocess.TimeoutExpired:
            if kill % 2:
                os.killpg(running.pid, signal.SIGKILL)
            else:
                running.kill()
            running.communicate()
        else:
            # it came to its end before its moment: another build begins
            assert running.returncode == 0, told
            assert outputs(project) == expected
            rebuilt += 1
            start_anew(project)
    last = build(project)
    output, _ = last.communicate()
    assert last.returncode == 0, output
    assert outputs(project) == expected
    assert list(csv.DictReader((project.folder / "scores/sft.csv").open()))[-1]["step"] == "4"
    assert json.loads((project.folder / "models/sft/made_of.json").read_text())["processes"] == 1
