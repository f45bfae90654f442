"""Progress is a bar at a terminal and a line a minute in a log, and changes nothing that it watches."""

import io
import sys

import pytest

from stages.core.progress import progress_bar, with_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock for tqdm that the test moves."""
    import tqdm.std

    now = [1000.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    return now


def terminal(monkeypatch):
    """A terminal in place of stderr, from here to the end of the test."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_log_has_a_line_a_minute_with_rate_and_time_left(clock, capsys):
    with progress_bar(1000, "train sft", "step") as bar:
        for number in range(300):
            clock[0] += 1
            if number == 100:
                bar.set_postfix_str("loss 0.52", refresh=False)
            bar.update()
    said = capsys.readouterr().err
    lines = said.split("\n")
    assert lines[0] == "  train sft: 60 of 1000 steps,  1.00step/s, 15:40 left"
    assert lines[1] == "  train sft: 120 of 1000 steps,  1.00step/s, 14:40 left, loss 0.52"
    assert len(lines) == 6 and lines[-1] == "" and "\r" not in said


def test_several_batches_are_batches(clock, capsys):
    with progress_bar(1000, "evaluate sft", "batch") as bar:
        for _ in range(60):
            clock[0] += 1
            bar.update()
    assert capsys.readouterr().err.startswith("  evaluate sft: 60 of 1000 batches, ")


def test_what_takes_less_than_a_minute_has_no_line(clock, capsys):
    with progress_bar(1000, "train sft", "step") as bar:
        for _ in range(59):
            clock[0] += 1
            bar.update()
    assert capsys.readouterr().err == ""


def test_what_goes_on_has_the_rate_of_what_is_done_since(clock, capsys):
    with progress_bar(1000, "train sft", "step", done=900) as bar:
        for _ in range(60):
            clock[0] += 1
            bar.update()
    assert capsys.readouterr().err == "  train sft: 960 of 1000 steps,  1.00step/s, 00:40 left\n"


def test_a_terminal_has_a_bar_with_rate_and_time_left(clock, monkeypatch):
    stderr = terminal(monkeypatch)
    with progress_bar(4, "train sft", "step") as bar:
        for _ in range(2):
            clock[0] += 1
            bar.update()
    assert "train sft:  50%" in stderr.getvalue() and "00:02<00:02" in stderr.getvalue()


def test_one_of_several_processes_shows_it(clock, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with progress_bar(1000, "train sft", "step") as bar:
        for _ in range(100):
            clock[0] += 1
            bar.update()
    assert capsys.readouterr().err == ""


def test_what_is_watched_comes_as_it_was(monkeypatch):
    stderr = terminal(monkeypatch)
    assert list(with_progress([3, 1, 2], "evaluate sft: chat", "batch")) == [3, 1, 2]
    assert "evaluate sft: chat" in stderr.getvalue()


@pytest.mark.parametrize("items, what", [([1], "chat"), ([1, 2], "")])
def test_one_item_and_what_has_no_name_have_no_bar(monkeypatch, items, what):
    stderr = terminal(monkeypatch)
    assert list(with_progress(items, what, "batch")) == items
    assert stderr.getvalue() == ""
