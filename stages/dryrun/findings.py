"""Preflight's findings about a step: numbers beside their limits, and the Problems that stop the build.

    {"check": "preflight.truncated_share", "value": 0.02, "limit": 0.05, "level": "ok", "message": "..."}

level: `ok` up to the limit; above it `waived` if the step waives the check, else `warning`, which stops the build if the check
is a gate. Values have four digits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from stages.dryrun import reward_trials as trials_of
from stages.dryrun.hostile_answers import MEANINGS, WITH_TRUTH
from stages.dryrun.memory import GB
from stages.dryrun.reward_trials import Trial
from stages.dryrun.token_counts import MeasuredRows, Method
from stages.rows.batches import describe_origins
from stages.training.types import Config
from validators._preflight import GATES
from validators._warnings import imbalance, weights_advice
from validators.problems import Problem, Problems

MAX_IMBALANCE = 1000  # a weight of 0 makes the imbalance infinite, which JSON cannot express

Settings = Mapping[str, Any]  # `preflight` of params.yaml: {check: limit}
Rows = Sequence[int] | np.ndarray  # their numbers in the file
Waivers = Mapping[str, str]  # {check: reason} of a step


class Finding(TypedDict):
    """One number beside its limit; value has four digits. hint: what to do, of a gate."""

    check: str
    value: float
    limit: float | None
    level: Literal["ok", "waived", "warning"]
    message: str
    hint: NotRequired[str]


def make_finding(check: str, value: float, message: str, settings: Settings, waive: Waivers) -> Finding:
    """One number beside its limit."""
    short = check.removeprefix("preflight.")
    limit = settings[short]
    above = limit is not None and value > limit  # compares before rounding: one row in a million is above a limit of 0
    level = "ok" if not above else "waived" if short in waive else "warning"
    message += f" ({waive[short]})" if level == "waived" else ""
    return {"check": check, "value": float(f"{value:.4g}"), "limit": limit, "level": level, "message": message}


def stops_build(item: Finding) -> bool:
    return item["check"] in GATES and item["level"] == "warning"


def gate_problems(findings: Iterable[Finding], where: str) -> list[Problem]:
    """Problems for each gate that is above its limit and not waived."""
    return [
        Problem(
            f"{where}: {item['check']}",
            item["message"],
            f"at most {item['limit']:g}, found {item['value']:g}",
            "; ".join(
                filter(
                    None,
                    (
                        item.get("hint"),
                        f"if this is intended: waive: {{{item['check'].removeprefix('preflight.')}: your reason}}",
                    ),
                )
            ),
        )
        for item in findings
        if stops_build(item)
    ]


# -- rows -------------------------------------------------------------------------------------------------------------


def row_problems(where: str, measured: MeasuredRows, method: Method, path: str) -> list[Problem]:
    """Problems that no row may have: each fault once, with the first rows that have it."""
    problems, doubled = [], measured.rows["row"][measured.rows["doubled"]]
    if len(doubled):
        what = f"{describe_rows(measured, doubled, path)} begin with {method.render.tokenizer.bos_token!r} twice"
        hint = "the chat template or the text of a turn adds a second one: remove it there"
        problems.append(Problem(f"{where}: preflight.double_bos", what, "one", hint))
    overlong = [row for row, proof, _ in measured.left_out if proof == "LENGTH"]
    if method.overlong == "stop" and overlong:
        what = f"{describe_rows(measured, overlong, path)} are longer than max_length {method.limits.length:,}"
        hint = "raise args.max_length, or overlong: cut or drop"
        problems.append(Problem(f"{where}: preflight.overlong", what, "rows that fit, because of overlong: stop", hint))
    return problems


def describe_rows(measured: MeasuredRows, rows: Rows, path: str) -> str:
    """How many of the file's rows these are, and the first of them: "3 of 80 rows (a.jsonl:7, ...)"."""
    rows = np.unique(rows)
    where = f" ({describe_origins(path, rows.tolist())})" if len(rows) else ""
    return f"{len(rows):,} of {measured.count:,} rows{where}"


def raise_length(context: int, limit: int | None) -> str:
    """What to do about rows that are too long. context: tokens that the model was made for, 0 if unknown. limit: `max_length`."""
    if context and (limit or 0) >= context:
        return f"take a base that was made for more than {context:,} tokens"
    return "raise args.max_length" + (f" (this model was made for {context:,} tokens)" if context else "")


