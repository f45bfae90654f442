"""Compare published documents with the present build: provenance/, its signatures, and an exported folder.

The check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

from pathlib import Path
from typing import Any

from commands.builds.build import Build
from commands.builds.evidence import Evidence, Verdict
from commands.statements.exported_folder import BOM_FILE, STATEMENT_FILE, count_signed_files, problems_from
from commands.statements.folder import FOLDER, bom_path, envelope_path, read, signature_path, statement_path, text_of
from commands.statements.keys import TEAM_KEYS, PublicKeys, trusted_keys
from validators.problems import Problem, Problems

RENEW_HINT = "tilth provenance, and tilth sign where it was signed"


def statements(evidence: Evidence) -> Verdict:
    """Every document in provenance/ is what the build gives, and every signature there is by a key of the team."""
    from commands.statements.documents import documents

    present = {path for path in FOLDER.rglob("*.json") if not path.name.endswith(".dsse.json")}
    made, problems = documents(evidence.build), []
    for path in sorted(present):
        if path not in made:
            problems.append(Problem(str(path), "is of no model or dataset of this build", "no such file", "delete it"))
        elif path.read_bytes() != text_of(made[path]).encode():
            problems.append(Problem(str(path), "is not what the build gives", "the same bytes", RENEW_HINT))
    signed = sorted({*FOLDER.rglob("*.dsse.json"), *FOLDER.rglob("*.sig")})
    keys = trusted_keys() if signed else {}
    if signed and not keys:
        found = f"{len(signed)} signatures, and no key to check them by"
        problems.append(Problem(str(TEAM_KEYS), found, "the public keys of the team", "openssl ec -in KEY -pubout"))
    for step in evidence.build.steps if keys else ():
        problems += problems_from(lambda step=step: check_signed_statement(step, keys))
        problems += problems_from(lambda step=step: check_signed_files(step, keys))
    return {"documents": len(present), "signed": len(signed)}, problems


def check_signed_statement(step: str, keys: PublicKeys) -> None:
    from commands.statements.envelope import open_envelope

    path = envelope_path(step)
    if (
        path.is_file()
        and open_envelope(read(path, "a signed statement", RENEW_HINT), keys, str(path))
        != statement_path(step).read_bytes()
    ):
        raise Problems([Problem(str(path), "holds another statement", f"that of {statement_path(step)}", RENEW_HINT)])


def check_signed_files(step: str, keys: PublicKeys) -> None:
    if signature_path(step).is_file():
        count_signed_files(Path("models", step), signature_path(step), keys)


# -- an exported folder -------------------------------------------------------------------------------------------


def export_problems(build: Build, folder: Path, statement: dict[str, Any]) -> list[Problem]:
    """Where the documents in an exported folder differ from those of this build."""
    from commands.statements.documents import documents

    step = statement["predicate"]["buildDefinition"]["externalParameters"]["step"]
    if step not in build.steps:
        return [
            Problem(
                str(folder / STATEMENT_FILE),
                f"is of step {step!a}",
                "a step of this build",
                "the repository that it came from",
            )
        ]
    made = documents(build)
    problems = [
        Problem(str(folder / name), "is not what this build gives", f"that of {path}", "it came from another build")
        for name, path in ((STATEMENT_FILE, statement_path(step)), (BOM_FILE, bom_path(step)))
        if (folder / name).read_bytes() != text_of(made[path]).encode()
    ]
    return problems
