"""What makes params.yaml right: every key known, every value possible, every name leading somewhere.

    problems, warnings = examine(read("params.yaml"))

All mistakes at once. A warning is a value outside the usual range or a common mistake; a step waives it by name and
reason: `waive: {learning_rate: "a tiny model from scratch"}`. Usual ranges: TRL's and Unsloth's guides.
"""

import ast
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from validators._cautions import FILE, KIND, WAIVERS, ancestry, cautions_of
from validators._problems import Problem, Problems, did_you_mean
from validators._trl_fields import fits, trl_fields

TILTH_SETS = {
    "output_dir": "models/<step>",
    "report_to": "none",
    "push_to_hub": "false",
    "eval_strategy": "no: `evaluate` is a stage",
    "save_strategy": "by itself",
    "resume_from_checkpoint": "by itself",
    "trust_remote_code": "false",
    "model_init_kwargs": "from `base`",
    "dataset_kwargs": "nothing: rows are prepared by TRL",
}
NAME = re.compile(r"^[a-z][a-z0-9_]*$")
COMMIT = re.compile(r"^[0-9a-f]{40}$")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)


class Base(Strict):
    model: str
    revision: str | None = None
    backend: Literal["auto", "transformers", "unsloth"] = "auto"


class Dataset(Strict):
    kind: Literal["sft", "preference", "kto", "grpo"]
    raw: str
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = 0.05


class Lora(Strict):
    """PEFT's LoraConfig, the fields that are usually set, under PEFT's names."""

    r: Annotated[int, Field(gt=0)] = 16
    lora_alpha: Annotated[int, Field(gt=0)] = 16
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: list[str] | str = "all-linear"


class Step(Strict):
    method: Literal["sft", "dpo", "orpo", "kto", "grpo"]
    from_: Annotated[str, Field(alias="from")]
    dataset: str
    args: dict[str, object] = {}
    lora: Lora | None = None
    rewards: list[str] | None = None
    waive: dict[str, str] = {}


class Evaluate(Strict):
    max_new_tokens: Annotated[int, Field(gt=0)]
    max_rows: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)]


class Params(Strict):
    seed: int
    launch: str
    eval_fraction: Annotated[float, Field(gt=0, lt=1)]
    base: Base
    datasets: dict[str, Dataset]
    methods: dict[str, Step] = {}
    steps: dict[str, Step]
    evaluate: Evaluate