def describe_left_out(measured: MeasuredRows, path: str, context: int = 0, limit: int | None = None) -> tuple[str, str]:
    """(what, hint) of the rows that are not trained: their number by proof, each with the reason of its first row.

    context, limit: see `raise_length`.
    """
    by_proof = {}
    for row, proof, why in measured.left_out:
        by_proof.setdefault(proof, []).append((row, why))
    parts = [
        f"{len(rows):,} by {proof}: {describe_origins(path, [row for row, _ in rows])}: {rows[0][1].partition(': ')[2]}"
        for proof, rows in sorted(by_proof.items(), key=lambda item: -len(item[1]))
    ]
    most = max(by_proof, key=lambda proof: len(by_proof[proof]), default=None)
    return "; ".join(parts), raise_length(context, limit) if most == "LENGTH" else PROOF_HINTS.get(most, "")


PROOF_HINTS = {  # what to do about rows that fail a proof
    "PROMPT": "the template writes a conversation differently from what inference sees: set another chat template, `base: {chat_template: FILE}`, or, if rows hold thoughts, `base: {chat_template_kwargs: {enable_thinking: true}}`",
    "SAID": "the template leaves out what the assistant says: reject such rows, or use a template that supports them",
    "STOP": "no token that ends an answer is learned: set the token that ends a turn, `base: {eos_token: TOKEN}`",
    "BORDER": "tokens merge across the border of prompt and answer: use a template that ends the prompt with a special token",
    "CONTEXT": "the template leaves out earlier messages: reject such rows, or use a template that supports them",
    "TOOLS": "the template does not show definitions of tools: use a base or a template that supports tools",
    "TEMPLATE": "the template refuses such rows: reject them with a check of validators/, or use a template that supports them",
}


def row_findings(
    measured: MeasuredRows, method: Method, path: str, context: int, settings: Settings, waive: Waivers
) -> list[Finding]:
    """The findings about a step's rows."""
    rows = measured.rows

    def add(check: str, numbers: Rows, message: str) -> Finding:
        share = measured.share(numbers)
        return make_finding(check, share, f"{describe_rows(measured, numbers, path)} {message}", settings, waive)

    left = [row for row, _, _ in measured.left_out]
    what, hint = describe_left_out(measured, path, context, method.limits.length)
    message = f"{len(left):,} of {measured.count:,} rows are left out" + (f": {what}" if left else "")
    out = [make_finding("preflight.dropped_share", measured.share(left), message, settings, waive)]
    if left:
        out[0]["hint"] = hint
    out.append(
        add(
            "preflight.special_in_content",
            measured.special,
            "have the text of a control token, which the tokenizer reads as one",
        )
    )
    out += text_findings(measured, path, settings, waive)
    if method.name == "sft" and method.config.packing:
        text = "packing joins rows into one sequence, and only Flash Attention is known to keep them apart"
        out.append(make_finding("preflight.packing", 1, text, settings, waive))
    if method.limits.length is not None and method.name != "grpo":
        cut = rows["row"][rows["cut"]]
        text = f"are longer than max_length {method.limits.length}"
        if len(cut):
            longest_cut = rows["length"][rows["cut"]].max()
            text += (
                f", the longest has {longest_cut:,} tokens: {raise_length(context, method.limits.length)}, or `overlong: drop` "
                "of the step leaves them out"
            )
        out.append(add("preflight.truncated_share", cut, text))
    if context:
        arg = "max_completion_length" if method.name == "grpo" else "max_length"
        long = rows["row"][model_lengths(rows, method) > context]
        text = f"are longer than the {context:,} positions of the model"
        text += f": take a base with more, or a lower args.{arg}" if len(long) else ""
        out.append(add("preflight.context_share", long, text))
    if method.name in ("dpo", "orpo"):
        equal = rows["row"][rows["equal"]]
        out.append(add("preflight.equal_pairs_share", equal, "have two answers of the same tokens"))
        out.append(length_bias_finding(rows, settings, waive))
    if method.name == "kto":
        out.append(class_balance_finding(rows, method.config, settings, waive))
    return out


PROOF_FINDINGS = {  # proofs with a finding of their own; a row that fails one is left out, and dropped_share is the gate for that
    "preflight.said": ("SAID", "hold something that is not in what is learned"),
    "preflight.stops": ("STOP", "end in no token that ends an answer"),
    "preflight.tools_shown": ("TOOLS", "have tools that the chat template does not show"),
}


def text_findings(measured: MeasuredRows, path: str, settings: Settings, waive: Waivers) -> list[Finding]:
    """Findings about differences between what a row says, its text and its tokens, for rows of train or of eval."""
    lists = {
        check: ([row for row, failed, _ in measured.left_out if failed == proof], message)
        for check, (proof, message) in PROOF_FINDINGS.items()
    }
    lists["preflight.tokenizer_round_trip"] = measured.encodings.lossy, "have tokens that do not give back their text"
    lists["preflight.bos_unlike_inference"] = (
        measured.encodings.headless,
        "do not begin with the tokens that the tokenizer puts before a text by itself",
    )
    return [
        make_finding(check, measured.share(rows), f"{describe_rows(measured, rows, path)} {message}", settings, waive)
        for check, (rows, message) in lists.items()
    ]


