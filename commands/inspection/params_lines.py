"""The lines of `params.yaml` that suit a dataset: its entry, the steps with their rates and lengths, a whole file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from commands.inspection.conversion import Conversion

STEP_ARGS = {  # of a real model
    "sft": "learning_rate: 2.0e-4, num_train_epochs: 2",
    "dpo": "beta: 0.1, learning_rate: 5.0e-6, num_train_epochs: 1",
    "orpo": "beta: 0.1, learning_rate: 8.0e-6, num_train_epochs: 1",
    "kto": "beta: 0.1, learning_rate: 5.0e-6, num_train_epochs: 1",
    "grpo": "num_generations: 8, max_completion_length: 512, learning_rate: 1.0e-5, num_train_epochs: 1",
}
TINY_ARGS = {  # of the tiny model, which starts from random weights: a few minutes, to see the whole pipeline
    "sft": "learning_rate: 3.0e-3",
    "dpo": "beta: 0.1, learning_rate: 1.0e-4",
    "orpo": "beta: 0.1, learning_rate: 3.0e-4",
    "kto": "beta: 0.1, learning_rate: 1.0e-4",
    "grpo": "num_generations: 8, max_completion_length: 128, learning_rate: 1.0e-4",
}
TINY_EPOCHS = 5  # of SFT at most: after one, few answers of a small dataset end
TINY_STEPS = {"sft": 100, "dpo": 50, "orpo": 200, "kto": 50, "grpo": 60}
MOST_STEPS, MOST_TOKENS = 1500, 1_500_000  # of a training: a few minutes on two cores
TINY_RATE = "learning_rate: tiny starts from random weights"
LARGER_RATE = "learning_rate: tiny needs larger steps than a real model"
COPIED = "the ground truth stands in the prompt, so that numeric_match pays for repeating it: write a reward (docs/rewards.md)"
HOSTILE = "reward_hostile: what it pays for holds the truth; an answer may reason before it"
TOLD_END = "system: 'Reason, then end with one line, The answer is NUMBER.'"
TOO_LONG = "dropped_share: rows of this length are enough to try it out"
USUAL_LENGTH = 1024  # TRL's default of max_length
TINY_LENGTH = 4096  # the most that is quick; to the tiny model a letter is a token
LONG_SHARE = 0.05  # of the rows; a larger one stops the build
NEARLY = 1.25  # of what is quick: all rows are worth as much more
MEASURED_ROWS, BATCH_TOKENS = 1000, 4096
LEAST_PAIRS = 4  # of an optimizer step: a single pair says little about which answers are better
TINY_BASE = "base: {model: tiny}    # proves the pipeline; a real one: model: Qwen/Qwen3-0.6B, revision: <its commit>"
SMALL_DATA = 400  # rows, of which a tenth says little about a model
BARE = 40  # letters of an answer that holds no thought
TEXTS = 100  # letters of an answer that no model gives word for word
ANSWERED_SHARE = 0.98  # a share of the held-out answers that are longer comes near what preflight allows
ANSWER_LENGTHS = (64, 128, 256)  # the choices of evaluate.max_new_tokens
BYTES_PER_TOKEN = 3  # at least, of a real tokenizer
TINY_EVAL_ROWS = 100  # the random base answers each to the last token
ALL_EVAL_ROWS = 500
CURATE = "curate: {}    # {near_duplicates: 0.8} also rejects rows that are nearly another, and train rows that are nearly one of eval"


class DataSource(NamedTuple):
    """A dataset. raw: its raw data, None if params.yaml has it. options: further keys of its entry. notes: comments on it.

    numeric: its truths are numbers. letters: the length that the tiny model is to take; usual: that of half of the rows. answers: the lengths of
    the measured answers, in letters. rows: of the sample. whole: these are all.
    long: more of the rows are longer than the tiny model tries out than may be dropped. copied: the ground truths stand in the prompts.
    shown: what it becomes, as lines: its keys that no row uses, the turns of one or two rows.
    """

    name: str
    raw: str | None = None
    options: str = ""
    numeric: bool = False
    notes: tuple[str, ...] = ()
    letters: int = 0
    usual: int = 0
    answers: tuple[int, ...] = ()
    rows: int = 0
    whole: bool = True
    long: bool = False
    copied: bool = False
    shown: tuple[str, ...] = ()


Datasets = dict[str, DataSource]  # by kind


# -- the data --


def data_source(name: str, raw: str, conversion: "Conversion", whole: bool, kind: str) -> DataSource:
    """A dataset of a sample's rows of a kind. whole: the sample has all records."""
    from commands.inspection.datasets_entry import entry_options, ignore_notes
    from commands.inspection.sample_report import key_lines, row_lines

    rows = conversion["table"].slice(0, MEASURED_ROWS).to_pylist()
    lengths = [letters_of_row(row) for row in rows]
    # of rows that are mostly longer than what is quick, twice that, as nothing of them might be left to learn
    most = TINY_LENGTH if share_below(0.5, lengths) < TINY_LENGTH / 2 else 2 * TINY_LENGTH
    letters, long = min(share_below(0.99, lengths), most), share_below(1 - LONG_SHARE, lengths) > most
    answers = tuple(len(str(row["messages"][-1]["content"]).encode()) for row in rows if row.get("messages"))
    most_answers, half = share_below(0.95, answers), share_below(0.5, answers)
    # nobody gives a text word for word
    metrics = "[rouge_l]" if half > TEXTS else "[exact_match, rouge_l]" if most_answers > TEXTS else ""
    options = entry_options(conversion) + (f", metrics: {metrics}" if metrics else "")
    notes, count = tuple(ignore_notes(conversion)), conversion["valid"]
    shown = (*key_lines(conversion["account"], kind), *row_lines(conversion["table"]))
    return DataSource(
        name,
        raw,
        options,
        notes=notes,
        letters=letters,
        usual=share_below(0.5, lengths),
        answers=answers,
        rows=count,
        whole=whole,
        long=long,
        shown=shown,
    )


