"""What commands take from DVC beyond its documentation, each held against real DVC in a tiny project.

A test that fails here says what of `commands/builds/dvc.py` another version of DVC does otherwise.
"""

import ast
import hashlib
import shutil
from pathlib import Path

import preloaded
import pytest
from builds import git

from commands.builds.lock import cached_runs, read_lock
from stages.core.dvc_cache import cache_folder
from stages.core.hashes import folder_md5, md5

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
OF_DVC = {"dvc", "dvc_data", "dvc_objects", "scmrepo"}
ALLOWED = {
    "commands/builds/dvc.py",
    # the stage ingest asks DVC's patterns, and stages import no command
    "stages/reading/dvcignore.py",  # tests/test_dvcignore.py; only where a pattern may fit
}
GRAPH = """
vars: [params.yaml]
stages:
  make:
    foreach: ${names}
    do:
      cmd: mkdir -p out && cp raw/a.txt out/${key}.txt
      deps: [raw]
      params: [size, "names.${key}"]
      outs: ["out/${key}.txt"]
  join:
    cmd: cat out/*.txt > all.txt
    deps: [out]
    params: [{more.json: [deep.key]}]
    outs: [all.txt]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project that real `dvc repro` has built."""
    folder = tmp_path_factory.mktemp("dvc") / "made"
    (folder / "raw/inner").mkdir(parents=True)
    for name, text in (
        ("dvc.yaml", GRAPH),
        ("params.yaml", "size: 1\nnames: {one: {kind: x}, two: {kind: y}}\n"),
        ("more.json", '{"deep": {"key": [1, 2], "other": 0}}'),
        ("raw/a.txt", "text\r\n"),
        ("raw/inner/b.txt", "b"),
        ("raw/inner/x.partial", "x"),
        (".dvcignore", "*.partial\n"),
    ):
        (folder / name).write_bytes(text.encode())
    git(folder, "init", "-q")
    for command in (["dvc", "init", "-q"], ["dvc", "add", "-q", "raw/inner/b.txt"], ["dvc", "repro", "-q"]):
        done = preloaded.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of it to work on, as the working folder."""
    shutil.copytree(made, tmp_path / "p", symlinks=True)
    monkeypatch.chdir(tmp_path / "p")
    cache_folder.cache_clear()
    yield tmp_path / "p"
    cache_folder.cache_clear()


@pytest.fixture
def dvc():
    from commands.builds import dvc

    return dvc


@pytest.fixture
def repo(project, dvc):
    with dvc.Repo() as repo, repo.lock:
        yield repo


def stage(dvc, repo, name):
    return next(stage for stage in dvc.stages_in_order(repo) if stage.addressing == name)


def dep(dvc, repo, name, path):
    return next(dep for dep in stage(dvc, repo, name).deps if dep.def_path == path)


# -- who calls DVC ------------------------------------------------------------------------------------------------


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_one_module_of_commands_imports_dvc_and_one_of_stages():
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ("stages", "validators", "commands")
        for path in (ROOT / room).rglob("*.py")
        if OF_DVC & {name.partition(".")[0] for name in imported(path)}
    }
    assert found == ALLOWED, "what is called of DVC belongs into commands/builds/dvc.py, with a test here"


def test_nothing_else_calls_a_private_name_of_dvcs_objects():
    private = ("._load(", "._build(", "._create_stage(", "._get_cache_hash", ".stage_cache", "_get_hash_meta")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "commands").rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in private)
    }
    assert found == {"commands/builds/dvc.py"}


# -- what dvc.lock says -------------------------------------------------------------------------------------------


def test_a_lock_of_dvc_is_parsed_whole(project):
    stages = read_lock(None)
    assert list(stages) == ["make@one", "make@two", "join"]
    one = stages["make@one"]
    assert (one.kind, one.subject, one.cmd) == ("make", "one", "mkdir -p out && cp raw/a.txt out/one.txt")
    assert one.params == {"params.yaml": {"names.one": {"kind": "x"}, "size": 1}}
    assert stages["join"].params == {"more.json": {"deep.key": [1, 2]}}
    out = one.outs["out/one.txt"]
    assert (out.md5, out.size, out.stage) == (md5("out/one.txt"), 6, "make@one")
    assert one.deps["raw"].md5.endswith(".dir") and one.deps["raw"].nfiles == 4


def test_records_of_the_run_cache_are_stages(project):
    assert {(run.cmd, *run.outs) for run in cached_runs()} == {
        (stage.cmd, *stage.outs) for stage in read_lock(None).values()
    }


# -- what is ignored ----------------------------------------------------------------------------------------------


PATTERNS = {
    ".dvcignore": "*.partial\n__pycache__\n!keep.partial\n# a comment\n/top.txt\n",
    "raw/.dvcignore": "notes/\n*.tmp\n",
    "raw/inner/.dvcignore": "!x.tmp\n/b.*\n",
}
FILES = [
    "top.txt", "raw/top.txt", "raw/x.partial", "raw/keep.partial", "raw/__pycache__/x.pyc", "raw/notes/a", "raw/inner/notes/a",
    "raw/x.tmp", "raw/inner/x.tmp", "raw/inner/b.txt", "raw/inner/deep/b.txt", "raw/.git", "raw/.hg/a", "other/.dvc/config", "other/x", "raw/ä b",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in [*PATTERNS.items(), *((name, "x") for name in FILES)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def seen_by_dvc(tree):
    """The files that DVC walks through, as it does to hash a folder."""
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnoreFilter

    disk = LocalFileSystem()
    return {Path(file).relative_to(tree).as_posix() for file in DvcIgnoreFilter(disk, str(tree)).find(disk, str(tree))}


def test_what_is_ignored_is_told_from_texts_as_dvc_tells_it_of_a_folder(tree, dvc):
    found = dvc.without_ignored([*FILES, *PATTERNS], PATTERNS)
    assert set(found) == seen_by_dvc(tree)
    assert {"raw/keep.partial", "raw/inner/x.tmp", "raw/top.txt"} <= set(found)
    assert not {"top.txt", "raw/x.tmp", "raw/inner/notes/a", "raw/inner/b.txt"} & set(found)


@pytest.mark.parametrize("project", [False, True])
def test_without_any_dvcignore_dvc_ignores_what_sources_know(tree, project):
    from commands.builds.sources import without_ignored

    for name in PATTERNS:
        (tree / name).unlink()
    if not project:
        shutil.rmtree(tree / "other")
    files = [name for name in FILES if (tree / name).is_file()]
    assert set(without_ignored(files, {})) == seen_by_dvc(tree)


# -- the graph ----------------------------------------------------------------------------------------------------


def test_a_graph_resolves_without_a_repository(project, dvc):
    from ruamel.yaml import YAML

    found = dvc.resolve(YAML(typ="safe", pure=True).load(GRAPH))
    assert list(found) == ["make@one", "make@two", "join"]
    assert found["make@two"]["params"] == ["size", "names.two"]
    assert found["make@two"]["outs"] == ["out/two.txt"]
    with pytest.raises(dvc.DvcException):
        dvc.resolve(YAML(typ="safe", pure=True).load(GRAPH.replace("${names}", "${nobody}")))


def test_stages_stand_in_the_order_of_repro_after_data_that_dvc_keeps(repo, dvc):
    names = [stage.addressing for stage in dvc.stages_in_order(repo)]
    assert names[-1] == "join" and set(names[:-1]) >= {"make@one", "make@two"}
    kept = [stage for stage in dvc.stages_in_order(repo) if not stage.cmd]
    assert [stage.addressing for stage in kept] == ["raw/inner/b.txt.dvc"]


def test_what_the_plan_asks_of_a_stage_is_there(repo, dvc):
    join = stage(dvc, repo, "join")
    assert (join.cmd, join.frozen, join.wdir) == ("cat out/*.txt > all.txt", False, repo.root_dir)
    (out,) = join.outs
    assert (out.def_path, out.status(), out.persist, out.use_cache) == ("all.txt", {}, False, True)
    assert out.hash_info.value == md5("all.txt")
    Path("all.txt").unlink()
    assert out.status() == {"all.txt": "deleted"}


def test_parameters_are_a_dependency_with_their_values_as_hash(repo, dvc):
    params = dep(dvc, repo, "make@one", "params.yaml")
    assert dvc.is_params(params) and not dvc.is_params(dep(dvc, repo, "make@one", "raw"))
    assert params.hash_info.value == params.get_hash().value == {"size": 1, "names.one": {"kind": "x"}}
    assert dep(dvc, repo, "join", "more.json").get_hash().value == {"deep.key": [1, 2]}


@pytest.mark.parametrize(
    "value, stale", [("1", False), ("1.0", False), ("true", False), ("2", True), ('"1"', True), ("null", True)]
)
def test_a_parameter_has_changed_for_dvc_where_it_has_for_differences(project, dvc, value, stale):
    from commands.builds.differences import param_differences

    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("size: 1", f"size: {value}"))
    with dvc.Repo() as repo:
        params = dep(dvc, repo, "make@one", "params.yaml")
        found = param_differences("params.yaml", params.hash_info.value, params.get_hash().value)
        assert bool(found) == bool(params.status()) == stale


def test_the_files_of_a_folder_are_hashed_as_dvc_hashes_the_folder(repo, dvc):
    raw = dep(dvc, repo, "make@one", "raw")
    files = dvc.hashes_of_dep(raw)
    assert set(files) == {"a.txt", "inner/b.txt", "inner/b.txt.dvc"} | ({"inner/.gitignore"} & set(files))
    assert files["a.txt"] == md5("raw/a.txt")
    assert folder_md5(files) == raw.get_hash().value == raw.hash_info.value


# -- the run cache ------------------------------------------------------------------------------------------------


def test_a_stage_is_restored_from_the_record_of_its_inputs(repo, dvc):
    one = stage(dvc, repo, "make@one")
    hashes = {dep.def_path: dep.get_hash().value for dep in one.deps}
    record = dvc.run_record(repo, one, hashes)
    assert record["outs"][0]["md5"] == md5("out/one.txt")
    assert dvc.has_outputs(repo, one, record)
    assert dvc.run_record(repo, one, hashes | {"raw": "0" * 32 + ".dir"}) is None


def test_a_record_whose_object_is_gone_restores_nothing(repo, dvc):
    one = stage(dvc, repo, "make@one")
    entry = read_lock(None)["make@one"].entry()
    assert dvc.has_outputs(repo, one, entry)
    found = md5("out/one.txt")
    (cache_folder() / found[:2] / found[2:]).unlink()
    assert not dvc.has_outputs(repo, one, entry)


def test_a_record_has_the_name_of_its_content(project, dvc):
    records = list((cache_folder().parents[1] / "runs").glob("*/*/*"))
    assert len(records) == 3
    for path in records:
        text = path.read_text(encoding="utf-8")
        assert dvc.read_record(path.parent.name, path.name, text)["outs"]
        with pytest.raises(ValueError, match="does not belong to its name"):
            dvc.read_record(path.parent.name, path.name, text.replace("path: ", "path: x"))
        with pytest.raises(ValueError, match="cannot be read"):
            dvc.read_record(path.parent.name, path.name, "a: [")


# -- files, locks and configuration -------------------------------------------------------------------------------


def test_a_dvc_file_is_a_stage_that_knows_whether_its_data_changed(repo, dvc):
    kept = dvc.stage_of_file(repo, "raw/inner/b.txt.dvc")
    assert kept.outs[0].workspace_status() == {} and not kept.is_import
    Path("raw/inner/b.txt").write_text("other", encoding="utf-8")
    assert list(kept.outs[0].workspace_status().values()) == ["modified"]


def test_a_dvc_file_that_dvc_wrote_is_read_without_dvc(project):
    from commands.builds.dvc_files import read_dvc_files

    (found,) = read_dvc_files([Path("raw/inner/b.txt.dvc")]).values()
    assert (found.file.path, found.file.md5, found.file.size) == ("raw/inner/b.txt", md5("raw/inner/b.txt"), 1)
    assert found.pushed and found.imported is None


def test_nobody_builds_while_one_is_alone(project, dvc):
    with dvc.exclusive_repo("a test"):
        assert "a test" in Path(".dvc/tmp/rwlock").read_text(encoding="utf-8")
        done = preloaded.run(["dvc", "repro"], cwd=project, capture_output=True, text=True)
        assert done.returncode and "lock" in done.stdout + done.stderr


def test_stages_are_taken_out_of_the_lock_and_the_rest_stays(project, dvc):
    dvc.drop_from_lock(["make@two"])
    assert list(read_lock(None)) == ["make@one", "join"]


def test_remotes_are_named_by_the_configuration(project, dvc):
    assert dvc.remote_names() == []
    Path(".dvc/config").write_text("['remote \"team\"']\n    url = /nowhere\n", encoding="utf-8")
    assert dvc.remote_names() == ["team"]


def test_the_hash_of_dvc_2_leaves_out_the_ends_of_lines(project, dvc):
    assert dvc.legacy_md5("raw/a.txt") == hashlib.md5(b"text\n").hexdigest() != md5("raw/a.txt")


def test_a_file_appears_in_one_rename(repo, dvc):
    path = repo.cache.legacy.fs.join(repo.cache.legacy.path, "runs", "aa", "record")
    dvc.write_in_one_rename(b"text", path, repo.cache.legacy)
    assert Path(path).read_bytes() == b"text" and [file.name for file in Path(path).parent.iterdir()] == ["record"]


def test_plain_http_is_known_by_its_file_system(dvc):
    from dvc.fs import HTTPFileSystem, LocalFileSystem

    assert dvc.is_http(HTTPFileSystem()) and not dvc.is_http(LocalFileSystem())