def cut_answers_finding(measured: MeasuredRows, path: str, evaluate: Mapping[str, Any], settings: Settings) -> Finding:
    """How many reference answers of eval rows are longer than what `evaluate` generates, and a limit that would fit.

    evaluate: of params.yaml. Counts the token that ends an answer, and a thought if it has no budget of its own.
    """
    most, thinking = evaluate["max_new_tokens"], evaluate["max_thinking_tokens"]
    lengths = np.array([answer + (0 if thinking else thought) for _, (thought, answer) in measured.answers])
    cut = [row for (row, _), tokens in zip(measured.answers, lengths, strict=True) if tokens > most]
    message = (
        f"{describe_rows(measured, cut, path)} have a reference answer of more than evaluate.max_new_tokens {most:,}"
    )
    pondered = [row for row, (thought, _) in measured.answers if thinking and thought > thinking]
    if pondered:
        message += f"; {describe_rows(measured, pondered, path)} a thought of more than evaluate.max_thinking_tokens {thinking:,}"
        cut = sorted({*cut, *pondered})
    if cut and lengths.max() > most:
        most_of, longest_of = int(np.percentile(lengths, 95, method="higher")), int(lengths.max())
        message += f", which no model can give word for word: set it to {longest_of} for all of the answers"
        message += f", to {most_of} for 95% of them" if most_of < longest_of else ""
    return make_finding("preflight.answers_cut", measured.share(cut), message, settings, {})


def eval_context_finding(
    measured: MeasuredRows, path: str, context: int, evaluate: Mapping[str, Any], settings: Settings
) -> Finding:
    """How many eval rows, or their prompts with an answer of the length that `evaluate` generates, are beyond the model's positions."""
    most = evaluate["max_new_tokens"] + (evaluate["max_thinking_tokens"] or 0)
    long = [row for row, prompt, whole in measured.lengths if max(prompt and prompt + most, whole) > context]
    message = f"{describe_rows(measured, long, path)} are longer than the {context:,} positions of the model, with an answer of {most:,} tokens"
    message += ": their scores say little; take a base with more, or a lower evaluate.max_new_tokens" if long else ""
    return make_finding("preflight.context_share", measured.share(long), message, settings, {})


def cut_truths_finding(cut: list[str], count: int, most: int, settings: Settings, waive: Waivers) -> Finding:
    """How many ground truths a sampled answer has no room for. cut: `source:line` of each."""
    more = f" ({', '.join(cut[:3])}{f' and {len(cut) - 3:,} more' if len(cut) > 3 else ''})" if cut else ""
    message = f"{len(cut):,} of {count:,} ground truths{more} have more tokens than max_completion_length {most:,}"
    return make_finding("preflight.truth_cut", len(cut) / max(count, 1), message, settings, waive)


def date_finding(date: str | None, settings: Settings, waive: Waivers) -> Finding:
    """Whether the chat template prints a date. date: of the base's settings, None if it prints none."""
    message = "the chat template prints no date"
    if date:
        message = (
            f"the chat template prints the date, {date} in every row, score and chat; other software prints today's"
        )
    return make_finding("preflight.date_dependent", bool(date), message, settings, waive)


def model_lengths(rows: np.ndarray, method: Method) -> np.ndarray:
    """Tokens of each row as the model will see it, (n,); GRPO adds an answer."""
    limit = method.limits.length
    if method.name == "grpo":
        return rows["length"] + method.config.max_completion_length
    return rows["length"] if limit is None else np.minimum(rows["length"], limit)


def length_bias_finding(rows: np.ndarray, settings: Settings, waive: Waivers) -> Finding:
    chosen, rejected = (rows["longer"] > 0).mean(), (rows["longer"] < 0).mean()
    message = f"chosen has more tokens in {chosen:.1%} of {len(rows):,} pairs and fewer in {rejected:.1%}"
    return make_finding("preflight.length_bias", max(chosen, rejected), message, settings, waive)


def class_balance_finding(rows: np.ndarray, config: Config, settings: Settings, waive: Waivers) -> Finding:
    """How far the weighted labels are from TRL's advice, with the weights to set."""
    true, false = int(rows["label"].sum()), int((~rows["label"]).sum())
    # two digits, as in TRL: 1,591 rows and 1,593 rows are balanced
    value = min(round(imbalance(true * config.desirable_weight, false * config.undesirable_weight), 2), MAX_IMBALANCE)
    message = f"{true:,} true and {false:,} false rows"
    if value > 1:
        message += f"; {weights_advice(true, false, config.desirable_weight, config.undesirable_weight)}"
    return make_finding("preflight.class_balance", value, message, settings, waive)


