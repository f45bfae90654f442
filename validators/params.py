"""Checks of params.yaml: every key is known, every value is possible, every name exists. All mistakes at once.

    problems, cautions = examine(read_params_yaml("params.yaml"))

A caution is a value outside the usual range, or a common mistake. A step waives it by name, with a reason:
`waive: {learning_rate: "a tiny model from scratch"}`. Usual ranges: TRL's and Unsloth's guides.
"""

import ast
import importlib.util
import re
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from validators._cautions import (
    KIND_OF_METHOD,
    PARAMS_FILE,
    WAIVERS,
    Caution,
    Entry,
    UnusedWaiver,
    ancestry,
    step_cautions,
    unused_waivers,
)
from validators._difficulty import difficulty_problems, fill_rule
from validators._formats import mask_problems, option_problems
from validators._gates import gate_problems
from validators._judge import JUDGE_PATH, WIN_RATES, judge_problems
from validators._mathematics import REQUIREMENT
from validators._preflight import LIMITS, SAMPLE_SIZES, WAIVABLE
from validators._rights import RightsCaution, expiry_problems, license_findings
from validators._trl_fields import fits_annotation, trl_fields
from validators.conflicts import conflict_problems
from validators.problems import Problem, Problems, did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from ruamel.yaml.error import MarkedYAMLError

AnyCaution = Caution | UnusedWaiver | RightsCaution
Faulty = set[
    tuple[str, ...]
]  # places in params.yaml with a schema fault: (section,), (section, name), (section, name, key)
TILTH_SETS = {
    "output_dir": "models/<step>",
    "report_to": "none, or what TILTH_REPORT_TO in the environment says: docs/training.md",
    "push_to_hub": "false",
    "eval_strategy": "no: `evaluate` is a stage",
    "save_strategy": "by the clock: docs/training.md",
    "save_steps": "by the clock: docs/training.md",
    "save_total_limit": "1",
    "logging_nan_inf_filter": "false: a loss that is not a number stops the step",
    "resume_from_checkpoint": "by itself",
    "trust_remote_code": "false",
    "model_init_kwargs": "from `base`",
    "dataset_kwargs": "nothing: rows are prepared by TRL",
    "chat_template_path": "`base.chat_template`, which every model of the chain has",
    "chat_template_kwargs": "`base.chat_template_kwargs`, so that training, scores and chat agree",
    "eos_token": "`base.eos_token`, so that every model of the chain stops at it",
}
ARG_ALIASES = {  # names in other trainers, too different from TRL's to be found by similarity
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "micro_batch_size": "per_device_train_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "max_seq_length": "max_length",
    "scheduler": "lr_scheduler_type",
}
METHODS = ("sft", "dpo", "orpo", "kto", "grpo")
# Unsloth 2026.10 patches TRL's trainer of every method, ORPO's in trl.experimental too
BACKENDS = {"transformers": METHODS, "unsloth": METHODS}
RESERVED_NAMES = {  # columns and scores of Tilth's own: no metric of a user's may have these names
    "auc", "chosen_logp", "cut", "cut_thinking", "dataset", "generation", "id", "judged", "label", "logp", "loss", "margin", "nll",
    "pair_accuracy", "rejected_logp", "reward", "right", "samples", "samples_cut_thinking", "slices", "token_accuracy", "tokens", *WIN_RATES,
}  # fmt: skip
NAME_PATTERN = re.compile(r"^[a-z][a-z0-9_]*$")
# arguments that rendering itself passes to the chat template
RENDERING_ARGS = {
    "messages",
    "conversation",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "chat_template",
}
COMMIT = re.compile(r"^[0-9a-f]{40}$")
# SPDX's or the Hub's identifiers of licenses, such as apache-2.0 or CC-BY-SA-4.0, or `other`
License = Annotated[str, Field(min_length=1, max_length=100)]


def check_by_file(value: Any) -> Any:
    """The value of a key that has one text for all raw files, or one for each pattern of their paths."""
    texts = list(value.values()) if isinstance(value, dict) else [value]
    if any(isinstance(text, date) for text in texts):
        raise PydanticCustomError("by_file", "a day in quotes, such as '2027-01-31': DVC takes no others")
    if not texts or not all(
        isinstance(text, str) and text.strip() for text in (*texts, *(value if isinstance(value, dict) else ()))
    ):
        raise PydanticCustomError("by_file", "a text, or a text for each pattern of paths")
    return value


ByFile = Annotated[object, AfterValidator(check_by_file)]


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)


