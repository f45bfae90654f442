"""What leaves the house says what the build was, is the same of the same build, and is not written of anything else."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builds import to_break

from commands import provenance
from commands.builds import build as _build
from commands.statements.folder import statement_path
from validators.problems import Problems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(built, tmp_path_factory):
    return built.copy(tmp_path_factory.mktemp("provenance") / "p")


@pytest.fixture
def project(built, copy, monkeypatch):
    with to_break(built, copy, monkeypatch):
        yield copy


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def statement_of(step):
    return json.loads(statement_path(step).read_text(encoding="utf-8"))


def written():
    return {path: path.read_bytes() for path in sorted(Path("provenance").rglob("*")) if path.is_file()}


def test_a_statement_names_every_file_of_its_model_and_all_that_it_was_made_of(project):
    provenance.main()
    found = statement_of("align")
    files = {path.relative_to("models/align").as_posix() for path in Path("models/align").rglob("*") if path.is_file()}
    assert {entry["name"]: entry["digest"]["sha256"] for entry in found["subject"]} == {
        name: sha256(f"models/align/{name}") for name in files
    }
    materials = {
        entry["name"]: entry["digest"].get("sha256")
        for entry in found["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    raw = [path.as_posix() for dataset in ("chat", "pairs") for path in Path("data/raw", dataset).iterdir()]
    for path in (
        *raw,
        "data/forgotten.jsonl",
        ".build/code/train",
        ".build/code/curate",
        ".build/params/curate/chat.json",
    ):
        assert materials[path] == sha256(path), path
    assert materials["models/base/model.safetensors"] == sha256("models/base/model.safetensors")


def test_the_same_build_gives_the_same_bytes_without_a_path_of_the_machine(project, built, tmp_path, monkeypatch):
    provenance.main()
    here = written()
    other = built.copy(tmp_path / "elsewhere")
    monkeypatch.chdir(other.folder)
    _build.cache_folder.cache_clear()
    provenance.main()
    assert here == written() and len(here) >= 2
    assert not any(str(place).encode() in text for text in here.values() for place in (project.folder, Path.home()))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("models/align/model.safetensors", "models/align: hashes to"),
        ("data/raw/chat/table.csv", "data/raw/chat"),
        ("models/base/model.safetensors", "models/base: hashes to"),
        ("scores/sft.seen.parquet", "scores/sft.seen.parquet: hashes to"),
    ],
)
def test_nothing_is_stated_of_what_was_changed_since(project, path, named):
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).unlink()
    Path(path).write_bytes(data)
    with pytest.raises(Problems, match=named):
        provenance.main()
    assert not Path("provenance").exists()


def test_nothing_is_stated_of_a_model_that_params_would_make_otherwise(project):
    params = project.read_params()
    params["seed"] = 8
    project.write_params(params)
    with pytest.raises(Problems, match="seed: 7 -> 8"):
        provenance.main()


def test_check_names_the_documents_that_are_not_of_the_build(project):
    provenance.main()
    provenance.main(check=True)
    text = statement_path("sft").read_text(encoding="utf-8")
    statement_path("sft").write_text(text.replace('"seed": 7', '"seed": 9'), encoding="utf-8")
    with pytest.raises(Problems, match=r"sft\.intoto\.json: is not the document of this build"):
        provenance.main(check=True)


def bom_of(step):
    from commands.statements.folder import bom_path

    return json.loads(bom_path(step).read_text(encoding="utf-8"))


def test_in_toto_takes_the_statements(project):
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    provenance.main()
    for step in ("sft", "align"):
        text = statement_path(step).read_text(encoding="utf-8")
        Statement.copy_from_pb(json_format.Parse(text, statement_pb2.Statement())).validate()
        json_format.ParseDict(json.loads(text)["predicate"], Provenance())  # a key that SLSA does not know is an error


def test_cyclonedx_takes_the_bills_of_materials(project):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    from commands.statements.folder import bom_path, text_of

    provenance.main()
    judge = JsonStrictValidator(SchemaVersion.V1_6)
    for step in ("sft", "align"):
        assert judge.validate_str(bom_path(step).read_text(encoding="utf-8")) is None
    assert judge.validate_str(text_of(bom_of("sft") | {"bomFormat": "other"})) is not None


def test_a_bill_of_materials_has_base_adapters_datasets_and_libraries(project):
    provenance.main()
    found, made = bom_of("align"), json.loads(Path("models/align/made_of.json").read_text(encoding="utf-8"))
    parts = {part["bom-ref"]: part for part in found["components"]}
    assert {part["name"]: part["version"] for part in parts.values() if part["type"] == "library"} == made["versions"]
    for dataset in ("chat", "pairs"):
        part = parts[f"data/train/{dataset}.parquet"]
        assert part["hashes"][0]["content"] == sha256(f"data/train/{dataset}.parquet")
        assert {"name": "tilth:rows", "value": str(pq.read_metadata(f"data/train/{dataset}.parquet").num_rows)} in part[
            "properties"
        ]
    weights = {part["name"]: part["hashes"][0]["content"] for part in parts["models/base"]["components"]}
    assert weights["model.safetensors"] == sha256("models/base/model.safetensors")
    metrics = found["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {"pair_accuracy"} <= {metric["type"] for metric in metrics}


def test_adapters_stand_in_the_order_of_training():
    from commands.statements.bom import adapter_components
    from commands.statements.files import File

    names = ["0_sft", "1_align"]
    files = [File(f"models/align/adapters/{name}/adapter_model.safetensors", 5, "5f" * 32) for name in names]
    found = adapter_components({"adapters": names}, files)
    assert [part["name"] for part in found] == names
    assert [part["components"][0]["bom-ref"] for part in found] == [f"file:{file.path}" for file in files]


def test_licenses_of_datasets_are_told(project):
    from commands.statements.bom import license_entry

    assert license_entry(["MIT", None, "CC0-1.0", "MIT"]) == {
        "licenses": [{"license": {"name": "CC0-1.0"}}, {"license": {"name": "MIT"}}]
    }
    assert license_entry([None]) == {}


@pytest.mark.parametrize("dataset", ["chat", "pairs", "feedback", "problems"])
def test_mlcroissant_takes_the_datasets_and_reads_their_rows(project, dataset):
    import mlcroissant

    from commands.statements.folder import croissant_path

    provenance.main()
    Path("x.json").write_bytes(croissant_path(dataset).read_bytes())  # addresses in it are those of the repository
    read = mlcroissant.Dataset(jsonld="x.json")
    assert not read.metadata.ctx.issues.errors
    for side in ("train", "eval"):
        ids = [record[f"{side}/id"].decode() for record in read.records(side)]
        assert ids == pq.read_table(f"data/{side}/{dataset}.parquet", columns=["id"])["id"].to_pylist() and ids


def test_a_dataset_says_what_it_was_derived_from(project):
    from commands.statements.folder import croissant_path

    provenance.main()
    found = json.loads(croissant_path("chat").read_text(encoding="utf-8"))
    raw = {entity["@id"]: entity["sha256"] for entity in found["prov:wasDerivedFrom"]}
    assert raw == {path.as_posix(): sha256(path) for path in Path("data/raw/chat").iterdir()}
    stages = [activity["name"] for activity in found["prov:wasGeneratedBy"]]
    assert {"ingest@chat", "validate@chat", "curate@chat"} <= set(stages) and "curate@pairs" not in stages


def test_the_documents_are_told_as_json(project, capsys):
    provenance.main(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (
        found["written"]
        and [Path(path) for path in found["documents"]]
        and all(Path(path).is_file() for path in found["documents"])
    )
    provenance.main(check=True, as_json=True)
    assert json.loads(capsys.readouterr().out) == found | {"written": False}
