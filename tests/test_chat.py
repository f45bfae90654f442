import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import preloaded
import pytest
import torch

from commands import chat
from stages.training import models
from validators.problems import Problems

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PARAMS = "base: {model: tiny}\nsteps: {sft: {}, align: {}}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The tiny model as `base` and, with other weights, as `sft`; `align` is not built."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(PARAMS)
    models.save_tiny_model(folder / "models/base")
    model = models.load_model(folder / "models/base")
    torch.manual_seed(1)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(folder / "models/sft")
    models.load_tokenizer(folder / "models/base").save_pretrained(folder / "models/sft")
    return folder


def tilth(project, *arguments, said=None):
    """`tilth chat` as a process with a pipe on each side."""
    return preloaded.run(
        [sys.executable, "-m", "commands", "chat", *arguments],
        cwd=project, env=os.environ | {"PYTHONPATH": str(ROOT)}, input=said, capture_output=True,
    )  # fmt: skip


@pytest.fixture
def speak(project, monkeypatch, capsys):
    """What `tilth chat` prints of one prompt, in this process."""
    monkeypatch.chdir(project)

    def speak(model, prompt, **options):
        chat.main(SimpleNamespace(obj=project), model, prompt, max_new_tokens=options.pop("most", 12), **options)
        return capsys.readouterr()

    return speak


def greedy(project, model, messages, most=12):
    """What a model answers, by transformers alone."""
    model, tokenizer = models.load_model(project / "models" / model), models.load_tokenizer(project / "models" / model)
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=most, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return tokenizer.decode(tokens, skip_special_tokens=True)


def user(text):
    return {"role": "user", "content": text}


def test_one_answer_is_the_greedy_one_shown_safely(project, speak):
    assert (
        speak("base", "Reverse abc.").out
        == chat.escape_controls(greedy(project, "base", [user("Reverse abc.")])) + "\n"
    )


def test_a_system_turn_comes_first(project, speak):
    messages = [{"role": "system", "content": "Be brief."}, user("hi")]
    assert speak("sft", "hi", system="Be brief.").out == chat.escape_controls(greedy(project, "sft", messages)) + "\n"


def test_a_folder_is_a_model_too(project, speak):
    assert speak(str(project / "models/sft"), "hi").out == speak("sft", "hi").out


def test_two_models_answer_each_under_its_name(project, speak):
    one, other = speak("base", "hi").out, speak("sft", "hi").out
    assert one != other
    assert speak("base", "hi", against="sft").out == f"base:\n{one}\nsft:\n{other}"


def test_temperature_draws_and_zero_does_not(project, speak):
    assert len({speak("sft", "hi", temperature=5.0).out for _ in range(4)}) > 1
    assert len({speak("sft", "hi", temperature=0.0).out for _ in range(2)}) == 1


def test_an_answer_that_is_cut_says_so_on_the_side(speak):
    assert "(cut at 3 tokens)" in speak("base", "hi", most=3).err


def test_a_conversation_longer_than_the_model_is_a_problem(speak):
    with pytest.raises(Problems, match="fewer than 8,192, which is what the model takes"):
        speak("base", "a" * 8300)


def test_an_answer_ends_where_the_models_room_ends(speak):
    assert "(cut at " in speak("base", "a" * 1010, most=500).err


@pytest.mark.parametrize(
    "model, text",
    [("sfft", "did you mean 'sft'"), ("align", "dvc repro train@align, or dvc pull"), ("nope/x", "known: ")],
)
def test_a_model_that_is_not_there_is_a_problem_with_a_hint(speak, model, text):
    with pytest.raises(Problems, match=text):
        speak(model, "hi")


def test_an_empty_prompt_is_a_problem(speak):
    with pytest.raises(Problems, match="is empty"):
        speak("base", "  ")


def test_a_template_that_refuses_is_a_problem(project, speak, tmp_path):
    import shutil

    shutil.copytree(project / "models/base", tmp_path / "strict")
    template = tmp_path / "strict/chat_template.jinja"
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    template.write_text(refuse + template.read_text())
    with pytest.raises(Problems, match="no system turns"):
        speak(str(tmp_path / "strict"), "hi", system="Be brief.")


def test_what_a_terminal_would_obey_is_escaped_and_lines_stay():
    assert chat.escape_controls("a\x1b[31mb\r\x07\x9bc\n\td‮e") == "a\\x1b[31mb\\r\\x07\\x9bc\n\td\\u202ee"
    assert chat.escape_controls("日本 é 👨\u200d👩 नमस्ते") == "日本 é 👨\u200d👩 नमस्ते"


def test_pieces_are_told_as_they_come_and_no_character_in_halves(project):
    tokenizer = models.load_tokenizer(project / "models/base")
    told = []
    pieces = chat.Streamer(tokenizer, told.append)
    pieces.put(torch.tensor([[1, 2, 3]]))
    for token in tokenizer("aé\n日b", add_special_tokens=False)["input_ids"]:
        pieces.put(torch.tensor([token]))
    pieces.put(torch.tensor([tokenizer.eos_token_id]))
    pieces.end()
    assert [piece for piece in told if piece] == ["a", "é", "\n", "日", "b"]


