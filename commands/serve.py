"""`tilth serve`: a model behind OpenAI's API, served by vLLM if that is installed, else by transformers' own server.

    align: http://127.0.0.1:8000/v1/chat/completions, by transformers 5.17.0; Ctrl-C ends it
      weights: 2 adapters merged in float32, saved in bfloat16, in .work/serve-x1/align until it ends
      template: 1,204 characters
      stops: '<|im_end|>' (2)

The server runs in this process and loads what `tilth export` would write, so template, stops and answers are those of `tilth chat`.
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
Host = Annotated[str, typer.Option(help="The address to listen at; one that is not local can be reached from outside.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")]
WORK = Path(".work")
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


def main(context: typer.Context, model: Model, host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve a model with OpenAI's API."""
    from commands.builds.model_folders import model_folder

    os.environ["HF_HUB_OFFLINE"] = "1"  # a request that names another model must not download it
    server = find_server()
    source = model_folder(model, context.obj)
    check_address(host, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the merged folder is removed
    with contextlib.suppress(KeyboardInterrupt), folder_to_serve(source) as (folder, weights):
        print(
            f"{model}: http://{f'[{host}]' if ':' in host else host}:{port}/v1/chat/completions, by {server} {version(server)}; Ctrl-C ends it"
        )
        for line in [f"weights: {weights}", *describe_folder(folder)]:
            print(f"  {line}")
        if host not in LOCAL_HOSTS:
            print("  anybody who reaches this address can use it: there is no API key")
        sys.stdout.flush()
        os.chdir(folder.parent)  # the API then calls the model by the name of its folder
        (serve_with_vllm if server == "vllm" else serve_with_transformers)(folder.name, host, port)
    print(f"{model}: stopped")


def find_server() -> str:
    """`vllm` or `transformers`, whichever can serve here. Raises Problems if neither can."""
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
    """Raise Problems if the address cannot be listened at, before a model is loaded for it."""
    from validators.problems import Problem, Problems

    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        found, hint = f"cannot listen at {host}:{port}: {error.strerror or error}", f"--port {port % 65535 + 1}"
        raise Problems([Problem("tilth serve", found, "a free address of this machine", hint)]) from None


@contextlib.contextmanager
def folder_to_serve(source: Path) -> Iterator[tuple[Path, str]]:
    """(a folder that plain transformers can load, its weights in words): the model's own, or a merged copy until the end."""
    import json

    from commands.exports.merged_model import dtype_of, export_merged
    from stages.training.models import adapters
    from stages.training.template_settings import read_settings

    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="serve-", dir=WORK.absolute()) as place:
        # transformers takes the text after @ or : as a revision or a file
        folder = Path(place, re.sub("[@:]", "-", source.resolve().name)).absolute()
        config = {} if adapters(source) else json.loads((source / "config.json").read_text(encoding="utf-8"))
        is_plain = config.get("dtype") == dtype_of(source) and not read_settings(source)["chat_template_kwargs"]
        if is_plain:
            folder.symlink_to(source.resolve())
            yield folder, f"{source} as it is"
        else:
            folder.mkdir()
            lines = export_merged(source, folder, "auto")
            yield folder, f"{', '.join(lines)}, in {WORK / Path(place).name} until it ends"


def describe_folder(folder: Path) -> list[str]:
    """The template and the stops that a model is served with. Also fixes the date that the template prints."""
    from stages.training.models import renderer
    from stages.training.template_settings import read_settings

    render, settings = renderer(folder), read_settings(folder)
    options = "".join(f", {key} {value!r}" for key, value in settings["chat_template_kwargs"].items())
    date = f", with {settings['date']} as the date" if settings["date"] else ""
    names = [f"{render.tokenizer.convert_ids_to_tokens(stop)!r} ({stop})" for stop in sorted(render.stops)]
    return [
        f"template: {len(render.tokenizer.chat_template):,} characters{options}{date}",
        f"stops: {', '.join(names)}",
    ]


# -- the servers --------------------------------------------------------------------------------------------------


def serve_with_transformers(name: str, host: str, port: int) -> None:
    from transformers import AutoTokenizer
    from transformers.cli.serve import Serve
    from transformers.cli.serving import utils

    messages = [{"role": "user", "content": "x"}]
    tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    # it parses answers by the type of the model; with another chat template it would take the prompt for the answer
    known = getattr(utils, "_RESPONSE_TEMPLATE_FALLBACKS", {})
    for kinds, reading in list(known.items()):
        anchors = reading.get("start_anchor") or []
        if not any(anchor in prompt for anchor in ([anchors] if isinstance(anchors, str) else anchors)):
            del known[kinds]
    Serve(force_model=name, host=host, port=port)


def serve_with_vllm(name: str, host: str, port: int) -> None:
    """Run `vllm serve`, which reads template and stops from the folder. Its engine is a process of its own and ends with it."""
    from vllm.entrypoints.cli.main import main as vllm

    sys.argv = ["vllm", "serve", name, "--host", host, "--port", str(port), "--served-model-name", name]
    vllm()
