"""A real server on 127.0.0.1 that speaks as much of OpenAI's API as a judge needs, and says what a test wants."""

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from validators.params import Judge


@dataclass
class Answering:
    """reply(text, number) is what is said to a question: text, (status, text), or (status, text, headers). seen: the requests."""

    reply: object
    models: list = field(default_factory=lambda: ["small"])
    seen: list = field(default_factory=list)
    address: str = ""

    def judge(self, **more):
        """`evaluate.judge` of this server, with every default filled in."""
        return Judge.model_validate(
            {"server": self.address, "model": "small", "at_once": 1, "timeout_s": 5} | more
        ).model_dump()


def completion(text, finish="stop"):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]})


@contextlib.contextmanager
def answering(reply, **more):
    state, lock = Answering(reply, **more), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version, wbufsize = "HTTP/1.1", -1  # an answer in one packet, which nobody waits 40 ms for

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state.seen.append({"path": self.path, "key": self.headers.get("Authorization"), "body": body})
                number = len(state.seen)
            said = state.reply(body["messages"][-1]["content"], number)
            self.say(*(said if isinstance(said, tuple) else (200, completion(said))))

        def do_GET(self):
            self.say(200, json.dumps({"data": [{"id": name} for name in state.models]}))

        def say(self, status, text, headers=()):
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer_in(text, which):
    """What stands as answer `a` or `b` in a question."""
    return text.split(f"<answer_{which}>\n")[1].split(f"\n</answer_{which}>")[0]


def likes_short(text, _):
    """A judge that finds the shorter answer better."""
    a, b = (len(answer_in(text, which)) for which in "ab")
    return "Short is good.\n" + ("[[A]]" if a < b else "[[B]]" if b < a else "[[C]]")
