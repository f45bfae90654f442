"""The base model comes from the spot, a folder or the Hub, and is safetensors or nothing."""

import json
import os
import pickle
import subprocess
import sys

import pytest
from builds import write_params
from conftest import ROOT
from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

from stages import base
from stages.training.models import BASE, load_model, save_tiny_model
from validators.problems import Problems

pytestmark = pytest.mark.slow


def params(tmp_path, model, revision="null"):
    write_params(f"base: {{model: {model}, revision: {revision}, backend: auto}}", tmp_path)


def test_tiny_is_made_on_the_spot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params(tmp_path, "tiny")
    base.main()
    assert load_model(BASE).config.model_type == "qwen3"


def test_a_local_folder_is_copied_without_its_pickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "mine")
    (tmp_path / "mine/pytorch_model.bin").write_bytes(b"pickle")
    (tmp_path / "mine/LICENSES").mkdir()
    for name in ("README.md", "LICENSE"):  # the card, which has the license, and the license
        (tmp_path / "mine" / name).write_text(name)
    params(tmp_path, "mine")
    base.main()
    assert all((BASE / name).exists() for name in ("model.safetensors", "README.md", "LICENSE"))
    assert not (BASE / "pytorch_model.bin").exists()


def test_a_folder_with_pickles_alone_is_refused_and_the_old_model_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(BASE)
    save_tiny_model(tmp_path / "mine")
    (tmp_path / "mine/model.safetensors").rename(tmp_path / "mine/pytorch_model.bin")
    params(tmp_path, "mine")
    with pytest.raises(Problems, match=r"has no safetensors, only pytorch_model\.bin"):
        base.main()
    assert (BASE / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["notes.txt", "model-2.safetensors", "config.json"])
def test_a_link_that_leaves_the_folder_is_not_followed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "mine")
    (tmp_path / "secret").write_text("a secret of this machine")
    (tmp_path / "mine" / name).unlink(missing_ok=True)
    (tmp_path / "mine" / name).symlink_to(tmp_path / "secret")
    params(tmp_path, "mine")
    with pytest.raises(Problems, match=rf"base\.model: mine/{name}: a link that leaves the folder"):
        base.main()
    assert not (tmp_path / "models").exists()


def test_links_inside_the_folder_and_to_the_folder_are_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "elsewhere/mine")
    (tmp_path / "elsewhere/mine/LICENSE").write_text("free")
    (tmp_path / "elsewhere/mine/LICENSE.txt").symlink_to("LICENSE")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere/mine")
    params(tmp_path, "link")
    base.main()
    assert (BASE / "LICENSE.txt").read_text() == "free" and not (BASE / "LICENSE.txt").is_symlink()


def test_what_dvc_keeps_as_links_to_its_cache_is_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / ".dvc/cache/files/md5/ab"
    kept.mkdir(parents=True)
    save_tiny_model(tmp_path / "mine")
    for number, path in enumerate(sorted((tmp_path / "mine").iterdir())):
        path.symlink_to(path.rename(kept / f"{number:030x}"))
    params(tmp_path, "mine")
    base.main()
    assert load_model(BASE).config.model_type == "qwen3"


def hub_cache(folder):
    """The tiny model as a cache of the Hub has it: the folder of a commit, with links to blobs."""
    snapshot, blobs = folder / "snapshots/0123abc", folder / "blobs"
    save_tiny_model(snapshot)
    blobs.mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / f"{number:040x}")
        path.symlink_to(f"../../blobs/{number:040x}")
    return snapshot


def test_a_commit_in_a_cache_of_the_hub_is_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params(tmp_path, hub_cache(tmp_path / "models--some--model"))
    base.main()
    assert load_model(BASE).config.model_type == "qwen3"
    assert not any(path.is_symlink() for path in BASE.iterdir())


