"""What a build is made of, as plain data: each stage of the lock, each dataset's rows, each model's parts.

    facts(at(), datasets=["chat"], steps=["sft"]) -> {"datasets": {...}, "base": {...}, "models": {...}}, problems

Counts come from the metadata and the small columns of the Parquet files, hashes from dvc.lock; `stale` says where the
lock is not what stands in params.yaml and in the files that people wrote.
"""

import json
from collections import Counter
from pathlib import Path, PurePosixPath

from commands.builds.build import Missing, chain, file_of, files_of
from commands.builds.code import FOLDER, changes_since, computed
from commands.builds.code import md5_of as md5_of_code
from commands.builds.code import written as written_lists
from commands.builds.sources import Source, data_files, folder_md5, md5_of, sources_of

SHARED = ("collect", "preflight", "collect_scores", "report")
GATE = ".build/params.ok"  # its content never changes: it says nothing
DECIDES = ("method", "from", "dataset", "seed", "args", "lora", "rewards")  # what a step's training is decided by


def facts(build, datasets, steps):
    """(the lineage of some datasets and steps, problems): what has no bytes left is a problem, the rest is answered."""
    problems = []
    written = written_by_people(build)
    stages = {name: stage(build, name, written) for name in build.stages}
    for name in stages:
        behind(build, name, stages)
    return {
        "revision": build.rev,
        "datasets": {name: dataset(build, name, stages, problems) for name in datasets},
        "base": base(build, stages, problems),
        "models": {name: model(build, name, stages, problems) for name in steps},
        "shared": [stages.get(name) or unbuilt(name) for name in SHARED],
    }, problems


def attempt(problems, look, build, path):
    """What a function finds at a path; None where it was never built, which its stage says, or where bytes are missing.

    What is missing is added to the problems.
    """
    if not any(path == out or path.startswith(f"{out}/") for out in build.outs):
        return None
    try:
        return look(build, path)
    except Missing as error:
        problems += [problem for problem in error.problems if problem not in problems]
        return None


def files_in(build, folder):
    """{path: md5} of the files of an output; without hashes where the cache has lost the list and the files are here."""
    try:
        return files_of(build, folder) if folder in build.outs else {}
    except Missing:
        here = sorted(path.as_posix() for path in Path(folder).rglob("*") if path.is_file())
        if build.rev or not here:
            raise
        return dict.fromkeys(here)


def as_json(build, path):
    """A JSON file of the build."""
    return json.loads(file_of(build, path).read_text(encoding="utf-8"))


# -- stages -------------------------------------------------------------------------------------------------------


def stage(build, name, written):
    """One entry of the lock: hashes of what went in by kind, what came out, and what has changed since."""
    entry = build.stages[name]
    deps = {dep["path"]: dep.get("md5") for dep in entry.get("deps") or [] if dep["path"] != GATE}
    # builds from before there were lists depend on each module
    checking = (f"{FOLDER}/kinds", f"{FOLDER}/rewards", "validators/")
    validators = {path: md5 for path, md5 in deps.items() if path.startswith(checking)}
    code = {p: md5 for p, md5 in deps.items() if p.startswith((f"{FOLDER}/", "stages/")) and p not in validators}
    return {
        "stage": name,
        "params": (entry.get("params") or {}).get("params.yaml") or {},
        "code": code,
        "validators": validators,
        "inputs": {path: md5 for path, md5 in deps.items() if path not in code and path not in validators},
        "outputs": {out["path"]: out.get("md5") for out in entry.get("outs") or []},
        "stale": [*changed_params(build, entry), *changed_deps(build, entry, written), *changed_launch(build, entry)],
    }


def unbuilt(name):
    kinds = ("params", "code", "validators", "inputs", "outputs")
    return {"stage": name} | {kind: {} for kind in kinds} | {"stale": [f"not built: dvc repro {name}"]}


def changed_params(build, entry):
    for key, locked in ((entry.get("params") or {}).get("params.yaml") or {}).items():
        now = build.params
        for part in key.split("."):
            now = now.get(part) if isinstance(now, dict) else None
        if now != locked:
            yield f"params.yaml: {', '.join(differing(key, locked, now))}"


def differing(key, locked, now):
    """The values that differ, each as `key: was -> is`."""
    if not (isinstance(locked, dict) and isinstance(now, dict)):
        return [f"{key}: {plain(locked)} -> {plain(now)}"]
    keys = [name for name in locked | now if locked.get(name) != now.get(name)]
    return [text for name in keys for text in differing(f"{key}.{name}", locked.get(name), now.get(name))]