def test_a_broken_character_at_the_end_is_told_too(project):
    told = []
    pieces = chat.Streamer(models.load_tokenizer(project / "models/base"), told.append)
    pieces.put(torch.tensor([[1]]))
    for token in models.load_tokenizer(project / "models/base")("日", add_special_tokens=False)["input_ids"][:2]:
        pieces.put(torch.tensor([token]))
    pieces.end()
    assert "".join(told) == "�"


def test_lines_of_a_pipe_are_one_conversation(project):
    said = b"hi\n\n/reset\nhi\n\xff\n/what\n/exit\nnot reached\n"
    done = tilth(project, "base", "--max-new-tokens", "4", said=said)
    lines = done.stdout.decode().splitlines()
    first = chat.escape_controls(greedy(project, "base", [user("hi")], 4)).splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[: len(first)] == first and lines[len(first) : 2 * len(first)] == first
    assert b"/reset forgets" in done.stderr and b"Traceback" not in done.stderr


def test_a_turn_is_answered_with_the_turns_before_it(project):
    done = tilth(project, "sft", "--max-new-tokens", "4", said=b"hi\nand\n")
    first = greedy(project, "sft", [user("hi")], 4)
    second = greedy(project, "sft", [user("hi"), {"role": "assistant", "content": first}, user("and")], 4)
    assert done.stdout.decode() == chat.escape_controls(first) + "\n" + chat.escape_controls(second) + "\n"


def at_a_terminal(project, keys, *arguments):
    """What a terminal shows of `tilth chat` when these keys are typed, each after the mark of the prompt: (text, exit status).

    A key that comes between the mark and the wait for keys may be lost, so that Ctrl-C and Ctrl-D are typed again where
    nothing answers. A process that does not end is told to show where it is.
    """
    me, its = pty.openpty()
    command = [sys.executable, "-X", "faulthandler", "-m", "commands", "chat", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "60"}

    def take_terminal():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job, as CI may be, ignores it
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = subprocess.Popen(
        command, cwd=project, env=environment, stdin=its, stdout=its, stderr=its, start_new_session=True,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(its)
    seen, sent, until, stuck = b"", 0, time.monotonic() + 240, False
    try:
        while not stuck or time.monotonic() < until:
            if select.select([me], [], [], 5)[0]:
                try:
                    seen += os.read(me, 4096)
                except OSError:  # the other side is closed
                    break
                if sent < len(keys) and seen.count(b"\n> ") > sent:
                    os.write(me, keys[sent])
                    sent += 1
            elif sent == len(keys) and keys[-1] in (b"\x03", b"\x04"):
                os.write(me, keys[-1])
            if not stuck and time.monotonic() > until:
                child.send_signal(signal.SIGABRT)  # where each of its threads is
                stuck, until = True, time.monotonic() + 30
        child.wait(timeout=30)
    finally:
        child.kill()
    return seen.decode(errors="replace"), child.returncode


@pytest.mark.parametrize("last", [b"\x04", b"\x03", b"/exit\n"])
def test_a_terminal_conversation_ends_cleanly(project, last):
    text, status = at_a_terminal(project, [b"hi\n", b"/reset\n", last], "base", "--max-new-tokens", "4")
    assert status == 0, text
    assert "/reset forgets the conversation, /exit ends" in text and "Traceback" not in text and "Aborted" not in text


def test_two_models_stand_side_by_side_at_a_terminal(project):
    text, status = at_a_terminal(project, [b"hi\n", b"\x04"], "base", "--against", "sft", "--max-new-tokens", "4")
    assert status == 0, text
    assert any("base" in line and "sft" in line and "and" not in line for line in text.splitlines())


def test_interrupting_the_answer_forgets_the_turn_and_goes_on(project, monkeypatch, capsys):
    """Ctrl-C in the middle of an answer, at a terminal."""
    monkeypatch.chdir(project)
    lines = iter(["hi", "again", None])
    asked = []

    def reply(speakers, opening, prompt, temperature):
        asked.append(prompt)
        if prompt == "hi":
            raise KeyboardInterrupt

    monkeypatch.setattr(chat, "reply", reply)
    monkeypatch.setattr(chat, "read_line", lambda mark: next(lines))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    chat.converse([SimpleNamespace(name="base", turns=[])], [], 0.0)
    assert asked == ["hi", "again"] and "that turn is forgotten" in capsys.readouterr().err


def test_interrupting_one_answer_ends_with_the_status_of_an_interrupt(project, monkeypatch):
    monkeypatch.chdir(project)

    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(chat, "reply", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            chat.main(SimpleNamespace(obj=project), "base", "hi")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
