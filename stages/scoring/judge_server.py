"""A judge on a server that speaks OpenAI's API for chats, such as vLLM, llama.cpp, Ollama or a provider's.

    ask_questions(judge, {"5f0e...": [{"role": "user", "content": ...}]}, keep, "evaluate sft: judge") -> {"5f0e...": Reply("[[A]]")}

`keep` gets each reply as it comes, so that nothing is asked twice where the server dies midway. Errors that may pass (429, 5xx, a
broken connection) are retried a bounded number of times, after the wait that the server names. The key is read from the
environment when it is needed, and is neither printed nor written.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from stages.core.progress import progress_bar
from stages.scoring.judging import JudgeEntry
from stages.scoring.replies import Reply
from validators.problems import Problem, Problems, did_you_mean

if TYPE_CHECKING:
    import requests

TRIES, BACKOFF_S, LONGEST_WAIT_S = 5, 1.0, 300  # 1, 2, 4, 8 seconds, or what Retry-After says
TRANSIENT_STATUSES = (408, 429, 500, 502, 503, 504)
REFUSAL_STATUSES = (400, 413, 422)  # of one question: usually it is too long for the model
WHERE = "evaluate.judge"


class Server:
    """Connections to a judge's server, one for each thread that asks."""

    def __init__(self, judge: JudgeEntry) -> None:
        self.judge, self.key = judge, api_key(judge)
        self.local, self.stopped = threading.local(), threading.Event()
        self.address = (judge["server"] or "").rstrip("/")

    def session(self) -> "requests.Session":
        if not hasattr(self.local, "session"):
            import requests
            from requests.adapters import HTTPAdapter
            from urllib3.util import Retry

            retry = Retry(
                total=TRIES, status_forcelist=TRANSIENT_STATUSES, allowed_methods=None, backoff_factor=BACKOFF_S,
                retry_after_max=LONGEST_WAIT_S, redirect=0, raise_on_status=False,
            )  # fmt: skip
            self.local.session = requests.Session()
            for scheme in ("http://", "https://"):
                self.local.session.mount(scheme, HTTPAdapter(max_retries=retry))
        return self.local.session

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> "requests.Response":
        # `auth`, as a .netrc would replace a header; no redirects: rows go to the named address and to no other
        return self.session().request(
            method,
            f"{self.address}/{path}",
            json=body,
            auth=self.sign,
            timeout=self.judge["timeout_s"],
            allow_redirects=False,
        )

    def sign(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    def one_line(self, text: str) -> str:
        """A server's text in one line of at most 300 characters, without the key."""
        text = " ".join(text.split())
        return (text.replace(self.key, "***") if self.key else text)[:300]


def api_key(judge: JudgeEntry) -> str | None:
    """The key from the environment. Raises Problems where the variable is empty or not set."""
    if judge["key"] is None:
        return None
    if key := os.environ.get(judge["key"], "").strip():
        return key
    found, hint = f"the environment has no {judge['key']}", f"export {judge['key']}=..., and then dvc repro"
    raise Problems([Problem(f"{WHERE}.key", found, f"the key for {judge['server']}", hint)])


def request_body(judge: JudgeEntry) -> dict[str, Any]:
    """The request without the messages. A null in `args` removes a key, as some models refuse `temperature`."""
    body = {"model": judge["model"], "temperature": 0, "max_tokens": judge["max_new_tokens"]} | judge["args"]
    return {key: value for key, value in body.items() if value is not None}


def ask_questions(
    judge: JudgeEntry, questions: dict[str, list[Any]], keep: Callable[[str, Reply], None], task: str
) -> dict[str, Reply]:
    """{key: Reply} of every question. Raises Problems once the server does not answer; `keep` has the replies up to then."""
    server, failed = Server(judge), None
    replies: dict[str, Reply] = {}
    with ThreadPoolExecutor(judge["at_once"]) as pool, progress_bar(len(questions), task, "question") as bar:
        waiting = {pool.submit(ask_unless_stopped, server, messages): key for key, messages in questions.items()}
        for future in as_completed(waiting):
            try:
                reply = future.result()
            except Problems as error:
                failed = failed or error
                continue
            if reply is not None:
                replies[waiting[future]] = reply
                bar.update()
            if reply is not None and reply.why != "refused":
                keep(waiting[future], reply)
    if failed:
        kept, count = sum(reply.why != "refused" for reply in replies.values()), len(questions)
        advice = f"{kept:,} of {count:,} verdicts are saved; `dvc repro` asks for the other {count - kept:,}"
        first, *_ = failed.problems
        hint = f"{first.hint}\n  hint: {advice}" if first.hint else advice
        raise Problems([Problem(first.where, first.found, first.expected, hint)])
    return replies


def stop_if_all_refused(judge: JudgeEntry, replies: dict[str, Reply]) -> None:
    """Raise Problems where a server refuses every question: then the questions are not the cause."""
    if all(each.why == "refused" for each in replies.values()):
        first = next(iter(replies.values()))
        hint = "args: {temperature: null} removes a setting that the model does not take; add settings that it needs there too"
        raise Problems(
            [Problem(f"{WHERE}.server", f"{judge['server']} refuses every question: {first.text}", "verdicts", hint)]
        )


def ask_unless_stopped(server: Server, messages: list[Any]) -> Reply | None:
    """The judge's reply to one question; None once another question has failed. Raises Problems."""
    if server.stopped.is_set():
        return None
    try:
        return ask_question(server, messages)
    except Problems:
        server.stopped.set()
        raise


def ask_question(server: Server, messages: list[Any]) -> Reply:
    """The judge's reply to one question. Raises Problems."""
    import requests

    body = request_body(server.judge) | {"messages": messages}
    for left in reversed(range(TRIES)):
        try:
            response = server.call("POST", "chat/completions", body)
        except requests.exceptions.ChunkedEncodingError as error:  # the connection broke in the middle of the answer
            if not left:
                raise Problems([connection_problem(server, error)]) from None
        except requests.RequestException as error:
            raise Problems([connection_problem(server, error)]) from None
        else:
            break
    if response.status_code in REFUSAL_STATUSES:
        return Reply(server.one_line(response.text), "refused")
    if response.status_code != 200:
        raise Problems([status_problem(server, response)])
    return read_completion(server, response)


def read_completion(server: Server, response: "requests.Response") -> Reply:
    """The text of a completion. Raises Problems where the response is not one."""
    try:
        choice = response.json()["choices"][0]
        text = choice["message"].get("content") or ""
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError):
        found = f"{server.address} answers {server.one_line(response.text)!r}"
        raise Problems(
            [Problem(f"{WHERE}.server", found, "a completion of OpenAI's API for chats", address_hint(server))]
        ) from None
    return Reply(text, "cut" if choice.get("finish_reason") == "length" else "")


