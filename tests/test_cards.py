"""The cards read back with the Hub's own classes, say what was built, and invent nothing."""

import json
from pathlib import Path

import pytest
from builds import SAMPLE, write_seen
from huggingface_hub import DatasetCard, ModelCard, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from stages.reporting.cards import escape_markdown, size_category, write_cards
from stages.rows.tables import REJECTS, to_table, write_table
from validators.params import examine, fill_defaults, read_params_yaml

WRITTEN = {
    "seed": 7,
    "launch": "python",
    "eval_fraction": 0.15,
    "base": {"model": "someone/model", "revision": "5f0e" * 10},
    "datasets": {"chat": {"kind": "sft", "raw": "data/raw/chat"}, "align": {"kind": "preference", "raw": "data/raw/x"}},
    "steps": {
        "sft": {"method": "sft", "from": "base", "dataset": "chat", "args": {"learning_rate": 1}},
        "align": {"method": "dpo", "from": "sft", "dataset": "align", "args": {}, "lora": {"r": 16}},
    },
    "curate": {},
    "preflight": {},
    "evaluate": {"max_new_tokens": 4, "max_rows": 10, "batch_size": 10},
}
PARAMS = fill_defaults(WRITTEN)
ITEM = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "change": 0.1, "change_low": 0.05, "change_high": 0.15}
SCORES = {"chat": {"loss": ITEM, "none": ITEM | {"value": None}}, "align": {"pair_accuracy": ITEM}}


def put(path, data):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Writes the cards of a build and gives (model card, dataset card) as the Hub's classes read them."""
    monkeypatch.chdir(tmp_path)
    reject = dict.fromkeys(REJECTS.names, "x") | {"line": 1, "stage": "curate", "check": "curate.duplicate"}
    for number, name in enumerate(PARAMS["datasets"]):
        write_table(f"data/rejected/{name}.parquet", to_table([reject] * (number + 2), REJECTS))
    for side, rows in (("train", 3643), ("eval", 664)):
        entry = {"rows": rows, "sha256": f"{side}0123" * 8}
        put(f"data/{side}.json", {name: entry | {"kind": d["kind"]} for name, d in PARAMS["datasets"].items()})
    for name, step in WRITTEN["steps"].items():
        counted = {"step": name, "rows": 3643, "trained_rows": 3600, "optimizer_steps": 468}
        put(f"preflight/{name}.json", {"lora": None} | step | counted)
        put(f"scores/{name}.json", SCORES)
        write_seen(name, [1] * 600 + [0] * 3043)

    def written(model="align", dataset="chat", **changed):
        write_cards(fill_defaults(WRITTEN | changed))
        return ModelCard.load(f"report/cards/{model}.md"), DatasetCard.load(f"report/cards/datasets/{dataset}.md")

    return written


def test_the_metadata_reads_back_as_it_was_written(cards):
    for card in cards():
        assert REGEX_YAML_BLOCK.search(card.content)
        assert type(card)(card.content).data.to_dict() == card.data.to_dict()
    model = cards()[0]
    assert ModelCardData(**model.data.to_dict()).to_dict() == model.data.to_dict()
    assert Path("report/cards/align.md").read_text(encoding="utf-8") == str(model)


def test_rows_that_were_not_sampled_are_no_rejects_of_a_card(cards):
    rows = {"curate.mixed_out": 1523, "curate.duplicate": 2}
    made = dict.fromkeys(REJECTS.names, "x") | {"line": 1, "stage": "curate"}
    found = [made | {"check": check} for check, count in rows.items() for _ in range(count)]
    write_table("data/rejected/chat.parquet", to_table(found, REJECTS))
    text = str(cards()[1])
    assert "| `chat` | sft | 3,643 | 664 | 2 | 1,523 |" in text and "| `curate.mixed_out` |" not in text
    assert "1,523 rows were not sampled" in text


def test_a_model_card_has_the_metadata_that_the_hub_reads(cards):
    data = cards()[0].data
    assert (data.base_model, data.datasets) == ("someone/model", ["chat", "align"])
    assert (data.library_name, data.pipeline_tag) == ("peft", "text-generation")
    assert data.tags == ["tilth", "trl", "sft", "dpo", "lora"] and data.metrics == ["loss", "pair_accuracy"]
    found = {(r.dataset_name, r.metric_type): r.metric_value for r in data.eval_results}
    assert found == {("chat", "loss"): 0.5, ("align", "pair_accuracy"): 0.5}
    assert data.eval_results[0].dataset_args == {"sha256": "eval0123" * 8}
    (index,) = data.to_dict()["model-index"]
    assert index["name"] == "align" and all({"task", "dataset", "metrics"} <= set(r) for r in index["results"])


