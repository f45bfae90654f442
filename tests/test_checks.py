"""Every check is documented: the page is made of the code, and no name in the code is missing from it."""

import re
from pathlib import Path

from docs.generate import checks_page
from stages.rows.checks import CURATE, INGEST, every_check, every_warning

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"[\"'](?:f?\{kind\}|ingest|curate|sft|preference|kto|grpo)\.[a-z_0-9]+[\"']")


def names_in_source():
    """The names of checks that stand as literals in the code, `{kind}` spelled out."""
    for room in ("stages", "validators"):
        for path in sorted((ROOT / room).rglob("*.*")):
            if path.suffix in (".py", ".sql") and path.name != "param_docs.py":  # keys of params.yaml, not checks
                for literal in NAME.findall(path.read_text(encoding="utf-8")):
                    name = literal.strip("\"'")
                    kinds = ("sft", "preference", "kto", "grpo") if name.startswith("{kind}") else ("",)
                    yield from (name.replace("{kind}", kind) for kind in kinds)


def test_the_committed_page_is_the_generated_one():
    assert (ROOT / "docs/checks.md").read_text(encoding="utf-8") == checks_page()


def test_every_name_of_a_check_in_the_code_is_documented():
    names = set(names_in_source())
    assert {"ingest.json", "sft.turn_length", "kto.both_classes"} <= names
    assert names - {*every_check(), *every_warning()} == set()


def test_every_check_of_the_first_and_the_last_stage_is_named_after_it():
    assert all(name.startswith("ingest.") for name in INGEST)
    assert all(name.startswith("curate.") for name in CURATE)


def test_every_check_is_one_line():
    assert all(text and "\n" not in text for text in [*every_check().values(), *every_warning().values()])


def test_the_page_lists_every_check_and_every_warning_once():
    for name in [*every_check(), *every_warning()]:
        assert checks_page().count(f"| `{name}` |") == 1