def connection_problem(server: Server, error: Exception) -> Problem:
    """The Problem of a server that cannot be reached, or does not answer in time."""
    kind = "does not answer in time" if "timed out" in str(error).lower() else "cannot be reached"
    hint = f"curl {server.address}/models; timeout_s: {server.judge['timeout_s']:g} is how long an answer may take"
    return Problem(
        f"{WHERE}.server", f"{server.address} {kind}: {server.one_line(str(error))}", "a server that answers", hint
    )


def status_problem(server: Server, response: "requests.Response") -> Problem:
    """The Problem of a response that is not a completion, by its status."""
    status, where = response.status_code, f"{WHERE}.server"
    if status in (401, 403):
        key = server.judge["key"]
        found = f"{server.address} refuses {f'the key in {key}' if key else 'to answer without a key'} ({status})"
        hint = (
            f"export {key}=..., with a key that may use {server.judge['model']!r}"
            if key
            else "key: JUDGE_KEY, and export JUDGE_KEY=..."
        )
        return Problem(f"{WHERE}.key", found, "a key that it accepts", hint)
    if status == 404 and (known := served_models(server)):
        return Problem(
            f"{WHERE}.model",
            f"{server.address} has no model {server.judge['model']!r}",
            "a model that it serves",
            did_you_mean(server.judge["model"], known),
        )
    if 300 <= status < 400:
        found = f"{server.address} redirects to {server.one_line(response.headers.get('Location', 'another address'))}"
        return Problem(
            where,
            found,
            "an address that answers itself: rows are sent nowhere else",
            "set server: to that address, if you trust it",
        )
    tried = f", {TRIES + 1} times" if status in TRANSIENT_STATUSES else ""
    found = f"{server.address} answers {status}{tried}: {server.one_line(response.text)}"
    return Problem(
        where,
        found,
        "200",
        address_hint(server)
        if status in (404, 405)
        else "see the server's log; at_once: 1 asks one question at a time",
    )


def served_models(server: Server) -> list[str]:
    """The models that a server lists; [] where it does not list them, or serves the one of params.yaml."""
    import requests

    try:
        names = [str(each["id"]) for each in server.call("GET", "models").json()["data"]]
    except (requests.RequestException, ValueError, LookupError, TypeError):
        return []
    return [] if server.judge["model"] in names else names


def address_hint(server: Server) -> str:
    return "the address usually ends in /v1" if not server.address.endswith("/v1") else f"curl {server.address}/models"
