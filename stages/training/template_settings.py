"""Settings in a base model's folder: the chat template, its arguments, its date, and where generation ends.

    apply_settings(Path("models/base"), {"chat_template": None, "eos_token": "<|im_end|>", "chat_template_kwargs": {}, "date": None})

    models/base/rendering.json: {"chat_template_kwargs": {"enable_thinking": false}, "date": "2024-07-26"}, if either is set

Everything that renders a conversation reads the folder, in Tilth and wherever the model is used.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from validators.problems import Problem, Problems, did_you_mean

if TYPE_CHECKING:
    from tokenizers import Tokenizer as TokenizerFile


SETTINGS_FILE = "rendering.json"
DEFAULT_DATE = (
    "2024-07-26"  # for a template that prints today's date, if params.yaml sets none: the fallback of Llama 3.2
)
TOKENIZER_FILE = "tokenizer_config.json"
# spaces, line ends, code, scripts, numbers, composed and decomposed letters: a class that misreads tokenizer.json shows here
PROBE_TEXTS = (
    "two words", "  two  spaces", "\ttab", "lines\n\nof\r\ntext\n", "def f(x):\n    return x + 1\n", "don't I'LL", "3.14 1234567",
    "日本語の文", "한국어", "עברית", "العربية", "ελληνικά", "हिन्दी", "🙂👍🏽", "é e\u0301 ﬁ", " \n ",
)  # fmt: skip


def apply_settings(folder: Path, base: Mapping[str, Any]) -> list[str]:
    """Write the settings of `base` of params.yaml into a model's folder. Returns notes for the user.

    Raises Problems if a setting does not fit the model.
    """
    notes = fix_tokenizer_class(folder)
    if base["chat_template"] is not None:
        (folder / "chat_template.jinja").write_text(base["chat_template"], encoding="utf-8", newline="\n")
    if base["eos_token"] is not None:
        set_eos_token(folder, base["eos_token"])
    notes += set_stop_tokens(folder)
    notes += write_settings(folder, base)
    return notes


def disable_space_cleanup(folder: Path) -> None:
    """Turn off the cleanup of spaces, which transformers ignores for a BPE tokenizer, with a warning at every load."""
    config, path = read_json(folder / TOKENIZER_FILE), folder / "tokenizer.json"
    if config.get("clean_up_tokenization_spaces") and read_json(path).get("model", {}).get("type") == "BPE":
        write_json(folder / TOKENIZER_FILE, config | {"clean_up_tokenization_spaces": False})


def fix_tokenizer_class(folder: Path) -> list[str]:
    """Make transformers read tokenizer.json unchanged, if the class that the folder names would not.

    A byte-level tokenizer in a folder that says LlamaTokenizerFast loses its spaces in transformers 5 (its issue 45488).
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        return []
    raw = Tokenizer.from_file(str(path))
    if not (text := misread_text(folder, raw)):
        return []
    config = read_json(folder / TOKENIZER_FILE)
    named_class = config.get("tokenizer_class")
    write_json(folder / TOKENIZER_FILE, config | {"tokenizer_class": "PreTrainedTokenizerFast"})
    if misread_text(folder, raw):
        found = f"transformers makes other tokens of {text!r} than tokenizer.json"
        hint = "save the tokenizer again with the version of transformers that its model was made with"
        raise Problems([Problem("base.model: tokenizer.json", found, "the same tokens", hint)])
    return [f"tokenizer.json is read directly, because {named_class} would make other tokens of {text!r}"]


def misread_text(folder: Path, raw: "TokenizerFile") -> str | None:
    """A text of which AutoTokenizer makes other tokens than tokenizer.json; None if there is none."""
    from transformers import AutoTokenizer

    from stages.training.models import load_pretrained

    ids = load_pretrained(AutoTokenizer, folder)(list(PROBE_TEXTS), add_special_tokens=False)["input_ids"]
    expected = [encoded.ids for encoded in raw.encode_batch(list(PROBE_TEXTS), add_special_tokens=False)]
    return next((text for text, a, b in zip(PROBE_TEXTS, ids, expected, strict=True) if a != b), None)


