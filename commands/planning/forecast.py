"""The outputs of a stage, as far as they are known without running it.

Without this, every edit of params.yaml would give "may run" for all later stages in `tilth plan`. The forecast covers only small
outputs that depend on params.yaml alone: whether each one will be the same as in the last build or not.

    forecast_outputs("preflight", ...) -> {"preflight/sft.json": State(CHANGED, why="args.learning_rate: 0.003 -> 0.002"), ...}
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from commands.planning.state import CHANGED, SAME, State

LastHash = Callable[[str], str | None]


def forecast_outputs(name: str, deps: dict[str, State], states: dict[str, State], last: LastHash) -> dict[str, State]:
    """{path: State} of the outputs of a stage that will run.

    deps: {path: State} of its inputs. states: {path: State} of earlier outputs. last: the hash of an output in the last
    build, None where there is none.
    """
    if name == "code":
        return code_lists()
    if name == "check":
        return params_files()
    if name.startswith("expire@"):
        return expired_file(name.partition("@")[2])
    if name == "pin":
        return pinned_list()
    if name == "collect":
        return dataset_lists(deps, last)
    return preflight_files(deps, states, last) if name == "preflight" else {}


def code_lists() -> dict[str, State]:
    """The lists of code, which depend on the code alone."""
    from commands.builds.code import CODE_FOLDER, current_lists, lists_md5

    texts = current_lists()
    paths = [f"{CODE_FOLDER}/{name}" for name in texts]
    folders = {path.rpartition("/")[0] for path in paths} - {CODE_FOLDER}
    return {path: State(CHANGED, lists_md5(texts, path)) for path in (*paths, *folders)}


def pinned_list() -> dict[str, State]:
    """The list of pinned prompts where no dataset pins any: its header alone."""
    import hashlib

    from stages.dedup.split import pinned_text

    if any(dataset["eval"] for dataset in resolved_params()["datasets"].values()):
        return {}
    return {"data/pinned.txt": State(CHANGED, hashlib.md5(pinned_text(()).encode()).hexdigest())}


def resolved_params() -> dict[str, Any]:
    """params.yaml with every default filled in."""
    from validators.params import fill_defaults, read_params_yaml

    return fill_defaults(read_params_yaml())


def params_files() -> dict[str, State]:
    """The params file of each stage, which depends on params.yaml alone."""
    from commands.builds.params import md5_of_text
    from stages.core.stage_params import texts_by_path

    return {path: State(CHANGED, md5_of_text(text)) for path, text in texts_by_path(resolved_params()).items()}


def expired_file(name: str) -> dict[str, State]:
    """The list of a dataset's expired files, which depends on params.yaml and the date."""
    from commands.builds.params import md5_of_text
    from stages.expire import FOLDER, expired_text

    return {
        f"{FOLDER.as_posix()}/{name}.json": State(
            CHANGED,
            md5_of_text(expired_text(resolved_params()["expires"][name])),
            why=f"a date in expires.{name} is reached",
        )
    }


def unchanged_state() -> State:
    return State(SAME)


def changed_state(why: str, fits: Callable[[str], bool] = lambda md5: True) -> State:
    return State(CHANGED, fits=fits, why=why)


def read_output(md5: str | None) -> dict[str, Any] | None:
    """A JSON file of the last build by its hash; None where there is none or the cache does not have it."""
    return read_cached(md5) if md5 else None


def read_cached(md5: str) -> dict[str, Any] | None:
    from commands.builds.build import object_of

    path = object_of(md5)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def inputs_unchanged(deps: dict[str, State], *but: str) -> bool:
    """True where the inputs of a stage, except params, are those of the last build."""
    return all(
        state.verdict == "same"
        for path, state in deps.items()
        if path not in but and not path.startswith(".build/params/")
    )


def dataset_lists(deps: dict[str, State], last: LastHash) -> dict[str, State]:
    """The lists of datasets: a dataset's kind comes from params.yaml, its rows and hash from its file."""
    kinds = {name: dataset["kind"] for name, dataset in resolved_params()["datasets"].items()}
    outputs = {}
    for room, other_room in (("train", "eval"), ("eval", "train")):
        path = f"data/{room}.json"
        before = read_output(last(path))
        if before is None:
            continue
        listed = kinds_by_name(before)
        if listed != kinds:
            names = sorted({name for name, _ in {*listed.items()} ^ {*kinds.items()}})
            outputs[path] = changed_state("other datasets: " + ", ".join(names), partial(may_have_kinds, kinds))
        elif inputs_unchanged(deps, "data/rejected", f"data/{other_room}"):
            outputs[path] = unchanged_state()
    return outputs


def kinds_by_name(listed: dict[str, Any]) -> dict[str, str]:
    return {name: entry["kind"] for name, entry in listed.items()}


def may_have_kinds(kinds: dict[str, str], md5: str) -> bool:
    """True where a list of datasets, given its hash, has these kinds or is not in the cache."""
    cached = read_cached(md5)
    return cached is None or kinds_by_name(cached) == kinds


def preflight_files(deps: dict[str, State], states: dict[str, State], last: LastHash) -> dict[str, State]:
    """The files of preflight: each has a step resolved from params.yaml, and numbers about its rows."""
    from stages.code import list_code, reward_code
    from stages.dryrun.resolved_steps import resolve_step
    from stages.preflight import scored_rewards

    params, codes, outputs = resolved_params(), reward_code(list_code()), {}
    if last("preflight") is None:
        return {}
    for name, step in params["steps"].items():
        path, described = f"preflight/{name}.json", as_json_data(resolve_step(name, step, params, codes))
        before = read_output(last(path))
        if last(path) is None or (before and describe_changes(before, described)):
            outputs[path] = changed_state(
                describe_changes(before, described) if before else "a new step", partial(may_be_step, described)
            )
        elif (
            before
            and inputs_unchanged(deps, "data/train.json", "data/eval.json")
            and f"data/train/{step['dataset']}.parquet" not in states
        ):
            outputs[path] = unchanged_state()
    kinds = {name: {"kind": dataset["kind"]} for name, dataset in params["datasets"].items()}
    before, rewards = (
        read_output(last("preflight/_rewards.json")),
        as_json_data(scored_rewards(params["steps"], kinds, codes)),
    )
    if before is not None:
        changed = before != rewards
        outputs["preflight/_rewards.json"] = changed_state("other reward functions") if changed else unchanged_state()
    if any(state.verdict == "changed" for state in outputs.values()):
        outputs["preflight"] = changed_state("it will hold other steps")
    return outputs


def as_json_data(data: Any) -> Any:
    return json.loads(json.dumps(data))


def describe_changes(before: dict[str, Any], resolved: dict[str, Any]) -> str:
    """The differences between a resolved step and that of the last build, in words; "" where there are none."""
    from commands.builds.changes import changed_params, describe_change

    return "; ".join(
        describe_change(change) for change in changed_params({key: before.get(key) for key in resolved}, resolved)
    )


def may_be_step(resolved: dict[str, Any], md5: str) -> bool:
    """True where a file of preflight, given its hash, is of exactly this step or is not in the cache."""
    cached = read_cached(md5)
    return cached is None or not describe_changes(cached, resolved)
