"""The licenses of the raw data, and which of them plainly forbid the license of the models.

    datasets: {chat: {license: {"data/raw/chat/a*": CC-BY-NC-4.0, "*": MIT}, source: ..., consent: ...}}
    license: apache-2.0        # of the models that are built
    expires: {chat: "2027-01-01"}

This is a table of plain cases, not legal advice: TERMS has it in full, docs/rights.md in words. A license that it does not
know is a warning; one that it forbids stops `tilth check`. The dataset's `waive` accepts either, by the license's name with a reason.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from validators._by_file import ByFile, parse_day, value_for_file, values_of
from validators._cautions import PARAMS_FILE, Entry, caution_text
from validators.problems import Problem, did_you_mean

# {sort of terms: pattern of licenses, by names of SPDX and of the Hub in lower case}; the first match decides
TERMS = {
    "no derivatives": r"cc-by-nd-.*|cc-by-nc-nd-.*",
    "all rights reserved": r"all.rights.reserved|proprietary|none|unlicensed",
    "terms of a model's output": r"(?:openai|anthropic|gemini|google|mistral|cohere)-(?:terms|output)|llama2|llama3",
    "not commercial, share alike": r"cc-by-nc-sa-.*",
    "not commercial": r"cc-by-nc-.*|polyform-noncommercial-.*|bigscience-nc.*",
    "share alike": r"cc-by-sa-.*|gpl-.*|agpl-.*|odbl(?:-.*)?|cdla-sharing-.*|llama3\..*|llama4|gemma|.*openrail.*",
    "in part share alike": r"lgpl-.*|mpl-.*|epl-.*|eupl-.*|cecill-.*|osl-.*",
    "free": (
        r"apache-2\.0|mit(?:-0)?|bsd-.*|isc|0bsd|cc0-1\.0|cc-by-\d.*|unlicense|odc-by(?:-.*)?|pddl(?:-.*)?|cdla-permissive-.*"
        r"|bsl-1\.0|zlib|postgresql|python-2\.0|ms-pl|afl-3\.0|ecl-2\.0|artistic-2\.0|wtfpl|ncsa"
    ),
}
# for share alike: {start of the license of the data: pattern of the licenses that the model may have}
SHARE_ALIKE_TARGETS = {
    "cc-by-nc-sa-": r"cc-by-nc-sa-.*",
    "cc-by-sa-": r"cc-by-sa-.*|gpl-3\.0.*",
    "agpl-": r"agpl-.*",
    "gpl-": r"gpl-.*|agpl-3\.0.*",
    "odbl": r"odbl.*",
    "cdla-sharing-": r"cdla-sharing-.*",
    "llama": r"llama.*",
    "gemma": r"gemma",
}
COMMON_LICENSES = (
    "Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0",
    "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0", "GPL-2.0", "GPL-3.0", "LGPL-3.0", "AGPL-3.0",
    "MPL-2.0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "Unlicense", "openrail", "llama3.1",
    "llama3.2", "llama3.3", "gemma", "openai-terms", "anthropic-terms", "gemini-terms", "all-rights-reserved",
)  # fmt: skip
HUB_LICENSES = r"other|unknown|llama\d(?:\.\d)?|gemma|.*openrail.*|bigscience-.*|odbl|odc-by|pddl|bsd|cc|gpl|lgpl|agpl|gfdl|c-uda|intel-research|apple-a[ms][cl]l.*"


@dataclass(frozen=True)
class RightsCaution:
    """A license that is unknown, or whose finding is waived. `waive` takes its name."""

    where: str
    name: str
    message: str
    waived: str | None = None

    def __str__(self) -> str:
        return caution_text(self.where, self.name, self.message, self.waived)


# -- licenses -----------------------------------------------------------------------------------------------------


def terms_of(license: str) -> str | None:
    """The sort of terms that a license has: a key of TERMS. None for a license that is not in it."""
    return next((sort for sort, names in TERMS.items() if re.fullmatch(names, license.lower())), None)


def is_known(license: str) -> bool:
    """True for a license of SPDX or of the Hub, and for terms that TERMS adds: reserved rights, a model's output."""
    return is_listed(license) or terms_of(license) in ("all rights reserved", "terms of a model's output")


