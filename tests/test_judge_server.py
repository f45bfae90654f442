"""A judge behind an address: what may pass is tried again, what cannot is a clear error, and nothing leaks."""

import json

import pytest
from answering import answering, completion

from stages.scoring import judge_server
from stages.scoring.judge_server import ask_questions
from stages.scoring.replies import Reply
from validators.problems import Problems


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(judge_server, "BACKOFF_S", 0)
    monkeypatch.setattr(judge_server, "LONGEST_WAIT_S", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def asked(count):
    return {f"key{n}": [{"role": "user", "content": f"question {n}"}] for n in range(count)}


def said_by(reply, count=1, **judge):
    kept = {}
    with answering(reply) as server:
        try:
            return ask_questions(server.judge(**judge), asked(count), kept.__setitem__, "test"), kept, server
        except Problems as error:
            return error.problems[0], kept, server


def test_every_question_is_asked_once_at_temperature_0_and_kept_as_it_comes():
    found, kept, server = said_by(lambda text, _: text.upper(), 20, at_once=4)
    assert found == kept == {f"key{n}": Reply(f"QUESTION {n}") for n in range(20)}
    assert len(server.seen) == 20 and server.seen[0]["path"] == "/v1/chat/completions"
    sent = {key: value for key, value in server.seen[0]["body"].items() if key != "messages"}
    assert sent == {"model": "small", "temperature": 0, "max_tokens": 1024}


def test_args_are_sent_as_they_are_and_a_null_takes_one_away():
    args = {"temperature": None, "max_tokens": None, "max_completion_tokens": 2000, "reasoning_effort": "low"}
    *_, server = said_by(lambda *_: "[[A]]", args=args)
    assert {key: value for key, value in server.seen[0]["body"].items() if key != "messages"} == {
        "model": "small",
        "max_completion_tokens": 2000,
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status):
    found, _, server = said_by(lambda _, number: (status, "busy", {"Retry-After": "7"}) if number < 4 else "[[B]]")
    assert found == {"key0": Reply("[[B]]")} and len(server.seen) == 4


def test_what_does_not_pass_ends_after_a_bounded_number_of_tries_and_what_was_said_is_kept():
    problem, kept, server = said_by(
        lambda text, _: "[[A]]" if text in ("question 0", "question 1") else (500, "out of memory"), 10
    )
    assert (
        len(kept) == 2
        and len(server.seen) == 2 + judge_server.TRIES + 1
        and "answers 500, 6 times: out of memory" in problem.found
    )
    assert "2 of 10 verdicts are saved; `dvc repro` asks for the other 8" in problem.hint


def test_a_server_that_is_not_there_is_named_with_what_to_type():
    with answering(lambda *_: "") as server:
        judge = server.judge()
    with pytest.raises(Problems) as error:
        ask_questions(judge, asked(3), lambda *_: None, "test")
    (problem,) = error.value.problems
    assert f"{judge['server']} cannot be reached" in problem.found and "curl http://127.0.0.1" in problem.hint


def test_an_answer_that_takes_too_long_is_an_error_that_says_so():
    import time

    problem, *_ = said_by(lambda *_: time.sleep(0.3) or "[[A]]", timeout_s=0.05)
    assert "does not answer in time" in problem.found and "timeout_s: 0.05" in problem.hint


@pytest.mark.parametrize(
    "reply, where, found, hint",
    [
        ((401, "no"), "evaluate.judge.key", "refuses to answer without a key (401)", "export JUDGE_KEY=..."),
        ((404, "no such model"), "evaluate.judge.model", "has no model 'smal'", "did you mean 'small'?"),
        (
            (302, "", {"Location": "http://127.0.0.1:9/v1"}),
            "evaluate.judge.server",
            "redirects to http://127.0.0.1:9/v1",
            "that address",
        ),
        ((200, "<html>Sign in</html>"), "evaluate.judge.server", "answers '<html>Sign in</html>'", "curl http"),
        ((200, json.dumps({"choices": []})), "evaluate.judge.server", "answers '{\"choices\": []}'", "curl http"),
    ],
)
def test_what_is_wrong_with_a_server_is_said_with_what_to_do(reply, where, found, hint):
    problem, kept, server = said_by(lambda *_: reply, model="smal")
    assert (problem.where, kept, len(server.seen)) == (where, {}, 1) and found in problem.found and hint in problem.hint


def test_an_answer_without_text_and_one_that_was_cut_are_no_errors():
    replies = [(200, completion(None)), (200, completion("<think>So", "length"))]
    found, *_ = said_by(lambda _, number: replies[number - 1], 2)
    assert [*found.values()] == [Reply(""), Reply("<think>So", "cut")]


def test_a_question_that_is_refused_is_counted_and_asked_again_next_time():
    found, kept, _ = said_by(
        lambda text, _: (400, "maximum context length is 4096") if text == "question 1" else "[[A]]", 3
    )
    assert found["key1"] == Reply("maximum context length is 4096", "refused") and "key1" not in kept
    judge_server.stop_if_all_refused({"server": "x"}, found)


def test_a_server_that_refuses_every_question_is_an_error():
    found, *_ = said_by(lambda *_: (400, "unsupported value: temperature"), 3)
    with pytest.raises(Problems, match="refuses every question: unsupported value: temperature"):
        judge_server.stop_if_all_refused({"server": "http://x/v1"}, found)


def test_a_key_comes_from_the_environment_and_a_netrc_does_not_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    *_, server = said_by(lambda *_: "[[A]]", key="JUDGE_KEY")
    assert server.seen[0]["key"] == "Bearer s3cret"
    *_, server = said_by(lambda *_: "[[A]]")
    assert server.seen[0]["key"] is None  # nor is any sent where none is named


@pytest.mark.parametrize("status", [401, 418])
def test_a_key_is_never_printed(status, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    problem, *_ = said_by(lambda *_: (status, "s3cret is no key of ours"), key="JUDGE_KEY")
    assert "s3cret" not in str(problem) and "JUDGE_KEY" in str(problem) + "JUDGE_KEY" * (status == 418)


def test_a_key_that_is_not_there_is_an_error_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    problem, _, server = said_by(lambda *_: "[[A]]", key="JUDGE_KEY")
    assert (
        not server.seen
        and problem.found == "the environment has no JUDGE_KEY"
        and "export JUDGE_KEY=..." in problem.hint
    )
