"""What preflight found of a step: what stops it, and numbers beside their limits.

    {"check": "preflight.truncated_share", "value": 0.02, "limit": 0.05, "level": "ok", "message": "..."}

level: ok up to the limit; above it `waived` where the step waives the check, else `warning`, or for a gate the end of
the build. Values have four digits.
"""

import numpy as np

from stages.dryrun import reward_trials as trials_of
from stages.dryrun.memory import GB
from stages.rows.batches import named
from validators._preflight import GATES
from validators._warnings import imbalance, weights_advice
from validators.problems import Problem, Problems

MOST = 1000  # a weight of 0 makes the other label endlessly heavier, which JSON cannot say


def finding(check, value, message, settings, waive):
    """One number beside its limit."""
    short = check.removeprefix("preflight.")
    limit = settings[short]
    above = limit is not None and value > limit  # before rounding: one row of a million is more than none
    level = "ok" if not above else "waived" if short in waive else "warning"
    message += f" ({waive[short]})" if level == "waived" else ""
    return {"check": check, "value": float(f"{value:.4g}"), "limit": limit, "level": level, "message": message}


def stopping(findings, where):
    """Problems for every gate that is neither kept nor waived."""
    return [
        Problem(
            f"{where}: {item['check']}",
            item["message"],
            f"at most {item['limit']:g}, where this is {item['value']:g}",
            f"if it is meant so: waive: {{{item['check'].removeprefix('preflight.')}: your reason}}",
        )
        for item in findings
        if item["check"] in GATES and item["level"] == "warning"
    ]


# -- rows -------------------------------------------------------------------------------------------------------------


def row_problems(where, found, method, path):
    """What no row may be: each kind of fault once, with the first rows that have it."""
    faults = [
        ("preflight.double_bos", found["doubled"], f"begin with {method.tokenizer.bos_token!r} twice", "one",
         "the chat template writes it, or a turn's text holds it: take it out of one"),
        ("preflight.learned_tokens", found["unlearned"], f"have no token to learn from{cut_away(method)}", "an answer",
         unlearned_hint(method)),
        ("preflight.end_of_turn", found["endless"], "do not learn the token that ends the answer",
         f"one of {sorted(method.tokenizer.decode([stop]) for stop in method.stops)} at the end of what is learned",
         "a model that never learns to stop goes on until max_new_tokens; mend the chat template"),
    ]  # fmt: skip
    return [
        Problem(f"{where}: {check}", f"{rows.sum():,} of {len(rows):,} rows {text}: {names(path, rows)}", *rest)
        for check, rows, text, *rest in faults
        if rows.any()
    ]


def cut_away(method):
    return f" once answers are cut to max_length {method.limit}: the loss is no number" if method.name == "orpo" else ""


def unlearned_hint(method):
    if method.name == "orpo":
        return "raise args.max_length over the longest prompt with its answer: ORPO cuts the answer, never the prompt"
    return "look at the chat template of the base model: it renders nothing for such an answer"


def names(path, rows):
    return named(path, np.flatnonzero(rows))


def row_findings(found, method, path, context, settings, waive):
    """The numbers of a step's rows."""

    def add(check, rows, message):
        where = f": {names(path, rows)}" if rows.any() else ""
        return finding(check, rows.mean(), f"{rows.sum():,} of {len(rows):,} rows {message}{where}", settings, waive)

    out = [add("preflight.prompt_prefix", found["broken"], "begin otherwise than their prompt, ready for an answer")]
    if method.limit is not None and method.name != "grpo":
        out.append(add("preflight.truncated_share", found["cut"], f"are longer than max_length {method.limit}"))
        out.append(add("preflight.dropped_share", found["dropped"], "are not trained: their prompt fills max_length"))
    if context:
        text = f"are longer than the {context:,} positions of the model"
        out.append(add("preflight.context_share", longest(found, method) > context, text))
    kept = found[~found["dropped"]]
    if method.name in ("dpo", "orpo"):
        equal = found["equal"] & ~found["dropped"]
        out.append(add("preflight.equal_pairs_share", equal, "have two answers of the same tokens"))
        out.append(length_bias(kept, settings, waive))
    if method.name == "kto":
        out.append(class_balance(kept, method.config, settings, waive))
    return out