class Base(StrictModel):
    model: str
    revision: str | None = None
    backend: Literal["auto", "transformers", "unsloth"] = "auto"
    license: License | None = None
    waive: dict[str, str] = {}
    chat_template: str | None = None
    eos_token: Annotated[str, Field(min_length=1)] | None = None
    chat_template_kwargs: dict[str, object] = {}
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None


class Dataset(StrictModel):
    kind: Literal["sft", "preference", "kto", "grpo"]
    raw: str
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    weights: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    max_rows: Annotated[int, Field(gt=0)] | None = None
    exclude: list[str] = []
    eval: list[str] = []
    split_on: list[Literal["system", "user"]] = ["user"]
    columns: dict[str, str | int | list[str | int]] = {}
    format: str | None = None
    system: Annotated[str, Field(min_length=1)] | None = None
    ground_truth_pattern: str | None = None
    reasoning: Literal["keep", "mask", "drop", "last_turn"] = "keep"
    ignore: list[str] = []
    pairs: Literal["best_worst", "all"] = "best_worst"
    margin: Annotated[float, Field(ge=0)] | None = None
    license: ByFile | None = None
    source: ByFile | None = None
    consent: ByFile | None = None
    metrics: list[str] | None = None
    private: bool = False
    slice_by: list[Annotated[str, Field(min_length=1)]] = []
    waive: dict[str, str] = {}

    @model_validator(mode="after")
    def fill_metrics(self) -> Self:
        """The default depends on the kind: exact_match for sft, none for the others."""
        if self.metrics is None:
            self.metrics = ["exact_match"] if self.kind == "sft" else []
        return self


class Lora(StrictModel):
    """The usual fields of PEFT's LoraConfig, under PEFT's names. The defaults are not PEFT's."""

    r: Annotated[int, Field(gt=0)] = 16
    lora_alpha: Annotated[int, Field(gt=0)] = 16
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: list[str] | str = "all-linear"


class Rollouts(StrictModel):
    """Which generated answers of a grpo step are kept: one generation every `every` optimizer steps, `max_rows` answers in all."""

    every: Annotated[int, Field(gt=0)] = 10
    max_rows: Annotated[int, Field(gt=0)] = 5000


class Step(StrictModel):
    method: Literal["sft", "dpo", "orpo", "kto", "grpo"]
    from_: Annotated[str, Field(alias="from")]
    dataset: str
    args: dict[str, object] = {}
    lora: Lora | None = None
    load_in_4bit: bool = False
    overlong: Literal["cut", "drop", "stop"] = "cut"
    rewards: list[str] | None = None
    rollouts: Rollouts | None = Rollouts()
    waive: dict[str, str] = {}


PersonalDataKind = Literal["email", "phone", "iban", "credit_card"]


class PersonalData(StrictModel):
    """Kinds of personal data that reject a row, or that are counted. `regions`: countries whose telephone numbers need no +."""

    reject: list[PersonalDataKind] = []
    warn: list[PersonalDataKind] = []
    regions: list[str] = []


class Curate(StrictModel):
    """What `curate` rejects beyond exact duplicates and contradictions, in every dataset."""

    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    ngram_words: Annotated[int, Field(gt=0)] = 13
    overlap_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    personal_data: PersonalData | None = None


class LmEval(StrictModel):
    """Tasks of EleutherAI's lm-evaluation-harness, under its own names."""

    tasks: Annotated[list[str], Field(min_length=1)]
    limit: Annotated[int, Field(gt=0)] | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    apply_chat_template: bool = False


class Judge(StrictModel):
    """What decides which answer is better: a model from a folder or the Hub, or a server with OpenAI's API."""

    model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    kind: Literal["chat", "reward"] = "chat"
    server: Annotated[str, Field(min_length=1)] | None = None
    key: str | None = None
    against: Literal["parent", "reference"] = "parent"
    on: list[str] | None = None
    max_rows: Annotated[int, Field(gt=0)] | None = None
    max_new_tokens: Annotated[int, Field(gt=0)] = 1024
    chat_template_kwargs: dict[str, object] = {}
    args: dict[str, object] = {}
    at_once: Annotated[int, Field(gt=0)] = 8
    timeout_s: Annotated[float, Field(gt=0)] = 120


Share = Annotated[float, Field(ge=0, le=1)]


