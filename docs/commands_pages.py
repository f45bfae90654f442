"""docs/commands/: one page for each command, made from its `--help` and a real output in docs/outputs/, and an index page.

An output comes from the built sample: `$ tilth NAME ...` and what it printed. A line `...` stands for lines that are left out.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from typer.core import TyperCommand, TyperGroup

from commands.__main__ import app

OUTPUTS_FOLDER = Path(__file__).with_name("outputs")
GROUPS = {
    "Before a build": ("inspect", "recommend", "check", "plan", "preflight"),
    "What was built": ("report", "answers", "ledger", "chat", "gate", "diff"),
    "What it is made of": ("lineage", "trace", "verify", "forget", "prune"),
    "For others": ("export", "serve", "share", "fetch", "provenance", "prove", "sign"),
}
FURTHER_READING = {  # {command: the page that explains more}
    "answers": "../evaluation.md",
    "chat": "../using-models.md",
    "check": "../params.md",
    "diff": "../audit.md#tilth-diff",
    "export": "../using-models.md#export",
    "fetch": "../sharing.md",
    "forget": "../audit.md#tilth-forget",
    "gate": "../gates.md",
    "inspect": "../own-data.md",
    "ledger": "../checks.md",
    "lineage": "../audit.md#tilth-lineage",
    "plan": "../audit.md#tilth-plan",
    "preflight": "../preflight.md",
    "prove": "../audit.md#tilth-prove",
    "provenance": "../audit.md#tilth-provenance",
    "prune": "../audit.md#tilth-prune",
    "recommend": "../methods.md",
    "report": "../report.md",
    "serve": "../using-models.md#serve",
    "share": "../sharing.md",
    "sign": "../audit.md#tilth-sign",
    "trace": "../audit.md#tilth-trace",
    "verify": "../audit.md#tilth-verify",
}
INDEX_PAGE = """# Commands

`tilth COMMAND` works in any folder of a clone. `tilth COMMAND --help` prints the text of its page. Each page also has a real output
of the sample's build.

{groups}

## Exit codes

| code | what it means |
|--:|---|
| 0 | success; for a check: it holds |
| 1 | a mistake of yours: stderr says where it is, what was found, what was expected, and gives a hint; or the answer is no: `verify` found a break, `gate` says do not ship, `provenance --check` found another document, bytes for `diff` or `fetch` are missing |
| 2 | the command line itself is wrong: no such command or option, a value that it does not take |
| 130 | Ctrl-C |

`make` exits with 2 where a command fails. A code above 128 is a signal: 137 is `kill -9`, often for memory.

## For scripts

`--json` prints one JSON document to stdout; mistakes still go to stderr, with the same exit code. {json} have it. {without}
do not: they open a conversation, a page or a server, or write a folder that describes itself.
`tilth --version` prints the version and the commit of the code that runs.

## Completion

```console
$ tilth --install-completion        # for the shell that you are in: bash, zsh, fish or PowerShell; then open a new one
$ tilth --show-completion           # what it would install
```

It completes commands and options, in a shell in which `tilth` is on the path (`source .venv/bin/activate`).
"""


def commands() -> "dict[str, TyperCommand]":
    """{name: command} in alphabetical order."""
    by_name = cast("dict[str, TyperCommand]", cast("TyperGroup", typer.main.get_command(app)).commands)
    return dict(sorted(by_name.items()))


def command_pages() -> dict[str, str]:
    """{path: text} of all pages."""
    by_name = commands()
    pages = {f"docs/commands/{name}.md": command_page(name, command) for name, command in by_name.items()}
    return pages | {"docs/commands/index.md": index_page(by_name)}


def command_page(name: str, command: "TyperCommand") -> str:
    """The page of a command."""
    context = command.context_class(command, info_name=f"tilth {name}")
    usage = " ".join([f"tilth {name}", *command.collect_usage_pieces(context)])
    parts = [f"# tilth {name}", command.help or "", f"```text\n{usage}\n```"]
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    if records:
        rows = [f"| {option_code(option)} | {table_cell(text)} |" for option, text in records]
        parts.append("\n".join(["| argument or option | what it says |", "|---|---|", *rows]))
    parts.append(f"```console\n{(OUTPUTS_FOLDER / f'{name}.txt').read_text(encoding='utf-8').rstrip()}\n```")
    more = FURTHER_READING[name].partition("#")[0].removeprefix("../")
    parts.append(f"More: [{more}]({FURTHER_READING[name]}). All commands and exit codes: [index.md](index.md).")
    return "\n\n".join(parts) + "\n"


def option_code(option: str) -> str:
    """An argument, or an option with its kind of value, as code."""
    return ", ".join(f"`{each}`" for each in table_cell(option).split(", "))


def index_page(by_name: "dict[str, TyperCommand]") -> str:
    """The page of all commands."""
    groups = []
    for title, names in GROUPS.items():
        rows = [f"| [`tilth {name}`]({name}.md) | {table_cell(by_name[name].help or '')} |" for name in names]
        groups.append("\n".join([f"## {title}", "", "| command | what it does |", "|---|---|", *rows]))
    with_json = [
        name for name, command in by_name.items() if any("--json" in parameter.opts for parameter in command.params)
    ]
    without = sorted(set(by_name) - set(with_json))
    return INDEX_PAGE.format(groups="\n\n".join(groups), json=join_names(with_json), without=join_names(without))


def join_names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def table_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
