"""`tilth plan`: what `dvc repro` would run and why, what it would restore, and about how long that takes.

params.yaml, dvc.yaml, dvc.lock, the workspace, the run cache, git -> text, or JSON; it runs nothing and changes nothing

DVC stops where the new outputs of a stage are the same bytes, so a later stage may not run. "runs" is certain; "may run" is not.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages.core.progress import format_duration

if TYPE_CHECKING:
    from commands.planning.state import Decision

Item = dict[str, Any]  # a stage, or what is said of all, as in the JSON

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(as_json: Json = False) -> None:
    """Say what `dvc repro` would run and why, what it would restore from the cache, and about how long it takes."""
    from commands.planning.repro import decide
    from commands.planning.reuse import reused_trainings
    from stages.check import check
    from validators.params import read_params_yaml

    check(read_params_yaml())  # a build would stop at a mistake in params.yaml
    decisions, left_behind = decide()
    reused = reused_trainings(decisions)
    stages = [describe_stage(decision, reused.get(decision.stage.partition("@")[2])) for decision in decisions]
    plan = {
        "stages": stages,
        "seconds": total_seconds(stages),
        "not_in_cache": not_in_cache(decisions),
        "left_behind": left_behind,
    }
    if as_json:
        import json

        print(json.dumps(plan, indent=2, ensure_ascii=False))
    else:
        print("\n".join(text_lines(plan)))


# -- the stages as plain data ---------------------------------------------------------------------------------------


def describe_stage(decision: "Decision", reused: str | None = None) -> Item:
    """{stage, verdict, why, taken_over?, seconds?, optimizer_steps?, tokens?} of a stage.

    reused: the step whose training is reused, if any.
    """
    from commands.planning.estimate import estimate
    from commands.planning.reasons import reason_lines

    item = {"stage": decision.stage, "verdict": decision.verdict}
    if decision.verdict == "unchanged":
        return item
    item["why"] = reason_lines(decision.why)
    if reused and decision.stage.startswith("train@"):
        return item | {"taken_over": reused}
    return item | (estimate(decision.stage) if decision.verdict in ("runs", "may run") else {})


def not_in_cache(decisions: list["Decision"]) -> list[str]:
    """The stages that run only because the cache lacks their outputs: in a fresh clone, all."""
    return [
        decision.stage
        for decision in decisions
        if decision.verdict == "runs" and decision.why and all(why.new == "not in cache" for why in decision.why)
    ]


def total_seconds(stages: list[Item]) -> Item:
    """{least, most, unknown}: seconds of the stages that run, seconds with those that may run, and the stages without a record."""
    unknown = [item["stage"] for item in stages if "seconds" in item and item["seconds"] is None]
    timed = [(item["verdict"], item["seconds"]) for item in stages if item.get("seconds") is not None]
    certain = sum(seconds for verdict, seconds in timed if verdict == "runs")
    return {
        "least": certain,
        "most": certain + sum(s for verdict, s in timed if verdict == "may run"),
        "unknown": unknown,
    }


# -- shown ----------------------------------------------------------------------------------------------------------

HEADINGS = {
    "recorded": "changed since DVC recorded it; tilth check says what to do",
    "runs": "runs",
    "restored": "restored from the cache; nothing runs",
    "may run": "may run: DVC stops where inputs come out the same",
}


def text_lines(plan: Item) -> Iterator[str]:
    """The lines for a terminal."""
    yield summary_line(plan["stages"])
    for verdict, heading in HEADINGS.items():
        stages = [item for item in plan["stages"] if item["verdict"] == verdict]
        if stages:
            yield from ("", heading)
        width = max((len(item["stage"]) for item in stages), default=0)
        for item in stages:
            lines = [*item["why"], *figure_lines(item)]
            for number, line in enumerate(lines):
                yield f"  {(item['stage'] if number == 0 else '').ljust(width)}  {line}"
    if any(item["verdict"] in ("runs", "may run") for item in plan["stages"]):
        yield from ("", time_line(plan["seconds"]))
    if plan["not_in_cache"]:
        yield from (
            "",
            f"{len(plan['not_in_cache']):,} stages were built before but are not in this cache; if a colleague pushed them: dvc pull",
        )
    if plan["left_behind"]:
        yield from ("", f"no longer in the graph, still in dvc.lock: {', '.join(plan['left_behind'])} (tilth prune)")


def summary_line(stages: list[Item]) -> str:
    """One line: how many stages of each kind."""
    counts = {verdict: sum(item["verdict"] == verdict for item in stages) for verdict in (*HEADINGS, "unchanged")}
    if counts["unchanged"] == len(stages):
        return f"dvc repro would run nothing: all {len(stages):,} stages are built"
    parts = (("runs", "run {}"), ("restored", "restore {}"), ("may run", "may run {} more"))
    would = ", ".join(words.format(f"{counts[verdict]:,}") for verdict, words in parts if counts[verdict])
    return (
        f"dvc repro would {would or 'run nothing'} of {len(stages):,} stages; {counts['unchanged']:,} stay as they are"
    )


def figure_lines(item: Item) -> list[str]:
    """The line with steps, tokens and time of a stage; [] where it has none."""
    if other := item.get("taken_over"):
        return [f"nothing is trained: same inputs as {other}, its weights are taken over"]
    parts = []
    if item.get("prompts") is not None:
        parts.append(f"{item['prompts']:,} prompts, {item['samples']} answers to each, minus those that are stored")
    if item.get("kept") is not None:
        parts.append(f"{item['kept']:,} of {item['of']:,} prompts are kept, by the answers of the last build")
    about = "about " if item.get("approximate") else ""
    if item.get("optimizer_steps") is not None:
        parts.append(f"{about}{item['optimizer_steps']:,} optimizer steps")
    if item.get("tokens") is not None:
        parts.append(f"{about}{item['tokens']:,} tokens a pass")
    if item.get("seconds") is not None:
        parts.append(f"{format_duration(item['seconds'])} by the last run")
    elif "seconds" in item and parts:  # for the other stages, the last line says it
        parts.append("time unknown")
    return [", ".join(parts)] if parts else []


def time_line(seconds: Item) -> str:
    """The total time, as far as there are records."""
    unknown = seconds["unknown"]
    if unknown and not seconds["most"]:
        return "time: unknown, these stages have not run with this base and device before"
    least, most = format_duration(seconds["least"]), format_duration(seconds["most"])
    line = f"time: about {least}" + (f", up to {most}" if most != least else "")
    more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
    return line + (
        f"; unknown for {', '.join(unknown[:5])}{more}, which {'has' if len(unknown) == 1 else 'have'} not run with this base and device before"
        if unknown
        else ""
    )
