"""A dataset as Croissant 1.1: its two tables with columns and hashes, and in PROV-O's terms the raw files and stages behind them.

    document(build, "chat", about, files) -> {"@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.1", ...}

Sources: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and https://www.w3.org/TR/prov-o/.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.builds.build import SIDES, Build
from commands.builds.facts import DatasetFacts, RawFile
from commands.statements.files import File
from commands.statements.model import upstream_stages

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "http://mlcommons.org/croissant/1.1"
PARQUET = "application/x-parquet"  # the name by which mlcroissant reads it
# the context that the specification asks for, and PROV-O's
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "tilth": "urn:x-tilth:",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {
    word: f"cr:{word}"
    for word in (
        "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject", "fileProperty",
        "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
        "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
    )
}  # fmt: skip


def document(build: Build, name: str, about: DatasetFacts, files: dict[str, list[File]]) -> dict[str, Any]:
    """The document of a dataset. about: its facts (commands/builds/lineage.py). files: from `verified_files`, with all of `referenced_paths`."""
    raw, sides = about["raw"]["files"], [side for side in SIDES if files[table_path(side, name)]]
    rows = {"train": about["train"]["rows"], "eval": about["eval"]["rows"]}
    counts = ", ".join(f"{rows[side]:,} for {'training' if side == 'train' else 'evaluation'}" for side in sides)
    licenses = list(dict.fromkeys(file["license"] for file in raw if file["license"]))
    stages = upstream_stages(build, *(table_path(side, name) for side in SIDES))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": name,
        "description": f"Rows of kind {about['kind']}, {counts}, made of {len(raw):,} raw files.",
        **({"license": licenses[0] if len(licenses) == 1 else licenses} if licenses else {}),
        "distribution": [file_object(files[table_path(side, name)][0]) for side in sides],
        "recordSet": [record_set(side, table_path(side, name)) for side in sides],
        "prov:wasDerivedFrom": [
            raw_file_entity(file, sums, about)
            for file in raw
            for sums in files[about["raw"]["path"]]
            if sums.path == file["path"]
        ],
        "prov:wasGeneratedBy": [
            stage_activity(build, stage, about) for stage in stages if stage.partition("@")[2] in ("", name)
        ],
    }


def referenced_paths(build: Build, name: str) -> list[str]:
    """The outputs and dependencies whose files are in the document of a dataset."""
    raw = Path(build.datasets[name]["raw"]).as_posix()
    return [raw, *(table_path(side, name) for side in SIDES)]


def table_path(side: str, name: str) -> str:
    return f"data/{side}/{name}.parquet"


def file_object(file: File) -> dict[str, Any]:
    about = {"@type": "cr:FileObject", "@id": file.path, "name": file.path, "contentUrl": file.path}
    return about | {"contentSize": f"{file.size} B", "encodingFormat": PARQUET, "sha256": file.sha256}


def record_set(side: str, path: str) -> dict[str, Any]:
    """The columns of a table."""
    import pyarrow.parquet as pq

    fields = [field(f"{side}/{column.name}", column, path, column.name, "") for column in pq.read_schema(path)]
    return {"@type": "cr:RecordSet", "@id": side, "name": side, "field": fields}


def field(name: str, column: "pa.Field", file: str, top: str, inside: str) -> dict[str, Any]:
    """A column, or a key in one, as a field. top: the column of the table; inside: the JSON path from there to the key."""
    import pyarrow as pa

    kind = column.type.storage_type if isinstance(column.type, pa.ExtensionType) else column.type
    many = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    kind, json_path = (kind.value_type, f"{inside}[*]") if many else (kind, inside)
    entry = {"@type": "cr:Field", "@id": name, "name": name} | ({"repeated": True} if many else {})
    if pa.types.is_struct(kind):
        return entry | {
            "subField": [field(f"{name}/{key.name}", key, file, top, f"{json_path}.{key.name}") for key in kind]
        }
    source = {"fileObject": {"@id": file}, "extract": {"column": top}} | (
        {"transform": {"jsonPath": f"${json_path}"}} if inside else {}
    )
    return entry | {"dataType": data_type(kind), "source": source}


def data_type(kind: "pa.DataType") -> str:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Integer" if pa.types.is_integer(kind) else "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def raw_file_entity(file: RawFile, sums: File, about: DatasetFacts) -> dict[str, Any]:
    """A raw file that rows were made from, with its rights and its origin."""
    origin = {
        "license": file["license"],
        "prov:wasAttributedTo": file["source"],
        "prov:hadPrimarySource": file["imported"],
    }
    counts = {f"tilth:{key}": file[key] for key in ("records", "rows", "rejected")}
    entity = {"@type": "prov:Entity", "@id": file["path"], "name": file["path"], "sha256": sums.sha256}
    return entity | {key: value for key, value in origin.items() if value} | {"contentSize": f"{sums.size} B"} | counts


def stage_activity(build: Build, stage: str, about: DatasetFacts) -> dict[str, Any]:
    """A stage that made the rows: its inputs, and its rejects by reason."""
    rejected = next((each.get("rejected") for each in about["stages"] if each["stage"] == stage), None)
    used = [{"@id": path, "md5": dep.md5} for path, dep in sorted(build.stages[stage].deps.items())]
    entry = {"@type": "prov:Activity", "@id": f"stage:{stage}", "name": stage, "prov:used": used}
    return entry | ({"tilth:rejected": dict(rejected)} if rejected else {})