class Preflight(StrictModel):
    """Limits of preflight's measurements, and how many rows it samples. docs/preflight.md explains each."""

    reward_hostile: Annotated[float, Field(ge=0)] = LIMITS["reward_hostile"]
    reward_order: float = LIMITS["reward_order"]
    answers_cut: Share = LIMITS["answers_cut"]
    bos_unlike_inference: Share = LIMITS["bos_unlike_inference"]
    class_balance: Annotated[float, Field(ge=1)] = LIMITS["class_balance"]
    context_share: Share = LIMITS["context_share"]
    date_dependent: Share = LIMITS["date_dependent"]
    dropped_share: Share = LIMITS["dropped_share"]
    equal_pairs_share: Share = LIMITS["equal_pairs_share"]
    length_bias: Share = LIMITS["length_bias"]
    memory_gb: Annotated[float, Field(gt=0)] | None = LIMITS["memory_gb"]
    packing: Share = LIMITS["packing"]
    reward_random: Share = LIMITS["reward_random"]
    reward_truth: Share = LIMITS["reward_truth"]
    reward_wrong: Share = LIMITS["reward_wrong"]
    said: Share = LIMITS["said"]
    special_in_content: Share = LIMITS["special_in_content"]
    stops: Share = LIMITS["stops"]
    tokenizer_round_trip: Share = LIMITS["tokenizer_round_trip"]
    tools_shown: Share = LIMITS["tools_shown"]
    truncated_share: Share = LIMITS["truncated_share"]
    truth_cut: Share = LIMITS["truth_cut"]
    reward_rows: Annotated[int, Field(gt=0)] = SAMPLE_SIZES["reward_rows"]
    tie_prompts: Annotated[int, Field(ge=0)] = SAMPLE_SIZES["tie_prompts"]


class Evaluate(StrictModel):
    max_new_tokens: Annotated[int, Field(gt=0)]
    max_thinking_tokens: Annotated[int, Field(gt=0)] | None = None
    chat_template_kwargs: dict[str, object] = {}
    max_rows: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)]
    pass_at_k: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] | None = None
    samples: Annotated[int, Field(gt=0)] = 8
    temperature: Annotated[float, Field(gt=0)] = 0.8
    lm_eval: LmEval | None = None
    judge: Judge | None = None


class Difficulty(StrictModel):
    """Selects the prompts of a grpo dataset that a model answers rightly in a share of its samples between two bounds."""

    from_: Annotated[str, Field(alias="from")]
    keep: Annotated[list[Share], Field(min_length=2, max_length=2)]
    samples: Annotated[int, Field(ge=2)] = 8
    by: str | None = None
    temperature: Annotated[float, Field(gt=0)] | None = None
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 64


class Gate(StrictModel):
    """A bound that a score must hold for a model to ship; docs/gates.md."""

    step: str | None = None
    on: str | None = None
    metric: str | None = None
    slice: dict[str, str | int | float | bool | None] | None = None
    at_least: float | None = None
    at_most: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    no_worse: str | None = None
    by: Annotated[float, Field(ge=0)] | None = None
    waive: Annotated[str, Field(min_length=1)] | None = None


class Params(StrictModel):
    seed: int
    launch: str
    eval_fraction: Annotated[float, Field(gt=0, lt=1)]
    engine: Literal["local", "ray"] = "local"
    license: License | None = None
    expires: dict[str, ByFile] = {}
    difficulty: dict[str, Difficulty] = {}
    base: Base
    datasets: dict[str, Dataset]
    methods: dict[str, Step] = {}
    steps: dict[str, Step]
    curate: Curate
    preflight: Preflight
    evaluate: Evaluate
    gates: list[Gate] = []


def read_params_yaml(path: str | Path = PARAMS_FILE) -> Entry:
    """params.yaml as plain data. Raises Problems where it is missing or not YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if conflicts := conflict_problems(path):
        raise Problems(conflicts)
    try:
        data = YAML(typ="safe", pure=True).load(Path(path))
    except FileNotFoundError:
        expected = "params.yaml in the folder of dvc.yaml"
        hint = "run this in a clone of the project, or git checkout params.yaml"
        raise Problems([Problem(str(path), "the file does not exist", expected, hint)]) from None
    except (YAMLError, UnicodeDecodeError) as error:
        where, what, problem = str(path), str(error), None
        if isinstance(error, MarkedYAMLError):
            what = error.problem
            if place := error.problem_mark:
                where, problem = f"{path}:{place.line + 1}:{place.column + 1}", alias_problem(path, error)
        hint = "look at indents, quotes and brackets just before that place"
        raise Problems([problem or Problem(where, f"not YAML: {what}", "YAML 1.2", hint)]) from None
    if not isinstance(data, dict):
        hint = "git checkout params.yaml, or tilth recommend PATH --write"
        raise Problems([Problem(str(path), f"found {type(data).__name__}", "keys and values", hint)])
    return data


def alias_problem(path: str | Path, error: "MarkedYAMLError") -> Problem | None:
    """The Problem of an alias with other keys beside it but without `<<:`; None where the error is another.

    error: its mark is on the anchor, or on the line below the alias.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    if error.problem == "found unhashable key":  # {*sft, dataset: x}: the mapping begins at the mark of the context
        first = error.context_mark.line if error.context_mark else 0
        among, pattern = enumerate(lines[first:], first), re.compile(r"[{,]\s*(\*(\w+))\s*[,}]")
    elif str(error.problem).startswith("expected <block end>"):  # x: *sft, and below it keys that are indented more
        last = error.problem_mark.line if error.problem_mark else 0
        filled = [number for number in range(last) if lines[number].partition("#")[0].strip()]
        among = ((number, lines[number]) for number in filled[-1:])
        pattern = re.compile(r"(?:^|:)\s*(\*(\w+))\s*(?:#.*)?$")
    else:
        return None
    for number, line in among:
        if found := pattern.search(line):
            name = found[2]
            return Problem(
                f"{path}:{number + 1}:{found.start(1) + 1}",
                f"not YAML: *{name} stands alone, with other keys beside it",
                f"`<<: *{name}`, which takes the keys of &{name}",
                f"for example: x: {{<<: *{name}, dataset: x}}, or `<<: *{name}` on a line of its own, indented like the other keys",
            )
    return None


