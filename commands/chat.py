"""`tilth chat`: talk to a model, or to two side by side, as the chain of steps has made them.

The answer is greedy unless --temperature says otherwise, as in `evaluate`: the same model gives the same answer. Control
characters in an answer are escaped: none reaches the terminal.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedTokenizerBase

    from stages.scoring.generation import LoadedModel

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A step of params.yaml, base, or the folder of a model.")]
Prompt = Annotated[str | None, typer.Option(help="One prompt, one answer, and no conversation.")]
Against = Annotated[str | None, typer.Option(metavar="MODEL", help="A second model, side by side.")]
System = Annotated[str | None, typer.Option(help="The system turn before the conversation.")]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="The most tokens of an answer.")]
Temperature = Annotated[float, typer.Option(min=0, help="0 takes the likeliest token; higher is more random.")]
COMMAND_HELP = "/reset forgets the conversation, /exit ends"
# not printable by themselves, but part of texts: line ends, tabs, and the joiners inside words and emoji
SAFE_CHARACTERS = "\n\t\u200c\u200d"
Message = dict[str, str]  # {"role", "content"}
OnPiece = Callable[[str], None]  # takes each piece of an answer


@dataclass
class Speaker:
    """A model and its conversation so far. answer: the last one."""

    name: str
    loaded: "LoadedModel"
    turns: list[Message] = field(default_factory=list)
    answer: str = ""


Generate = Callable[[Speaker, OnPiece], None]  # generates the next answer of a speaker


def main(
    context: typer.Context,
    model: Model,
    prompt: Prompt = None,
    against: Against = None,
    system: System = None,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
) -> None:
    """Talk to a model: a conversation, or one answer to --prompt."""
    from commands.builds.model_folders import load_or_explain, model_folder
    from validators.problems import Problem, Problems

    if prompt is not None and not prompt.strip():
        raise Problems([Problem("tilth chat --prompt", "is empty", "a text", "--prompt 'Reverse abc.'")])
    names = [model] if against is None else [model, against]
    folders = [model_folder(name, context.obj) for name in names]
    silence_warnings()
    from stages.scoring.generation import load_for_generation

    speakers = [
        Speaker(
            name,
            load_or_explain(folder, lambda folder=folder: load_for_generation(folder, max_new_tokens=max_new_tokens)),
        )
        for name, folder in zip(names, folders, strict=True)
    ]
    opening = [{"role": "system", "content": system}] if system else []
    try:
        if prompt is None:
            converse(speakers, opening, temperature)
        else:
            reply(speakers, opening, prompt, temperature)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(0 if prompt is None and sys.stdin.isatty() else 130) from None


def silence_warnings() -> None:
    """Hide the warnings of transformers, which would appear between the turns of a conversation."""
    from transformers.utils import logging

    logging.set_verbosity_error()


def converse(speakers: Sequence[Speaker], opening: Sequence[Message], temperature: float) -> None:
    """Hold a conversation until /exit or the end of input. opening: the system turn, if there is one."""
    from validators.problems import Problems

    at_terminal = sys.stdin.isatty()
    if at_terminal:
        import readline  # noqa: F401 (arrows and history in `input`)

        print(f"{' and '.join(speaker.name for speaker in speakers)}: {COMMAND_HELP}")
    else:
        sys.stdin.reconfigure(errors="replace")  # ty: ignore[missing-union-attribute]  # a TextIOWrapper
    while (line := read_line("> " if at_terminal else "")) not in (None, "/exit"):
        if line == "/reset":
            for speaker in speakers:
                speaker.turns.clear()
        elif line.startswith("/") and line[1:].isalpha():
            print(COMMAND_HELP, file=sys.stderr)
        elif line:
            try:
                reply(speakers, opening, line, temperature)
            except KeyboardInterrupt:
                if not at_terminal:
                    raise
                print("\nstopped; that turn is forgotten", file=sys.stderr)
            except Problems as error:
                print(escape_controls(str(error)), file=sys.stderr)
                if not at_terminal:
                    raise SystemExit(1) from None


def read_line(mark: str) -> str | None:
    """The line that the user types; None at the end of input."""
    try:
        return input(mark).strip()
    except EOFError:
        if mark:
            print()
        return None


def reply(speakers: Sequence[Speaker], opening: Sequence[Message], prompt: str, temperature: float) -> None:
    """Let every model answer, and add the turn to each conversation once all have answered."""
    question = {"role": "user", "content": prompt}
    show = stream_answer if len(speakers) == 1 else show_beside if sys.stdout.isatty() else show_below
    show(
        speakers, lambda speaker, on_piece: answer(speaker, [*opening, *speaker.turns, question], temperature, on_piece)
    )
    for speaker in speakers:
        speaker.turns += [question, {"role": "assistant", "content": speaker.answer}]


def answer(speaker: Speaker, messages: Sequence[Message], temperature: float, on_piece: OnPiece) -> None:
    """Generate `speaker.answer` and pass on each piece of it. Raises Problems if the messages fill the model's context."""
    import torch

    from stages.scoring.generation import context_length

    loaded = speaker.loaded
    model: Any = loaded.model
    render: Any = loaded.render
    inputs: Any = model_inputs(speaker, messages).to(loaded.device)
    length, context = inputs["input_ids"].shape[1], context_length(loaded)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    limit = loaded.max_new_tokens if context is None else min(loaded.max_new_tokens, context - length)
    if context is not None and limit < 1:
        raise_too_long(speaker, length, context)
    streamer = Streamer(loaded.tokenizer, on_piece)
    speaker.answer = ""
    with torch.inference_mode():
        stops = sorted(render.stops)
        output = model.generate(**inputs, max_new_tokens=limit, streamer=streamer, eos_token_id=stops, **sampling)
    tokens = output[0, length:]
    speaker.answer = str(loaded.tokenizer.decode(tokens, skip_special_tokens=True))
    if len(tokens) == limit and int(tokens[-1]) not in render.stops:
        print(f"\n(cut at {limit:,} tokens)", end="", file=sys.stderr)


