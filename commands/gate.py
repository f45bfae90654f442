"""`tilth gate`: ship or do not ship, with each reason and how often each eval set was scored; exits with 1 for CI.

gates.json, params.yaml, scores/, dvc.lock in git's history -> lines, or JSON; runs nothing and changes nothing

A score flatters if its eval set was used often: the best of twenty models by one set is the best of twenty draws. The count comes
from git's history. That is no input of a stage, so the count is in no output.
"""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(as_json: Json = False) -> None:
    """Say ship or do not ship, with the reason of each gate. Exits with 1 if a model must not ship."""
    from commands.builds.score_history import count_scorings
    from stages.rows.tables import safe_text
    from stages.scoring.gates import describe_gates, describe_result

    gates = read_gates()
    verdicts = gates["gates"]
    counts = count_scorings(list(dict.fromkeys(verdict["on"] for verdict in verdicts.values())))
    if as_json:
        print(json.dumps(gates | {"scored": counts}, indent=2, ensure_ascii=False))
    else:
        for name, verdict in verdicts.items():
            print(safe_text(f"{name}: {describe_result(verdict)}", 400))
        for on, count in counts.items():
            print(safe_text(f"  {on}: {count_in_words(count)}", 400))
        print(describe_gates([*verdicts.values()]))
    raise SystemExit(0 if gates["ship"] is not False else 1)


def count_in_words(count: int | None) -> str:
    """How often a set was scored, in words. count: None if there is no history."""
    if count is None:
        return "how often it was scored is unknown until dvc.lock is committed"
    return f"scored {count:,} time{'s' * (count != 1)} in git's history" + (
        "; a set used this often flatters" if count > 10 else ""
    )


def read_gates() -> dict[str, Any]:
    """gates.json as data. Raises Problems unless params.yaml and the present scores give the same."""
    from stages.core.stage_params import params_by_stage
    from stages.gate import OUT, gates_text, read_scores
    from stages.scoring.gates import judge_gates
    from validators._gates import gate_problems
    from validators.params import fill_defaults, read_params_yaml, reward_functions, schema_problems
    from validators.problems import Problem, Problems

    data = read_params_yaml()
    # less than `tilth check`: in CI the raw data may be missing
    if problems := schema_problems(data)[0] or gate_problems(data, reward_functions()):
        raise Problems(problems)
    if not OUT.is_file():
        raise Problems([Problem(str(OUT), "is not there", "what the stage gate builds", "dvc repro gate")])
    params = params_by_stage(fill_defaults(data))["gate"]
    scores, text = read_scores(params["steps"]), OUT.read_text(encoding="utf-8")
    gates = parse_gates(text)
    same = (
        text == gates_text(judge_gates(params, scores))
        if len(scores) == len(params["steps"])
        else gates_match(params, gates)
    )
    if not same:
        what = "params.yaml and the scores" if scores else "params.yaml"
        raise Problems([Problem(str(OUT), "is out of date", f"what follows from {what}", "dvc repro gate")])
    return gates


def parse_gates(text: str) -> dict[str, Any]:
    """gates.json as data. Raises Problems if it is not JSON of the stage, as after a merge with conflicts."""
    from stages.gate import OUT
    from validators.problems import Problem, Problems

    try:
        gates = json.loads(text)
        return {"ship": gates["ship"], "gates": dict(gates["gates"])}
    except (ValueError, TypeError, KeyError):
        raise Problems(
            [Problem(str(OUT), "is not what the stage gate wrote", "", "dvc repro --force --single-item gate")]
        ) from None


def gates_match(params: dict[str, Any], gates: dict[str, Any]) -> bool:
    """Whether gates.json has the gates of params.yaml. Needs no scores, so CI need not pull them."""
    expected = {
        (gate["step"] or step, gate["no_worse"] or gate["on"], gate["waive"])
        for gate in params["gates"]
        for step in ([gate["step"]] if gate["step"] else params["steps"])
    }
    return expected == {(verdict["step"], verdict["on"], verdict["waived"]) for verdict in gates["gates"].values()}
