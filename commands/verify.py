"""`tilth verify`: check the whole chain again from bytes; exits with 1 and names every break.

dvc.lock, dvc.yaml, params.yaml, every output, every raw file, git -> what was verified; or where it does not hold

With a TARGET it needs no repository: it checks a folder of `tilth export` with a public key, or a proof of `tilth prove` with the
statement of its model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from commands.builds.build import Build
    from commands.builds.evidence import Check, Evidence, Verdict
    from commands.statements.keys import PublicKeys

Target = Annotated[
    str | None,
    typer.Argument(help="A folder of tilth export, or a proof of a row. Left out: the whole chain of the repository."),
]
Key = Annotated[
    str | None, typer.Option("--key", "-k", metavar="FILE", help="The public key of the signer whom you trust, as PEM.")
]
Statement = Annotated[str | None, typer.Option(metavar="FILE", help="The statement to check a proof with.")]
Rev = Annotated[
    str | None, typer.Option(help="A past commit, from git and the DVC cache, as far as these have its files.")
]
Sample = Annotated[int, typer.Option(min=0, help="Recompute about this many ids, spread over all rows; 0 for all.")]
Cache = Annotated[bool, typer.Option("--cache", help="Also hash the objects of the DVC cache.")]
AllowDirty = Annotated[bool, typer.Option("--allow-dirty", help="Do not require a clean working tree.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(
    target: Target = None,
    key: Key = None,
    statement: Statement = None,
    rev: Rev = None,
    sample: Sample = 0,
    cache: Cache = False,
    allow_dirty: AllowDirty = False,
    as_json: Json = False,
    context: typer.Context = None,  # ty: ignore[invalid-parameter-default]  # typer passes it; other callers need not
) -> None:
    """Check the whole chain again from bytes: outputs, lock, rows, models, raw files, working tree. Or check TARGET."""
    import contextlib

    from commands.builds import build as _build
    from commands.builds.snapshot import enter_past_build
    from validators.problems import Problems

    if target is not None:
        start = Path((context.obj if context else None) or ".")
        verify_target(start, target, key, statement, as_json)
        return
    build = _build.read_build(rev)
    with enter_past_build(build) if rev else contextlib.nullcontext([]) as absent:
        evidence = gather_evidence(_build.read_build(), absent, build.rev, sample)
        report = {name: run_check(check, evidence) for name, check in checks(rev, cache, allow_dirty).items()}
    if as_json:
        print_json(build.rev, report, absent)
    else:
        show(report, absent)
    broken = [problem for _, problems in report.values() for problem in problems]
    if broken and as_json:
        raise typer.Exit(1)
    if broken:
        raise Problems(broken)


def checks(rev: str | None, cache: bool, allow_dirty: bool) -> "dict[str, Check]":
    """{name: check}, in the order of the report. A check: Evidence -> (counts, problems)."""
    from commands.builds.code import code
    from commands.checks import conservation, inputs, lock, pinned, row_ids, statements, tracking
    from commands.records import forgotten as _forgotten
    from commands.statements.folder import FOLDER

    found = {
        "outputs": lock.outputs,
        "cache": lock.cached if cache else None,
        "lock": lock.lock,
        "code": code,
        "records": conservation.records,
        "rows": row_ids.rows,
        "pinned": pinned.pinned,
        "models": inputs.models,
        "forgotten": _forgotten.forgotten,
        "documents": statements.statements if not rev and FOLDER.is_dir() else None,
        "raw": tracking.raw,
        "tree": None if rev or allow_dirty else tracking.tree,
    }
    return {name: check for name, check in found.items() if check}


SENTENCES = {
    "outputs": "{files:,} files of {outputs:,} outputs, {bytes:,} bytes, hash to what dvc.lock says",
    "cache": "{objects:,} objects of the cache hash to their names",
    "lock": "{stages:,} stages match dvc.yaml and params.yaml; {deps:,} dependencies match their files, {made:,} of them built by other stages",
    "code": "{lists:,} lists of code match the code",
    "records": "{records:,} raw records are rejects or rows; {rows:,} rows are in train, eval or rejected, each once",
    "rows": "{checked:,} of {total:,} ids recomputed from the rows match; no prompt is on both sides",
    "pinned": "{keys:,} keys that `eval:` keeps out of training match the {files:,} files that it names",
    "models": "{models:,} models match the present rows, settings and adapters; scores are of eval rows",
    "forgotten": "{listed:,} forgotten records are in no table, score or model",
    "documents": "{documents:,} documents of provenance/ match the build; {signed:,} signatures are by the team's keys",
    "raw": "{files:,} raw files are as committed, {by_dvc:,} of them by DVC",
    "tree": "{files:,} files as in commit {commit}",
}


def gather_evidence(build: "Build", absent: list[str], rev: str | None, sample: int) -> "Evidence":
    """The Evidence of the working folder: every file of every output and dependency, with hashes.

    absent: files of a past commit that the DVC cache does not have. sample: how many ids to recompute, 0 for all.
    """
    from commands.builds.differences import deps_of
    from commands.builds.evidence import Evidence
    from commands.builds.hashes import files_in, hash_files
    from commands.builds.sources import files_of_source

    files = {out: files_in(out) for out in build.outs}
    built = {file for found in files.values() for file in found}
    deps = deps_of(build)
    shared = {dep for dep in deps if any(out.startswith(f"{dep}/") for out in files)}
    others = {file for dep in shared for file in files_of_source(dep)} - built
    sources = {dep: files_of_source(dep) for dep in sorted(deps) if not build.makes(dep)}
    hashes = hash_files([*built, *(file for found in sources.values() for file in found)])
    known = sorted(file for file in others if not file.endswith(".gitignore"))
    return Evidence(build, files, sources, hashes, known, absent, rev, sample)


def run_check(check: "Check", evidence: "Evidence") -> "Verdict":
    """(counts, problems) of a check. An error in it becomes a problem, so that the other checks still run."""
    from validators.problems import Problem, Problems

    try:
        return check(evidence)
    except Problems as error:
        return {}, error.problems
    except Exception as error:  # a damaged or forged file may hold anything; what cannot be verified is a break
        found = f"cannot be checked: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        where = check.__name__  # ty: ignore[missing-attribute]  # each is a function
        hint = "tilth check, then fix the breaks that it names"
        return {}, [Problem(where, found, "files as a build leaves them", hint)]


# -- a target -----------------------------------------------------------------------------------------------------


def verify_target(start: Path, target: str, key: str | None, statement: str | None, as_json: bool = False) -> None:
    """Check a folder of `tilth export`, or a proof, and print what it shows. Raises Problems if it does not hold."""
    from commands.statements.keys import key_id, read_public_key, trusted_keys
    from validators.problems import Problem, Problems

    keys = {key_id(known): known for known in [read_public_key(start / key)]} if key else trusted_keys()
    path = start / target
    if not path.is_dir():
        verify_proof(path, start / statement if statement else None, keys, as_json)
        return
    if not keys:
        raise Problems(
            [
                Problem(
                    f"tilth verify {target}",
                    "no public key of the signer is known",
                    "--key FILE",
                    "the public key, from whoever signed it",
                )
            ]
        )
    verify_folder(path, keys, as_json)


def verify_folder(folder: Path, keys: "PublicKeys", as_json: bool = False) -> None:
    """Check that an exported folder is whole and signed; inside of the repository, also that this build gives the same."""
    from commands.statements.exported_folder import check_folder
    from validators.problems import Problems

    problems, found = check_folder(folder, keys)
    statement = found["statement"]
    if problems or statement is None:
        raise Problems(problems)
    definition = statement["predicate"]["buildDefinition"]
    step, sources, chain = (
        definition["externalParameters"]["step"],
        len(definition["resolvedDependencies"]) - 1,
        Path("dvc.lock").is_file(),
    )
    if not as_json:
        print(f"files     {found['files']:,} files of {folder} are those that were signed, and no other is there")
        print(f"statement of {step}, from {sources:,} files that no stage made")
        print(f"receipt   {found['checked']}")
    if not chain and not as_json:
        print("not verified: the chain to the raw rows; tilth verify DIR in the repository that it came from does")
    elif chain:
        check_same_build(step, folder, statement)
    if as_json:
        print_facts(
            folder=str(folder), files=found["files"], step=step, sources=sources, chain=chain, receipt=found["checked"]
        )
    elif chain:
        print(
            "chain     its statement and weights are what this build gives, down to the raw files; tilth verify checks the rest"
        )


def check_same_build(step: str, folder: Path, statement: "dict[str, Any]") -> None:
    """Raise Problems if an exported folder is not what this build gives."""
    from commands.builds.build import read_build
    from commands.checks.statements import export_problems
    from commands.exports.reexport import changed_files
    from validators.problems import Problems

    if problems := export_problems(read_build(), folder, statement) or changed_files(step, folder):
        raise Problems(problems)


def print_facts(**facts: object) -> None:
    import json

    print(json.dumps(facts, indent=2))


def verify_proof(path: Path, statement: Path | None, keys: "PublicKeys", as_json: bool = False) -> None:
    """Check a proof of a row and print what it shows. A signed statement must be signed by one of the keys."""
    import json

    from commands.statements.envelope import open_envelope
    from commands.statements.folder import read, statement_path
    from commands.statements.proofs import proof_problems, stated_rows
    from validators.problems import Problem, Problems

    proof = read(path, "a proof of tilth prove", "tilth prove ROW --model STEP writes one")
    if statement is None:
        stated = statement_path(str(proof.get("model")))
        beside = path.with_name(stated.name)
        statement = beside if beside.is_file() or not stated.is_file() else stated
    found = read(statement, "the statement of the model", "--statement FILE")
    if "payload" in found:
        if not keys:
            raise Problems(
                [Problem(str(statement), "is signed, and no public key of the signer is known", "--key FILE", "")]
            )
        found = json.loads(open_envelope(found, keys, str(statement)))
    rows = stated_rows(found, str(statement))
    if problems := proof_problems(proof, rows, str(path)):
        raise Problems(problems)
    if as_json:
        print_facts(
            id=proof["id"],
            trained=proof["trained"],
            model=rows["model"],
            rows=rows["size"],
            root=rows["root"],
            statement=str(statement),
        )
        return
    relation = "is one of" if proof["trained"] else "is not among"
    print(f"row       {proof['id']} {relation} the {rows['size']:,} rows that {rows['model']} was trained on")
    print(f"by        {statement}: root {rows['root']}")


# -- shown --------------------------------------------------------------------------------------------------------


def show(report: "Mapping[str, Verdict]", absent: list[str]) -> None:
    """Print a line for each check, and the files that could not be verified."""
    from stages.rows.tables import safe_text

    for name, (counts, problems) in report.items():
        broken = f"BROKEN: {len(problems):,} {'break' if len(problems) == 1 else 'breaks'}, named below"
        print(f"{name:<9} {broken if problems else SENTENCES[name].format(**counts)}")
    for path in absent[:20]:
        print(f"not verified: {safe_text(path, 500)}: its bytes are not in the DVC cache")
    if len(absent) > 20:
        print(f"not verified: {len(absent) - 20:,} more")


def print_json(rev: str | None, report: "Mapping[str, Verdict]", absent: list[str]) -> None:
    import json
    from dataclasses import asdict

    verified = {name: counts for name, (counts, _) in report.items()}
    broken = [{"check": name, **asdict(problem)} for name, (_, problems) in report.items() for problem in problems]
    print(json.dumps({"rev": rev, "verified": verified, "not_verified": absent, "broken": broken}, indent=2))
