"""The meaning of each key of params.yaml, with an example of its value. docs/params.md is generated from it.

Keys are those of the models in params.py: `NAME` stands for a user's name, `[]` for an entry of a list. An example is YAML;
`tests/test_param_docs.py` checks it with the model of its key. The limits of `preflight` are documented in `_preflight.py`.
"""

from typing import NamedTuple

from validators._preflight import GATES, LIMITS, WARNINGS


class KeyDoc(NamedTuple):
    """The meaning of a key, and an example of its value. type: only where the model takes anything and a function checks it."""

    meaning: str
    example: str
    type: str = ""


BY_FILE = "text, or a text for each pattern of paths"
KEY_DOCS = {
    # -- the top level
    "seed": KeyDoc("Seeds the train/eval split and every training. Another seed gives another split.", "7"),
    "launch": KeyDoc("The command that starts a trainer. For several GPUs: [scaling.md](scaling.md).", "accelerate launch --config_file recipes/accelerate/ddp.yaml"),
    "eval_fraction": KeyDoc("The share of prompts that is held out. A prompt stays on its side in every dataset: [split.md](split.md).", "0.15"),
    "engine": KeyDoc("Where the data stages run: processes of this machine, or a Ray cluster (extra `ray`). Both write the same bytes.", "ray"),
    "license": KeyDoc("The license of the models that are built. With it, `tilth check` stops where the data forbid it: [rights.md](rights.md).", "apache-2.0"),
    "expires": KeyDoc("The day from which `curate` leaves rows out, for a dataset or for each pattern of its raw files. Put days in quotes.", "{chat: '2027-01-31'}", "day, or a day for each pattern of paths, by dataset"),
    # -- the base model
    "base.model": KeyDoc("`tiny`, a local folder, a `.gguf` file (extra `gguf`), or an id of the Hugging Face Hub.", "Qwen/Qwen3-0.6B"),
    "base.revision": KeyDoc("The commit of the model on the Hub. Required for a Hub id, as a name can move.", "c1899de289a04d12100db370d81485cdf75e47ca"),
    "base.backend": KeyDoc("The library that trains. `auto` takes Unsloth where CUDA and Unsloth are available, else transformers: [training.md](training.md#backends).", "transformers"),
    "base.license": KeyDoc("The license of the base model, under the Hub's name for it, where the model card does not say.", "apache-2.0"),
    "base.waive": KeyDoc("Warnings about the license of the base model that you accept, with the reason.", "{license: 'their letter of 3 May'}"),
    "base.chat_template": KeyDoc("A file with another chat template for the same model: [templates.md](templates.md).", "recipes/templates/mine.jinja"),
    "base.eos_token": KeyDoc("The token that ends a turn, where the model's own is another.", "'<|im_end|>'"),
    "base.chat_template_kwargs": KeyDoc("Variables that the chat template gets, in training, scores and chat alike.", "{enable_thinking: false}"),
    "base.date": KeyDoc("The date that the chat template prints. A fixed one keeps rows the same from day to day.", "'2026-01-31'"),
    # -- datasets
    "datasets.NAME.kind": KeyDoc("What the rows are: conversations, pairs, labelled answers, or prompts with a ground truth: [formats.md](formats.md).", "sft"),
    "datasets.NAME.raw": KeyDoc("A raw file, or a folder of raw files, in the project.", "data/raw/mine"),
    "datasets.NAME.max_reject_share": KeyDoc("The build stops where a larger share of the records is rejected.", "0.02"),
    "datasets.NAME.weights": KeyDoc("The share of each file to take, by path or pattern. The other rows are \"not sampled\", and no rejects.", "{'data/raw/mine/web*': 0.5}"),
    "datasets.NAME.max_rows": KeyDoc("The maximum number of rows, train and eval together. The others are \"not sampled\".", "100000"),
    "datasets.NAME.exclude": KeyDoc("Files of `raw` to leave out, by path or pattern.", "['test*']"),
    "datasets.NAME.eval": KeyDoc("Files for evaluation alone. Their prompts are held out of every dataset: [split.md](split.md).", "['dev*']"),
    "datasets.NAME.split_on": KeyDoc("The turns that identify a question for the split: [split.md](split.md).", "[system, user]"),
    "datasets.NAME.columns": KeyDoc(
        "Other names of keys: the name that a shape knows, and the name in the file. Numbers for a CSV without a line of names, paths into "
        "objects (`reward_model.ground_truth`) and lists (`instances[].output`), several names to join: [formats.md](formats.md).",
        "{prompt: question, completion: answer}",
    ),
    "datasets.NAME.format": KeyDoc("The name of the shape, where the keys would suggest another: [formats.md](formats.md).", "alpaca"),
    "datasets.NAME.system": KeyDoc("A system turn for conversations that have none.", "Answer in one sentence."),
    "datasets.NAME.ground_truth_pattern": KeyDoc("Kind `grpo`: a regular expression with one group. Only the group is kept as the ground truth.", "'#### (.+)$'"),
    "datasets.NAME.reasoning": KeyDoc("The thoughts before answers: learned (`keep`), shown and not learned (`mask`, not with ORPO), left out (`drop`), or left out of earlier turns (`last_turn`).", "mask"),
    "datasets.NAME.ignore": KeyDoc(
        "Keys with content that may be left out. `ingest` stops at any other key that belongs to the prompt, the answer, a thought or "
        "what is learned, and that no row holds. A key inside turns: `messages[].refusal`.",
        "[context, 'messages[].refusal']",
    ),
    "datasets.NAME.pairs": KeyDoc("Of several scored answers to a prompt: the best against the worst, or all pairs.", "all"),
    "datasets.NAME.margin": KeyDoc("By how much the scores of a pair must differ.", "0.5"),
    "datasets.NAME.license": KeyDoc("The license of the raw files: [rights.md](rights.md).", "{'forum*': CC-BY-4.0, '*': MIT}", BY_FILE),
    "datasets.NAME.source": KeyDoc("Where the raw files come from: [rights.md](rights.md).", "exported from our help desk", BY_FILE),
    "datasets.NAME.consent": KeyDoc("What those who wrote the data agreed to: [rights.md](rights.md).", "asked for at sign-up", BY_FILE),
    "datasets.NAME.metrics": KeyDoc(
        "Metrics of generated answers: `exact_match` (the default of kind `sft`), `contains`, `rouge_l`, `json_valid`, "
        "`tool_call_match`, or a function of yours in `validators/metrics.py`: [evaluation.md](evaluation.md#metrics-of-answers).",
        "[exact_match, rouge_l]",
    ),
    "datasets.NAME.private": KeyDoc("`true`: its rows, and the answers to them, are never sent to a judge on a server: [evaluation.md](evaluation.md#win-rates).", "true"),
    "datasets.NAME.slice_by": KeyDoc(
        "Keys of the raw records, or paths into them. Scores are also given for each of their values, as for each raw file. The worst slice is named: "
        "[evaluation.md](evaluation.md#slices).",
        "[lang, meta.topic]",
    ),
    "datasets.NAME.waive": KeyDoc("Warnings about the dataset that you accept, by name, with the reason.", "{CC-BY-NC-4.0: 'their letter of 3 May'}"),
    # -- steps
    "methods": KeyDoc("Templates of steps, for YAML anchors, with the keys of a step. One that no step uses is not built.", "{}", "steps by name"),
    "steps.NAME.method": KeyDoc("The training method: [methods.md](methods.md).", "dpo"),
    "steps.NAME.from": KeyDoc("What it starts from: `base`, or another step.", "sft"),
    "steps.NAME.dataset": KeyDoc("The dataset that it is trained on, of the kind that the method needs.", "pairs"),
    "steps.NAME.args": KeyDoc("Fields of TRL's config for the method, under TRL's names. `tilth check` knows them.", "{beta: 0.1, learning_rate: 5.0e-6}"),
    "steps.NAME.lora": KeyDoc("Adapters instead of full weights. An empty mapping takes the defaults below.", "{r: 16, lora_alpha: 16}"),
    "steps.NAME.lora.r": KeyDoc("The rank of the adapters.", "16"),
    "steps.NAME.lora.lora_alpha": KeyDoc("Their scale, divided by `r`.", "32"),
    "steps.NAME.lora.lora_dropout": KeyDoc("The dropout before them.", "0.05"),
    "steps.NAME.lora.target_modules": KeyDoc("The layers that get adapters, as PEFT names them.", "[q_proj, v_proj]"),
    "steps.NAME.load_in_4bit": KeyDoc("The weights beneath the adapters in 4 bits (QLoRA). It needs CUDA and bitsandbytes.", "true"),
    "steps.NAME.overlong": KeyDoc("What happens to rows that are longer than `max_length`: they are cut, or left out with the reason, or they stop the build.", "drop"),
    "steps.NAME.rewards": KeyDoc("Method `grpo`: functions of `validators/rewards.py`. Their weighted sum is the reward.", "[exact_match]"),
    "steps.NAME.rollouts": KeyDoc("Method `grpo`: how many of the generated answers are kept. Null keeps none: [training.md](training.md#rollouts-what-grpo-generated-and-its-rewards).", "null"),
    "steps.NAME.rollouts.every": KeyDoc("One generation is kept every this many optimizer steps.", "10"),
    "steps.NAME.rollouts.max_rows": KeyDoc("The maximum number of answers that are kept.", "5000"),
    "steps.NAME.waive": KeyDoc("Warnings about the step that you accept, by name, with the reason. The report shows it.", "{learning_rate: the tiny model starts from random weights}"),
    # -- difficulty
    "difficulty.NAME.from": KeyDoc("The model whose answers show how hard a prompt is: `base` or an earlier step, usually the one that the step starts from.", "sft"),
    "difficulty.NAME.keep": KeyDoc("The lowest and the highest share of right answers. Prompts between them, the bounds included, are trained on.", "[0.1, 0.9]"),
    "difficulty.NAME.samples": KeyDoc("The number of answers to each prompt. A few answers cannot tell a share of 0.1 from 0.2.", "8"),
    "difficulty.NAME.by": KeyDoc(
        "The reward function that says what is right, by 1, 0 or None. Null: `exact_match`, `numeric_match` or `math_verify`, whichever the steps on the dataset use.",
        "numeric_match",
    ),
    "difficulty.NAME.temperature": KeyDoc("The temperature of sampling. Null: the highest `temperature` of the steps on the dataset.", "1.0"),
    "difficulty.NAME.max_new_tokens": KeyDoc("The maximum tokens of an answer. Null: the highest `max_completion_length` of the steps on the dataset.", "256"),
    "difficulty.NAME.batch_size": KeyDoc("Answers at a time.", "64"),
    # -- what all of it goes through
    "curate.near_duplicates": KeyDoc("The Jaccard similarity from which two rows are near-duplicates. Null takes none out; `curate` then warns of eval rows that are nearly a train row.", "0.8"),
    "curate.ngram_words": KeyDoc("The words of an n-gram, for overlap with the files of `data/benchmarks/`; of a script without spaces, its characters.", "13"),
    "curate.overlap_share": KeyDoc("The share of a row's n-grams in one benchmark file from which the row is rejected.", "0.8"),
    "curate.personal_data": KeyDoc("What happens to rows with e-mail addresses, telephone numbers, IBANs and cards: [rights.md](rights.md#personal-data).", "{reject: [email]}"),
    "curate.personal_data.reject": KeyDoc("A row with one of these kinds is rejected.", "[email, phone, iban, credit_card]"),
    "curate.personal_data.warn": KeyDoc("A row with one of these kinds is counted, and stays.", "[phone]"),
    "curate.personal_data.regions": KeyDoc("Countries, by two letters, whose telephone numbers are found without `+` too.", "[US, DE]"),
    "preflight.reward_rows": KeyDoc("The number of rows that each reward function is tried on.", "1000"),
    "preflight.tie_prompts": KeyDoc("The number of prompts for which a grpo `train` samples answers before it begins. 0 samples none.", "16"),
    "evaluate.max_new_tokens": KeyDoc("The maximum tokens of a generated answer.", "256"),
    "evaluate.max_thinking_tokens": KeyDoc("The maximum tokens of a thought before it. Null: both share `max_new_tokens`: [evaluation.md](evaluation.md#models-that-think).", "2048"),
    "evaluate.chat_template_kwargs": KeyDoc("Variables of the chat template for scores only. They add to those of `base`, or replace them.", "{enable_thinking: true}"),
    "evaluate.max_rows": KeyDoc("The maximum number of eval rows of each dataset that are scored.", "500"),
    "evaluate.batch_size": KeyDoc("Rows at a time; fewer of those longer than 512 tokens. Sums of floats depend on it.", "16"),
    "evaluate.pass_at_k": KeyDoc("Chances that one of k sampled answers is right, for kind `grpo`: [evaluation.md](evaluation.md#passk).", "[1, 4]"),
    "evaluate.samples": KeyDoc("The number of answers that are sampled for each prompt.", "8"),
    "evaluate.temperature": KeyDoc("The temperature that they are sampled at.", "0.8"),
    "evaluate.lm_eval": KeyDoc("Tasks of the lm-evaluation-harness (extra `lm-eval`): [evaluation.md](evaluation.md#tasks-of-the-lm-evaluation-harness).", "{tasks: [arc_easy]}"),
    "evaluate.lm_eval.tasks": KeyDoc("Tasks, groups or tags of the harness, or of YAML files in `data/tasks/`.", "[arc_easy, my_task]"),
    "evaluate.lm_eval.limit": KeyDoc("Only this many documents of each task, the first ones.", "200"),
    "evaluate.lm_eval.num_fewshot": KeyDoc("The number of solved examples before each question.", "5"),
    "evaluate.lm_eval.apply_chat_template": KeyDoc("Whether questions go through the chat template.", "true"),
    "evaluate.judge": KeyDoc("What decides which answer is better: a reward model, a language model or a server. Its verdicts are win rates: [evaluation.md](evaluation.md#win-rates).", "{model: ../reward, kind: reward}"),
    "evaluate.judge.model": KeyDoc("A local folder, a `.gguf` file, or a Hub id; with `server`, the model's name there.", "Skywork/Skywork-Reward-V2-Qwen3-0.6B"),
    "evaluate.judge.revision": KeyDoc("The commit of the model on the Hub. With `server`, a label of your own: a new label asks the server again.", "c1899de289a04d12100db370d81485cdf75e47ca"),
    "evaluate.judge.kind": KeyDoc("`chat` is asked which of two answers is better; `reward` is a model with one output, as TRL's `RewardTrainer` saves it.", "reward"),
    "evaluate.judge.server": KeyDoc("An address that speaks OpenAI's API for chats, usually ending in `/v1`. Eval rows are sent there, but for datasets that are `private`.", "http://127.0.0.1:8000/v1"),
    "evaluate.judge.key": KeyDoc("The environment variable that has the server's key. The key itself is never in a file.", "JUDGE_KEY"),
    "evaluate.judge.against": KeyDoc("The answers to compare with: those of the model that the step started from (`parent`), or the rows' own (`reference`).", "reference"),
    "evaluate.judge.on": KeyDoc("The datasets that are judged. Null: all with generated answers.", "[chat]"),
    "evaluate.judge.max_rows": KeyDoc("The maximum number of rows of each dataset that are judged; the first by id.", "200"),
    "evaluate.judge.max_new_tokens": KeyDoc("The maximum tokens of a verdict. A judge that thinks needs room for that.", "1024"),
    "evaluate.judge.chat_template_kwargs": KeyDoc("Variables for the chat template of a judge that runs on this machine.", "{enable_thinking: false}"),
    "evaluate.judge.args": KeyDoc("Further arguments for a server, under the API's own names. Null removes one.", "{temperature: null, max_completion_tokens: 2000}"),
    "evaluate.judge.at_once": KeyDoc("The number of requests to a server at a time.", "8"),
    "evaluate.judge.timeout_s": KeyDoc("The seconds to wait for an answer of a server.", "120"),
    "gates[].step": KeyDoc("The step whose model is judged. Without it, `no_worse` is judged for every step: [gates.md](gates.md).", "align"),
    "gates[].on": KeyDoc("A dataset, or `lm_eval/<task>`.", "pairs"),
    "gates[].metric": KeyDoc("One of its scores, `win_rate` too where `evaluate.judge` names a judge.", "pair_accuracy"),
    "gates[].slice": KeyDoc("The score of one slice alone, by a key of `slice_by` or by raw file: [gates.md](gates.md).", "{lang: de}"),
    "gates[].at_least": KeyDoc("The value is not below this.", "0.3"),
    "gates[].at_most": KeyDoc("The value is not above this.", "1.5"),
    "gates[].change_low": KeyDoc("The whole 95% interval of the change lies above this.", "0"),
    "gates[].change_high": KeyDoc("The whole 95% interval of the change lies below this.", "0"),
    "gates[].no_worse": KeyDoc("On this dataset or task, the change does not reach further than `by` to the worse side.", "lm_eval/arc_easy"),
    "gates[].by": KeyDoc("How much may be lost; 0 for nothing.", "0.01"),
    "gates[].waive": KeyDoc("The reason why this gate may fail.", "the pairs are of last year"),
}  # fmt: skip


def limit_docs() -> dict[str, KeyDoc]:
    """{key: its documentation} of the limits under `preflight`, from the texts of the checks."""
    texts = {**GATES, **WARNINGS}
    return {
        f"preflight.{name}": KeyDoc(texts[f"preflight.{name}"], "24" if limit is None else f"{limit:g}")
        for name, limit in LIMITS.items()
    }


def all_key_docs() -> dict[str, KeyDoc]:
    """{key: its documentation} of all keys."""
    return KEY_DOCS | limit_docs()
