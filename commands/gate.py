"""`tilth gate`: ship or do not ship, with each reason and how often each eval set was scored; ends with 1 for CI.

gates.json, params.yaml, scores/, dvc.lock in git's history -> lines, or JSON; nothing runs and nothing is changed

A set that is looked at often flatters: who picks the best of twenty models by it has a score that twenty draws made. The count is of
git's history, which is no input of a stage, so it is in no output.
"""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(as_json: Json = False) -> None:
    """Say ship or do not ship, with the reason of each gate. Ends with 1 where a model must not ship."""
    from commands.builds.score_history import count_scorings
    from stages.rows.tables import safe_text
    from stages.scoring.gates import describe_gates, describe_result

    found = read_gates()
    verdicts = found["gates"]
    counted = count_scorings(list(dict.fromkeys(verdict["on"] for verdict in verdicts.values())))
    if as_json:
        print(json.dumps(found | {"scored": counted}, indent=2, ensure_ascii=False))
    else:
        for name, verdict in verdicts.items():
            print(safe_text(f"{name}: {describe_result(verdict)}", 400))
        for on, count in counted.items():
            print(safe_text(f"  {on}: {count_in_words(count)}", 400))
        print(describe_gates([*verdicts.values()]))
    raise SystemExit(0 if found["ship"] is not False else 1)


def count_in_words(count: int | None) -> str:
    """How often a set was scored, in words. count: None where there is no history."""
    if count is None:
        return "how often it was scored is unknown: there is no dvc.lock in git"
    return f"scored {count:,} time{'s' * (count != 1)} in git's history" + (
        "; a set looked at often flatters" if count > 10 else ""
    )


def read_gates() -> dict[str, Any]:
    """What gates.json holds. Raises Problems where it is not of params.yaml, or of the scores that are here."""
    from stages.core.stage_params import params_by_stage
    from stages.gate import OUT, gates_text, read_scores
    from stages.scoring.gates import judge_gates
    from validators._gates import gate_problems
    from validators.params import fill_defaults, read_params_yaml, reward_functions, schema_problems
    from validators.problems import Problem, Problems

    data = read_params_yaml()
    # not all that `tilth check` looks at: in CI the raw data need not be there
    if problems := schema_problems(data)[0] or gate_problems(data, reward_functions()):
        raise Problems(problems)
    if not OUT.is_file():
        raise Problems([Problem(str(OUT), "is not there", "what the stage gate builds", "dvc repro gate")])
    params = params_by_stage(fill_defaults(data))["gate"]
    scores, text = read_scores(params["steps"]), OUT.read_text(encoding="utf-8")
    found = parse_gates(text)
    same = (
        text == gates_text(judge_gates(params, scores))
        if len(scores) == len(params["steps"])
        else gates_match(params, found)
    )
    if not same:
        what = "params.yaml and the scores" if scores else "params.yaml"
        raise Problems([Problem(str(OUT), "is out of date", f"what follows from {what}", "dvc repro gate")])
    return found


def parse_gates(text: str) -> dict[str, Any]:
    """gates.json as data. Raises Problems where it is none, as after a merge with conflicts."""
    from stages.gate import OUT
    from validators.problems import Problem, Problems

    try:
        found = json.loads(text)
        return {"ship": found["ship"], "gates": dict(found["gates"])}
    except (ValueError, TypeError, KeyError):
        raise Problems(
            [Problem(str(OUT), "is not what the stage gate wrote", "", "dvc repro --force --single-item gate")]
        ) from None


def gates_match(params: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether gates.json has the gates of params.yaml, as far as that is known without scores: in CI, nothing need be pulled."""
    asked = {
        (gate["step"] or step, gate["no_worse"] or gate["on"], gate["waive"])
        for gate in params["gates"]
        for step in ([gate["step"]] if gate["step"] else params["steps"])
    }
    return asked == {(verdict["step"], verdict["on"], verdict["waived"]) for verdict in found["gates"].values()}