# -- rewards and memory -----------------------------------------------------------------------------------------------


def reward_findings(trials: list[Trial], weights: Sequence[float], settings: Settings, waive: Waivers) -> list[Finding]:
    """Findings from the reward trials of a grpo step. A random function gets only that finding, since others would not repeat."""
    out = []
    for trial in trials:
        name = trial.function
        again = "the same rewards" if trial.again else "other rewards"
        out.append(
            make_finding(
                "preflight.reward_random",
                not trial.again,
                f"{name} gives the same answers {again} again",
                settings,
                waive,
            )
        )
        if trial.again:
            low, high = trials_of.score_range(trial)
            share, below = trials_of.underpaid_truths(trial)
            message = f"{name} gives from {low:g} to {high:g}; {len(below):,} of {len(trial.scores['truth']):,} ground truths get less than that"
            if unpaid := trials_of.pays_no_truth(trial):
                share, message = (
                    1,
                    f"{name} gives no ground truth more than an empty answer: right if the ground truth is a target",
                )
                message += " and no answer; then try it on answers of your own (docs/rewards.md)"
            out.append(make_finding("preflight.reward_truth", share, message, settings, waive))
            if unpaid:  # the other findings would compare with a reward that no truth gets
                continue
            wrong = trials_of.wrong_shares(trial)
            message = f"{name} gives no less than to the ground truth to " + ", ".join(
                f"{kind} answers {part:.1%}" for kind, part in wrong.items()
            )
            message += f"; the first: {trial.wrong}" if trial.wrong else ""
            out.append(make_finding("preflight.reward_wrong", max(wrong.values()), message, settings, waive))
            out += hostile_findings(trial, settings, waive)
    more = trials_of.wrong_answer_gain(trials, weights) if all(trial.again for trial in trials) else {}
    if more:
        kind = max(more, key=lambda each: more[each])
        message = f"the ground truth earns {-more[kind]:g} more than the best of the wrong answers ({kind}), on average"
        if more[kind] > 0:
            message = f"{kind} answers earn {more[kind]:g} more than the ground truth, on average"
        out.append(make_finding("preflight.reward_order", more[kind], message, settings, waive))
        if any(map(trials_of.pays_no_truth, trials)):
            out[-1]["hint"] = "if the ground truth is a target and no answer, such a reward is right"
    return out


def hostile_findings(trial: Trial, settings: Settings, waive: Waivers) -> Iterator[Finding]:
    """Which kinds of hostile answers a function pays for; nothing if none was tried."""
    shares = trials_of.hostile_shares(trial)
    if not shares:
        return
    paid = trials_of.paid_kinds(shares)
    holding = bool(paid) and set(paid) <= set(WITH_TRUTH)
    message = f"{trial.function} pays as much as for the ground truth for {len(paid)} of {len(shares)} kinds of hostile answers"
    message += ", which hold the truth" if holding else ""
    message += ": " + ", ".join(f"{kind} ({MEANINGS[kind]}) {shares[kind]:.1%}" for kind in paid) if paid else ""
    message += ", and for no kind without it" if holding else ""
    if trials_of.judges_form_only(trial):
        message += "; it judges the form alone, so no limit applies to it"
        settings = {**settings, "reward_hostile": None}
    item = make_finding("preflight.reward_hostile", len(paid), message, settings, waive)
    if holding:
        item["hint"] = (
            "these answers contain the truth, so it may suit answers that reason first; exact_match wants the truth alone"
        )
    yield item


def memory_findings(parts: dict[str, float], settings: Settings, waive: Waivers) -> list[Finding]:
    if settings["memory_gb"] is None:
        return []
    sizes = ", ".join(f"{part} {size / GB:.1f}" for part, size in parts.items() if size and part != "total")
    return [
        make_finding("preflight.memory_gb", parts["total"] / GB, f"estimated on a GPU, in GB: {sizes}", settings, waive)
    ]


def require_both_labels(where: str, rows: np.ndarray) -> None:
    """Raise Problems if a KTO step trains rows of only one label."""
    true, false = int(rows["label"].sum()), int((~rows["label"]).sum())
    if not true or not false:
        found = f"all {true + false:,} rows that are trained have label {str(bool(true)).lower()}"
        hint = "KTO learns from the contrast: add rows of the other label, or raise max_length if they were dropped"
        raise Problems([Problem(f"{where}: preflight.both_labels", found, "rows of both labels", hint)])
