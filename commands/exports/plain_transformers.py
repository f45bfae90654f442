"""Runs an exported folder with plain transformers, in a process without the project: `python -I plain_transformers.py asked.json answers/`.

    asked.json    {"folder": "out", "base": null, "date": null, "longest": 32, "rows": [{"messages": [...], "tools": null, "ids": [...]}]}
    answers/      said.json {"prompts": [[...]], "answers": [[...]], "stops": [2], "tokenizer": {...}, "weights": {name: sha256}, ...}
                  logits-0.npy: (positions, words) float32, of each row's `ids` from the last token of its prompt on

This script imports nothing of the project. `expected_outputs.py` calls `tokenizer_summary`, `weight_hashes` and `compute_logits` too.
"""

import hashlib
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def main(request_file: Path, place: Path) -> None:
    request = json.loads(request_file.read_text(encoding="utf-8"))
    try:
        results = compute_answers(request, place)
    except Exception as error:  # transformers raise many kinds for a broken folder
        results = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    (place / "said.json").write_text(json.dumps(results), encoding="utf-8")


def compute_answers(request: dict[str, Any], place: Path) -> dict[str, Any]:
    """The results that a user of the folder would get: with its own tokenizer, template, generation config and dtype."""
    import numpy as np
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(request["folder"], trust_remote_code=False)
    # the date that a template prints as today's; null where it prints none
    day = {"strftime_now": date.fromisoformat(request["date"]).strftime} if request["date"] else {}
    prompts = [
        tokenizer.apply_chat_template(
            row["messages"], tools=row["tools"], add_generation_prompt=True, return_dict=True, **day
        )
        for row in request["rows"]
    ]
    results: dict[str, Any] = {
        "by": {"transformers": transformers.__version__, "torch": torch.__version__},
        "prompts": [list(prompt["input_ids"]) for prompt in prompts],
        "tokenizer": tokenizer_summary(tokenizer),
    }
    model, missing = load_folder(request["folder"], request["base"])
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    results |= {"missing": missing, "dtype": str(next(model.parameters()).dtype).removeprefix("torch.")}
    results |= {"generation": generation_settings(model)} | (
        {} if is_adapter(request["folder"]) else weight_hashes(model)
    )
    results["answers"] = []
    for place_of_row, row in enumerate(request["rows"]):
        first = len(row["ids"]) - row["answer"]
        results["answers"].append(generate_greedy(model, row["ids"][:first], request["longest"]))
        np.save(place / f"logits-{place_of_row}.npy", compute_logits(model, row["ids"], first))
    return results


def load_folder(folder: str, base: str | None) -> tuple[Any, list[str]]:
    """(the model of a folder, the names of weights that its files lack). base: the base of an adapter, where not the one it names."""
    from transformers import AutoModelForCausalLM

    if not is_adapter(folder):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", output_loading_info=True, trust_remote_code=False
        )
        model, info = loaded
        return model, sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    from peft import AutoPeftModelForCausalLM, PeftModel

    if base is None:
        return AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False), []
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", trust_remote_code=False)
    return PeftModel.from_pretrained(model, folder), []


def is_adapter(folder: str) -> bool:
    return Path(folder, "adapter_config.json").exists()


# -- what is compared ---------------------------------------------------------------------------------------------


def tokenizer_summary(tokenizer: Any) -> dict[str, Any]:
    """A tokenizer in short: the hash of its vocabulary, merges and rules, its special tokens, the hash of its chat template."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(inner.to_str()) if inner is not None else tokenizer.get_vocab()
    for key in ("padding", "truncation"):  # these are of the last call, not of the tokenizer
        rules.pop(key, None)
    return {
        "rules": hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest(),
        "words": len(tokenizer),
        "special": sorted({str(token) for token in tokenizer.all_special_tokens}),
        "eos": str(tokenizer.eos_token),
        "template": template_hash(tokenizer.chat_template),
    }


def template_hash(template: str | dict[str, str] | None) -> str:
    """The hash of a chat template, or of several by name."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def generation_settings(model: Any) -> dict[str, Any]:
    """The settings that decide an answer besides the logits: the stops and the rest of the generation config."""
    config = json.loads(model.generation_config.to_json_string())
    return {
        key: value
        for key, value in config.items()
        if value is not None and key not in ("transformers_version", "_from_model_config")
    }


def weight_hashes(model: Any) -> dict[str, Any]:
    """{weights: {name: sha256 of its numbers, independent of their dtype}, broken: {name: how many are not finite}}."""
    import torch

    hashes, broken = {}, {}
    for name, weight in model.state_dict().items():
        numbers = weight.detach().cpu().reshape(-1)
        if numbers.is_floating_point():
            if lost := int((~torch.isfinite(numbers)).sum()):
                broken[name] = lost
            numbers = numbers.float()  # exact for every smaller dtype
        hashes[name] = hashlib.sha256(
            f"{tuple(weight.shape)}".encode() + numbers.view(torch.uint8).numpy().tobytes()
        ).hexdigest()
    return {"weights": hashes, "broken": broken}


def generate_greedy(model: Any, prompt: list[int], longest: int, **stops: Any) -> list[int]:
    """The likeliest answer to a prompt, with the token that ends it."""
    import torch

    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=longest, **stops
        )
    return out[0, len(prompt) :].tolist()


def compute_logits(model: Any, ids: list[int], first: int) -> "np.ndarray":
    """(positions, words) float32: the logits after each token, beginning with the token before `first`."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, first - 1 :]
    return logits.float().cpu().numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