def share_below(share: float, lengths: Sequence[int]) -> int:
    """The length that a share of them does not exceed; 0 of none."""
    return sorted(lengths)[min(int(share * len(lengths)), len(lengths) - 1)] if lengths else 0


def letters_of_row(row: Mapping[str, Any]) -> int:
    """About how many tokens the tiny model, to which a byte is one, sees of a row: of a pair, its longer answer."""
    turns = {
        key: row[key] for key in ("messages", "prompt", "completion", "chosen", "rejected", "tools") if row.get(key)
    }
    parts = {
        key: sum(len(str(value).encode()) for turn in value if turn for value in turn.values() if value)
        if isinstance(value, list)
        else len(str(value).encode())
        for key, value in turns.items()
    }
    return sum(parts.values()) - min(parts.get("chosen", 0), parts.get("rejected", 0))


# -- the lines --


def params_head(data: Datasets) -> tuple[str, ...]:
    """The beginning of a params.yaml. Of little data a fifth is held out, so that its scores say something."""
    return "seed: 7", "launch: python", f"eval_fraction: {held_out_share(data)}", TINY_BASE


def held_out_share(data: Datasets) -> float:
    return 0.1 if min(source.rows for source in data.values()) >= SMALL_DATA else 0.2


def params_tail(data: Datasets) -> tuple[str, ...]:
    """The rest of a params.yaml, with room for most of the answers."""
    answers = [length for source in data.values() for length in source.answers]
    longest = max(share_below(ANSWERED_SHARE, source.answers) for source in data.values())
    most = next((length for length in ANSWER_LENGTHS if length > longest), ANSWER_LENGTHS[-1])
    limits, notes = [], []
    if any(source.numeric for source in data.values()):
        limits.append("tie_prompts: 0")
        notes.append("tiny may solve none of these, and a sample of equal answers would stop the build")
    if longest >= most:
        limits.append("answers_cut: 1")
        longer = sum(length >= most for length in answers) / len(answers)
        notes.append(f"{longer:.0%} of the answers are longer than tiny's {most} letters, which are quick")
    preflight = f"preflight: {{{', '.join(limits)}}}"
    preflight += f"   # {'; '.join(notes)}; for a real base: preflight: {{}}" if notes else ""
    held_out = max(source.rows for source in data.values()) * held_out_share(data)
    rows = TINY_EVAL_ROWS if most == ANSWER_LENGTHS[-1] and held_out > NEARLY * TINY_EVAL_ROWS else ALL_EVAL_ROWS
    evaluate = f"evaluate: {{max_new_tokens: {most}, max_rows: {rows}, batch_size: 16}}"
    if "grpo" in data:
        evaluate += "   # of a real base that reasons: max_new_tokens of 512 or more"
    elif longest >= most:
        room = max(2 * most, -(-longest // BYTES_PER_TOKEN // 64) * 64)
        evaluate += f"   # quick; of a real base: max_new_tokens: {room}, max_rows: {ALL_EVAL_ROWS}"
    elif rows == TINY_EVAL_ROWS:
        evaluate += f"   # {rows} of the eval rows are scored, which is quick; of a real base: {ALL_EVAL_ROWS}"
    return CURATE, preflight, evaluate


def params_lines(data: Datasets, method: str, tiny: bool, whole: bool = False) -> Iterator[str]:
    """The lines of `datasets:` that params.yaml does not have yet, and those of `steps:`.

    tiny: the base is the tiny model. whole: they are part of a whole params.yaml, and replace nothing.
    """
    from validators._cautions import KIND_OF_METHOD

    kind, alone = KIND_OF_METHOD[method], is_alone(data, method)
    used = {kind: data[kind]} if alone else {"sft": data.get("sft") or sft_dataset_from(data[kind]), kind: data[kind]}
    if lines := [
        line
        for used_kind, source in used.items()
        if source.raw
        for line in dataset_lines(source, used_kind, source.raw, kind)
    ]:
        yield "datasets:" if whole else "datasets:           # in addition to, or instead of, what is there"
        yield from lines
        yield "  # whose the data are: license, source and consent of a dataset, told with every model (docs/rights.md)"
        if len(used) > 1:
            yield "  # the same records are held out of both: the split is by prompt"
    yield "steps:" if whole else "steps:              # instead of what is there"
    parent = "base"
    for name in recommended_steps(data, method):
        step_method, step_kind = ("sft", "sft") if name == "sft" else (method, kind)
        bare = name == "sft" and method == "grpo" and 0 < share_below(0.95, used["sft"].answers) <= BARE
        source = used[step_kind]
        trained = source._replace(rows=round(source.rows * (1 - held_out_share(data))))
        yield from step_lines(name, step_method, parent, trained, tiny, bare)
        parent = name


def recommended_steps(data: Datasets, method: str) -> list[str]:
    """The names of the steps, first to last."""
    last = {"sft": "sft", "orpo": "orpo"}.get(method, "align")
    return [last] if last == "sft" or is_alone(data, method) else ["sft", last]


def is_alone(data: Datasets, method: str) -> bool:
    """Whether no supervised step comes before the method: ORPO, or ground truths that an answer only has to repeat."""
    from validators._cautions import KIND_OF_METHOD

    return method == "orpo" or data[KIND_OF_METHOD[method]].copied


def sft_dataset_from(source: DataSource) -> DataSource:
    """A supervised dataset from the raw data of another kind, which holds good answers too."""
    raw = source.raw
    if raw is None:
        from validators.params import read_params_yaml

        raw = read_params_yaml()["datasets"][source.name]["raw"]
    if not Path(raw).exists():
        return DataSource(f"{source.name}_sft", raw)
    from commands.inspection.conversion import convert_sample
    from commands.inspection.sample import options_for, read_sample

    sample = read_sample(Path(raw), options_for(Path(raw), None))
    return data_source(f"{source.name}_sft", raw, convert_sample(sample, "sft"), sample["whole"], "sft")


def dataset_lines(source: DataSource, kind: str, raw: str, wanted: str) -> Iterator[str]:
    from stages.rows.key_hints import quote_yaml

    # of rated completions, only the good ones become supervised rows; the rejects may be many
    more = ", max_reject_share: 0.9" if kind == "sft" and wanted == "kto" and source.name.endswith("_sft") else ""
    yield f"  {source.name}: {{kind: {kind}, raw: {quote_yaml(raw)}{more}{source.options}}}"
    for note in source.notes:
        yield f"  # {note}"


def batch_for(letters: int, method: str) -> int:
    """Rows of this length that a CPU trains the tiny model on in about a second."""
    fewest = 2 if method == "kto" else 1  # TRL's KTO pairs the rows of a batch
    return max(fewest, min(8, BATCH_TOKENS // max(letters, 1)))


def room_for(letters: int, batch: int, together: int) -> str:
    """The args with which the tiny model takes rows of this length in such batches, `together` a step; "" for short rows."""
    length = length_for(letters)
    args = f", max_length: {length}" if length > USUAL_LENGTH else ""
    args += f", per_device_train_batch_size: {batch}" if batch < 8 else ""
    return args + (f", gradient_accumulation_steps: {together}" if together > 1 else "")


def real_args(method: str, letters: int) -> str:
    """The args of a real base, with room for rows of this length where TRL's default has none."""
    length = length_for(letters // BYTES_PER_TOKEN)
    return STEP_ARGS[method] + (f", max_length: {length}" if length > USUAL_LENGTH and method != "grpo" else "")


def length_for(tokens: int) -> int:
    """TRL's default of max_length, doubled until rows of that many tokens fit."""
    length = USUAL_LENGTH
    while length < tokens:
        length *= 2
    return length


def steps_of(method: str, once: int, batch: int, usual: int, bare: bool = False) -> tuple[int, int]:
    """(optimizer steps, epochs) of the tiny model: over all rows, of SFT several times, or as many as is quick, which is 0 epochs.

    once: steps over all rows. usual: letters of a row. bare: its answers are ground truths, of which it learns the form at once.
    """
    if method == "grpo":
        return TINY_STEPS[method], 0
    tokens = MOST_TOKENS if method == "sft" else MOST_TOKENS // 3  # pairs go through two models
    quick = min(MOST_STEPS, tokens // (batch * max(usual, 1)))
    if once > NEARLY * quick:
        return max(TINY_STEPS[method], quick), 0
    epochs = max(1, min(TINY_EPOCHS, quick // max(once, 1))) if method == "sft" and not bare else 1
    return (once * epochs, epochs) if once * epochs >= TINY_STEPS[method] else (TINY_STEPS[method], 0)


def step_lines(name: str, method: str, parent: str, of: DataSource, tiny: bool, bare: bool = False) -> Iterator[str]:
    """The entry of a step; for the tiny base with its own rates, and those of a real base beside them.

    bare: its answers are ground truths without a thought, and a step that lets the model try comes after it.
    """
    from validators._cautions import LEARNING_RATES

    args = TINY_ARGS[method] if tiny else real_args(method, of.letters)
    # eight answers to one prompt are a batch of grpo
    batch = 1 if method == "grpo" else batch_for(of.letters, method)
    together = 1 if method in ("sft", "grpo") else -(-LEAST_PAIRS // batch)
    rows_a_step = batch * together
    once = -(-of.rows // rows_a_step)
    steps, epochs = steps_of(method, once, rows_a_step, of.usual, bare)
    if tiny:
        # how many rows the split holds out is known to a share alone: an epoch is all of the others
        args += f", num_train_epochs: {epochs}" if epochs and of.whole else f", max_steps: {steps}"
        args += "" if method == "grpo" else room_for(of.letters, batch, together)
    rewards = f"rewards: [{'numeric_match' if of.numeric else 'exact_match'}], " if method == "grpo" else ""
    low, high = LEARNING_RATES[method]
    unusual = tiny and not low <= float(args.partition("learning_rate: ")[2].partition(",")[0]) <= high
    rate = TINY_RATE if parent == "base" else LARGER_RATE
    reasons = ((rate, unusual), (HOSTILE, rewards and of.numeric and not of.copied), (TOO_LONG, tiny and of.long))
    waivers = [waiver for waiver, wanted in reasons if wanted]
    waive = f", waive: {{{', '.join(waivers)}}}" if waivers else ""
    if of.copied:
        yield f"  # {COPIED}"
    yield f"  {name}: {{method: {method}, from: {parent}, dataset: {of.name}, {rewards}args: {{{args}}}{waive}}}"
    if rewards and not of.copied:
        reads = (
            "the last number of an answer"
            if of.numeric
            else "an answer that is the truth alone, or marked as the final one"
        )
        yield f"  # the reward reads {reads}: after a build, tilth preflight {name} --answer 'The answer is 18.' says what it pays"
        if of.numeric:
            yield f"  # to tell a model how to end, give {of.name} {TOLD_END}"
    if tiny and of.raw and steps * rows_a_step < of.rows:
        yield f"  # {steps} steps reach {steps * rows_a_step:,} rows, enough to try it out; num_train_epochs: 1 in place of max_steps reaches all, in {once:,} steps"
    if tiny and bare:
        yield f"  # tiny needs it: at first none of its answers is right; of a real instruct base: leave out this step and {of.name}, and"
        yield "  # `from: base` below, as bare answers would teach it not to reason"
    elif tiny:
        waiver = ", and no waiver of what is tiny" if waive else ""
        yield f"  # of a real base: args: {{{real_args(method, of.letters)}}}{waiver}"
