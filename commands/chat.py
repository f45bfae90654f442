"""`tilth chat`: talk to a model, or to two side by side, as the chain of steps has made them.

The answer is greedy unless --temperature says otherwise, as in `evaluate`: the same model gives the same answer. What a
model says is shown safely: no control character of its reaches the terminal.
"""

import sys
from dataclasses import dataclass, field
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A step of params.yaml, base, or the folder of a model.")]
Prompt = Annotated[str | None, typer.Option(help="One prompt, one answer, and no conversation.")]
Against = Annotated[str | None, typer.Option(metavar="MODEL", help="A second model, side by side.")]
System = Annotated[str | None, typer.Option(help="The system turn before the conversation.")]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="The most tokens of an answer.")]
Temperature = Annotated[float, typer.Option(min=0, help="0 takes the likeliest token; higher is more random.")]
COMMAND_HELP = "/reset forgets the conversation, /exit ends"
SAFE_CHARACTERS = "\n\t\u200c\u200d"  # what is not printable by itself and yet part of texts: lines, and joiners inside words and emoji


@dataclass
class Speaker:
    """A model with the conversation that it has had."""

    name: str
    loaded: object
    turns: list = field(default_factory=list)
    said: str = ""


def main(
    context: typer.Context,
    model: Model,
    prompt: Prompt = None,
    against: Against = None,
    system: System = None,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
):
    """Talk to a model: a conversation, or one answer to --prompt."""
    from commands.builds.model_folders import load_or_explain, model_folder
    from validators.problems import Problem, Problems

    if prompt is not None and not prompt.strip():
        raise Problems([Problem("tilth chat --prompt", "nothing is asked", "a text", "--prompt 'Reverse abc.'")])
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


def silence_warnings():
    """No warnings of transformers' between the turns of a conversation."""
    from transformers.utils import logging

    logging.set_verbosity_error()


def converse(speakers, opening, temperature):
    """Turn after turn, until /exit or the end of input."""
    from validators.problems import Problems

    typed = sys.stdin.isatty()
    if typed:
        import readline  # noqa: F401 (arrows and history in `input`)

        print(f"{' and '.join(speaker.name for speaker in speakers)}: {COMMAND_HELP}")
    else:
        sys.stdin.reconfigure(errors="replace")
    while (line := read_line("> " if typed else "")) not in (None, "/exit"):
        if line == "/reset":
            for speaker in speakers:
                speaker.turns.clear()
        elif line.startswith("/") and line[1:].isalpha():
            print(COMMAND_HELP, file=sys.stderr)
        elif line:
            try:
                reply(speakers, opening, line, temperature)
            except KeyboardInterrupt:
                if not typed:
                    raise
                print("\nstopped; that turn is forgotten", file=sys.stderr)
            except Problems as error:
                print(escape_controls(str(error)), file=sys.stderr)
                if not typed:
                    raise SystemExit(1) from None


def read_line(mark):
    """What the user types, None at the end of input."""
    try:
        return input(mark).strip()
    except EOFError:
        print() if mark else None
        return None


def reply(speakers, opening, prompt, temperature):
    """Let every model answer, and keep the turn in its conversation if all have."""
    asked = {"role": "user", "content": prompt}
    show = stream_answer if len(speakers) == 1 else show_beside if sys.stdout.isatty() else show_below
    show(speakers, lambda speaker, tell: answer(speaker, [*opening, *speaker.turns, asked], temperature, tell))
    for speaker in speakers:
        speaker.turns += [asked, {"role": "assistant", "content": speaker.said}]