def test_a_cache_of_the_hub_reaches_no_further_than_its_blobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snapshot = hub_cache(tmp_path / "models--some--model")
    (tmp_path / "secret").write_text("a secret of this machine")
    (snapshot.parents[1] / "blobs/f").symlink_to(tmp_path / "secret")
    links = {"a.txt": "../../blobs/f", "b.txt": "../../../secret", "c.txt": "../../blobs/lost", "d.txt": "d.txt"}
    for name, target in links.items():
        (snapshot / name).symlink_to(target)
    params(tmp_path, snapshot)
    with pytest.raises(Problems) as found:
        base.main()
    assert [(problem.where.rpartition("/")[2], problem.found) for problem in found.value.problems] == [
        ("a.txt", "a link that leaves the folder"),
        ("b.txt", "a link that leaves the folder"),
        ("c.txt", "a link to a missing file"),
        ("d.txt", "a link to a missing file"),
    ]


def test_a_hub_model_is_downloaded_at_its_revision(tmp_path, monkeypatch):
    asked = {}

    def download(model, revision, local_dir, allow_patterns):
        asked.update(model=model, revision=revision)
        save_tiny_model(local_dir)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    params(tmp_path, "some/model", "abc123")
    base.main()
    assert asked == {"model": "some/model", "revision": "abc123"}


def test_a_revision_that_is_not_there_is_a_clear_error(tmp_path, monkeypatch):
    def download(*_, **__):
        raise LocalEntryNotFoundError("no such revision")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    params(tmp_path, "some/model", "abc123")
    with pytest.raises(Problems, match=r"'some/model' at revision 'abc123' could not be downloaded"):
        base.main()


NOBODY = "HF_ENDPOINT=http://127.0.0.1:9"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "model, revision, setting, found",
    [
        ("some/model", COMMIT, NOBODY, "ConnectError"),
        ("some/model", "main", NOBODY, "ConnectError"),
        ("some/model", COMMIT, "HF_HUB_OFFLINE=1", "OfflineModeIsEnabled"),
        ("not a/model", "main", NOBODY, "HFValidationError"),
    ],
)
def test_what_cannot_be_downloaded_is_one_problem_and_no_traceback(tmp_path, model, revision, setting, found):
    params(tmp_path, model, revision)
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    variables = {name: value for name, value in os.environ.items() if name.lower() not in (*proxies, "hf_hub_offline")}
    variables |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), **dict([setting.split("=", 1)])}
    done = subprocess.run(
        [sys.executable, "-m", "stages", "base"], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 1
    problem, hint = done.stderr.splitlines()
    assert problem.startswith(f"base.model: {model!r} at revision {revision!r} could not be downloaded: ")
    assert found in problem and hint.startswith("  hint: check the id, the revision and the network")
    assert not (tmp_path / "models/base").exists()


def test_a_commit_that_the_model_does_not_have_is_named(tmp_path, monkeypatch):
    import httpx

    def download(*_, **__):
        raise RevisionNotFoundError("404", response=httpx.Response(404, request=httpx.Request("GET", "https://a")))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    params(tmp_path, "some/model", "abc123")
    with pytest.raises(Problems, match=r"base.revision: 'some/model' has no revision 'abc123'"):
        base.main()


def test_a_hub_model_of_pickles_alone_is_refused(tmp_path, monkeypatch):
    def download(model, revision, local_dir, allow_patterns):
        save_tiny_model(local_dir)
        (local_dir / "model.safetensors").unlink()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    params(tmp_path, "some/model", "abc123")
    with pytest.raises(Problems, match=r"has no safetensors; expected weights as .* pickles can run code"):
        base.main()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def make_pickle(path):
    path.write_bytes(pickle.dumps({"weight": [0.0] * 100}))


def make_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2\n")


def make_header_of_something_else(path):
    path.write_bytes((8).to_bytes(8, "little") + b'{"a": 1}')


@pytest.mark.parametrize("spoil", [cut, make_pickle, make_pointer, make_header_of_something_else])
def test_weights_that_are_cut_or_something_else_under_that_name_are_refused(tmp_path, monkeypatch, spoil):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "mine")
    spoil(tmp_path / "mine/model.safetensors")
    params(tmp_path, "mine")
    with pytest.raises(Problems, match=r"model\.safetensors: cut, or no safetensors"):
        base.main()


def test_a_part_that_the_index_names_and_that_is_lost_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "mine")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "mine/model.safetensors.index.json").write_text(json.dumps(index))
    params(tmp_path, "mine")
    with pytest.raises(Problems, match=r"model-00002-of-00002\.safetensors: not there"):
        base.main()