def set_eos_token(folder: Path, token: str) -> None:
    """Make `token` the one that ends an answer. Raises Problems if the tokenizer does not have it."""
    from transformers import AutoTokenizer

    from stages.training.models import load_pretrained

    tokenizer = load_pretrained(AutoTokenizer, folder)
    known = tokenizer.get_vocab()
    if token not in known:
        special = [str(each) for each in tokenizer.added_tokens_decoder.values()]
        raise Problems(
            [
                Problem(
                    "base.eos_token",
                    f"the tokenizer has no {token!r}",
                    "a token of the tokenizer",
                    did_you_mean(token, special),
                )
            ]
        )
    write_json(folder / TOKENIZER_FILE, read_json(folder / TOKENIZER_FILE) | {"eos_token": token})
    special = folder / "special_tokens_map.json"
    if special.exists():
        write_json(special, read_json(special) | {"eos_token": token})
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"eos_token_id": known[token]})


def set_stop_tokens(folder: Path) -> list[str]:
    """List in generation_config.json every token that ends an answer: generation reads this file, here and elsewhere."""
    from transformers import AutoTokenizer

    from stages.training.models import load_pretrained, stop_tokens

    path = folder / "generation_config.json"
    config = read_json(path) if path.exists() else {"_from_model_config": True}
    listed = config.get("eos_token_id")
    wanted = sorted(stop_tokens(load_pretrained(AutoTokenizer, folder), folder))
    if not wanted or set(wanted) == (set(listed) if isinstance(listed, list) else {listed}):
        return []
    write_json(
        path, {key: value for key, value in config.items() if key != "_from_model_config"} | {"eos_token_id": wanted}
    )
    return [f"generation ends at the tokens {', '.join(map(str, wanted))}, which config and tokenizer name together"]


def write_settings(folder: Path, base: Mapping[str, Any]) -> list[str]:
    """Write rendering.json, the arguments of the chat template. Raises Problems for an argument that it never reads."""
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (folder / "chat_template.jinja", folder / TOKENIZER_FILE)
        if path.exists()
    )
    if problems := unread_kwargs_problems("base", text, base["chat_template_kwargs"]):
        raise Problems(problems)
    date = base["date"] or (DEFAULT_DATE if "strftime_now" in text else None)
    settings = {"chat_template_kwargs": base["chat_template_kwargs"], "date": date}
    if any(settings.values()):
        write_json(folder / SETTINGS_FILE, {key: value for key, value in settings.items() if value})
    if date and not base["date"]:
        return [
            f"the chat template prints the date: it is {date} in every row, score and chat; to change it, set base.date"
        ]
    return []


def unread_kwargs_problems(section: str, template: str, given: Mapping[str, Any]) -> list[Problem]:
    """Problems for each argument that a chat template never reads: it would have no effect, silently.

    template: its text. section: of params.yaml, whose `chat_template_kwargs` are `given`.
    """
    words = dict.fromkeys(re.findall(r"[^\W\d]\w*", template))
    known = [word for word in words if word.startswith(("enable_", "think", "reason"))]
    return [
        Problem(
            f"{section}.chat_template_kwargs",
            f"the chat template reads no {name!r}",
            "a variable of the template",
            did_you_mean(name, known),
        )
        for name in given
        if name not in words
    ]


def read_settings(folder: str | Path) -> dict[str, Any]:
    """{chat_template_kwargs, date} of a model's folder."""
    return {"chat_template_kwargs": {}, "date": None} | read_json(Path(folder) / SETTINGS_FILE)


def copy_settings(source: str | Path, target: str | Path) -> None:
    """Copy rendering.json to another folder of full weights."""
    if (Path(source) / SETTINGS_FILE).exists():
        shutil.copyfile(Path(source) / SETTINGS_FILE, Path(target) / SETTINGS_FILE)


def freeze_date(template: str | dict[str, str], date: str) -> None:
    """Make `strftime_now` of a chat template return a fixed day, for all rendering in this process."""
    from datetime import date as calendar

    from transformers.utils.chat_template_utils import _compile_jinja_template

    day = calendar.fromisoformat(date)
    for text in template.values() if isinstance(template, dict) else [template]:
        _compile_jinja_template(text).globals["strftime_now"] = day.strftime


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
