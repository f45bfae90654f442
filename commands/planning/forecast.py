"""What a stage will write, as far as it can be known without running it.

Without it every edit of params.yaml would leave `tilth plan` with "may run" for all that follows. Only small outputs whose
content follows from params.yaml alone are foreseen: whether each will be the same as the last build's, or another.

    foreseen("preflight", ...) -> {"preflight/sft.json": State(CHANGED, why="args.learning_rate: 0.003 -> 0.002"), ...}
"""

import json
from functools import partial

from commands.planning.state import CHANGED, SAME, State


def foreseen(name, deps, states, last):
    """{path: State} of outputs of a stage that will run.

    deps: {path: State} of its inputs. states: {path: State} of what went before. last: the hash of an output of the last
    build, None where there is none.
    """
    if name == "code":
        return code_lists()
    if name == "check":
        return reads()
    if name.startswith("expire@"):
        return expired(name.partition("@")[2])
    if name == "pin":
        return pinned()
    if name == "collect":
        return lists(deps, last)
    return preflights(deps, states, last) if name == "preflight" else {}


def code_lists():
    """The lists of code, which follow from the code alone."""
    from commands.builds.code import FOLDER, computed, md5_of

    texts = computed()
    paths = [f"{FOLDER}/{name}" for name in texts]
    folders = {path.rpartition("/")[0] for path in paths} - {FOLDER}
    return {path: State(CHANGED, md5_of(texts, path)) for path in (*paths, *folders)}


def pinned():
    """The list of pinned prompts, where no dataset pins any: it has its title alone."""
    import hashlib

    from stages.dedup.split import pinned_text

    if any(dataset["eval"] for dataset in resolved()["datasets"].values()):
        return {}
    return {"data/pinned.txt": State(CHANGED, hashlib.md5(pinned_text(()).encode()).hexdigest())}


def resolved():
    """params.yaml with every default filled in."""
    from validators.params import read
    from validators.params import resolved as with_defaults

    return with_defaults(read())


def reads():
    """What each stage reads of the params, which follows from params.yaml alone."""
    from commands.builds.params import md5_of
    from stages.core.reads import texts

    return {path: State(CHANGED, md5_of(text)) for path, text in texts(resolved()).items()}


def expired(name):
    """What of a dataset may no longer be used, which follows from params.yaml and the day."""
    from commands.builds.params import md5_of
    from stages.expire import FOLDER, text_of

    return {f"{FOLDER.as_posix()}/{name}.json": State(CHANGED, md5_of(text_of(resolved()["expires"][name])), why=f"a day in expires.{name} has come")}


def same():
    return State(SAME)


def another(why, fits=lambda md5: True):
    return State(CHANGED, fits=fits, why=why)


def read(found):
    """A JSON file of the last build by its hash, None where there is none or the cache does not have it."""
    return read_cached(found) if found else None


def read_cached(md5):
    from commands.builds.build import object_of

    path = object_of(md5)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def settled(deps, *but):
    """Whether the inputs of a stage, params aside, are those of the last build."""
    return all(state.verdict == "same" for path, state in deps.items() if path not in but and not path.startswith(".build/params/"))


def lists(deps, last):
    """The lists of datasets: each dataset's kind comes from params.yaml, rows and hash from its file."""
    kinds = {name: dataset["kind"] for name, dataset in resolved()["datasets"].items()}
    found = {}
    for room, other in (("train", "eval"), ("eval", "train")):
        path = f"data/{room}.json"
        before = read(last(path))
        if before is None:
            continue
        listed = kinds_in(before)
        if listed != kinds:
            names = sorted({name for name, _ in {*listed.items()} ^ {*kinds.items()}})
            found[path] = another("other datasets: " + ", ".join(names), partial(may_list, kinds))
        elif settled(deps, "data/rejected", f"data/{other}"):
            found[path] = same()
    return found


def kinds_in(listed):
    return {name: entry["kind"] for name, entry in listed.items()}


def may_list(kinds, md5):
    """Whether a list of datasets in the cache, given its hash, may be of these kinds."""
    cached = read_cached(md5)
    return cached is None or kinds_in(cached) == kinds


def preflights(deps, states, last):
    """The files of preflight: a step as params.yaml resolves it, and the figures of its rows."""
    from stages.code import lists, reward_code
    from stages.dryrun.steps import resolve
    from stages.preflight import scored_rewards

    params, codes, found = resolved(), reward_code(lists()), {}
    if last("preflight") is None:
        return {}
    for name, step in params["steps"].items():
        path, described = f"preflight/{name}.json", plain(resolve(name, step, params, codes))
        before = read(last(path))
        if last(path) is None or (before and differences(before, described)):
            found[path] = another(
                differences(before, described) if before else "a new step", partial(may_be_of, described)
            )
        elif before and settled(deps, "data/train.json", "data/eval.json") and f"data/train/{step['dataset']}.parquet" not in states:
            found[path] = same()
    kinds = {name: {"kind": dataset["kind"]} for name, dataset in params["datasets"].items()}
    before, rewards = read(last("preflight/_rewards.json")), plain(scored_rewards(params["steps"], kinds, codes))
    if before is not None:
        changed = before != rewards
        found["preflight/_rewards.json"] = another("other reward functions") if changed else same()
    if any(state.verdict == "changed" for state in found.values()):
        found["preflight"] = another("it will hold other steps")
    return found


def plain(data):
    return json.loads(json.dumps(data))


def differences(before, resolved):
    """What of a resolved step differs from that of the last build, in words; empty where nothing does."""
    from commands.builds.changes import changed_params, describe

    return "; ".join(
        describe(change) for change in changed_params({key: before.get(key) for key in resolved}, resolved)
    )


def may_be_of(resolved, md5):
    """Whether a file of preflight in the cache, given its hash, may be of this very step."""
    cached = read_cached(md5)
    return cached is None or not differences(cached, resolved)
