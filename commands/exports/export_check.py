"""Whether an exported folder does for others what its model does here; the receipt that says so.

What fails raises Problems and has no receipt:

    check(Path("models/align"), Path(".out.partial"), "out", 8) -> ["checked on 8 eval rows ..."]

    out/checked.json    {"checked": true, "by": {"transformers": "5.17.0", ...}, "rows": [...], "files": {name: sha256}, ...}
                        {"checked": false, "why": "--no-check"}
"""

import json
from pathlib import Path

from commands.exports import plain_transformers
from commands.exports.comparison import compare_outputs, tolerance_of
from commands.exports.expected_outputs import LONGEST, ExpectedOutputs, compute_expected
from commands.exports.gguf import check_gguf
from commands.exports.isolated_process import run_isolated
from commands.statements.exported_folder import RECEIPT_FILE
from stages.core.hashes import sha256
from validators.problems import Problem, Problems

CHECK_LIMIT = (
    2_000_000_000  # weights up to which a folder is checked though nobody asks for it: more take minutes on a CPU
)


def check_export(source: Path, folder: Path, shown: str, count: int, gguf: str | None = None) -> list[str]:
    """Write the receipt of a folder that does what the model does; the lines that say so. shown: its name for the user.

    Raises Problems with each thing that differs.
    """
    adapter = plain_transformers.is_adapter(str(folder))
    base, about_base = local_base(folder) if adapter else (None, [])
    expected = compute_expected(source, count, None if adapter else dtype_of_folder(folder))
    said, seen = compare_with_transformers(folder, expected, base, shown)
    receipt = {
        "checked": True, "by": said["by"], "dtype": said["dtype"], "tolerance": tolerance_of(said["dtype"]),
        "weights": f"an adapter on {base or base_name(folder)}" if adapter else "the numbers of the merged model",
        "stops": sorted(expected.stops), "date": expected.date, "rows": seen,
    }  # fmt: skip
    lines = [receipt_line(receipt), *about_base, *date_lines(expected)]
    if gguf:
        receipt["gguf"], line = check_gguf(folder, gguf, expected, shown)
        lines.append(line)
    write_receipt(folder, receipt)
    return lines


def compare_with_transformers(
    folder: Path, expected: ExpectedOutputs, base: str | None, shown: str
) -> tuple[dict, list[dict]]:
    """(what plain transformers say of a folder, what was seen of each row). Raises Problems with all that differs."""
    rows = [
        {"messages": row.messages, "tools": row.tools, "ids": row.ids, "answer": row.answer} for row in expected.rows
    ]
    request = {"folder": str(folder.resolve()), "base": base, "date": expected.date, "longest": LONGEST, "rows": rows}
    said, logits = run_isolated(plain_transformers.__file__, request)
    if "error" in said:
        hint = "--no-check leaves it as it is, to look at"
        raise Problems(
            [Problem(shown, f"plain transformers cannot use it: {said['error']}", "a folder that loads", hint)]
        )
    problems, seen = compare_outputs(expected, said, logits, shown)
    if problems:
        raise Problems(problems)
    return said, seen


def dtype_of_folder(folder: Path) -> str:
    """The type of the weights of a merged folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def write_unchecked(folder: Path, why: str) -> list[str]:
    """Write a receipt that says that nothing was checked; the line that says so."""
    (folder / RECEIPT_FILE).write_text(json.dumps({"checked": False, "why": why}, indent=2) + "\n", encoding="utf-8")
    return [f"not checked: {why}"]


def should_check(given: bool | None, source: Path) -> tuple[bool, str]:
    """(whether to check a model, why not). given: --check, --no-check, or None where nobody said."""
    from math import prod

    from stages.dryrun.memory import tensor_shapes
    from stages.training.models import full_weights

    if given is not None:
        return given, "--no-check"
    files = full_weights(source).glob("*.safetensors")
    weights = sum(prod(shape) for path in files for shape in tensor_shapes(path).values())
    return weights <= CHECK_LIMIT, f"{weights / 1e9:.1f}B weights; above {CHECK_LIMIT // 10**9}B only with --check"


# -- what an adapter stands on ---------------------------------------------------------------------------------------


def base_name(folder: Path) -> str:
    return json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]


def local_base(folder: Path) -> tuple[str | None, list[str]]:
    """(what an adapter is checked on where its base is not on this machine, the line that says so); None where it is."""
    from huggingface_hub import try_to_load_from_cache

    from stages.training.models import BASE

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    name, revision = config["base_model_name_or_path"], config.get("revision")
    if Path(name).is_dir() or isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return None, []
    return str(BASE), [f"checked on {BASE}, which was copied from {name}; that itself is not on this machine"]


# -- the receipt --------------------------------------------------------------------------------------------------


def write_receipt(folder: Path, receipt: dict) -> None:
    """Write a receipt with the hashes of the files that it is about: all that are there by now."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    text = json.dumps(receipt | {"files": files}, indent=2, ensure_ascii=False)
    (folder / RECEIPT_FILE).write_text(text + "\n", encoding="utf-8")


def receipt_line(receipt: dict) -> str:
    seen = receipt["rows"]
    kind = "texts of Tilth's own" if seen[0]["dataset"] == "texts" else "eval rows"
    stopped, tied = sum(row["stopped"] for row in seen), sum(row["answer"] != "same" for row in seen)
    parted = f" ({tied} part at a near tie)" if tied else ""
    far, allowed = max(row["logits"] for row in seen), receipt["tolerance"]
    return (
        f"checked by transformers {receipt['by']['transformers']} alone on {len(seen)} {kind}: the same prompts, answers{parted} and stops "
        f"({stopped} reached one); logits differ by {far:g} of their spread, {allowed:g} is allowed in {receipt['dtype']}"
    )


def date_lines(expected: ExpectedOutputs) -> list[str]:
    if not expected.date:
        return []
    return [
        f"its chat template prints the date: checked as of {expected.date}, which training had; elsewhere it prints today's"
    ]
