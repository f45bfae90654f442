"""The lists of code: what changes them, what does not, and what they name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages import code
from stages.code import Tree, code_lines, list_code, parse_list, sha256_of
from validators.problems import Problems

ROOT = Path(__file__).parents[1]
PLAIN = 'def f(a):\n    return a + "x"\n'
STAGE = "from stages.room import one\n\n\ndef main():\n    from validators.rewards import exact\n"
REWARDS = (
    "import math\nfrom validators.help import h\n\nA, B = 1, 2\n\n\ndef exact(x):\n    return _same(x)\n\n\n"
    "def close(x):\n    return math.isclose(A, h(x))\n\n\ndef _same(x):\n    return x\n"
)


def digest(source):
    return sha256_of(code_lines(source.encode()).values())


@pytest.mark.parametrize(
    "source",
    [
        '"""What it does."""\n\n\ndef f(a):\n    """The result,\n\n    at length."""\n    return a + "x"  # why\n',
        '# é, a comment of more bytes than letters\ndef f(a):  # é\n\n    # one more\n    return a + "x"\n\n\n',
        'def f(a):   \r\n    return a + "x"\r\n',
        '\ufeffdef f(a):\n    return a + "x"',
    ],
)
def test_comments_docstrings_blank_lines_and_line_ends_change_nothing(source):
    assert digest(source) == digest(PLAIN)


@pytest.mark.parametrize(
    "source",
    [
        'def f(a):\n    return a + "y"\n',
        'def f(a):\n    return a + "x" # x\n    pass\n',
        'def f(a):\n    return a + "# x"\n',
        'def f(a):\n        return a + "x"\n',
    ],
)
def test_code_changes_the_hash(source):
    assert digest(source) != digest(PLAIN)


def test_what_stands_in_a_text_is_no_comment_and_no_blank_line():
    texts = [
        'A = """\n# one\n\n  two  \n"""\n',
        'A = """\n# one\n  two  \n"""\n',
        'A = """\n# one\n\n  two\n"""\n',
        'A = """\n\n  two  \n"""\n',
    ]
    assert len({digest(text) for text in texts}) == 4
    formatted = ['A = f"""\n{1}\n\n"""\n', 'A = f"""\n{1}\n"""\n']
    assert digest(formatted[0]) != digest(formatted[1])


@pytest.fixture
def tree(tmp_path):
    for path, text in {
        "stages/one.py": STAGE,
        "stages/room/__init__.py": "",
        "stages/room/one.py": "import json\n",
        "stages/room/sql/a.sql": "SELECT 1",
        "stages/room/other.py": "X = 1\n",
        "validators/__init__.py": "",
        "validators/help.py": "def h(x):\n    return x\n",
        "validators/rewards.py": REWARDS,
        **{f"validators/{kind}.py": "" for kind in code.KINDS},
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_a_list_holds_what_the_stage_imports_and_the_other_files_of_those_folders(tree):
    assert list(parse_list(list_code(tree)["one"])) == ["stages/one.py", "stages/room/one.py", "stages/room/sql/a.sql"]


def test_a_package_with_code_of_its_own_is_part_of_what_it_holds(tree):
    (tree / "stages/room/__init__.py").write_text("import os\n")
    assert "stages/room/__init__.py" in parse_list(list_code(tree)["one"])


def test_a_relative_import_is_followed(tree):
    (tree / "stages/room/one.py").write_text("from .other import X\n")
    assert "stages/room/other.py" in parse_list(list_code(tree)["one"])


def test_an_import_for_type_checkers_alone_is_in_no_list(tree):
    lines = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from .other import X\nelse:\n    from validators import help\n"
    (tree / "stages/room/one.py").write_text(lines)
    found = parse_list(list_code(tree)["one"])
    assert "stages/room/other.py" not in found and "validators/help.py" in found


def test_a_reward_function_has_a_list_of_all_that_it_calls(tree):
    found = list_code(tree)
    of = "validators/rewards.py:"
    assert list(parse_list(found["rewards/exact"])) == [f"{of}_same", f"{of}exact"]
    assert list(parse_list(found["rewards/close"])) == [
        "validators/help.py",
        f"{of}A",
        f"{of}B",
        f"{of}close",
        f"{of}h",
        f"{of}math",
    ]


def test_a_statement_that_may_do_anything_belongs_to_every_reward_function(tree):
    (tree / "validators/rewards.py").write_text(REWARDS + "\n\nfor name in ():\n    globals()[name] = 1\n")
    assert "validators/rewards.py:*" in parse_list(list_code(tree)["rewards/exact"])


def test_modules_that_do_not_parse_are_all_named_with_their_lines(tree):
    (tree / "stages/room/other.py").write_text("x = 1\nx =\n")
    (tree / "validators/help.py").write_text("(\n")
    with pytest.raises(Problems) as error:
        list_code(tree)
    assert [problem.where for problem in error.value.problems] == ["stages/room/other.py:2", "validators/help.py:1"]


def test_an_import_of_a_module_that_no_stage_depends_on_is_refused(tree):
    (tree / "mine.py").write_text("")
    (tree / "stages/room/one.py").write_text("import mine\n")
    with pytest.raises(Problems, match="imports mine, which no stage depends on"):
        list_code(tree)


def test_lists_that_are_no_more_are_removed_and_those_that_stay_are_not_touched(tree):
    folder = tree / "lists"
    code.write_lists({"one": "a\n", "rewards/f": "b\n"}, folder)
    stamp = (folder / "one").stat().st_mtime_ns
    code.write_lists({"one": "a\n"}, folder)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["one"]
    assert (folder / "one").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_another_python_makes_the_same_lists(version):
    program = "import sys; sys.path.insert(0, '.'); from stages.code import list_code; print(list_code())"
    done = (
        subprocess.run([f"python{version}", "-c", program], cwd=ROOT, capture_output=True, text=True, env=os.environ)
        if has(version)
        else None
    )
    if done is None:
        pytest.skip(f"no Python {version} here")
    assert done.returncode == 0, done.stderr
    here = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == here.stdout


def has(version):
    """Whether a Python of a version starts."""
    try:
        return subprocess.run([f"python{version}", "-c", ""], capture_output=True).returncode == 0
    except OSError:
        return False


def test_every_module_of_the_project_is_in_the_closure_of_a_stage_or_in_a_list():
    tree = Tree(ROOT)
    assert "stages/dedup/near_duplicates.py" in tree.closure("stages/curate.py")
    assert code.REWARDS not in tree.closure("stages/train.py")
