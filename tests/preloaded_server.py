"""The processes that have imported the libraries and fork for each command: `python preloaded_server.py FOLDER`.

Libraries alone, never the project: a child imports that from where it runs. tests/preloaded.py says what for.
What a child does not have of a fresh interpreter: a hash seed of its own (the children of one server share one), and the
warnings that a library gives while it is imported.
"""

import atexit
import contextlib
import ctypes
import importlib
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import types
from dataclasses import dataclass
from pathlib import Path

# pandas must not be here, which hides what validators/_pandera.py does, nor polars, which starts a thread
LIGHT = """
    concurrent.futures.process csv ctypes duckdb dvc.cli dvc.cli.parser dvc.repo dvc.repo.datasets dvc.repo.index
    dvc_data.index dvc_render filelock flatten_dict hypothesis.strategies jinja2 json msgspec multiprocessing.spawn networkx
    numpy platformdirs psutil pyarrow.compute pyarrow.parquet pydantic.json_schema pydantic.main regex rensa
    rich.console rich.live rich.table rich.tree ruamel.yaml scmrepo.git typeguard typer typing_inspect vl_convert yaml
    asyncssh s3fs webdav4 zc.lockfile zstandard
"""
HEAVY = """
    torch transformers transformers.models.qwen3.modeling_qwen3 trl trl.experimental.orpo datasets peft accelerate
"""
# A command with another value of one of these than the server has gets an interpreter of its own: Python reads them
# when it starts, libraries when they are imported.
READ_AT_START = {
    "light": ("ARROW_", "FORCE_COLOR", "FSSPEC_", "LANG", "LC_", "LD_", "NO_COLOR", "OMP_", "OPENBLAS_", "PYTHON", "TQDM_", "TZ"),
    "heavy": ("ACCELERATE_", "CUDA_", "DATASETS_", "HF_", "HOME", "MKL_", "PYTORCH_", "TORCH", "TRANSFORMERS_", "TRL_", "XDG_"),
}  # fmt: skip
UNLESS = ("PYTHONPATH",)  # a child does with it what Python would
# allocators of Arrow would work in threads; only the thread that calls fork is in its child
ONE_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
IGNORABLE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
PATIENCE_S = 30
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Request:
    """What a client asks for. streams: its stdin, stdout and stderr, by their numbers here."""

    words: list[str]  # a path of Python, "-m", a module and its arguments; or of a script, and its arguments
    folder: str
    variables: dict[str, str]
    ignored: list[int]  # signals
    umask: int
    streams: list[int]


