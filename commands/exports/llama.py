"""Runs a GGUF file with llama.cpp, in a process that has llama-cpp-python: `python -I llama.py asked.json answers/`.

    asked.json    {"file": "align-q8_0.gguf", "stops": [2], "longest": 32, "rows": [{"text": "<|user|>...", "ids": [...], "answer": 9}]}
    answers/      said.json {"prompts": [[...]], "answers": [[...]], "likeliest": [[...]], "stops": [2], "template": "...", "by": "0.3.16"}

This script imports nothing of the project. likeliest: llama.cpp's likeliest token at each position of our answer.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(request_file: Path, place: Path) -> None:
    request = json.loads(request_file.read_text(encoding="utf-8"))
    try:
        results = compute_answers(request)
    except Exception as error:  # llama.cpp raises many kinds for a broken file
        results = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    (place / "said.json").write_text(json.dumps(results), encoding="utf-8")


def compute_answers(request: dict[str, Any]) -> dict[str, Any]:
    import llama_cpp

    length = max(len(row["ids"]) for row in request["rows"]) + request["longest"] + 8
    model = llama_cpp.Llama(request["file"], n_ctx=length, n_batch=length, logits_all=True, verbose=False)
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    results = {
        "by": llama_cpp.__version__,
        "template": model.metadata.get("tokenizer.chat_template"),
        "stops": [stop for stop in request["stops"] if llama_cpp.llama_vocab_is_eog(vocabulary, stop)],
        "prompts": [model.tokenize(row["text"].encode(), add_bos=False, special=True) for row in request["rows"]],
    }
    results["answers"], results["likeliest"] = [], []
    for row in request["rows"]:
        first = len(row["ids"]) - row["answer"]
        results["likeliest"].append(likeliest_tokens(model, row["ids"], first))
        results["answers"].append(generate_greedy(model, row["ids"][:first], request["longest"], set(results["stops"])))
    return results


def likeliest_tokens(model: Any, ids: list[int], first: int) -> list[int]:
    """The likeliest token at each position of `ids` from `first` on."""
    model.reset()
    model.eval(ids)
    return model.scores[first - 1 : len(ids) - 1].argmax(-1).tolist()


def generate_greedy(model: Any, prompt: list[int], longest: int, stops: set[int]) -> list[int]:
    model.reset()
    answer = []
    for token in model.generate(prompt, temp=0.0):
        answer.append(int(token))
        if token in stops or len(answer) == longest:
            return answer
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
