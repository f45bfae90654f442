"""What plain transformers make of an exported folder, in a process that has nothing of ours: `python -I plain_transformers.py asked.json answers/`.

    asked.json    {"folder": "out", "base": null, "date": null, "longest": 32, "rows": [{"messages": [...], "tools": null, "ids": [...]}]}
    answers/      said.json {"prompts": [[...]], "answers": [[...]], "stops": [2], "tokenizer": {...}, "weights": {name: sha256}, ...}
                  logits-0.npy: (positions, words) float32, of each row's `ids` from the last token of its prompt on

It is a script and imports nothing of the project. `tokenizer_summary`, `weight_hashes` and `compute_logits` are called by what does the same here.
"""

import hashlib
import json
import sys
from datetime import date
from pathlib import Path


def main(asked: Path, place: Path) -> None:
    request = json.loads(asked.read_text(encoding="utf-8"))
    try:
        found = compute_answers(request, place)
    except Exception as error:  # whatever transformers say of a folder that is broken
        found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    (place / "said.json").write_text(json.dumps(found), encoding="utf-8")


def compute_answers(request: dict, place: Path) -> dict:
    """As a user of the folder would have them: its own tokenizer, template, generation config and type of weights."""
    import numpy as np
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["folder"], trust_remote_code=False)
    # what a template prints as today's date; None where it prints none
    day = {"strftime_now": date.fromisoformat(request["date"]).strftime} if request["date"] else {}
    prompts = [
        tokenizer.apply_chat_template(
            row["messages"], tools=row["tools"], add_generation_prompt=True, return_dict=True, **day
        )
        for row in request["rows"]
    ]
    found = {
        "by": {"transformers": transformers.__version__, "torch": torch.__version__},
        "prompts": [list(prompt["input_ids"]) for prompt in prompts],
        "tokenizer": tokenizer_summary(tokenizer),
    }
    model, missing = load_folder(request["folder"], request["base"])
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    found |= {"missing": missing, "dtype": str(next(model.parameters()).dtype).removeprefix("torch.")}
    found |= {"generation": generation_settings(model)} | (
        {} if is_adapter(request["folder"]) else weight_hashes(model)
    )
    found["answers"] = []
    for place_of_row, row in enumerate(request["rows"]):
        first = len(row["ids"]) - row["answer"]
        found["answers"].append(generate_greedy(model, row["ids"][:first], request["longest"]))
        np.save(place / f"logits-{place_of_row}.npy", compute_logits(model, row["ids"], first))
    return found


def load_folder(folder: str, base: str | None) -> tuple:
    """(the model of a folder, what its files lack of it). base: what an adapter is put on, where not what it names."""
    from transformers import AutoModelForCausalLM

    if not is_adapter(folder):
        model, about = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", output_loading_info=True, trust_remote_code=False
        )
        return model, sorted(about["missing_keys"]) + sorted(str(key) for key in about["mismatched_keys"])
    from peft import AutoPeftModelForCausalLM, PeftModel

    if base is None:
        return AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False), []
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", trust_remote_code=False)
    return PeftModel.from_pretrained(model, folder), []


def is_adapter(folder: str) -> bool:
    return Path(folder, "adapter_config.json").exists()


# -- what is compared ---------------------------------------------------------------------------------------------


def tokenizer_summary(tokenizer) -> dict:
    """A tokenizer in short: the hash of its vocabulary, merges and rules, its special tokens, its chat template's hash."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(inner.to_str()) if inner is not None else tokenizer.get_vocab()
    for key in ("padding", "truncation"):  # of the last call, not of the tokenizer
        rules.pop(key, None)
    return {
        "rules": hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest(),
        "words": len(tokenizer),
        "special": sorted({str(token) for token in tokenizer.all_special_tokens}),
        "eos": str(tokenizer.eos_token),
        "template": template_hash(tokenizer.chat_template),
    }


def template_hash(template) -> str:
    """The hash of a chat template, or of several by name."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def generation_settings(model) -> dict:
    """What decides of an answer besides the logits: the stops and whatever else a generation config sets."""
    config = json.loads(model.generation_config.to_json_string())
    return {
        key: value
        for key, value in config.items()
        if value is not None and key not in ("transformers_version", "_from_model_config")
    }


def weight_hashes(model) -> dict:
    """{weights: {name: sha256 of its numbers, whatever their type}, broken: {name: how many are no finite number}}."""
    import torch

    hashes, broken = {}, {}
    for name, weight in model.state_dict().items():
        numbers = weight.detach().cpu().reshape(-1)
        if numbers.is_floating_point():
            if lost := int((~torch.isfinite(numbers)).sum()):
                broken[name] = lost
            numbers = numbers.float()  # no number of a smaller type changes
        hashes[name] = hashlib.sha256(
            f"{tuple(weight.shape)}".encode() + numbers.view(torch.uint8).numpy().tobytes()
        ).hexdigest()
    return {"weights": hashes, "broken": broken}


def generate_greedy(model, prompt: list[int], longest: int, **stops) -> list[int]:
    """The likeliest answer to a prompt, with the token that ends it."""
    import torch

    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=longest, **stops
        )
    return out[0, len(prompt) :].tolist()


def compute_logits(model, ids: list[int], first: int):
    """(positions, words) float32: what comes after each token from the one before `first` on."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, first - 1 :]
    return logits.float().cpu().numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