def test_a_dataset_card_has_the_metadata_that_the_hub_reads(cards):
    data = cards()[1].data.to_dict()
    assert data["size_categories"] == ["1K<n<10K"] and data["task_categories"] == ["text-generation"]
    assert data["tags"] == ["tilth", "trl", "sft"]


def test_a_model_card_says_what_the_model_was_made_of(cards):
    text = cards()[0].text
    for said in (
        "| `align` | dpo | `sft` | `align` | 600 of 3,643 | 468 | LoRA: r 16 |",
        f"| `chat` | sft | 3,643 | 664 | 2 | 0 | `{'train0123' * 8}` | `{'eval0123' * 8}` |",
        "| `align` | curate | `curate.duplicate` | 3 |",
        "| `chat` | loss | 9 | 0.500 | 0.400 to 0.600 | +0.100 (0.050 to 0.150) |",
        "someone/model at revision `5f0e5f0e",
        "$ dvc repro evaluate@align",
    ):
        assert said in text, said


def test_a_card_does_not_guess_what_a_model_saw(cards):
    Path("scores/align.seen.parquet").unlink()
    text = cards()[0].text
    assert "| `align` | unknown, of 3,643 |" in text and "| `chat` | 600 of 3,643 |" in text


def test_a_dataset_card_says_what_became_of_the_records(cards):
    text = cards()[1].text
    assert "| `chat` | curate | `curate.duplicate` | 2 |" in text and "Steps that train on it: `sft`." in text


def test_cards_count_the_rows_that_preflight_left_out(cards):
    put("preflight/_dropped.csv", "step,row,id,proof,reason\nsft,a:1,x,SAID,r\nsft,a:2,y,SAID,r\n")
    put("preflight/_unscored.csv", "dataset,row,id,proof,reason\nchat,a:3,z,STOP,r\n")
    for card in cards():
        assert "| `chat` | preflight: left out of sft | `SAID` | 2 |" in card.text
        assert "| `chat` | preflight: not scored | `STOP` | 1 |" in card.text
    assert "preflight" not in cards(dataset="align")[1].text


def test_waivers_are_on_the_card_with_their_reason(cards):
    steps = {name: step | {"waive": {"learning_rate": "a | b *c*"}} for name, step in PARAMS["steps"].items()}
    assert r"(waived: a | b \*c\*)" in cards(steps=steps)[0].text
    assert "(waived" not in cards()[0].text and "learning_rate 1 is outside the usual" in cards()[0].text


def test_gates_are_on_the_card_of_their_model_with_what_is_waived(cards):
    gate = {
        "step": "align",
        "on": "chat",
        "metric": "loss",
        "rule": "at most 0.3",
        "passes": False,
        "found": "0.500",
        "missing": "",
        "waived": "a | b",
    }
    put("gates.json", {"ship": True, "gates": {"one": gate}})
    assert (
        "## Gates" in cards()[0].text and r"| loss of chat | at most 0.3 | waived (a \| b): 0.500 |" in cards()[0].text
    )
    assert "## Gates" not in cards(model="sft")[0].text
    Path("gates.json").unlink()
    assert "## Gates" not in cards()[0].text


def test_a_step_and_a_dataset_may_share_a_name(cards):
    model, dataset = cards(dataset="align")
    assert "trained in 2 steps" in model.text and "Rows of kind preference" in dataset.text


# -- what is not known --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny", "folder", "./a/b", "folder/a.gguf"])
def test_a_base_that_is_not_on_the_hub_is_not_named_as_one(cards, model):
    Path("folder").mkdir()
    data = cards(base={"model": model, "revision": None})[0].data
    assert data.base_model is None and "base_model" not in data.to_dict()


def test_without_a_known_license_or_language_there_is_none(cards):
    for card in cards():
        assert not {"license", "language"} & set(card.data.to_dict()) and "## Licenses" not in card.text


def test_a_license_comes_from_params(cards):
    datasets = PARAMS["datasets"] | {"chat": PARAMS["datasets"]["chat"] | {"license": "cc-by-4.0"}}
    model, dataset = cards(base=PARAMS["base"] | {"license": "mit"}, datasets=datasets)
    assert (model.data.license, dataset.data.license) == ("mit", "cc-by-4.0")
    assert "- base model: mit\n" in model.text
    for card in (model, dataset):
        assert "| dataset | raw files | license | source | consent | expires |" in card.text
        assert "| `chat` | all | cc-by-4.0 |  |  |  |" in card.text


