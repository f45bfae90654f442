"""What a base model's folder says of its tokenizer: its chat template, what it is given, the date, where generation ends.

    settle(Path("models/base"), {"chat_template": None, "eos_token": "<|im_end|>", "chat_template_kwargs": {}, "date": None})

    models/base/rendering.json: {"chat_template_kwargs": {"enable_thinking": false}, "date": "2024-07-26"}, where either is set

Everything that renders a conversation reads the folder, and so does whoever takes the model elsewhere.
"""

import json
import re
import shutil
from pathlib import Path

from validators.problems import Problem, Problems, did_you_mean

FILE = "rendering.json"
DATE = "2024-07-26"  # of a template that prints today's, where params.yaml names none: the one that Llama 3.2 falls back to
TOKENIZER = "tokenizer_config.json"
# spaces, line ends, code, scripts, numbers, what is composed and what is not: a class that reads tokenizer.json wrongly shows here
CORPUS = (
    "two words", "  two  spaces", "\ttab", "lines\n\nof\r\ntext\n", "def f(x):\n    return x + 1\n", "don't I'LL", "3.14 1234567",
    "日本語の文", "한국어", "עברית", "العربية", "ελληνικά", "हिन्दी", "🙂👍🏽", "é e\u0301 ﬁ", " \n ",
)  # fmt: skip


def settle(folder, base):
    """Write what `base` of params.yaml says into a model's folder; lines of what a person should know.

    Raises Problems where it cannot be so.
    """
    said = tokenizer_class(folder)
    if base["chat_template"] is not None:
        (folder / "chat_template.jinja").write_text(base["chat_template"], encoding="utf-8", newline="\n")
    if base["eos_token"] is not None:
        end_with(folder, base["eos_token"])
    said += stops(folder)
    said += given(folder, base)
    return said


def keep_spaces(folder):
    """Say in a folder what transformers does anyway: it cleans up no spaces of a BPE tokenizer, and warns at every load."""
    config, path = read(folder / TOKENIZER), folder / "tokenizer.json"
    if config.get("clean_up_tokenization_spaces") and read(path).get("model", {}).get("type") == "BPE":
        write(folder / TOKENIZER, config | {"clean_up_tokenization_spaces": False})


def tokenizer_class(folder):
    """Have transformers read tokenizer.json as it is, where the class that the folder names would not.

    A byte-level tokenizer in a folder that says LlamaTokenizerFast loses its spaces in transformers 5 (its issue 45488).
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        return []
    raw = Tokenizer.from_file(str(path))
    if not (text := misread(folder, raw)):
        return []
    config = read(folder / TOKENIZER)
    named = config.get("tokenizer_class")
    write(folder / TOKENIZER, config | {"tokenizer_class": "PreTrainedTokenizerFast"})
    if misread(folder, raw):
        found = f"transformers reads {text!r} otherwise than tokenizer.json"
        hint = "save the tokenizer anew with the version of transformers that its model was made with"
        raise Problems([Problem("base.model: tokenizer.json", found, "the same tokens", hint)])
    return [f"tokenizer.json is read as it stands: {named} would make other tokens of {text!r}"]


def misread(folder, raw):
    """A text of which AutoTokenizer makes other tokens than tokenizer.json; None where there is none."""
    from transformers import AutoTokenizer

    from stages.training.models import load_part

    ids = load_part(AutoTokenizer, folder)(list(CORPUS), add_special_tokens=False)["input_ids"]
    expected = [encoded.ids for encoded in raw.encode_batch(list(CORPUS), add_special_tokens=False)]
    return next((text for text, a, b in zip(CORPUS, ids, expected, strict=True) if a != b), None)


def end_with(folder, token):
    """Make a token the one that ends an answer. Raises Problems where the tokenizer does not know it."""
    from transformers import AutoTokenizer

    from stages.training.models import load_part

    tokenizer = load_part(AutoTokenizer, folder)
    known = tokenizer.get_vocab()
    if token not in known:
        special = [str(each) for each in tokenizer.added_tokens_decoder.values()]
        raise Problems(
            [
                Problem(
                    "base.eos_token", f"the tokenizer has no {token!r}", "a token of it", did_you_mean(token, special)
                )
            ]
        )
    write(folder / TOKENIZER, read(folder / TOKENIZER) | {"eos_token": token})
    special = folder / "special_tokens_map.json"
    if special.exists():
        write(special, read(special) | {"eos_token": token})
    config = read(folder / "config.json")
    write(folder / "config.json", config | {"eos_token_id": known[token]})


def stops(folder):
    """Have generation_config.json name every token that ends an answer: it is what generation obeys, here and elsewhere."""
    from transformers import AutoTokenizer

    from stages.training.models import load_part, stop_tokens

    path = folder / "generation_config.json"
    config = read(path) if path.exists() else {"_from_model_config": True}
    listed = config.get("eos_token_id")
    wanted = sorted(stop_tokens(load_part(AutoTokenizer, folder), folder))
    if not wanted or set(wanted) == (set(listed) if isinstance(listed, list) else {listed}):
        return []
    write(path, {key: value for key, value in config.items() if key != "_from_model_config"} | {"eos_token_id": wanted})
    return [f"generation ends at the tokens {', '.join(map(str, wanted))}, as config and tokenizer say together"]


def given(folder, base):
    """Write what the chat template is always given."""
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (folder / "chat_template.jinja", folder / TOKENIZER)
        if path.exists()
    )
    if problems := unread_switches("base", text, base["chat_template_kwargs"]):
        raise Problems(problems)
    date = base["date"] or (DATE if "strftime_now" in text else None)
    settings = {"chat_template_kwargs": base["chat_template_kwargs"], "date": date}
    if any(settings.values()):
        write(folder / FILE, {key: value for key, value in settings.items() if value})
    if date and not base["date"]:
        return [
            f"the chat template prints the date: it is {date} in every row, score and chat, unless base.date says another"
        ]
    return []


def unread_switches(section: str, template: str, given: dict) -> list[Problem]:
    """Problems of what a chat template is given and never reads: it would change nothing, and nobody would be told.

    template: its text. section: of params.yaml, whose `chat_template_kwargs` are given.
    """
    words = dict.fromkeys(re.findall(r"[^\W\d]\w*", template))
    known = [word for word in words if word.startswith(("enable_", "think", "reason"))]
    return [
        Problem(f"{section}.chat_template_kwargs", f"the chat template reads no {name!r}", "a variable of the template", did_you_mean(name, known))
        for name in given
        if name not in words
    ]


def settings_of(folder):
    """{chat_template_kwargs, date} of a model's folder."""
    return {"chat_template_kwargs": {}, "date": None} | read(Path(folder) / FILE)


def copy_settings(source, target):
    """Copy what a chat template is always given to another folder of full weights."""
    if (Path(source) / FILE).exists():
        shutil.copyfile(Path(source) / FILE, Path(target) / FILE)


def fix_date(template, date):
    """Have `strftime_now` of a chat template tell one day, in this process, whoever renders it."""
    from datetime import date as calendar

    from transformers.utils.chat_template_utils import _compile_jinja_template

    day = calendar.fromisoformat(date)
    for text in template.values() if isinstance(template, dict) else [template]:
        _compile_jinja_template(text).globals["strftime_now"] = day.strftime


def read(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path, data):
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
