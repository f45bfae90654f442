"""`tilth serve`: a model behind an address that speaks OpenAI's API, by vLLM where it is installed, else by transformers' own server.

    align: http://127.0.0.1:8000/v1/chat/completions, by transformers 5.17.0; Ctrl-C ends it
      weights: 2 adapters merged in float32, saved in bfloat16, in .work/serve-x1/align until it ends
      template: chat_template.jinja of 1,204 letters
      stops: '<|im_end|>' (2)

The server runs in this process, and loads what `tilth export` would write: so template, stops and answers are those of `tilth chat`.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A step of params.yaml, base, or the folder of a model.")]
Host = Annotated[
    str, typer.Option(help="The address to listen at; others than this machine's own can be reached from outside.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")]
WORK = Path(".work")
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


def main(context: typer.Context, model: Model, host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve a model at an address that speaks OpenAI's API."""
    from commands.builds.model_folders import model_folder

    os.environ["HF_HUB_OFFLINE"] = "1"  # a request that names another model must not download it
    server = find_server()
    source = model_folder(model, context.obj)
    check_address(host, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the merged folder goes
    with contextlib.suppress(KeyboardInterrupt), folder_to_serve(source) as (folder, weights):
        print(
            f"{model}: http://{f'[{host}]' if ':' in host else host}:{port}/v1/chat/completions, by {server} {version(server)}; Ctrl-C ends it"
        )
        for line in [f"weights: {weights}", *describe_folder(folder)]:
            print(f"  {line}")
        if host not in LOCAL_HOSTS:
            print("  anybody who reaches this address can use it: no key is asked for")
        sys.stdout.flush()
        os.chdir(folder.parent)  # its name alone is then what the API calls it
        (serve_with_vllm if server == "vllm" else serve_with_transformers)(folder.name, host, port)
    print(f"{model}: stopped")


def find_server() -> str:
    """`vllm` or `transformers`, whichever can serve here. Raises Problems where neither can."""
    from transformers.utils.import_utils import is_serve_available

    from validators.problems import Problem, Problems

    if find_spec("vllm"):
        return "vllm"
    if is_serve_available():
        return "transformers"
    hint = 'pip install --constraint constraints.txt --editable ".[serve]" for transformers\' own server, pip install vllm on a GPU'
    found = "neither vLLM nor what transformers' server needs (fastapi, uvicorn, openai) is installed"
    raise Problems([Problem("tilth serve", found, "one of them", hint)])


def check_address(host: str, port: int) -> None:
    """Raise Problems where nobody can listen at an address: before a model is loaded for it."""
    from validators.problems import Problem, Problems

    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as mine:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            mine.bind(address)
    except OSError as error:
        found, hint = f"cannot listen at {host}:{port}: {error.strerror or error}", f"--port {port % 65535 + 1}"
        raise Problems([Problem("tilth serve", found, "an address of this machine that is free", hint)]) from None


@contextlib.contextmanager
def folder_to_serve(source: Path) -> Iterator[tuple[Path, str]]:
    """(a folder that plain transformers load, what it is): the model's own, or its chain merged for as long as it is served."""
    import json

    from commands.exports.merged_model import dtype_of, export_merged
    from stages.training.models import adapters
    from stages.training.template_settings import read_settings

    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="serve-", dir=WORK.absolute()) as place:
        # transformers reads what follows these as a revision or a file
        folder = Path(place, re.sub("[@:]", "-", source.resolve().name)).absolute()
        config = {} if adapters(source) else json.loads((source / "config.json").read_text(encoding="utf-8"))
        as_it_is = config.get("dtype") == dtype_of(source) and not read_settings(source)["chat_template_kwargs"]
        if as_it_is:
            folder.symlink_to(source.resolve())
            yield folder, f"{source} as it is"
        else:
            folder.mkdir()
            said = export_merged(source, folder, "auto")
            yield folder, f"{', '.join(said)}, in {WORK / Path(place).name} until it ends"


def describe_folder(folder: Path) -> list[str]:
    """What a model is served with: its template and its stops. The date that the template prints is fixed in this process."""
    from stages.training.models import renderer
    from stages.training.template_settings import read_settings

    render, settings = renderer(folder), read_settings(folder)
    given = "".join(f", {key} {value!r}" for key, value in settings["chat_template_kwargs"].items())
    date = f", with {settings['date']} as the date" if settings["date"] else ""
    names = [f"{render.tokenizer.convert_ids_to_tokens(stop)!r} ({stop})" for stop in sorted(render.stops)]
    return [f"template: {len(render.tokenizer.chat_template):,} letters{given}{date}", f"stops: {', '.join(names)}"]


# -- the servers --------------------------------------------------------------------------------------------------


def serve_with_transformers(name: str, host: str, port: int) -> None:
    from transformers import AutoTokenizer
    from transformers.cli.serve import Serve
    from transformers.cli.serving import utils

    asked = [{"role": "user", "content": "x"}]
    tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    # it chooses how to read answers by the kind of model: beside another chat template it takes the prompt for the answer
    known = getattr(utils, "_RESPONSE_TEMPLATE_FALLBACKS", {})
    for kinds, reading in list(known.items()):
        anchors = reading.get("start_anchor") or []
        if not any(anchor in prompt for anchor in ([anchors] if isinstance(anchors, str) else anchors)):
            del known[kinds]
    Serve(force_model=name, host=host, port=port)


def serve_with_vllm(name: str, host: str, port: int) -> None:
    """vLLM reads template and stops from the folder, as `vllm serve` does; its engine is a process of its own, which ends with it."""
    from vllm.entrypoints.cli.main import main as vllm

    sys.argv = ["vllm", "serve", name, "--host", host, "--port", str(port), "--served-model-name", name]
    vllm()
