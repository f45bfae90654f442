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
    from commands.builds.looks import looks
    from stages.rows.tables import shown
    from stages.scoring.gates import in_words, summary

    found = built()
    verdicts = found["gates"]
    counted = looks(list(dict.fromkeys(verdict["on"] for verdict in verdicts.values())))
    if as_json:
        print(json.dumps(found | {"scored": counted}, indent=2, ensure_ascii=False))
    else:
        for name, verdict in verdicts.items():
            print(shown(f"{name}: {in_words(verdict)}", 400))
        for on, count in counted.items():
            print(shown(f"  {on}: {told(count)}", 400))
        print(summary([*verdicts.values()]))
    raise SystemExit(0 if found["ship"] is not False else 1)


def told(count: int | None) -> str:
    """How often a set was scored, in words. count: None where there is no history."""
    if count is None:
        return "how often it was scored is unknown: there is no dvc.lock in git"
    return f"scored {count:,} time{'s' * (count != 1)} in git's history" + (
        "; a set looked at often flatters" if count > 10 else ""
    )


def built() -> dict[str, Any]:
    """What gates.json holds. Raises Problems where it is not of params.yaml, or of the scores that are here."""
    from stages.core.reads import reads
    from stages.gate import OUT, read_scores, text_of
    from stages.scoring.gates import judge
    from validators._gates import gate_problems
    from validators.params import read, resolved, reward_functions, schema_problems
    from validators.problems import Problem, Problems

    data = read()
    # not all that `tilth check` looks at: in CI the raw data need not be there
    if problems := schema_problems(data)[0] or gate_problems(data, reward_functions()):
        raise Problems(problems)
    if not OUT.is_file():
        raise Problems([Problem(str(OUT), "is not there", "what the stage gate builds", "dvc repro gate")])
    params = reads(resolved(data))["gate"]
    scores, text = read_scores(params["steps"]), OUT.read_text(encoding="utf-8")
    found = parsed(text)
    same = text == text_of(judge(params, scores)) if len(scores) == len(params["steps"]) else fits(params, found)
    if not same:
        what = "params.yaml and the scores" if scores else "params.yaml"
        raise Problems([Problem(str(OUT), "is out of date", f"what follows from {what}", "dvc repro gate")])
    return found


def parsed(text: str) -> dict[str, Any]:
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


def fits(params: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether gates.json has the gates of params.yaml, as far as that is known without scores: in CI, nothing need be pulled."""
    asked = {
        (gate["step"] or step, gate["no_worse"] or gate["on"], gate["waive"])
        for gate in params["gates"]
        for step in ([gate["step"]] if gate["step"] else params["steps"])
    }
    return asked == {(verdict["step"], verdict["on"], verdict["waived"]) for verdict in found["gates"].values()}