def test_the_license_of_the_models_goes_before_that_of_their_base(cards):
    model, _ = cards(license="Apache-2.0", base=PARAMS["base"] | {"license": "MIT", "waive": {"MIT": "why | not"}})
    assert model.data.license == "apache-2.0" and "- this model: apache-2.0\n- base model: mit\n" in model.text
    assert "- license MIT of the base model, waived: why | not" in model.text


def test_licenses_by_pattern_are_a_list_and_what_no_list_has_is_other(cards):
    said = {
        "license": {"a*": "CC-BY-4.0", "b": "MIT", "c": "openai-terms"},
        "source": "the web",
        "waive": {"openai-terms": "asked"},
    }
    datasets = PARAMS["datasets"] | {"chat": PARAMS["datasets"]["chat"] | said}
    model, dataset = cards(datasets=datasets, expires={"chat": {"b": "2027-01-31"}})
    assert dataset.data.license == ["cc-by-4.0", "mit", "other"]
    for card in (model, dataset):
        assert (
            "| `chat` | `b` | MIT |  |  | 2027-01-31 |" in card.text
            and "| `chat` | all |  | the web |  |  |" in card.text
        )
        assert "- `chat`: openai-terms waived: asked" in card.text


def test_a_license_that_no_list_has_is_other_with_its_name(cards):
    data = cards(license="all rights reserved")[0].data
    assert (data.license, data.license_name) == ("other", "all rights reserved")


def test_a_license_comes_from_the_base_models_own_card(cards):
    readme = (
        "---\nlicense: other\nlicense_name: theirs\nlicense_link: https://example.org\nlanguage: en\n---\n\n# theirs\n"
    )
    put("models/base/README.md", readme)
    data = cards()[0].data
    assert (data.license, data.license_name, data.license_link) == ("other", "theirs", "https://example.org")
    assert data.language is None
    assert cards(base=PARAMS["base"] | {"license": "mit"})[0].data.license == "mit"


@pytest.mark.parametrize(
    "readme", ["", "# no metadata", "---\nlicense: [\n---\n", "---\n- a\n---\n", "---\nlicense:\n---\n"]
)
def test_a_card_of_the_base_that_says_nothing_gives_no_license(cards, readme):
    put("models/base/README.md", readme)
    assert cards()[0].data.license is None


@pytest.mark.parametrize(
    "license, fine",
    [("apache-2.0", True), ("cc-by-nc-sa-4.0", True), ("MIT", True), ("a b", True), ("", False), (["mit"], False)],
)
def test_params_take_identifiers_of_licenses_and_texts(license, fine):
    params = read_params_yaml(SAMPLE)
    params["base"]["license"] = params["datasets"]["chat"]["license"] = license
    found = [problem.where for problem in examine(params)[0] if problem.where.endswith("license")]
    assert found == ([] if fine else ["params.yaml: base.license", "params.yaml: datasets.chat.license"])


# -- what is written ----------------------------------------------------------------------------------------------


def test_cards_are_the_same_every_time_and_those_of_removed_steps_go(cards):
    cards()
    put("report/cards/gone.md", "x")
    before = {path: path.read_bytes() for path in sorted(Path("report/cards").rglob("*.md"))}
    cards()
    after = {path: path.read_bytes() for path in sorted(Path("report/cards").rglob("*.md"))}
    assert Path("report/cards/gone.md") in before and after == {p: b for p, b in before.items() if p.stem != "gone"}


def test_a_step_that_is_not_built_has_no_card(cards):
    Path("scores/align.json").unlink()
    cards(model="sft")
    assert not Path("report/cards/align.md").exists()


@pytest.mark.parametrize(
    "text, safe",
    [
        ("learning_rate", "learning_rate"),
        ("_a_ *b* `c`", r"\_a\_ \*b\* \`c\`"),
        ("[x](y) <b> #", r"\[x\](y) \<b\> \#"),
        ("a\n\x1b[0m", r"a\\n\\x1b\[0m"),
    ],
)
def test_names_and_reasons_are_no_markdown(text, safe):
    assert escape_markdown(text) == safe


@pytest.mark.parametrize("rows, name", [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M")])
def test_sizes_are_those_of_the_hub(rows, name):
    assert size_category(rows) == name


@pytest.mark.slow
def test_the_build_writes_a_card_of_every_step_and_dataset(built):
    params = built.read_params()
    for name in params["steps"]:
        card = ModelCard.load(built.folder / f"report/cards/{name}.md")
        assert card.data.model_name == name and card.data.eval_results
    for name in params["datasets"]:
        train = json.loads((built.folder / "data/train.json").read_text(encoding="utf-8"))[name]
        assert train["sha256"] in DatasetCard.load(built.folder / f"report/cards/datasets/{name}.md").text
    assert "waived" in (built.folder / "report/cards/sft.md").read_text(encoding="utf-8")