def fill_defaults(data: Entry) -> Entry:
    """Params with every default filled in, as plain data in the order of the models. Raises ValidationError.

    Defaults are defined here only. Stages and commands read the filled params and have no defaults of their own.
    """
    params = Params.model_validate(data).model_dump(by_alias=True)
    rules = {name: fill_rule(name, rule, params["steps"]) for name, rule in params["difficulty"].items()}
    return params | {"difficulty": rules}


def examine(data: Entry) -> tuple[list[Problem], list[AnyCaution]]:
    """(problems, cautions) of the whole params.yaml. data: as `read_params_yaml` returns it."""
    problems, faulty = schema_problems(data)
    schema_count, places = len(problems), {problem.where for problem in problems}
    sections = {name: valid_entries(data, name, faulty) for name in ("datasets", "methods", "steps")}
    problems += name_problems(data)
    if ("base",) not in faulty:
        problems += base_problems(data["base"])
    if ("curate",) not in faulty:
        problems += personal_data_problems(data["curate"].get("personal_data"))
    if ("evaluate",) not in faulty:
        problems += evaluate_problems(data["evaluate"], sections["datasets"])
    if not {("gates",), ("evaluate",), ("datasets",), ("steps",)} & faulty:
        problems += gate_problems(data, reward_functions())
    problems += launch_problems(data.get("launch"))
    steps = sections["steps"]
    if ("expires",) not in faulty:
        problems += expiry_problems(data.get("expires") or {}, get_section(data, "datasets"))
    if not {("difficulty",), ("datasets",), ("steps",)} & faulty:
        problems += difficulty_problems(data, parse_functions("rewards.py") if data.get("difficulty") else {})
    for name, dataset in sections["datasets"].items():
        where = f"{PARAMS_FILE}: datasets.{name}"
        problems += option_problems(where, dataset) + metric_problems(where, dataset)
    kinds = {name: sections["datasets"].get(name, {}).get("kind") for name in get_section(data, "datasets")}
    backend = get_section(data, "base").get("backend", Base.model_fields["backend"].default)
    for name, step in steps.items():
        where = f"{PARAMS_FILE}: steps.{name}"
        problems += step_problems(where, step, kinds, get_section(data, "steps"))
        problems += backend_problems(where, step, backend)
    for name, step in sections["methods"].items():
        if step not in steps.values():
            where = f"{PARAMS_FILE}: methods.{name}"
            problems += arg_problems(where, step) + reward_problems(where, step)
    problems += cycle_problems(steps) + mask_problems(f"{PARAMS_FILE}: steps", steps, sections["datasets"])
    valid = {
        "license": None if ("license",) in faulty else data.get("license"),
        "base": {} if ("base",) in faulty else data["base"],
        "datasets": sections["datasets"],
        "steps": steps,
    }
    license_problems, license_cautions = license_findings(valid)
    problems += license_problems
    # a key with a schema fault was removed above; do not report it as missing too
    problems = [problem for i, problem in enumerate(problems) if i < schema_count or problem.where not in places]
    return list(dict.fromkeys(problems)), [
        *(caution for name, step in steps.items() for caution in step_cautions(name, step, steps)),
        *(waiver for name, step in steps.items() for waiver in unused_waivers(name, step, steps)),
        *license_cautions,
    ]