def read(path=FILE):
    """params.yaml as plain data. Raises Problems where it is missing or not YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(Path(path))
    except FileNotFoundError:
        raise Problems(
            [
                Problem(
                    str(path),
                    "the file does not exist",
                    "params.yaml in the folder of dvc.yaml",
                    "run this in a clone of the project, or git checkout params.yaml",
                )
            ]
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        place = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        where = f"{path}:{place.line + 1}:{place.column + 1}" if place else str(path)
        what = error.problem if isinstance(error, MarkedYAMLError) else error
        raise Problems(
            [
                Problem(
                    where,
                    f"not YAML: {what}",
                    "YAML 1.2",
                    "look at indents, quotes and brackets just before that place",
                )
            ]
        ) from None
    if not isinstance(data, dict):
        raise Problems(
            [Problem(str(path), f"found {type(data).__name__}", "keys and values", "see params.yaml of a fresh clone")]
        )
    return data


def examine(data):
    """(problems, warnings) of the whole of params.yaml, read as plain data."""
    problems = schema_problems(data)
    if not isinstance(data.get("steps"), dict) or not isinstance(data.get("datasets"), dict):
        return problems, []
    problems += name_problems(data) + base_problems(data.get("base"))
    steps = {name: step for name, step in data["steps"].items() if isinstance(step, dict)}
    for name, step in steps.items():
        problems += step_problems(name, step, data)
    problems += cycle_problems(steps)
    return list(dict.fromkeys(problems)), [
        warning for name, step in steps.items() for warning in cautions_of(name, step, steps)
    ]


# -- keys and types -------------------------------------------------------------------------------------------------


def schema_problems(data):
    """Unknown and missing keys, wrong types and impossible values."""
    try:
        Params.model_validate(data)
    except ValidationError as errors:
        found = [schema_problem(error) for error in errors.errors()]
        # a method that a step takes by its anchor is one mistake, not two
        seen = {
            (problem.where.split(".", 2)[-1], problem.found)
            for problem in found
            if problem.where.startswith(f"{FILE}: steps")
        }
        return [
            p
            for p in found
            if not (p.where.startswith(f"{FILE}: methods") and (p.where.split(".", 2)[-1], p.found) in seen)
        ]
    return []


def schema_problem(error):
    *parents, key = error["loc"]
    where = f"{FILE}: " + ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return Problem(where, f"unknown key {key!r}", "", did_you_mean(key, known_keys(parents)))
    if error["type"] == "missing":
        return Problem(
            where,
            "the key is missing",
            f"{key!r} in {'.'.join(map(str, parents)) or FILE}",
            "see params.yaml of a fresh clone",
        )
    expected = error["msg"].removeprefix("Input should be ")
    return Problem(
        where,
        f"found {error['input']!r} ({type(error['input']).__name__})",
        expected,
        did_you_mean(error["input"], re.findall(r"'(\w+)'", expected)) if error["type"] == "literal_error" else "",
    )


def known_keys(parents):
    """The keys that may stand at a place of params.yaml."""
    model = Params
    for part in parents:
        field = next((f for name, f in model.model_fields.items() if (f.alias or name) == part), None)
        if field is None:  # a name of the user's
            continue
        model = next((m for m in (Base, Dataset, Step, Evaluate, Lora) if m.__name__ in str(field.annotation)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def name_problems(data):
    problems = []
    for section in ("datasets", "steps", "methods"):
        for name in data.get(section) or {}:
            if not NAME.match(str(name)):
                problems.append(
                    Problem(
                        f"{FILE}: {section}.{name}",
                        f"{name!r} is no name",
                        "lower-case letters, digits and _, a letter first",
                        "such names are safe in paths, in DVC and in a shell",
                    )
                )
    if "base" in data["steps"]:
        problems.append(
            Problem(f"{FILE}: steps.base", "'base' is the base model's name", "another name", "for example: steps.sft")
        )
    return problems


def base_problems(base):
    if not isinstance(base, dict) or not isinstance(model := base.get("model"), str) or model == "tiny":
        return []
    where = f"{FILE}: base.model"
    if Path(model).is_dir():
        return (
            []
            if (Path(model) / "config.json").exists()
            else [Problem(where, f"{model!r} has no config.json", "a folder written by save_pretrained", "")]
        )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        return [
            Problem(where, f"{model!r} is not there", "tiny, a local folder, or a Hub id such as Qwen/Qwen3-0.6B", "")
        ]
    if not base.get("revision"):
        return [
            Problem(
                f"{FILE}: base.revision",
                f"{model!r} has no revision",
                "the commit of the model on the Hub",
                "a model changes under its name; copy the commit's 40 digits from its page, tab Files, History",
            )
        ]
    return []


# -- steps ----------------------------------------------------------------------------------------------------------


def step_problems(name, step, data):
    """What the schema cannot see: names that lead nowhere, kinds that do not fit, args that TRL does not have."""
    problems, where = [], f"{FILE}: steps.{name}"
    method, datasets, steps = step.get("method"), data["datasets"], data["steps"]
    if method not in KIND:
        return []
    kinds = {key: value.get("kind") for key, value in datasets.items() if isinstance(value, dict)}
    dataset = step.get("dataset")
    if isinstance(dataset, str) and dataset not in datasets:
        problems.append(
            Problem(
                f"{where}.dataset", f"no dataset {dataset!r}", "a name under datasets", did_you_mean(dataset, datasets)
            )
        )
    elif kinds.get(dataset) in KIND.values() and kinds[dataset] != KIND[method]:
        fitting = ", ".join(key for key, kind in kinds.items() if kind == KIND[method]) or "none yet"
        problems.append(
            Problem(
                f"{where}.dataset",
                f"{dataset!r} is a {kinds[dataset]} dataset, but {method} needs kind {KIND[method]}",
                "",
                f"datasets of that kind: {fitting}",
            )
        )
    if isinstance(step.get("from"), str) and step["from"] not in ("base", *steps):
        problems.append(
            Problem(
                f"{where}.from",
                f"no step {step['from']!r}",
                "base or a name under steps",
                did_you_mean(step["from"], ["base", *steps]),
            )
        )
    problems += reward_problems(where, step)
    for waiver in step.get("waive") or {}:
        if waiver not in WAIVERS:
            problems.append(Problem(f"{where}.waive", f"no warning {waiver!r}", "", did_you_mean(waiver, WAIVERS)))
    return problems + (arg_problems(where, method, step["args"]) if isinstance(step.get("args"), dict) else [])


def reward_problems(where, step):
    rewards, known = step.get("rewards"), reward_functions()
    if step["method"] != "grpo":
        return (
            [Problem(f"{where}.rewards", f"{step['method']} has no rewards", "no such key", "rewards belong to grpo")]
            if rewards
            else []
        )
    if not rewards:
        return [
            Problem(
                f"{where}.rewards",
                "grpo needs a reward",
                "at least one function of validators/rewards.py",
                "known: " + ", ".join(known),
            )
        ]
    problems = [
        Problem(
            f"{where}.rewards",
            f"no reward function {name!r}",
            "a function of validators/rewards.py",
            did_you_mean(name, known),
        )
        for name in rewards
        if name not in known
    ]
    weights = (step.get("args") or {}).get("reward_weights")
    if isinstance(weights, list) and len(weights) != len(rewards):
        problems.append(
            Problem(
                f"{where}.args.reward_weights", f"{len(weights)} weights for {len(rewards)} rewards", "one for each", ""
            )
        )
    return problems


def reward_functions():
    """Public functions of validators/rewards.py, read without running it."""
    path = Path(__file__).with_name("rewards.py")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise Problems([Problem(f"validators/rewards.py:{error.lineno}", f"not Python: {error.msg}", "", "")]) from None
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def arg_problems(where, method, args):
    """Args that TRL's config of the method does not have, or of a type that it does not take."""
    problems, fields = [], trl_fields(method)
    for key, value in args.items():
        if key in TILTH_SETS:
            problems.append(Problem(f"{where}.args.{key}", "Tilth sets this itself", TILTH_SETS[key], "remove it"))
        elif key not in fields:
            problems.append(
                Problem(f"{where}.args.{key}", f"TRL's {method} config has no {key!r}", "", near(key, fields))
            )
        elif not fits(value, fields[key]):
            problems.append(
                Problem(
                    f"{where}.args.{key}",
                    f"found {value!r} ({type(value).__name__})",
                    fields[key],
                    "in YAML 1.2, 1e-4 is a number and '1e-4' a text" if isinstance(value, str) else "",
                )
            )
    return problems


def near(word, known):
    hint = did_you_mean(word, known)
    return hint if hint.startswith("did") else "TRL's documentation lists the fields of each config"


def cycle_problems(steps):
    problems = []
    for name in steps:
        chain = ancestry(name, steps)
        if chain[-1] in chain[:-1] and chain[-1] == name:
            problems.append(
                Problem(
                    f"{FILE}: steps.{name}.from",
                    "the chain comes back to itself: " + " -> ".join(chain),
                    "a chain that ends at base",
                    "",
                )
            )
    return problems