def main(folder):
    del sys.path[0]  # the folder of this file; a child has there what Python would have
    settings = dict(os.environ)
    os.environ.update(ONE_THREAD)
    preload(LIGHT)
    listeners = {name: listen(folder / name) for name in ("light", "heavy")}
    me = os.getpid()
    name = "light" if os.fork() else "heavy"
    names = READ_AT_START["light"]
    if name == "heavy":
        end_with(me)
        names += READ_AT_START["heavy"]
        select.select([listeners[name]], [], [])  # seconds of imports, for whom needs them
        preload(HEAVY)
    else:
        print("ready", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    read = {key: settings.get(key) for key in settings if key.startswith(names)}
    request = serve(listeners[name], lambda variables: alike(variables, read, names), watch=name == "light")
    if request is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for listener in listeners.values():
            listener.close()
        run(request)


def preload(libraries):
    for name in libraries.split():
        with contextlib.suppress(ModuleNotFoundError):  # what a folder of the project may not need any more
            importlib.import_module(name)
    threads = [Path(f"/proc/self/task/{thread}/comm").read_text() for thread in os.listdir("/proc/self/task")]
    if len(threads) > 1:
        raise SystemExit(f"a library has started a thread, so that this process must not fork: {threads}")


def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def end_with(parent):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


# -- one request after another ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Child:
    pid: int
    pidfd: int  # readable when it has ended
    connection: socket.socket  # to the client, which sends signals, and ends the child when it ends itself


def serve(listener, may_run, watch):
    """The request, in the child that is to run it; None when stdin has come to its end and is to be watched."""
    poll, children, me = select.poll(), {}, os.getpid()
    for stream in [listener, *([0] if watch else [])]:
        poll.register(stream, select.POLLIN)
    while True:
        fd, _ = poll.poll()[0]  # one at a time: what it does may close others
        if fd == listener.fileno():
            connection, _ = listener.accept()
            request = receive(connection)
            if request is None or not may_run(request.variables):
                close(request.streams if request else [])
                connection.close()
            elif pid := os.fork():
                child = Child(pid, os.pidfd_open(pid), connection)
                for each in (child.pidfd, connection.fileno()):
                    children[each] = child
                    poll.register(each, select.POLLIN)
                answer(connection, b"y")
                close(request.streams)
            else:
                end_with(me)
                for each in [connection, *(child.connection for child in children.values())]:
                    each.close()
                return request
        elif fd == 0:
            for child in children.values():
                kill(child)
            return None
        elif fd == children[fd].pidfd:
            child = children.pop(fd)
            poll.unregister(fd)
            if children.pop(child.connection.fileno(), None):
                poll.unregister(child.connection)
            bury(child)
        elif number := signal_from(children[fd].connection):
            os.kill(children[fd].pid, number)
        else:
            poll.unregister(fd)
            kill(children.pop(fd))


def receive(connection):
    """A request of preloaded_client.py; None where its sender is gone."""
    connection.settimeout(PATIENCE_S)
    body, streams = b"", []
    try:
        while len(body) < 4 or len(body) < 4 + int.from_bytes(body[:4], sys.byteorder):
            part, fds, _, _ = socket.recv_fds(connection, 1 << 16, 3)
            streams += fds
            if not part:
                break
            body += part
        return Request(*marshal.loads(body[4:]), streams)
    except (OSError, EOFError, ValueError):
        close(streams)
        return None


def signal_from(connection):
    """A number that a client sends; 0 where it is gone."""
    try:
        return int.from_bytes(connection.recv(1), sys.byteorder)
    except OSError:
        return 0


def bury(child):
    """Tell the client how its command has ended."""
    _, status = os.waitpid(child.pid, 0)
    answer(child.connection, os.waitstatus_to_exitcode(status).to_bytes(4, sys.byteorder, signed=True))
    os.close(child.pidfd)
    child.connection.close()


def alike(variables, expected, names):
    """True where variables that begin with one of names are as expected."""
    found = {name: value for name, value in variables.items() if name.startswith(names) and name not in UNLESS}
    return found == {name: value for name, value in expected.items() if name not in UNLESS}


def answer(connection, text):
    with contextlib.suppress(OSError):  # a client that is gone
        connection.sendall(text)


def kill(child):
    """The child and all that it has started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def close(fds):
    for fd in fds:
        os.close(fd)


# -- in the child ----------------------------------------------------------------------------------------------------


def run(request):
    """Do what Python would do with the words, and end as it would."""
    become(request)
    program, *arguments = request.words
    try:
        if arguments[:1] == ["-m"]:
            sys.path.insert(0, os.getcwd())
            sys.argv = ["-m", *arguments[2:]]
            runpy._run_module_as_main(arguments[1])
        else:
            sys.path.insert(0, os.path.dirname(program))
            sys.argv = request.words
            script = sys.modules["__main__"].__dict__
            script |= {"__file__": program, "__builtins__": __builtins__}
            exec(compile(Path(program).read_bytes(), program, "exec"), script)
        status = 0
    except SystemExit as error:
        status = status_of(error.code)
    except BaseException as error:
        error = error.with_traceback(below_this_file(error.__traceback__))
        sys.excepthook(type(error), error, error.__traceback__)
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    end(status)


def become(request):
    """This process with another's folder, streams, variables and signals, in a session of its own."""
    os.setsid()
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
    close(request.streams)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    os.chdir(request.folder)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.variables)
    for number in IGNORABLE:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request.ignored else usual)
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.path[:0] = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    # what libraries have kept of the time when they were imported
    tempfile.tempdir = None
    sys.modules["multiprocessing.process"].ORIGINAL_DIR = request.folder
    sys.modules["numpy"].random.seed()


def status_of(code):
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def below_this_file(traceback):
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    return traceback


def end(status):
    """As Python ends, but for taking apart the modules, of which there are thousands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            status = status or 120
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