def plain(value):
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def changed_deps(build, entry, written):
    for dep in entry.get("deps") or []:
        path, locked = dep["path"], dep.get("md5")
        if path == GATE:
            continue
        if path.startswith(f"{FOLDER}/"):
            now = md5_of_code(computed() if build.rev is None else written_lists(build), path)
            if now != locked:
                yield from changes_since(build, path, locked)
        elif path in written:
            now, size = written[path]
            if now == "":
                if size != dep.get("size"):
                    yield f"{path}: {dep.get('size'):,} bytes -> {size:,} bytes"
            elif now is None and build.rev and not path.startswith(("stages/", "validators/")):
                continue  # raw data that neither git nor DVC has at that commit: not known to have changed
            elif now != locked:
                yield f"{path}: {short(locked)} -> {short(now) if now else 'not there'}"
        elif (now := built_md5(build, path)) and now != locked:
            yield f"{path}: {short(locked)} -> {short(now)}, as dvc.lock has what made it"


def built_md5(build, path):
    """The hash in dvc.lock of what a stage built: an output, a file inside one, or the folder around several."""
    if path in build.outs:
        return build.outs[path].get("md5")
    try:
        for out in build.outs:
            if path.startswith(f"{out}/"):
                return files_of(build, out).get(path)
    except Missing:
        return None
    names = {"base", *build.datasets, *build.steps}  # what params.yaml no longer has was deleted from such a folder
    inside = {out[len(path) + 1 :]: entry["md5"] for out, entry in build.outs.items() if out.startswith(f"{path}/")}
    return folder_md5({name: md5 for name, md5 in inside.items() if name.split(".")[0] in names})


def behind(build, name, stages):
    """Write into a stage what it was made from that is stale itself; the lists of datasets say nothing of one."""
    made_from = [path for path in stages[name]["inputs"] if path in build.outs and not path.endswith(".json")]
    for path in made_from:
        maker = build.outs[path]["stage"]
        said = f"{path}: stale itself"
        if said not in stages[name]["stale"] and (stages[maker]["stale"] or behind(build, maker, stages)):
            stages[name]["stale"].append(said)
    return stages[name]["stale"]


def changed_launch(build, entry):
    launch, command = build.params.get("launch"), entry.get("cmd", "")
    if "-m stages train " in command and not command.startswith(f"{launch} -m stages"):
        yield f"params.yaml: launch: {command.split(' -m stages')[0]} -> {launch}"


def written_by_people(build):
    """{path: (md5, size)} of every dependency that no stage builds."""
    rooms = {str(PurePosixPath(out).parent) for out in build.outs} | set(build.outs)
    paths = {dep["path"] for entry in build.stages.values() for dep in entry.get("deps") or []}
    paths = {path for path in paths if not path.startswith(f"{FOLDER}/") and path not in rooms and str(PurePosixPath(path).parent) not in build.outs}
    found = sources_of(build, sorted(paths - {GATE}))
    return {path: (md5_of(path, files), sum(file.size or 0 for file in files)) for path, files in found.items()}


def short(md5):
    return (md5 or "nothing")[:10]


# -- datasets -----------------------------------------------------------------------------------------------------


def dataset(build, name, stages, problems):
    """From the raw files of a dataset to its two sides, with the rows at each stage."""
    declared = build.datasets[name]
    entries = {
        room: stages.get(f"{room}@{name}") or unbuilt(f"{room}@{name}") for room in ("ingest", "validate", "curate")
    }
    counts = attempt(problems, ingested, build, f"data/ingested/{name}") or {
        "rows": Counter(),
        "records": Counter(),
        "rejected": Counter(),
    }
    refused = attempt(problems, refused_by, build, f"data/rejected/{name}.parquet")
    sides = {side: attempt(problems, rows_in, build, f"data/{side}/{name}.parquet") for side in ("train", "eval")}
    flow(entries, counts, refused, sides)
    return {
        "kind": declared.get("kind"),
        "raw": raw(build, raw_path(build, name), entries["ingest"], counts),
        "stages": list(entries.values()),
        "train": side_of(build, f"data/train/{name}.parquet", sides["train"]),
        "eval": side_of(build, f"data/eval/{name}.parquet", sides["eval"]),
        "trains": [step for step in build.steps if name in datasets_of(build, step)],
    }


def raw_path(build, name):
    return PurePosixPath(build.datasets[name]["raw"]).as_posix()


def datasets_of(build, step):
    return [build.steps[one]["dataset"] for one in chain(build, step)]


def side_of(build, path, rows):
    return {"path": path, "rows": rows, "md5": build.outs.get(path, {}).get("md5")}


def flow(entries, counts, refused, sides):
    """Write what went in, was rejected and came out into each stage; None where its bytes are missing."""
    rejected = {room: None if refused is None else dict(refused[room].most_common()) for room in entries}
    rows = sum(counts["rows"].values()) if counts["rows"] else None
    if rows is None and refused is not None and None not in sides.values():
        rows = sum(sides.values()) + refused["validate"].total() + refused["curate"].total()
    records = sum(counts["records"].values()) if counts["rows"] else None
    left = rows - refused["validate"].total() if rows is not None and refused is not None else None
    for room, came_in, out in (
        ("ingest", records, {"rows": rows}),
        ("validate", rows, {"rows": left}),
        ("curate", left, sides),
    ):
        entries[room] |= {"in": came_in, "rejected": rejected[room], "out": out}


