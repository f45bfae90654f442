import pytest

from commands.builds.hashes import files_in, hash_files
from stages.core.hashes import folder_md5, md5

FILES = {"b.json": "{}\n", "a/c.txt": "x\r\n", "a.txt": "", "ä/d": "y"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return tmp_path


def test_a_folder_has_the_hash_that_dvc_gives_it(folder):
    from dvc_data.hashfile.tree import Tree

    listing = {name: md5(f"out/{name}") for name in FILES}
    theirs = Tree.from_list([{"md5": md5, "relpath": name} for name, md5 in listing.items()], hash_name="md5")
    theirs.digest()
    assert folder_md5(listing) == theirs.hash_info.value


def test_line_ends_are_bytes_like_others(folder):
    assert md5("out/a/c.txt") == "cb30fc9cec9a2d04ef49b22e2066c264"


def test_files_are_hashed_as_one_by_one_and_a_missing_one_has_no_hash(folder):
    assert hash_files(["out/b.json", "out/none"]) == {"out/b.json": md5("out/b.json"), "out/none": None}


def test_every_file_of_an_output_is_seen(folder):
    (folder / ".dvcignore").write_text("*.txt\n")
    (folder / "out/.hidden").touch()
    assert files_in("out") == ["out/.hidden", "out/a.txt", "out/a/c.txt", "out/b.json", "out/ä/d"]
