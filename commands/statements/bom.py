"""A model's bill of materials as CycloneDX 1.6, which supply-chain scanners read: base, adapters, datasets, libraries.

    document(build, "align", found, files) -> {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [...], ...}

cyclonedx-python-lib has no model cards and no datasets yet, so this module writes the document; the tests run its validator on it.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from commands.builds.build import Build, chain
from commands.builds.facts import DatasetFacts, Lineage, ModelFacts
from commands.statements.files import File
from commands.statements.model import BASE, train_table

APPROACHES = {"grpo": "reinforcement-learning"}  # all other methods: supervised


def document(build: Build, name: str, lineage: Lineage, files: dict[str, list[File]]) -> dict[str, Any]:
    """The document of a step's model. lineage: the facts of the build (commands/builds/lineage.py). files: from `verified_files`."""
    about, steps = lineage["models"][name], chain(build, name)
    datasets = list(dict.fromkeys(build.steps[step]["dataset"] for step in steps))
    model = f"models/{name}"
    components = [
        base_component(build, files[BASE]),
        *adapter_components(about, files[model]),
        *(dataset_component(build, each, lineage["datasets"][each], files) for each in datasets),
        *(library_component(*each) for each in sorted(about["made_of"]["versions"].items())),
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "bom-ref": model,
                "name": name,
                **license_entry([build.params["license"]]),
                "modelCard": model_card(build, name, about, datasets),
                "components": [file_component(file, model) for file in files[model] if "/adapters/" not in file.path],
                "properties": [
                    {
                        "name": f"tilth:{step}",
                        "value": f"{build.steps[step]['method']} on {build.steps[step]['dataset']}",
                    }
                    for step in steps
                ],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": model, "dependsOn": sorted(component["bom-ref"] for component in components)},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }


def model_card(build: Build, name: str, about: ModelFacts, datasets: list[str]) -> dict[str, Any]:
    """The model card: the training approach, the datasets, and the scores on held-out rows."""
    method = build.steps[name]["method"]
    learned = {
        "approach": {"type": APPROACHES.get(method, "supervised")},
        "task": "text-generation",
        "datasets": [{"ref": f"data/train/{each}.parquet"} for each in datasets],
    }
    scores = [
        performance_metric(each, *item) for each, scores in (about["scores"] or {}).items() for item in scores.items()
    ]
    return {"modelParameters": learned} | ({"quantitativeAnalysis": {"performanceMetrics": scores}} if scores else {})


def performance_metric(slice_: str, name: str, score: dict[str, Any]) -> dict[str, Any]:
    bounds = {"lowerBound": score.get("low"), "upperBound": score.get("high")}
    interval = {key: str(value) for key, value in bounds.items() if value is not None}
    entry = {"type": name, "value": str(score.get("value")), "slice": slice_}
    return entry | ({"confidenceInterval": interval} if interval else {})


def base_component(build: Build, files: list[File]) -> dict[str, Any]:
    """The base model: its name and revision on the Hub, if it has them, and each of its files."""
    base = build.params["base"]
    component = {"type": "machine-learning-model", "bom-ref": BASE, "name": BASE}
    if base.get("revision"):
        purl = f"pkg:huggingface/{base['model']}@{base['revision']}"
        component |= {"name": base["model"], "version": base["revision"], "purl": purl}
    elif base["model"] == "tiny":
        component |= {"name": "tiny"}
    return (
        component
        | license_entry([base.get("license")])
        | {"components": [file_component(file, BASE) for file in files]}
    )


def adapter_components(about: ModelFacts, files: list[File]) -> list[dict[str, Any]]:
    """The adapters of a chain, in the order of training."""
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"adapter:{name}",
            "name": name,
            "components": [file_component(file, "") for file in files if f"/adapters/{name}/" in file.path],
            "properties": [{"name": "tilth:place", "value": str(place)}],
        }
        for place, name in enumerate(about["adapters"], 1)
    ]


def dataset_component(build: Build, name: str, about: DatasetFacts, files: dict[str, list[File]]) -> dict[str, Any]:
    """The training rows of a dataset, their number, and the licenses of its raw files."""
    file = files[f"data/train/{name}.parquet"][0]
    licenses = [raw["license"] for raw in about["raw"]["files"]]
    counts = {"kind": about["kind"], "rows": about["train"]["rows"], "raw files": len(licenses)}
    return {
        "type": "data",
        "bom-ref": file.path,
        "name": name,
        **hash_entry(file),
        **license_entry(licenses),
        "data": [{"type": "dataset", "name": name, "contents": {"url": file.path}}],
        "properties": [{"name": f"tilth:{key}", "value": str(value)} for key, value in counts.items()],
    }


def library_component(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version.replace('+', '%2B')}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def file_component(file: File, folder: str) -> dict[str, Any]:
    name = PurePosixPath(file.path).relative_to(folder).as_posix() if folder else file.path
    return {"type": "file", "bom-ref": f"file:{file.path}", "name": name, **hash_entry(file)}


def hash_entry(file: File) -> dict[str, Any]:
    return {"hashes": [{"alg": "SHA-256", "content": file.sha256}]}


def license_entry(licenses: list[str | None]) -> dict[str, Any]:
    """Licenses by name: SPDX's list of ids does not have the Hub's names."""
    names = sorted({license for license in licenses if license})
    return {"licenses": [{"license": {"name": license}} for license in names]} if names else {}


def referenced_paths(build: Build, name: str) -> list[str]:
    """The outputs whose files or numbers are in the document of a step's model."""
    scores = f"scores/{name}.json"
    tables = [train_table(build, step) for step in chain(build, name)]
    return [f"models/{name}", BASE, *tables, *([scores] if scores in build.outs and Path(scores).exists() else [])]
