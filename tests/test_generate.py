"""docs/formats.md is made of the files of tests/shapes/, and each sample has the columns of its kind."""

from pathlib import Path

import pytest

from docs.generate import PAGES, formats_page, sample_records
from stages.rows.shapes import READERS, rows_of, shape_of
from stages.rows.tables import COLUMNS

SAMPLES = list(sample_records())
ROOT = Path(__file__).parents[1]


def test_the_committed_page_is_the_one_that_the_samples_make():
    assert (ROOT / "docs/formats.md").read_text(encoding="utf-8") == formats_page()


@pytest.mark.slow
def test_the_committed_page_of_templates_is_what_was_tried():
    assert (ROOT / "docs/templates.md").read_text(encoding="utf-8") == PAGES["docs/templates.md"]()


def test_every_shape_has_a_sample():
    assert {shape_of(record) for _, _, record in SAMPLES} == set(READERS)


@pytest.mark.parametrize("name, kind, record", SAMPLES)
def test_a_sample_becomes_rows_with_the_columns_of_its_kind(name, kind, record):
    for row in rows_of(record, kind):
        assert [*row, *(["tools"] if "tools" not in row and kind != "grpo" else [])] == list(COLUMNS[kind])