def valid_entries(data: Entry, section: str, faulty: Faulty) -> dict[str, Entry]:
    """The entries of a section without keys that have a schema fault, so that later checks can rely on the types."""
    return {
        name: {key: value for key, value in entry.items() if (section, str(name), str(key)) not in faulty}
        for name, entry in get_section(data, section).items()
        if isinstance(entry, dict)
    }


def get_section(data: Entry, section: str) -> Entry:
    """A section of params.yaml; {} where it is missing or not a mapping."""
    return data[section] if isinstance(data.get(section), dict) else {}


# -- keys and types -------------------------------------------------------------------------------------------------


def schema_problems(data: Entry) -> tuple[list[Problem], Faulty]:
    """(problems, their places) of unknown and missing keys, wrong types and impossible values."""
    try:
        Params.model_validate(data)
    except ValidationError as errors:
        details = errors.errors()
        faulty = {tuple(str(part) for part in error["loc"][:length]) for error in details for length in (1, 2, 3)}
        steps = {(error["loc"][2:], repr(error.get("input"))) for error in details if error["loc"][0] == "steps"}
        # a mistake in a method is reported once, not again for the step that takes it by its anchor
        return [
            schema_problem(error)
            for error in details
            if error["loc"][0] != "methods" or (error["loc"][2:], repr(error.get("input"))) not in steps
        ], faulty
    return [], set()


def is_trl_field(key: object) -> bool:
    """Whether TRL's config of any method has this field."""
    return any(key in trl_fields(method) for method in KIND_OF_METHOD)


def schema_problem(error: "ErrorDetails") -> Problem:
    """One error of pydantic as a Problem, with a hint where a known key or value is near."""
    *parents, key = error["loc"]
    where = f"{PARAMS_FILE}: " + ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden" and parents[:1] == ["datasets"] and key == "difficulty":
        hint = f"difficulty: {{{parents[1]}: {{from: ..., keep: [0.1, 0.9]}}}} beside `datasets`, as `expires`: DVC makes stages of it"
        return Problem(where, "it stands under the dataset", "at the top level, by the name of the dataset", hint)
    if error["type"] == "extra_forbidden" and parents[:1] == ["steps"] and len(parents) == 2 and is_trl_field(key):
        return Problem(where, f"{key!r} is an argument of TRL's", "it under args", f"args: {{{key}: ...}}")
    if error["type"] == "extra_forbidden":
        return Problem(where, f"unknown key {key!r}", "", did_you_mean(key, known_keys(parents)))
    if error["type"] == "missing":
        return Problem(
            where,
            "the key is missing",
            f"{key!r} in {'.'.join(map(str, parents)) or PARAMS_FILE}",
            # DVC needs the key too: it is a parameter of the stage
            "preflight: {} takes the defaults" if key == "preflight" else "see params.yaml of a fresh clone",
        )
    expected = error["msg"].removeprefix("Input should be ")
    return Problem(
        where,
        f"found {error['input']!r} ({type(error['input']).__name__})",
        expected,
        did_you_mean(error["input"], re.findall(r"'(\w+)'", expected)) if error["type"] == "literal_error" else "",
    )


def known_keys(parents: Sequence[str | int]) -> list[str]:
    """The keys that are allowed at a place of params.yaml. The second part of a place is a user's name."""
    models = {
        "datasets": Dataset, "steps": Step, "methods": Step,
        "base": Base, "curate": Curate, "preflight": Preflight, "evaluate": Evaluate, "gates": Gate, "difficulty": Difficulty,
    }  # fmt: skip
    model = models.get(parents[0], Params) if parents else Params
    if "lora" in parents[2:]:
        model = Lora
    if "rollouts" in parents[2:]:
        model = Rollouts
    if parents[-1:] == ["personal_data"]:
        model = PersonalData
    if parents[-1:] == ["lm_eval"]:
        model = LmEval
    if parents[-1:] == ["judge"]:
        model = Judge
    return [field.alias or name for name, field in model.model_fields.items()]


def name_problems(data: Entry) -> list[Problem]:
    """Names of datasets, steps and methods that are not safe in paths, and a step with the name `base`."""
    problems = []
    for section in ("datasets", "steps", "methods"):
        for name in get_section(data, section):
            if not NAME_PATTERN.fullmatch(str(name)):
                problems.append(
                    Problem(
                        f"{PARAMS_FILE}: {section}.{name}",
                        f"{name!r} is not a valid name",
                        "lower-case letters, digits and _, a letter first",
                        "such names are safe in paths, in DVC and in a shell",
                    )
                )
    if "base" in get_section(data, "steps"):
        problems.append(
            Problem(
                f"{PARAMS_FILE}: steps.base",
                "'base' is the base model's name",
                "another name",
                "for example: steps.sft",
            )
        )
    return problems