def answer(speaker, messages, temperature, tell):
    """Generate `speaker.said`, and `tell` each piece of it as it comes. Raises Problems where the model has no room for it."""
    import torch

    from stages.scoring.generation import context_length

    it = speaker.loaded
    inputs = model_inputs(speaker, messages).to(it.device)
    length, room = inputs["input_ids"].shape[1], context_length(it)
    how = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    longest = it.max_new_tokens if room is None else min(it.max_new_tokens, room - length)
    if longest < 1:
        raise_too_long(speaker, length, room)
    pieces = Streamer(it.tokenizer, tell)
    speaker.said = ""
    with torch.inference_mode():
        stops = sorted(it.render.stops)
        tokens = it.model.generate(**inputs, max_new_tokens=longest, streamer=pieces, eos_token_id=stops, **how)[
            0, length:
        ]
    speaker.said = it.tokenizer.decode(tokens, skip_special_tokens=True)
    if len(tokens) == longest and int(tokens[-1]) not in it.render.stops:
        print(f"\n(cut at {longest:,} tokens)", end="", file=sys.stderr)


def model_inputs(speaker, messages):
    """The conversation as the model takes it. Raises Problems where its template refuses."""
    from stages.training.messages import FailedProof
    from validators.problems import Problem, Problems

    render = speaker.loaded.render
    try:
        text = render.text(render.template_messages(messages), generation_prompt=True)
        return render.tokenizer([text], add_special_tokens=False, return_tensors="pt")
    except FailedProof as error:
        found = f"its chat template refuses the conversation: {error.detail.partition(': ')[2]}"
        hint = "some templates take no system turn: leave out --system"
        raise Problems([Problem(speaker.name, found, "", hint)]) from None


def raise_too_long(speaker, length, room):
    from validators.problems import Problem, Problems

    found = f"the conversation has {length:,} tokens"
    raise Problems([Problem(speaker.name, found, f"fewer than {room:,}, which is what the model takes", "/reset")])


# -- shown --------------------------------------------------------------------------------------------------------


class Streamer:
    """What `generate` calls with each token: tells the text that it adds, once its last character is whole."""

    def __init__(self, tokenizer, tell):
        self.tokenizer, self.tell = tokenizer, tell
        self.tokens, self.told = None, 0

    def put(self, value):
        if self.tokens is None:  # the first call brings the prompt
            self.tokens = []
            return
        self.tokens += value.reshape(-1).tolist()
        text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        # bytes of a character that is not whole yet are decoded to this mark
        if not text.endswith("\ufffd"):
            self.tell(text[self.told :])
            self.told = len(text)
            if text.endswith("\n"):
                self.tokens, self.told = [], 0

    def end(self):
        self.tell(self.tokenizer.decode(self.tokens or [], skip_special_tokens=True)[self.told :])


def escape_controls(text):
    """Text of a model's for a terminal: its lines stay, what a terminal would obey is escaped."""
    return "".join(c if c.isprintable() or c in SAFE_CHARACTERS else c.encode("unicode_escape").decode() for c in text)


def stream_answer(speakers, answering):
    """One model's answer, piece by piece."""
    answering(speakers[0], lambda piece: print(escape_controls(piece), end="", flush=True))
    print(flush=True)


def show_below(speakers, answering):
    """Several models' answers one after the other, each under its name."""
    for place, speaker in enumerate(speakers):
        print(("\n" if place else "") + f"{escape_controls(speaker.name)}:", flush=True)
        stream_answer([speaker], answering)


def show_beside(speakers, answering):
    """Several models' answers in columns, which fill as the models speak."""
    from rich.console import Console
    from rich.live import Live

    console, texts = Console(highlight=False, markup=False, emoji=False), ["" for _ in speakers]
    with Live(answer_columns(speakers, texts), console=console, transient=True) as live:
        for place, speaker in enumerate(speakers):

            def tell(piece, place=place):
                texts[place] += piece
                live.update(answer_columns(speakers, texts))

            answering(speaker, tell)
    console.print(answer_columns(speakers, texts))


def answer_columns(speakers, texts):
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, expand=True)
    for speaker in speakers:
        table.add_column(Text(escape_controls(speaker.name)), ratio=1, overflow="fold")
    table.add_row(*(Text(escape_controls(text)) for text in texts))
    return table
