"""A training is the same under another name: found by what decided it, and done again where any of that differs."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from stages.core import dvc_cache
from stages.training.exposure import read_exposure, write_table
from stages.training.rollouts import read_rollouts
from stages.training.twins import find_twin, write_twin

STEP = {
    "step": "align",
    "method": "dpo",
    "from": "sft",
    "dataset": "pairs",
    "seed": 7,
    "backend": "auto",
    "args": {},
    "lora": {"r": 4},
}
MINE = STEP | {"step": "align2", "from": "first"}  # both steps have another name here


def keep(path):
    """The md5 of a file or a folder, which DVC's cache has from now on."""
    path = Path(path)
    if path.is_dir():
        listed = [
            {"md5": keep(file), "relpath": file.relative_to(path).as_posix()}
            for file in sorted(path.rglob("*"))
            if file.is_file()
        ]
        data, end = json.dumps(listed).encode(), ".dir"
    else:
        data, end = path.read_bytes(), ""
    md5 = hashlib.md5(data).hexdigest() + end
    write(dvc_cache.object_path(md5), data)
    return md5


def write(path, data):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which `align` was trained on from `sft`, which are now called `align2` and `first`."""
    monkeypatch.chdir(tmp_path)
    dvc_cache.cache_folder.cache_clear()
    write(".build/params/preflight.json", '{"launch": "python"}')
    write(".build/code/train", "code")
    write("data/train/pairs.parquet", "rows")
    write("data/kept/pairs/train.json", "{}")
    write("models/base/config.json", "{}")
    for name in ("sft", "first"):
        write(f"models/{name}/adapters/00_{name}/adapter_model.safetensors", "weights of sft")
        write(f"models/{name}/made_of.json", json.dumps({"step": name}))
    write("models/align/adapters/00_sft/adapter_model.safetensors", "weights of sft")
    write("models/align/adapters/01_align/adapter_model.safetensors", "weights of align")
    write("models/align/made_of.json", json.dumps(STEP | {"device": "cpu"}))
    write("scores/align.csv", "step,loss\n")
    write_table(
        Path("scores/align.seen.parquet"),
        pa.table({"times": pa.array([1, 2], pa.int32())}),
        {"step": "align", "tokens": 3},
    )
    write_table(Path("scores/align.rollouts.parquet"), pa.table({"completion": ["a"]}), {"step": "align", "every": 10})
    write("preflight/align.json", json.dumps(STEP))
    deps = [
        "preflight/align.json",
        "models/sft",
        "models/base",
        "data/train/pairs.parquet",
        "data/kept/pairs",
        ".build/code/train",
    ]
    lock(
        {
            "cmd": "python -m stages train align",
            "deps": listed(deps),
            "outs": listed(
                ["models/align", "scores/align.csv", "scores/align.seen.parquet", "scores/align.rollouts.parquet"]
            ),
        }
    )
    for gone in ("models/sft", "models/align", "preflight"):
        shutil.rmtree(gone)
    for gone in ("scores/align.csv", "scores/align.seen.parquet", "scores/align.rollouts.parquet"):
        Path(gone).unlink()
    yield tmp_path
    dvc_cache.cache_folder.cache_clear()


def listed(paths):
    return [{"path": path, "hash": "md5", "md5": keep(path), "size": 1} for path in paths]


def lock(entry):
    with open("dvc.lock", "w") as file:
        YAML().dump({"schema": "2.0", "stages": {"train@align": entry}}, file)


def test_a_training_under_another_name_is_found_and_written_under_the_new_names(project):
    found = find_twin("align2", MINE)
    assert found.name == "align"
    write_twin(
        found,
        MINE,
        Path("new"),
        [Path(f"scores/align2{end}") for end in (".csv", ".seen.parquet", ".rollouts.parquet")],
    )
    files = {path.relative_to("new").as_posix(): path.read_text() for path in Path("new").rglob("*") if path.is_file()}
    assert json.loads(files.pop("made_of.json")) == MINE | {"device": "cpu"}
    assert files == {
        "adapters/00_first/adapter_model.safetensors": "weights of sft",
        "adapters/01_align2/adapter_model.safetensors": "weights of align",
    }
    assert Path("scores/align2.csv").read_text() == "step,loss\n"
    assert read_rollouts(Path("scores/align2.rollouts.parquet")) == (
        [{"completion": "a"}],
        {"step": "align2", "every": 10},
    )
    times, facts = read_exposure(Path("scores/align2.seen.parquet"))
    assert times.tolist() == [1, 2] and facts == {"step": "align2", "tokens": 3}


@pytest.mark.parametrize(
    "path, text",
    [
        ("data/train/pairs.parquet", "other rows"),
        ("data/kept/pairs/rows.parquet", "a part of the rows"),
        (".build/code/train", "other code"),
        ("models/base/config.json", "{ }"),
        ("models/first/adapters/00_first/adapter_model.safetensors", "other weights"),
        ("models/first/config.json", "{}"),
        (".build/params/preflight.json", '{"launch": "accelerate launch"}'),
    ],
)
def test_another_input_is_another_training(project, path, text):
    assert find_twin("align2", MINE)
    write(path, text)
    assert find_twin("align2", MINE) is None


def test_another_setting_is_another_training(project):
    assert find_twin("align2", MINE | {"seed": 8}) is None
    assert find_twin("align2", MINE | {"args": {"beta": 0.2}}) is None


@pytest.mark.parametrize("damage", ["gone", "cut"])
@pytest.mark.parametrize("which", ["weights of align", "step,loss\n", "the list of files"])
def test_an_object_that_is_gone_or_cut_is_no_twin(project, damage, which):
    objects_there = [path for path in (project / ".dvc/cache").rglob("*") if path.is_file()]
    kept = next(
        path
        for path in objects_there
        if (b"01_align" in path.read_bytes() if which == "the list of files" else path.read_bytes() == which.encode())
    )
    kept.unlink() if damage == "gone" else kept.write_bytes(kept.read_bytes()[:-2])
    assert find_twin("align2", MINE) is None


def test_what_the_cache_has_lost_is_taken_from_the_folder_where_it_was_made(project):
    kept = next(
        path
        for path in (project / ".dvc/cache").rglob("*")
        if path.is_file() and path.read_bytes() == b"weights of align"
    )
    kept.unlink()
    write("models/align/adapters/01_align/adapter_model.safetensors", "weights of align")
    assert find_twin("align2", MINE)
    write("models/align/adapters/01_align/adapter_model.safetensors", "weights of another build")
    assert find_twin("align2", MINE) is None


def test_a_step_is_not_its_own_twin_but_where_its_parent_has_another_name(project):
    write("models/sft/adapters/00_sft/adapter_model.safetensors", "weights of sft")
    assert find_twin("align", STEP) is None  # `dvc repro --force` trains
    assert find_twin("align", STEP, itself=True).name == "align"  # DVC could not find it
    assert find_twin("align", STEP | {"from": "first"}).name == "align"