def longest(found, method):
    """Tokens of each row as the model will see it, (rows,): ORPO does not keep to max_length, GRPO adds an answer."""
    if method.name == "grpo":
        return found["length"] + method.config.max_completion_length
    return (
        found["length"] if method.limit is None or method.name == "orpo" else np.minimum(found["length"], method.limit)
    )


def length_bias(rows, settings, waive):
    chosen, rejected = (rows["longer"] > 0).mean(), (rows["longer"] < 0).mean()
    message = f"chosen has more tokens in {chosen:.1%} of {len(rows):,} pairs and fewer in {rejected:.1%}"
    return finding("preflight.length_bias", max(chosen, rejected), message, settings, waive)


def class_balance(rows, config, settings, waive):
    """How far the weighted classes are from TRL's advice, with the weights to set."""
    true, false = int(rows["label"].sum()), int((~rows["label"]).sum())
    # two digits, as TRL looks at it: 1,591 rows beside 1,593 are a balance
    value = min(round(imbalance(true * config.desirable_weight, false * config.undesirable_weight), 2), MOST)
    message = f"{true:,} true and {false:,} false rows"
    if value > 1:
        message += f"; {weights_advice(true, false, config.desirable_weight, config.undesirable_weight)}"
    return finding("preflight.class_balance", value, message, settings, waive)


# -- rewards and memory -----------------------------------------------------------------------------------------------


def reward_findings(trials, weights, settings, waive):
    """What the trials of a grpo step say. Of a function that answers by chance nothing else is said: it would not repeat."""
    out = []
    for trial in trials:
        name = trial.function
        again = "the same rewards" if trial.again else "other rewards"
        out.append(
            finding(
                "preflight.reward_random",
                not trial.again,
                f"{name} gives the same answers {again} again",
                settings,
                waive,
            )
        )
        if trial.again:
            low, high = trials_of.spread(trial)
            share, below = trials_of.truth_share(trial)
            message = f"{name} gives from {low:g} to {high:g}; {len(below):,} of {len(trial.scores['truth']):,} ground truths get less than that"
            out.append(finding("preflight.reward_truth", share, message, settings, waive))
            wrong = trials_of.wrong_share(trial)
            message = f"{name} gives no less than to the ground truth to " + ", ".join(
                f"{kind} answers {part:.1%}" for kind, part in wrong.items()
            )
            out.append(finding("preflight.reward_wrong", max(wrong.values()), message, settings, waive))
    more = trials_of.advantage(trials, weights) if all(trial.again for trial in trials) else {}
    if more:
        kind = max(more, key=more.get)
        message = f"the ground truth earns {-more[kind]:g} more than the best of the wrong answers ({kind}), on average"
        if more[kind] > 0:
            message = f"{kind} answers earn {more[kind]:g} more than the ground truth, on average"
        out.append(finding("preflight.reward_order", more[kind], message, settings, waive))
    return out


def memory_findings(parts, settings, waive):
    if settings["memory_gb"] is None:
        return []
    told = ", ".join(f"{part} {size / GB:.1f}" for part, size in parts.items() if size and part != "total")
    return [finding("preflight.memory_gb", parts["total"] / GB, f"estimated on a GPU, in GB: {told}", settings, waive)]


def both_labels(where, rows):
    """Raises Problems where a KTO step trains rows of one label alone."""
    true, false = int(rows["label"].sum()), int((~rows["label"]).sum())
    if not true or not false:
        found = f"all {true + false:,} rows that are trained have label {str(bool(true)).lower()}"
        hint = "KTO learns from the contrast: add rows of the other label, or raise max_length if they were dropped"
        raise Problems([Problem(f"{where}: preflight.both_labels", found, "rows of both labels", hint)])