def base_problems(base: Entry) -> list[Problem]:
    """Mistakes in `base`: its model, its chat template and the variables for it, its date."""
    return [
        *model_problems(base),
        *template_problems(base.get("chat_template")),
        *template_kwargs_problems("base", base),
        *date_problems(base.get("date")),
    ]


def template_kwargs_problems(section: str, entry: Entry) -> list[Problem]:
    """Keys of `chat_template_kwargs` that rendering passes to the template itself."""
    names = sorted(RENDERING_ARGS & (entry.get("chat_template_kwargs") or {}).keys())
    where = f"{PARAMS_FILE}: {section}.chat_template_kwargs"
    expected = "a variable of the template, such as enable_thinking"
    return [
        Problem(f"{where}.{name}", "Tilth gives it to the template itself", expected, "remove it") for name in names
    ]


def template_problems(path: str | None) -> list[Problem]:
    where, expected = f"{PARAMS_FILE}: base.chat_template", "a file with a Jinja template, in the project"
    if path is None:
        return []
    if Path(path).is_absolute() or ".." in Path(path).parts:
        return [Problem(where, f"{path!r} is outside the project", expected, "copy it to recipes/templates/")]
    return [] if Path(path).is_file() else [Problem(where, f"no file {path!r}", expected, "")]


def date_problems(day: str | None) -> list[Problem]:
    try:
        date.fromisoformat(day or "2000-01-01")
    except ValueError:
        return [Problem(f"{PARAMS_FILE}: base.date", f"{day!r} is not a date", "a date as YYYY-MM-DD", "")]
    return []


def model_problems(entry: Entry, section: str = f"{PARAMS_FILE}: base") -> list[Problem]:
    """Mistakes in `model` and `revision` of an entry. section: its place in params.yaml, for messages."""
    model = entry["model"]
    if model == "tiny":
        return []
    where = f"{section}.model"
    if model.endswith(".gguf"):
        return [] if Path(model).is_file() else [Problem(where, f"no file {model!r}", "a GGUF file", "")]
    if Path(model).is_dir():
        if (Path(model) / "config.json").exists():
            return []
        return [Problem(where, f"{model!r} has no config.json", "a folder written by save_pretrained", "")]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        expected = "tiny, a local folder or .gguf file, or a Hub id such as Qwen/Qwen3-0.6B"
        return [Problem(where, f"{model!r} is not there", expected, "")]
    revision = entry.get("revision")
    if not revision or not COMMIT.fullmatch(revision):
        found = f"revision {revision!r} can move" if revision else f"{model!r} has no revision"
        hint = (
            "the model behind a name can change; copy the commit's 40 digits from its page on the Hub: Files, History"
        )
        return [Problem(f"{section}.revision", found, "the commit of the model, 40 hexadecimal digits", hint)]
    return []


def personal_data_problems(rules: Entry | None) -> list[Problem]:
    """Unknown countries, kinds that stand under both `reject` and `warn`, rules without a kind."""
    if rules is None:
        return []
    from phonenumbers import SUPPORTED_REGIONS

    where, problems = f"{PARAMS_FILE}: curate.personal_data", []
    if not rules.get("reject") and not rules.get("warn"):
        hint = "reject: [email, phone, iban, credit_card]"
        problems.append(Problem(where, "neither `reject` nor `warn` names a kind", "one of them, or null", hint))
    for kind in sorted({*rules.get("reject", ())} & {*rules.get("warn", ())}):
        hint = "what is rejected is counted too"
        problems.append(Problem(f"{where}.warn", f"{kind!r} is in `reject` as well", "one of them", hint))
    for region in rules.get("regions", ()):
        if region not in SUPPORTED_REGIONS:
            hint = did_you_mean(region.upper(), SUPPORTED_REGIONS) if len(region) == 2 else "for example: [US, DE]"
            problems.append(
                Problem(f"{where}.regions", f"no country {region!r}", "two capital letters of ISO 3166", hint)
            )
    return problems


def evaluate_problems(evaluate: Entry, datasets: dict[str, Entry]) -> list[Problem]:
    """Mistakes in `evaluate` that the schema does not find: a larger k of pass@k than samples, an impossible judge.

    datasets: entries without schema faults.
    """
    judge, problems = evaluate.get("judge"), template_kwargs_problems("evaluate", evaluate)
    samples = evaluate.get("samples", Evaluate.model_fields["samples"].default)
    largest_k = max(evaluate.get("pass_at_k") or [0])
    if largest_k > samples:
        where, found = f"{PARAMS_FILE}: evaluate.pass_at_k", f"pass@{largest_k} of {samples} samples"
        problems.append(Problem(where, found, "at most as many as evaluate.samples", f"samples: {largest_k}"))
    if judge and not judge.get("server"):
        problems += model_problems(judge, JUDGE_PATH)
    return problems + judge_problems(judge, datasets)


