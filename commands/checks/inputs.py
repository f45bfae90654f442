"""Compare what the lists of datasets, the models and the scores say they were made from with what is there.

Each check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commands.builds.build import Build, chain
from commands.builds.evidence import Evidence, Verdict
from commands.checks.conservation import first_few
from stages.core.hashes import sha256
from stages.training.kept_prompts import kept_facts
from validators.problems import Problem, Problems

REBUILD_HINT = "dvc repro builds it anew"
# preflight writes `auto`; train chooses on its machine
BACKENDS = {"auto": ("transformers", "unsloth")}


def models(evidence: Evidence) -> Verdict:
    """Each model was made from the present rows, settings and adapters; each score is of an eval row."""
    build, problems, count = evidence.build, [], 0
    for side in ("train", "eval"):
        problems += list_problems(build, side)
    for name, step in build.steps.items():
        folder = Path("models", name)
        made_of = read_object(folder / "made_of.json", problems)
        if made_of is not None:
            count += 1
            problems += (
                settings_problems(name, step, made_of) + rows_problems(name, made_of) + kept_problems(name, made_of)
            )
        problems += adapter_problems(evidence, name, step["from"])
    for name in ("base", *build.steps):
        problems += score_problems(build, name)
    return {"models": count}, problems


def read_object(path: Path, problems: list[Problem]) -> dict[str, Any] | None:
    """A file with a JSON object; None where it is missing, which the check `outputs` names, or is not one."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
        why = f"found {type(found).__name__}"
    except ValueError as error:
        why = str(error)
    problems.append(Problem(str(path), f"does not parse: {why}", "a JSON object", REBUILD_HINT))
    return None


def sha256_if_there(path: str) -> str | None:
    """The sha256 of a file, None where it is missing."""
    return sha256(path) if Path(path).is_file() else None


def list_problems(build: Build, side: str) -> list[Problem]:
    """Where data/train.json or data/eval.json does not match the table of a dataset."""
    problems = []
    path = Path("data", f"{side}.json")
    listed = read_object(path, problems) or {}
    for name, dataset in build.datasets.items():
        found = sha256_if_there(f"data/{side}/{name}.parquet")
        if listed and found:
            entry = listed.get(name) or {}
            for key, value in (("sha256", found), ("kind", dataset["kind"])):
                if entry.get(key) != value:
                    where = f"{path}: {name}.{key}"
                    problems.append(
                        Problem(where, f"{entry.get(key)}", f"{value}, of data/{side}/{name}.parquet", REBUILD_HINT)
                    )
    return problems


def settings_problems(name: str, step: Mapping[str, Any], made_of: Mapping[str, Any]) -> list[Problem]:
    """Where a model was trained with other settings than preflight and params.yaml have for its step."""
    problems, where = [], f"models/{name}/made_of.json"
    settings = read_object(Path("preflight", f"{name}.json"), problems) or {}
    from_params = {"step": name, "method": step["method"], "from": step["from"], "dataset": step["dataset"]}
    for key, value in (settings | from_params).items():
        found = made_of.get(key)
        if found != value and found not in BACKENDS.get(value if key == "backend" else None, ()):
            problems.append(
                Problem(
                    f"{where}: {key}", json.dumps(found), f"{json.dumps(value)}, as steps.{name} is now", "dvc repro"
                )
            )
    return problems


def kept_problems(name: str, made_of: Mapping[str, Any]) -> list[Problem]:
    """Where a model was trained on other prompts than `keep` keeps now."""
    import pyarrow as pa

    try:
        now = kept_facts(made_of).get("kept")
    except (Problems, OSError, KeyError, pa.ArrowException):
        return []  # the check `outputs` names what is missing
    if now == made_of.get("kept"):
        return []
    where = f"models/{name}/made_of.json: kept"
    return [Problem(where, f"{made_of.get('kept')}", f"{now}, by data/kept/{made_of.get('dataset')}", "dvc repro")]


def rows_problems(name: str, made_of: Mapping[str, Any]) -> list[Problem]:
    """Where a model was trained on other rows than its dataset has now."""
    path = f"data/train/{made_of.get('dataset')}.parquet"
    found = sha256_if_there(path)
    if found is None or made_of.get("rows_sha256") == found:
        return []
    where = f"models/{name}/made_of.json: rows_sha256"
    return [Problem(where, f"{made_of.get('rows_sha256')}", f"{found}, the hash of {path}", "dvc repro")]


def adapter_problems(evidence: Evidence, name: str, parent: str) -> list[Problem]:
    """Where a model's adapters are not those of its parent followed by its own."""
    own = adapter_hashes(evidence, f"models/{name}")
    if not own:
        return []
    before = adapter_hashes(evidence, f"models/{parent}")
    problems = [
        Problem(file, "is not the adapter of its parent model", f"that of models/{parent}", "dvc repro")
        for file in (f"models/{name}/{inside}" for inside in before if own.get(inside) != before[inside])
    ]
    steps = list(dict.fromkeys(inside.split("/")[1].partition("_")[2] for inside in sorted(own)))
    expected = [step for step in chain(evidence.build, name) if step in steps]
    if steps != expected or steps[-1:] != [name]:
        order = ", ".join(chain(evidence.build, name))
        problems.append(Problem(f"models/{name}/adapters", ", ".join(steps), f"of {order}, in this order", "dvc repro"))
    return problems


def adapter_hashes(evidence: Evidence, folder: str) -> dict[str, str | None]:
    """{path inside the model: md5} of a model's adapters."""
    files = evidence.files.get(folder, [])
    inside = {file[len(folder) + 1 :]: evidence.md5s.get(file) for file in files}
    return {file: md5 for file, md5 in inside.items() if file.startswith("adapters/")}


def score_problems(build: Build, name: str) -> list[Problem]:
    """Scores of rows that are not in eval."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, problems = f"scores/{name}.parquet", []
    try:
        if not Path(path).is_file():
            return []
        scored = pq.read_table(path, columns=["dataset", "id"]).to_pylist()
        held_out = {
            dataset: set(pq.read_table(f"data/eval/{dataset}.parquet", columns=["id"])["id"].to_pylist())
            for dataset in {row["dataset"] for row in scored} & set(build.datasets)
        }
    except (pa.ArrowException, OSError, KeyError) as error:
        return [Problem(path, f"cannot be compared with the eval rows: {error}", "", REBUILD_HINT)]
    for row in scored:
        if row["id"] not in held_out.get(row["dataset"], ()):
            found = f"a score of row {str(row['id'])[:12]}"
            problems.append(Problem(f"{path}: {row['dataset']}", found, "a row of its data/eval", "dvc repro"))
    return first_few(problems, "scores are of no eval row")
