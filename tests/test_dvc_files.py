from pathlib import Path

import pytest

from commands.builds.dvc_files import parse_dvc_file, read_dvc_files
from commands.builds.lock import File
from validators.problems import Problems

OUT = "outs:\n- md5: 5f0e\n  size: 3\n  hash: md5\n  path: a.jsonl\n"


def test_what_a_dvc_file_keeps_has_its_path_from_the_root():
    (found,) = parse_dvc_file("data/raw/a.jsonl.dvc", OUT)
    assert found.file == File("data/raw/a.jsonl", "5f0e", 3, None, "md5")
    assert (found.dvc, found.imported, found.pushed) == ("data/raw/a.jsonl.dvc", None, True)
    (found,) = parse_dvc_file("data/raw/a.jsonl.dvc", f"wdir: ..\n{OUT}")
    assert found.file.path == "data/a.jsonl"


@pytest.mark.parametrize("text", ["", "outs: []", "outs:\n- path: raw\n", "outs:\n- md5: 5f0e\n", "deps: []"])
def test_a_dvc_file_without_a_hash_keeps_nothing_yet(text):
    if text:
        assert parse_dvc_file("raw.dvc", text) == []
    else:
        with pytest.raises(Problems):
            parse_dvc_file("raw.dvc", text)


@pytest.mark.parametrize("text", ["[", "words", "outs: 1", "outs: [words]", "- a", "deps: 1\n" + OUT])
def test_what_is_no_dvc_file_is_a_problem_with_a_hint(text):
    with pytest.raises(Problems, match=r"raw.dvc: does not parse(.|\n)*git checkout raw.dvc"):
        parse_dvc_file("raw.dvc", text)


def test_marks_of_a_merge_in_a_dvc_file_are_named():
    text = OUT.replace("5f0e", "5f0e\n=======\n- md5: 6a1f\n>>>>>>> other").replace("outs:\n", "outs:\n<<<<<<< HEAD\n")
    with pytest.raises(
        Problems, match=r"raw\.dvc:2: marks of a merge(.|\n)*git checkout --ours raw\.dvc \(or --theirs\)"
    ):
        parse_dvc_file("raw.dvc", text)


@pytest.mark.parametrize(
    ("text", "address", "pushed"),
    [
        (f"deps:\n- path: https://ada:pw@example.org/a\n{OUT}", "https://***@example.org/a", True),
        (f"deps:\n- path: a\n  repo:\n    url: git@example.org:a.git\n{OUT}", "git@example.org:a.git: a", False),
        (f"{OUT}  remote: other\n", None, False),
        (f"{OUT}  push: false\n", None, False),
    ],
)
def test_where_data_come_from_and_whether_they_are_pushed(text, address, pushed):
    (found,) = parse_dvc_file("a.jsonl.dvc", text)
    assert (found.imported, found.pushed) == (address, pushed)


def test_numbers_are_those_of_yaml_1_2():
    (found,) = parse_dvc_file("a.dvc", "outs:\n- md5: 5f0e\n  path: no\n  size: 17\n")
    assert (found.file.path, found.file.size) == ("no", 17)


def test_files_are_read_from_a_folder(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.jsonl.dvc").write_text(OUT, encoding="utf-8")
    (tmp_path / ".dvc").mkdir()
    found = read_dvc_files([*tmp_path.rglob("*.dvc"), Path(tmp_path, "none.dvc")], tmp_path)
    assert list(found) == ["raw/a.jsonl"] and found["raw/a.jsonl"].dvc == "raw/a.jsonl.dvc"