def refused_by(build, path):
    """{stage: Counter of checks} of a file of rejects."""
    from stages.rows.rejects import by_check, counts

    found = counts(file_of(build, path))
    return {room: Counter(by_check(found, room)) for room in ("ingest", "validate", "curate")}


def rows_in(build, path):
    import pyarrow.parquet as pq

    return pq.read_metadata(file_of(build, path)).num_rows


def ingested(build, folder):
    """{rows, records, rejected: Counter by raw file} of ingest. A record may make two rows, which stand side by side."""
    import pyarrow.parquet as pq

    found = {"rows": Counter(), "records": Counter(), "rejected": Counter()}
    for path in sorted(files_in(build, folder)):
        columns = ["source"] if path.endswith("rejects.parquet") else ["source", "line"]
        table = pq.ParquetFile(file_of(build, path), read_dictionary=["source"]).read(columns=columns)
        if path.endswith("rejects.parquet"):
            found["rejected"].update(per_file(table)[0])
            found["records"].update(per_file(table)[0])
        else:
            rows, records = per_file(table)
            found["rows"].update(rows)
            found["records"].update(records)
    return found


def per_file(table):
    """(rows, records) of each raw file of a table."""
    import pyarrow.compute as pc

    if not len(table):
        return Counter(), Counter()
    files = table["source"].unify_dictionaries().combine_chunks()
    rows = numbers_of(files)
    if "line" not in table.column_names:
        return rows, rows
    lines, codes = table["line"].combine_chunks(), files.indices
    changed = pc.or_(pc.not_equal(lines[1:], lines[:-1]), pc.not_equal(codes[1:], codes[:-1]))
    return rows, numbers_of(files[1:].filter(changed)) + Counter([files[0].as_py()])


def numbers_of(names):
    return Counter({item["values"]: item["counts"] for item in names.value_counts().to_pylist()})


def raw(build, path, ingest, counts):
    """The raw files of a dataset with their hashes and what ingest made of each."""
    files = data_files(sources_of(build, [path])[path], path)
    seen = {file.path for file in files}
    files += [Source(name, None) for name in sorted(counts["records"]) if name not in seen]
    return {
        "path": path,
        "md5": ingest["inputs"].get(path),
        "files": [
            {"path": file.path, "bytes": file.size, "md5": file.md5, "git": file.git, "read": file.read}
            | {"dvc": file.dvc, "imported": file.imported}
            | {what: counts[what][file.path] if counts["records"] else None for what in ("records", "rows", "rejected")}
            for file in files
        ],
    }


# -- models -------------------------------------------------------------------------------------------------------


def base(build, stages, problems):
    """The base model: where it came from, its bytes, its scores."""
    declared, out = build.params.get("base") or {}, build.outs.get("models/base", {})
    return {
        "model": declared.get("model"),
        "revision": declared.get("revision"),
        "backend": declared.get("backend"),
        "md5": out.get("md5"),
        "bytes": out.get("size"),
        "files": attempt(problems, files_in, build, "models/base"),
        "stages": [stages.get(name) or unbuilt(name) for name in ("base", "evaluate_base")],
        "scores": attempt(problems, as_json, build, "scores/base.json"),
    }


def model(build, name, stages, problems):
    """A step's model: the steps behind it, what it was trained from, its adapters in order, its scores."""
    step, out = build.steps[name], build.outs.get(f"models/{name}", {})
    made = attempt(problems, as_json, build, f"models/{name}/made_of.json") or {}
    files = attempt(problems, files_in, build, f"models/{name}") or {}
    parts = (path.split("/") for path in sorted(files))
    entries = [stages.get(f"{room}@{name}") or unbuilt(f"{room}@{name}") for room in ("train", "evaluate")]
    if made:
        entries[0]["stale"] += decided_otherwise(build, step, made)
    return {
        "chain": ["base", *chain(build, name)],
        "dataset": step.get("dataset"),
        "md5": out.get("md5"),
        "bytes": out.get("size"),
        "weights": "full" if f"models/{name}/config.json" in files else "adapters",
        "adapters": list(dict.fromkeys(path[3] for path in parts if path[2:3] == ["adapters"])),
        "files": files,
        "made_of": made,
        "waived": step.get("waive") or {},
        "stages": entries,
        "scores": attempt(problems, as_json, build, f"scores/{name}.json"),
    }


def decided_otherwise(build, step, made):
    """What params.yaml says of a step now and did not when its model was trained."""
    from stages.training.trl import LORA

    lora = step.get("lora")
    now = step | {"seed": (step.get("args") or {}).get("seed", build.params.get("seed"))}
    now |= {"lora": None if lora is None else LORA | lora}
    for key in DECIDES:
        if (made.get(key) or None) != (now.get(key) or None):
            yield from differing(key, made.get(key) or None, now.get(key) or None)