def is_listed(license: str) -> bool:
    """True for a license of SPDX or of the Hub; the Hub's `other` is one."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if re.fullmatch(HUB_LICENSES, license.lower()):
        return True
    try:
        return bool(canonicalize_license_expression(license))
    except InvalidLicenseExpression:
        return False


def why_forbidden(data: str, model: str) -> str | None:
    """Why a license of data, or of the base model, forbids the license of the trained model; None where it does not."""
    sort, wanted = terms_of(data), terms_of(model)
    if sort in ("no derivatives", "all rights reserved"):
        return f"{sort}: no model may be made of it"
    if sort == "terms of a model's output":
        return f"{sort}: they forbid other models that are made of it"
    if sort == "not commercial" and wanted not in ("not commercial", "not commercial, share alike", None):
        return f"not commercial, and {model} lets everybody sell"
    if sort in ("share alike", "not commercial, share alike") and wanted is not None:
        family = next(
            (names for start, names in SHARE_ALIKE_TARGETS.items() if data.lower().startswith(start)),
            re.escape(data.lower()),
        )
        if not re.fullmatch(family, model.lower()):
            return f"{sort}: what is made of it keeps this license, and {model} is another"
    return None


def license_findings(data: Entry) -> tuple[list[Problem], list[RightsCaution]]:
    """(problems, cautions) of all licenses. data: params.yaml as plain data without schema faults."""
    model, problems, cautions = data.get("license"), [], []
    used = {step.get("dataset") for step in (data.get("steps") or {}).values()}
    places = [(f"datasets.{name}", dataset, name in used) for name, dataset in (data.get("datasets") or {}).items()]
    if model is not None and not is_known(model):
        cautions.append(RightsCaution("license", model, unknown_license(model), None))
    for where, entry, is_used in [("base", data.get("base") or {}, True), *places]:
        waive, given = entry.get("waive") or {}, list(dict.fromkeys(values_of(entry.get("license"))))
        for waiver in waive:
            if waiver not in (known := [*given, "license"]):
                problems.append(
                    Problem(
                        f"{PARAMS_FILE}: {where}.waive", f"no license {waiver!r} here", "", did_you_mean(waiver, known)
                    )
                )
        for license in given:
            why = why_forbidden(license, model) if model and is_used else None
            if why and license not in waive:
                hint = f"leave it out, take another `license:`, or waive: {{{license}: who allowed it}}"
                problems.append(
                    Problem(
                        f"{PARAMS_FILE}: {where}.license",
                        f"{license} does not go into a model under {model}",
                        why,
                        hint,
                    )
                )
            elif not is_known(license):
                cautions.append(
                    RightsCaution(f"{where}.license", license, unknown_license(license), waive.get(license))
                )
            elif why:
                cautions.append(
                    RightsCaution(
                        f"{where}.license", license, f"{license} does not go into {model}: {why}", waive[license]
                    )
                )
            elif model and is_used and (terms_of(license) in (None, "in part share alike") or terms_of(model) is None):
                message = f"whether {license} goes into a model under {model} is not known here"
                cautions.append(RightsCaution(f"{where}.license", license, message, waive.get(license)))
        if model and is_used and not given and where != "base":
            message = f"no license: nothing says that it may become a model under {model}"
            cautions.append(RightsCaution(where, "license", message, waive.get("license")))
    return problems, cautions


def unknown_license(license: str) -> str:
    """The message for a license that is not known, with the nearest known one."""
    hint = did_you_mean(license, COMMON_LICENSES)
    return f"unknown license {license!r}" + (
        f"; {hint}" if hint.startswith("did") else ", neither of SPDX nor of docs/rights.md"
    )


# -- by raw file --------------------------------------------------------------------------------------------------


def unlicensed_file_cautions(name: str, dataset: Entry, files: list[str], model: str | None) -> list[RightsCaution]:
    """The caution about raw files that match no pattern of `license`; [] where all match.

    files: paths of the dataset. model: the license of the models.
    """
    given = dataset.get("license")
    if not isinstance(given, dict) or not model:
        return []
    bare = [path for path in files if value_for_file(given, path, dataset["raw"]) is None]
    if not bare:
        return []
    message = f"{len(bare):,} of {len(files):,} raw files fit no pattern and have no license, such as {bare[0]}"
    return [RightsCaution(f"datasets.{name}", "license", message, (dataset.get("waive") or {}).get("license"))]


# -- what expires -------------------------------------------------------------------------------------------------


def expiry_problems(expires: dict[str, ByFile], datasets: Collection[str]) -> list[Problem]:
    """Unknown datasets, and days that are not YYYY-MM-DD."""
    problems = []
    for name, rule in expires.items():
        if name not in datasets:
            hint = did_you_mean(name, datasets)
            problems.append(
                Problem(f"{PARAMS_FILE}: expires.{name}", f"no dataset {name!r}", "a name under datasets", hint)
            )
        for pattern, day in rule.items() if isinstance(rule, dict) else [(None, rule)]:
            if parse_day(day) is None:
                where = f"{PARAMS_FILE}: expires.{name}" + (f".{pattern}" if pattern else "")
                problems.append(Problem(where, f"{day!r} is not a date", "a date as 'YYYY-MM-DD'", ""))
    return problems
