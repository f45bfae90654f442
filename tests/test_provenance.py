"""What leaves the house says what the build was, is the same of the same build, and is not written of anything else."""

import hashlib
import json
from pathlib import Path

import pytest
from builds import restore, stamps

from commands import provenance
from commands.builds import build as _build
from commands.statements.folder import statement_path
from validators.problems import Problems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(built, tmp_path_factory):
    return built.copy(tmp_path_factory.mktemp("provenance") / "p")


@pytest.fixture
def project(built, copy, monkeypatch):
    monkeypatch.chdir(copy.folder)
    _build.cache_folder.cache_clear()
    before = stamps(copy.folder)
    yield copy
    restore(built.folder, copy.folder, before)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def statement_of(step):
    return json.loads(statement_path(step).read_text(encoding="utf-8"))


def written():
    return {path: path.read_bytes() for path in sorted(Path("provenance").rglob("*")) if path.is_file()}


def test_a_statement_names_every_file_of_its_model_and_all_that_it_was_made_of(project):
    provenance.main()
    found = statement_of("align")
    files = {path.relative_to("models/align").as_posix() for path in Path("models/align").rglob("*") if path.is_file()}
    assert {entry["name"]: entry["digest"]["sha256"] for entry in found["subject"]} == {
        name: sha256(f"models/align/{name}") for name in files
    }
    materials = {
        entry["name"]: entry["digest"].get("sha256")
        for entry in found["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    raw = [path.as_posix() for dataset in ("chat", "pairs") for path in Path("data/raw", dataset).iterdir()]
    for path in (
        *raw,
        "data/forgotten.jsonl",
        ".build/code/train",
        ".build/code/curate",
        ".build/params/curate/chat.json",
    ):
        assert materials[path] == sha256(path), path
    assert materials["models/base/model.safetensors"] == sha256("models/base/model.safetensors")


def test_the_same_build_gives_the_same_bytes_without_a_path_of_the_machine(project, built, tmp_path, monkeypatch):
    provenance.main()
    here = written()
    other = built.copy(tmp_path / "elsewhere")
    monkeypatch.chdir(other.folder)
    _build.cache_folder.cache_clear()
    provenance.main()
    assert here == written() and len(here) >= 2
    assert not any(str(place).encode() in text for text in here.values() for place in (project.folder, Path.home()))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("models/align/model.safetensors", "models/align: hashes to"),
        ("data/raw/chat/table.csv", "data/raw/chat"),
        ("models/base/model.safetensors", "models/base: hashes to"),
        ("scores/sft.seen.parquet", "scores/sft.seen.parquet: hashes to"),
    ],
)
def test_nothing_is_stated_of_what_was_changed_since(project, path, named):
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).unlink()
    Path(path).write_bytes(data)
    with pytest.raises(Problems, match=named):
        provenance.main()
    assert not Path("provenance").exists()


def test_nothing_is_stated_of_a_model_that_params_would_make_otherwise(project):
    params = project.read_params()
    params["seed"] = 8
    project.write_params(params)
    with pytest.raises(Problems, match="seed: 7 -> 8"):
        provenance.main()


def test_check_names_the_documents_that_are_not_of_the_build(project):
    provenance.main()
    provenance.main(check=True)
    text = statement_path("sft").read_text(encoding="utf-8")
    statement_path("sft").write_text(text.replace('"seed": 7', '"seed": 9'), encoding="utf-8")
    with pytest.raises(Problems, match=r"sft\.intoto\.json: is another document"):
        provenance.main(check=True)