def launch_problems(launch: object) -> list[Problem]:
    """Config files of `launch` that do not exist. Without this check accelerate would fail when the first step trains."""
    if not isinstance(launch, str):
        return []
    paths = re.findall(r"--config_file[ =]([^\s'\"]+)", launch)
    hint = "known: " + ", ".join(sorted(str(path) for path in Path("recipes/accelerate").glob("*.yaml")))
    return [
        Problem(f"{PARAMS_FILE}: launch", f"no file {path!r}", "a config of accelerate", hint)
        for path in paths
        if not Path(path).is_file()
    ]


# -- steps ----------------------------------------------------------------------------------------------------------


def step_problems(where: str, step: Entry, datasets: dict[str, str | None], steps: Collection[str]) -> list[Problem]:
    """Mistakes that the schema does not find: unknown names, kinds that do not fit the method, args that TRL does not have.

    datasets: {name: kind}; the kind is None where the dataset has a fault. steps: all names of steps.
    """
    problems, method, dataset, parent = [], step.get("method"), step.get("dataset"), step.get("from")
    if dataset and datasets and dataset not in datasets:
        hint = did_you_mean(dataset, datasets)
        problems.append(Problem(f"{where}.dataset", f"no dataset {dataset!r}", "a name under datasets", hint))
    elif dataset and method and datasets.get(dataset) not in (None, KIND_OF_METHOD[method]):
        found = f"{dataset!r} is a {datasets[dataset]} dataset, but {method} needs kind {KIND_OF_METHOD[method]}"
        fitting = ", ".join(name for name, kind in datasets.items() if kind == KIND_OF_METHOD[method]) or "none yet"
        problems.append(Problem(f"{where}.dataset", found, "", f"datasets of that kind: {fitting}"))
    if parent and parent not in ("base", *steps):
        hint = did_you_mean(parent, ["base", *steps])
        problems.append(Problem(f"{where}.from", f"no step {parent!r}", "base or a name under steps", hint))
    for waiver in step.get("waive", {}):
        if waiver not in (known := [*WAIVERS, *WAIVABLE]):
            problems.append(Problem(f"{where}.waive", f"no warning {waiver!r}", "", did_you_mean(waiver, known)))
    return problems + reward_problems(where, step) + arg_problems(where, step)


def backend_problems(where: str, step: Entry, backend: str) -> list[Problem]:
    """Methods that a backend cannot train, and weights or samplers that it cannot combine."""
    problems, method, lora, args = [], step.get("method"), step.get("lora"), step.get("args", {})
    able = [name for name, methods in BACKENDS.items() if method in methods]
    if method and backend in BACKENDS and backend not in able:
        found, hint = f"{backend} does not train {method}", f"base.backend: {' or '.join(able)}"
        problems.append(Problem(f"{where}.method", found, "a method that the backend knows", hint))
    if step.get("load_in_4bit") and lora is None:
        found, hint = "4-bit weights cannot be trained themselves", "lora: {r: 16, lora_alpha: 16}, or no load_in_4bit"
        problems.append(Problem(f"{where}.load_in_4bit", found, "adapters on top of them", hint))
    if backend == "unsloth" and args.get("use_vllm") and lora is None:
        found = "unsloth shares its weights with vLLM, which takes adapters alone"
        hint = "lora: {r: 16, lora_alpha: 16}, use_vllm: false, or base.backend: transformers"
        problems.append(Problem(f"{where}.args.use_vllm", found, "a step with lora", hint))
    return problems


def reward_problems(where: str, step: Entry) -> list[Problem]:
    """Unknown, missing or misplaced rewards of a step, and `reward_weights` of another number."""
    rewards, known = step.get("rewards"), reward_functions()
    where, method = f"{where}.rewards", step.get("method")
    if method is None:
        return []
    if method != "grpo" and step.get("rollouts"):
        found = f"{method} generates nothing"
        return [Problem(where.replace(".rewards", ".rollouts"), found, "no such key", "rollouts belong to grpo")]
    if method != "grpo":
        found = f"{method} has no rewards"
        return [Problem(where, found, "no such key", "rewards belong to grpo")] if rewards else []
    if not rewards:
        hint = "known: " + ", ".join(known)
        return [Problem(where, "grpo needs a reward", "at least one function of validators/rewards.py", hint)]
    problems = [
        Problem(where, f"no reward function {name!r}", "a function of validators/rewards.py", did_you_mean(name, known))
        for name in rewards
        if name not in known
    ]
    weights = step.get("args", {}).get("reward_weights")
    if isinstance(weights, list) and len(weights) != len(rewards):
        found = f"{len(weights)} weights for {len(rewards)} rewards"
        problems.append(Problem(where.replace(".rewards", ".args.reward_weights"), found, "one for each"))
    return problems


