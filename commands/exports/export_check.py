"""Checks that an exported folder gives the same results elsewhere as its model gives here, and writes a receipt.

A folder that fails raises Problems and gets no receipt:

    check_export(Path("models/align"), Path(".out.partial"), "out", 8) -> ["checked on 8 eval rows ..."]

    out/checked.json    {"checked": true, "by": {"transformers": "5.17.0", ...}, "rows": [...], "files": {name: sha256}, ...}
                        {"checked": false, "why": "--no-check"}
"""

import json
from pathlib import Path
from typing import Any

from commands.exports import plain_transformers
from commands.exports.comparison import compare_outputs, tolerance_of
from commands.exports.expected_outputs import LONGEST, ExpectedOutputs, compute_expected
from commands.exports.gguf import check_gguf
from commands.exports.isolated_process import run_isolated
from commands.statements.exported_folder import RECEIPT_FILE
from stages.core.hashes import sha256
from validators.problems import Problem, Problems

CHECK_LIMIT = 2_000_000_000  # weights; a larger model is checked only with --check, because it takes minutes on a CPU


def check_export(source: Path, folder: Path, shown: str, count: int, gguf: str | None = None) -> list[str]:
    """Check a folder and write its receipt; returns lines for the user. shown: the folder's name in messages.

    Raises Problems with each difference.
    """
    adapter = plain_transformers.is_adapter(str(folder))
    base, about_base = local_base(folder) if adapter else (None, [])
    expected = compute_expected(source, count, None if adapter else dtype_of_folder(folder))
    results, rows = compare_with_transformers(folder, expected, base, shown)
    receipt = {
        "checked": True, "by": results["by"], "dtype": results["dtype"], "tolerance": tolerance_of(results["dtype"]),
        "weights": f"an adapter on {base or base_name(folder)}" if adapter else "the numbers of the merged model",
        "stops": sorted(expected.stops), "date": expected.date, "rows": rows,
    }  # fmt: skip
    lines = [receipt_line(receipt), *about_base, *date_lines(expected)]
    if gguf:
        receipt["gguf"], line = check_gguf(folder, gguf, expected, shown)
        lines.append(line)
    write_receipt(folder, receipt)
    return lines


def compare_with_transformers(
    folder: Path, expected: ExpectedOutputs, base: str | None, shown: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the results of plain transformers with a folder, the receipt of each row). Raises Problems with each difference."""
    rows = [
        {"messages": row.messages, "tools": row.tools, "ids": row.ids, "answer": row.answer} for row in expected.rows
    ]
    request = {"folder": str(folder.resolve()), "base": base, "date": expected.date, "longest": LONGEST, "rows": rows}
    results, logits = run_isolated(plain_transformers.__file__, request)
    if "error" in results:
        hint = "--no-check exports it without a check"
        raise Problems(
            [Problem(shown, f"plain transformers cannot use it: {results['error']}", "a folder that loads", hint)]
        )
    problems, receipts = compare_outputs(expected, results, logits, shown)
    if problems:
        raise Problems(problems)
    return results, receipts


def dtype_of_folder(folder: Path) -> str:
    """The dtype of the weights in a merged folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def write_unchecked(folder: Path, why: str) -> list[str]:
    """Write a receipt for a folder that was not checked; returns lines for the user."""
    (folder / RECEIPT_FILE).write_text(json.dumps({"checked": False, "why": why}, indent=2) + "\n", encoding="utf-8")
    return [f"not checked: {why}"]


def should_check(option: bool | None, source: Path) -> tuple[bool, str]:
    """(True to check a model, the reason not to). option: True for --check, False for --no-check, None for neither."""
    from math import prod

    from stages.dryrun.memory import tensor_shapes
    from stages.training.models import full_weights

    if option is not None:
        return option, "--no-check"
    files = full_weights(source).glob("*.safetensors")
    weights = sum(prod(shape) for path in files for shape in tensor_shapes(path).values())
    return weights <= CHECK_LIMIT, f"{weights / 1e9:.1f}B weights; above {CHECK_LIMIT // 10**9}B only with --check"


# -- the base of an adapter ------------------------------------------------------------------------------------------


def base_name(folder: Path) -> str:
    return json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]


def local_base(folder: Path) -> tuple[str | None, list[str]]:
    """(the folder to check an adapter on, lines for the user) where its base is not on this machine; (None, []) where it is."""
    from huggingface_hub import try_to_load_from_cache

    from stages.training.models import BASE

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    name, revision = config["base_model_name_or_path"], config.get("revision")
    if Path(name).is_dir() or isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return None, []
    return str(BASE), [f"checked on {BASE}, a copy of {name}, which is not on this machine"]


# -- the receipt --------------------------------------------------------------------------------------------------


def write_receipt(folder: Path, receipt: dict[str, Any]) -> None:
    """Write a receipt with the hashes of all files in the folder."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    text = json.dumps(receipt | {"files": files}, indent=2, ensure_ascii=False)
    (folder / RECEIPT_FILE).write_text(text + "\n", encoding="utf-8")


def receipt_line(receipt: dict[str, Any]) -> str:
    rows = receipt["rows"]
    kind = "texts of Tilth's own" if rows[0]["dataset"] == "texts" else "eval rows"
    stopped, tied = sum(row["stopped"] for row in rows), sum(row["answer"] != "same" for row in rows)
    parted = f" ({tied} differ at a near tie)" if tied else ""
    distance, allowed = max(row["logits"] for row in rows), receipt["tolerance"]
    return (
        f"checked by transformers {receipt['by']['transformers']} alone on {len(rows)} {kind}: the same prompts, answers{parted} and stops "
        f"({stopped} reached one); logits differ by {distance:g} of their spread, {allowed:g} is allowed in {receipt['dtype']}"
    )


def date_lines(expected: ExpectedOutputs) -> list[str]:
    if not expected.date:
        return []
    return [
        f"its chat template prints the date: checked with {expected.date}, as in training; elsewhere it prints today's"
    ]