def model_inputs(speaker: Speaker, messages: Sequence[Message]) -> "BatchEncoding":
    """The conversation as tensors of token ids, (1, tokens). Raises Problems if the chat template refuses it."""
    from stages.training.messages import FailedProof
    from validators.problems import Problem, Problems

    render: Any = speaker.loaded.render
    try:
        text = render.text(render.template_messages(messages), generation_prompt=True)
        return render.tokenizer([text], add_special_tokens=False, return_tensors="pt")
    except FailedProof as error:
        found = f"its chat template refuses the conversation: {error.detail.partition(': ')[2]}"
        hint = "some templates take no system turn: leave out --system"
        raise Problems([Problem(speaker.name, found, "", hint)]) from None


def raise_too_long(speaker: Speaker, length: int, context: int) -> NoReturn:
    from validators.problems import Problem, Problems

    found = f"the conversation has {length:,} tokens"
    raise Problems([Problem(speaker.name, found, f"fewer than {context:,}, which is what the model takes", "/reset")])


# -- shown --------------------------------------------------------------------------------------------------------


class Streamer:
    """Takes each token of `generate` and passes on the text that it adds, as soon as its last character is whole."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", on_piece: OnPiece) -> None:
        self.tokenizer: Any = tokenizer
        self.on_piece = on_piece
        self.tokens: list[int] | None = None
        self.done = 0  # characters of `tokens` that were passed on

    def put(self, value: "Tensor") -> None:
        if self.tokens is None:  # the first call brings the prompt
            self.tokens = []
            return
        self.tokens += value.reshape(-1).tolist()
        text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        # bytes of a character that is not whole yet are decoded to this mark
        if not text.endswith("\ufffd"):
            self.on_piece(text[self.done :])
            self.done = len(text)
            if text.endswith("\n"):
                self.tokens, self.done = [], 0

    def end(self) -> None:
        self.on_piece(self.tokenizer.decode(self.tokens or [], skip_special_tokens=True)[self.done :])


def escape_controls(text: str) -> str:
    """A text that is safe to print on a terminal: control characters are escaped, line ends and tabs stay."""
    return "".join(c if c.isprintable() or c in SAFE_CHARACTERS else c.encode("unicode_escape").decode() for c in text)


def stream_answer(speakers: Sequence[Speaker], generate: Generate) -> None:
    """Print one model's answer, piece by piece."""
    generate(speakers[0], lambda piece: print(escape_controls(piece), end="", flush=True))
    print(flush=True)


def show_below(speakers: Sequence[Speaker], generate: Generate) -> None:
    """Print the answers of several models one after the other, each under its name."""
    for place, speaker in enumerate(speakers):
        print(("\n" if place else "") + f"{escape_controls(speaker.name)}:", flush=True)
        stream_answer([speaker], generate)


def show_beside(speakers: Sequence[Speaker], generate: Generate) -> None:
    """Print the answers of several models in columns, which fill as the models generate."""
    from rich.console import Console
    from rich.live import Live

    console, texts = Console(highlight=False, markup=False, emoji=False), ["" for _ in speakers]
    with Live(answer_columns(speakers, texts), console=console, transient=True) as live:
        for place, speaker in enumerate(speakers):

            def add_piece(piece: str, place: int = place) -> None:
                texts[place] += piece
                live.update(answer_columns(speakers, texts))

            generate(speaker, add_piece)
    console.print(answer_columns(speakers, texts))


def answer_columns(speakers: Sequence[Speaker], texts: Sequence[str]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, expand=True)
    for speaker in speakers:
        table.add_column(Text(escape_controls(speaker.name)), ratio=1, overflow="fold")
    table.add_row(*(Text(escape_controls(text)) for text in texts))
    return table
