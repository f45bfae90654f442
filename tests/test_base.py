"""The base model comes from the spot, a folder or the Hub, and is safetensors or nothing."""

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from stages import base
from stages._models import BASE, load_model, save_tiny
from validators._problems import Problems


def params(tmp_path, model, revision="null"):
    (tmp_path / "params.yaml").write_text(f"base: {{model: {model}, revision: {revision}, backend: auto}}\n")


def test_tiny_is_made_on_the_spot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params(tmp_path, "tiny")
    base.main()
    assert load_model(BASE).config.model_type == "qwen3"


def test_a_local_folder_is_copied_without_its_pickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "mine")
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
    save_tiny(BASE)
    save_tiny(tmp_path / "mine")
    (tmp_path / "mine/model.safetensors").rename(tmp_path / "mine/pytorch_model.bin")
    params(tmp_path, "mine")
    with pytest.raises(Problems, match=r"has no safetensors, only pytorch_model\.bin"):
        base.main()
    assert (BASE / "model.safetensors").exists()


def test_a_hub_model_is_downloaded_at_its_revision(tmp_path, monkeypatch):
    asked = {}

    def download(model, revision, local_dir, allow_patterns):
        asked.update(model=model, revision=revision)
        save_tiny(local_dir)

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