def missing_packages(steps: Entry, rules: Entry) -> list[Problem]:
    """Problems of steps, and of rules of `difficulty`, whose reward functions need a package that is not installed."""
    functions_by_key = {
        f"steps.{name}.rewards": step.get("rewards") or () for name, step in steps.items() if isinstance(step, dict)
    }
    functions_by_key |= {
        f"difficulty.{name}.by": [rule.get("by")] for name, rule in rules.items() if isinstance(rule, dict)
    }
    return [
        Problem(f"{PARAMS_FILE}: {where}", "math_verify is not installed here", REQUIREMENT, "")
        for where, functions in functions_by_key.items()
        if "math_verify" in functions and not importlib.util.find_spec("math_verify")
    ]


def metric_problems(where: str, dataset: Entry) -> list[Problem]:
    """Unknown metrics, metrics with the name of another score, metrics of a kind without generated answers."""
    where, names = f"{where}.metrics", dataset.get("metrics") or []
    known = public_functions("metrics.py") if names else []
    if names and dataset.get("kind") == "kto":
        hint = "no answers are generated: a row's answer may be a bad one"
        return [Problem(where, "kind kto has no metrics", "no such key", hint)]
    problems = []
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            problems.append(Problem(where, f"no metric {name!r}", "a function of validators/metrics.py", hint))
    for name in names:
        if name in known and name in RESERVED_NAMES:
            hint = f"rename the function, for example: my_{name}"
            problems.append(Problem(where, f"{name!r} is the name of another score", "another name", hint))
    return problems


def reward_functions() -> list[str]:
    """Names of the public functions of validators/rewards.py, read without running it."""
    return public_functions("rewards.py")


def public_functions(module: str) -> list[str]:
    """Names of the public functions of a module beside this one."""
    return list(parse_functions(module))


def parse_functions(module: str) -> dict[str, ast.FunctionDef]:
    """{name: syntax tree} of the public functions of a module beside this one, read without running it."""
    path = Path(__file__).with_name(module)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise Problems([Problem(f"validators/{module}:{error.lineno}", f"not Python: {error.msg}", "", "")]) from None
    return {
        node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def arg_problems(where: str, step: Entry) -> list[Problem]:
    """Args that Tilth sets, that TRL's config of the method does not have, or that have a type it does not take."""
    method, problems = step.get("method"), []
    if method is None:
        return []
    fields = trl_fields(method)
    for key, value in step.get("args", {}).items():
        if key in TILTH_SETS:
            problems.append(Problem(f"{where}.args.{key}", "Tilth sets this itself", TILTH_SETS[key], "remove it"))
        elif key not in fields:
            problems.append(
                Problem(
                    f"{where}.args.{key}", f"TRL's {method} config has no {key!r}", "", nearest_field_hint(key, fields)
                )
            )
        elif not fits_annotation(value, fields[key]):
            problems.append(
                Problem(
                    f"{where}.args.{key}",
                    f"found {value!r} ({type(value).__name__})",
                    fields[key],
                    "in YAML 1.2, 1e-4 is a number and '1e-4' a text" if isinstance(value, str) else "",
                )
            )
    return problems


def nearest_field_hint(word: str, known: Collection[str]) -> str:
    """A hint with the nearest field of TRL's config, by its name in other trainers too."""
    if ARG_ALIASES.get(word) in known:
        return f"did you mean '{ARG_ALIASES[word]}'?"
    hint = did_you_mean(word, known)
    return hint if hint.startswith("did") else "TRL's documentation lists the fields of each config"


def cycle_problems(steps: dict[str, Entry]) -> list[Problem]:
    """Steps that start, through others, from themselves."""
    problems = []
    for name in steps:
        chain = ancestry(name, steps)
        if chain[-1] in chain[:-1] and chain[-1] == name:
            problems.append(
                Problem(
                    f"{PARAMS_FILE}: steps.{name}.from",
                    "the chain comes back to itself: " + " -> ".join(chain),
                    "a chain that ends at base",
                    "",
                )
            )
    return problems
