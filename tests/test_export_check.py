"""What goes wrong with merged models elsewhere is found here before the folder is there: one fault each, by plain transformers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_export import adapter

from commands import export
from commands.exports import expected_outputs, export_check, isolated_process, merged_model, plain_transformers
from commands.exports.adapter import export_adapter
from stages.training import models
from validators.problems import Problems

pytestmark = pytest.mark.slow

MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld", "t h"]
ASKED = ["hello world", "the other world", "Reverse abc.", "日本語 🙂"]


def save_base(folder):
    """The tiny model with a tokenizer that merges, and weights that answer differently to different prompts."""
    models.save_tiny_model(folder)
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text(encoding="utf-8"))
    for merge in MERGES:
        rules["model"]["vocab"][merge.replace(" ", "")] = len(rules["model"]["vocab"])
    rules["model"]["merges"] = [merge.split() for merge in MERGES]
    path.write_text(json.dumps(rules), encoding="utf-8")
    model = models.load_model(folder)
    model.resize_token_embeddings(len(rules["model"]["vocab"]))
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)


def write_eval_rows():
    rows = [
        {"id": f"{i}" * 64, "messages": [user(text), {"role": "assistant", "content": "a"}]}
        for i, text in enumerate(ASKED)
    ]
    Path("data/eval").mkdir(parents=True)
    Path("data/eval.json").write_text(json.dumps({"chat": {"kind": "sft"}}))
    pq.write_table(pa.Table.from_pylist(rows), "data/eval/chat.parquet")


def user(text):
    return {"role": "user", "content": text}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, a chain of two adapters on it that stops at some answers, eval rows; what it says, and two exports of it."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text("base: {model: tiny}\nsteps: {first: {}, second: {}}\n")
        save_base(models.BASE)
        adapter("base", "models/first", "00_first", 1, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
        shutil.copytree("models/first", "models/second")
        adapter("first", "models/second", "01_second", 2, r=2, lora_alpha=2, target_modules=["v_proj", "down_proj"])
        write_eval_rows()
        # a token that ends an answer early: one that it says by itself
        stop = expected_outputs.compute_expected(Path("models/second"), 4, None).rows[1].answer_ids[2]
        path = models.BASE / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [1, stop]}))
        Path("merged").mkdir()
        Path("alone").mkdir()
        merged_model.export_merged(Path("models/second"), Path("merged"), "auto")
        export_adapter(Path("models/second"), Path("alone"))
        yield SimpleNamespace(
            folder=folder,
            merged=expected_outputs.compute_expected(Path("models/second"), 4, "float32"),
            alone=expected_outputs.compute_expected(Path("models/second"), 4, None),
        )


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """Copies of the exports in a folder beside the same base; the check does in this process what it does in one of its own."""
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    asked, answers = Path("asked.json"), tmp_path / "answers"

    def ask(script, request):
        shutil.rmtree(answers, ignore_errors=True)
        answers.mkdir()
        asked.write_text(json.dumps(request))
        plain_transformers.main(asked, answers)
        said = json.loads((answers / "said.json").read_text())
        return said, [np.load(answers / f"logits-{i}.npy") for i in range(len(said.get("answers", [])))]

    monkeypatch.setattr(export_check, "run_isolated", ask)
    return tmp_path


@pytest.fixture
def place(made, project, monkeypatch):
    """The same, where what is said here is known already."""
    monkeypatch.setattr(
        export_check, "compute_expected", lambda source, count, dtype: made.merged if dtype else made.alone
    )
    return project


def faults(folder="merged"):
    """What the check finds wrong, as text; empty where nothing is."""
    Path(folder, "checked.json").unlink(missing_ok=True)
    try:
        export_check.check_export(Path("models/second"), Path(folder), folder, 4)
    except Problems as error:
        assert not Path(folder, "checked.json").exists()
        return str(error)
    return ""


def edit(path, change):
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    change(found)
    Path(path).write_text(json.dumps(found), encoding="utf-8")


def change_weights(change, path="merged/model.safetensors"):
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


# -- what holds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["merged", "alone"])
def test_what_was_exported_passes_and_says_on_what(place, made, folder):
    assert faults(folder) == ""
    receipt = json.loads(Path(folder, "checked.json").read_text(encoding="utf-8"))
    assert receipt["checked"] and receipt["tolerance"] == 1e-3 and max(row["logits"] for row in receipt["rows"]) < 1e-5
    assert {row["dataset"] for row in receipt["rows"]} == {"chat"} and any(row["stopped"] for row in receipt["rows"])
    assert set(receipt["files"]) == {path.name for path in Path(folder).iterdir()} - {"checked.json"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_saved_in_fewer_bits_passes_within_its_tolerance(project, dtype):
    shutil.rmtree("merged")
    Path("merged").mkdir()
    merged_model.export_merged(Path("models/second"), Path("merged"), dtype)
    assert faults() == ""
    receipt = json.loads(Path("merged/checked.json").read_text(encoding="utf-8"))
    assert receipt["dtype"] == dtype and 1e-4 < max(row["logits"] for row in receipt["rows"]) < receipt["tolerance"]


def test_what_the_chat_template_is_always_given_goes_with_the_folder(project):
    template = models.BASE / "chat_template.jinja"
    template.write_text(
        "{% if brief is defined and brief %}<|system|>{{ tone }}<|end|>{% endif %}" + template.read_text()
    )
    (models.BASE / "rendering.json").write_text(
        json.dumps({"chat_template_kwargs": {"brief": True, "tone": "it's 'so'\n"}})
    )
    for folder, write in (("m", lambda *to: merged_model.export_merged(*to, "auto")), ("a", export_adapter)):
        Path(folder).mkdir()
        assert any(
            "brief, tone of base.chat_template_kwargs" in line for line in write(Path("models/second"), Path(folder))
        )
        assert faults(folder) == ""
    shutil.copy(template, "m")  # as the folder was written before
    assert "its prompt has other tokens" in faults("m")


def test_a_template_that_prints_the_date_is_checked_as_of_the_day_of_training(project):
    template = models.BASE / "chat_template.jinja"
    template.write_text("<|system|>{{ strftime_now('%d %b %Y') }}<|end|>" + template.read_text())
    (models.BASE / "rendering.json").write_text(json.dumps({"date": "2024-07-26"}))
    shutil.rmtree("merged")
    Path("merged").mkdir()
    merged_model.export_merged(Path("models/second"), Path("merged"), "auto")
    lines = export_check.check_export(Path("models/second"), Path("merged"), "merged", 2)
    assert "checked with 2024-07-26" in lines[-1]


# -- what goes wrong ----------------------------------------------------------------------------------------------


def one_merge_less(folder):
    edit(folder / "tokenizer.json", lambda rules: rules["model"]["merges"].pop(3))


def another_template(folder):
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|assistant|>", "<|system|>"))


def a_template_that_differs_where_no_row_shows_it(folder):
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("'<|call|>'", "'<|tool|>'"))


def no_stop(folder):
    edit(folder / "generation_config.json", lambda config: config.pop("eos_token_id"))


def one_stop_of_two(folder):
    edit(folder / "generation_config.json", lambda config: config.update(eos_token_id=config["eos_token_id"][0]))


def a_penalty(folder):
    edit(folder / "generation_config.json", lambda config: config.update(repetition_penalty=1.3))


def transposed(folder):
    change_weights(lambda weights: weights.update(turned(weights, "model.layers.1.self_attn.q_proj.weight")))


def turned(weights, name):
    return {name: weights[name].T.contiguous()}


def zeroed(folder):
    change_weights(lambda weights: weights["model.layers.2.mlp.down_proj.weight"].zero_())


def beyond_float16(folder):
    change_weights(lambda weights: weights["model.layers.0.mlp.up_proj.weight"].mul_(1e6))
    change_weights(lambda weights: weights.update({name: weight.half() for name, weight in weights.items()}))
    edit(folder / "config.json", lambda config: config.update(dtype="float16"))


def a_row_of_the_embedding_less(folder):
    change_weights(
        lambda weights: weights.update({"model.embed_tokens.weight": weights["model.embed_tokens.weight"][:-1].clone()})
    )


def a_row_of_the_embedding_less_and_said_so(folder):
    a_row_of_the_embedding_less(folder)
    edit(folder / "config.json", lambda config: config.update(vocab_size=config["vocab_size"] - 1))


def a_special_token_less(folder):
    edit(folder / "tokenizer.json", lambda rules: rules["added_tokens"].pop(-1))
    edit(folder / "tokenizer_config.json", lambda config: config["extra_special_tokens"].remove("<|call|>"))


def lm_head_lost(folder):
    edit(folder / "config.json", lambda config: config.update(tie_word_embeddings=False))


def other_positions(folder):
    edit(folder / "config.json", lambda config: config["rope_parameters"].update(rope_theta=500.0))


def nothing_merged(folder):
    shutil.copy(models.BASE / "model.safetensors", folder)


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "break_it, texts",
    [
        (
            one_merge_less,
            ["its vocabulary, merges or rules differ", f"chat row {'0' * 12}: its prompt has other tokens"],
        ),
        (another_template, ["it has another chat template", "its prompt has other tokens"]),
        (a_template_that_differs_where_no_row_shows_it, ["it has another chat template"]),
        (no_stop, ["generation ends at no token", "its answer does not stop after 3 tokens but continues with"]),
        (one_stop_of_two, ["generation ends at [1]", "its answer does not stop"]),
        (a_penalty, ["repetition_penalty is 1.3"]),
        (transposed, ["1 of 36 have other numbers: model.layers.1.self_attn.q_proj.weight", "its logits differ by"]),
        (zeroed, ["model.layers.2.mlp.down_proj.weight", "its logits differ by"]),
        (
            beyond_float16,
            ["numbers of model.layers.0.mlp.up_proj.weight are not finite: outside of the range of float16"],
        ),
        (a_row_of_the_embedding_less, ["plain transformers cannot use it"]),
        (a_row_of_the_embedding_less_and_said_so, ["it has logits of 272 tokens; expected 273"]),
        (a_special_token_less, ["not special tokens any more: '<|call|>'"]),
        (lm_head_lost, ["so loading gives them random values: lm_head.weight", "its logits differ by"]),
        (other_positions, ["its logits differ by"]),
        (nothing_merged, ["9 of 36 have other numbers", "its logits differ by"]),
        (cut_short, ["plain transformers cannot use it"]),
    ],
)
def test_a_merged_folder_that_is_broken_is_found(place, break_it, texts):
    break_it(Path("merged"))
    found = faults()
    for text in texts:
        assert text in found, found


def zeroed_adapter(folder):
    change_weights(
        lambda weights: [weight.zero_() for name, weight in weights.items() if "lora_B" in name],
        folder / "adapter_model.safetensors",
    )


def another_scale(folder):
    edit(folder / "adapter_config.json", lambda config: config.update(lora_alpha=3 * config["lora_alpha"]))


def modules_renamed(folder):
    def rename(weights):
        for name in list(weights):
            weights[name.replace(".layers.", ".blocks.")] = weights.pop(name)

    change_weights(rename, folder / "adapter_model.safetensors")


def another_base(folder):
    shutil.copytree("models/base", "models/other")
    change_weights(lambda weights: weights["model.embed_tokens.weight"].mul_(1.5), "models/other/model.safetensors")
    edit(folder / "adapter_config.json", lambda config: config.update(base_model_name_or_path="models/other"))


def a_base_with_one_stop(folder):
    shutil.copytree("models/base", "models/other")
    one_stop_of_two(Path("models/other"))
    edit(folder / "adapter_config.json", lambda config: config.update(base_model_name_or_path="models/other"))


@pytest.mark.parametrize(
    "break_it, text",
    [
        (zeroed_adapter, "its logits differ by"),
        (another_scale, "its logits differ by"),
        (modules_renamed, "its logits differ by"),
        (another_base, "its logits differ by"),
        (a_base_with_one_stop, "generation ends at [1]"),
        (another_template, "it has another chat template"),
        (one_merge_less, "its vocabulary, merges or rules differ"),
    ],
)
def test_an_adapter_that_is_broken_is_found(place, break_it, text):
    break_it(Path("alone"))
    assert text in faults("alone")


def test_an_adapter_that_fits_no_weight_of_its_base_is_found_in_the_model_itself(place):
    shutil.copytree("models/first", "models/third")
    modules_renamed(Path("models/third/adapters/00_first"))
    with pytest.raises(Problems, match="changes nothing in the model"):
        expected_outputs.compute_expected(Path("models/third"), 2, "float32")


# -- the command --------------------------------------------------------------------------------------------------


def exported(folder, **options):
    export.main(SimpleNamespace(obj=Path.cwd()), "second", folder, **options)


@pytest.mark.parametrize("adapter", [False, True])
def test_an_export_is_checked_by_a_process_that_has_nothing_of_ours(project, capsys, monkeypatch, adapter):
    monkeypatch.setattr(export_check, "run_isolated", isolated_process.run_isolated)
    exported("out", adapter=adapter)
    assert json.loads(Path("out/checked.json").read_text())["checked"]
    told = capsys.readouterr().out
    assert "alone on 4 eval rows: the same prompts, answers and stops" in told, told


def test_the_process_of_the_check_imports_nothing_of_ours(tmp_path):
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(sorted({name.split('.')[0] for name in sys.modules}))"
    for script in (plain_transformers.__file__, str(Path(plain_transformers.__file__).with_name("llama.py"))):
        done = subprocess.run([sys.executable, "-I", "-c", code, script], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0 and not {"'commands'", "'stages'", "'validators'"} & set(
            done.stdout[1:-2].split(", ")
        )


def test_a_folder_that_fails_is_not_there(project, monkeypatch):
    copy = merged_model.copy_other_files

    def broken(below, folder, leave=()):
        said = copy(below, folder, leave)
        no_stop(folder)
        return said

    monkeypatch.setattr(merged_model, "copy_other_files", broken)
    with pytest.raises(Problems, match=r"out: generation_config\.json: generation ends at no token"):
        exported("out")
    assert not Path("out").exists() and not Path(".out.partial").exists()


def test_what_is_not_checked_says_so(project, monkeypatch, capsys):
    exported("out", check=False)
    assert json.loads(Path("out/checked.json").read_text()) == {"checked": False, "why": "--no-check"}
    monkeypatch.setattr(export_check, "CHECK_LIMIT", 1000)
    exported("large")
    assert "above 0B only with --check" in json.loads(Path("large/checked.json").read_text())["why"]
    assert capsys.readouterr().out.count("not checked: ") == 2
    assert export_check.should_check(True, Path("models/second"))[0]


def test_without_eval_rows_texts_of_our_own_are_asked(project, capsys):
    Path("data/eval.json").unlink()
    exported("out", rows=3)
    assert "on 3 texts of Tilth's own" in capsys.readouterr().out


def test_rows_come_from_all_datasets_in_turns_and_no_long_one_among_them(project):
    rows = [{"id": f"{i}" * 64, "prompt": [user("word " * (3000 if i == 0 else 1))]} for i in range(4)]
    Path("data/eval.json").write_text(json.dumps({"chat": {"kind": "sft"}, "tasks": {"kind": "grpo"}}))
    pq.write_table(pa.Table.from_pylist(rows), "data/eval/tasks.parquet")
    found = expected_outputs.choose_rows(models.renderer(models.BASE), 4, 500)
    assert [(row.dataset, row.id[0]) for row in found] == [("chat", "0"), ("chat", "1"), ("tasks", "1"), ("chat", "2")]


# -- weights that are one -----------------------------------------------------------------------------------------


@pytest.fixture
def tied(project):
    """A model whose adapters change its embedding, its head, or both in turn: they are one weight in the base."""
    for parent, name, modules in [
        ("base", "head", ["lm_head"]),
        ("base", "embedding", ["embed_tokens", "q_proj"]),
        ("embedding", "both", ["lm_head", "v_proj"]),
        ("embedding", "twice", ["embed_tokens"]),
    ]:
        if parent != "base":
            shutil.copytree(f"models/{parent}", f"models/{name}")
        place = f"{len(models.adapters(Path('models', name))):02}_{name}"
        adapter(parent, f"models/{name}", place, 3, r=4, target_modules=modules)
        torch.manual_seed(4)
        path = f"models/{name}/adapters/{place}/adapter_model.safetensors"
        change_weights(
            lambda weights: [weight.normal_(std=0.3) for key, weight in weights.items() if "lora" in key], path
        )
    return project


@pytest.mark.parametrize("name", ["head", "embedding", "both", "twice"])
def test_adapters_of_tied_weights_are_exported_as_they_were_trained(tied, name):
    for folder, write in (("m", lambda *to: merged_model.export_merged(*to, "auto")), ("a", export_adapter)):
        Path(folder).mkdir()
        write(Path("models", name), Path(folder))
        export_check.check_export(Path("models", name), Path(folder), folder, 2)
        assert json.loads(Path(folder, "checked.json").read_text())["checked"]


def test_a_merge_into_tied_weights_is_found(tied, monkeypatch):
    """What PEFT's merge_and_unload does by itself: both of the two change."""
    from peft import PeftModel

    Path("m").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(models, "attach_adapter", PeftModel.from_pretrained)
        merged_model.export_merged(Path("models/head"), Path("m"), "auto")
    with pytest.raises(Problems, match="its logits differ by"):
        export_check.check_export(Path("models/head"), Path("m"), "m", 2)


# -- a base of the Hub --------------------------------------------------------------------------------------------


def test_an_adapter_on_a_base_that_is_not_here_is_checked_on_its_copy_and_says_so(place):
    edit(
        "alone/adapter_config.json",
        lambda config: config.update(base_model_name_or_path="Qwen/Qwen3-0.6B", revision="a" * 40),
    )
    lines = export_check.check_export(Path("models/second"), Path("alone"), "alone", 4)
    assert lines[1] == "checked on models/base, a copy of Qwen/Qwen3-0.6B, which is not on this machine"
    assert json.loads(Path("alone/checked.json").read_text())["weights"] == "an adapter on models/base"
