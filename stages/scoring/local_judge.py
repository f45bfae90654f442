"""A judge on this machine: the model in `judge/`, loaded once, a reward model or a language model.

    rewards([[{"role": "user", ...}, {"role": "assistant", ...}]], "evaluate sft: judge") -> [Said("1.25")]
    verdicts([[{"role": "user", ...}]], 8, 1024, "evaluate sft: judge") -> [Said("[[A]]")]

An edit of this module, or of one that it imports, asks a judge on this machine again.
"""

from pathlib import Path

from stages.core.progress import with_progress
from stages.scoring.generation import LoadedModel, context_length, generate, load_for_generation
from stages.scoring.replies import Reply
from stages.training.messages import FailedProof
from stages.training.models import disable_progress_bars, renderer
from validators.problems import Problem, Problems

JUDGE_FOLDER = Path("judge")


def chat_replies(questions: list[list], batch_size: int, max_new_tokens: int, task: str) -> list[Reply]:
    """What a language model says to each question, decoded greedily."""
    judge = load_for_generation(JUDGE_FOLDER, batch_size, max_new_tokens)
    judge.task = task
    asked = [
        [{"role": turn["role"], "content": split_control_tokens(judge.render, turn["content"])} for turn in each]
        for each in questions
    ]
    unasked = [reply_if_unaskable(judge, each, max_new_tokens) for each in asked]
    readable = [each for each, why in zip(asked, unasked, strict=True) if why is None]
    found = generate(judge, readable)
    # a judge that is cut while it thinks has said nothing yet
    cut = [ended or thinking for ended, thinking in zip(found.cut, found.cut_thinking, strict=True)]
    answers = iter(Reply(text, "cut" if ended else "") for text, ended in zip(found.texts, cut, strict=True))
    return [why or next(answers) for why in unasked]


def reply_if_unaskable(judge: LoadedModel, question: list, max_new_tokens: int) -> Reply | None:
    """Why a judge cannot be asked a question: its template does not take it, or it is too long. None where it can."""
    try:
        text = judge.render.prompt(question)
    except FailedProof as error:
        return Reply(str(error), "refused")
    length, limit = len(judge.tokenizer(text, add_special_tokens=False)["input_ids"]), context_length(judge)
    return None if limit is None or length + max_new_tokens <= limit else too_long_reply(length, limit)


def reward_replies(conversations: list[list], task: str) -> list[Reply]:
    """What a reward model gives each conversation, one at a time: beside longer ones, padding changes what it gives."""
    import torch

    judge, found = load_reward_model(), []
    limit = context_length(judge)
    for messages in with_progress(conversations, task, "answer"):
        turns = [turn | {"content": split_control_tokens(judge.render, turn.get("content") or "")} for turn in messages]
        try:
            text = judge.render.text(judge.render.template_messages(turns))
        except FailedProof as error:  # as a template that knows no system turn
            found.append(Reply(str(error), "refused"))
            continue
        ids = judge.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(judge.device)
        if limit is not None and ids.shape[1] > limit:
            found.append(too_long_reply(ids.shape[1], limit))
            continue
        with torch.inference_mode():
            found.append(Reply(repr(judge.model(input_ids=ids).logits[0, 0].float().item())))
    return found


def load_reward_model() -> LoadedModel:
    """The reward model of `judge/`. Raises Problems where transformers has made up weights that the files do not have."""
    import torch
    from transformers import AutoModelForSequenceClassification

    disable_progress_bars()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    model, read = AutoModelForSequenceClassification.from_pretrained(
        JUDGE_FOLDER, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    if missing := sorted(read["missing_keys"]):
        found, hint = (
            f"its files have no {', '.join(missing[:3])}",
            "take a reward model that was trained as one; kind: chat asks a language model",
        )
        raise Problems([Problem("evaluate.judge.model", found, "all weights: the others would be random", hint)])
    return LoadedModel(model.to(device).eval(), renderer(JUDGE_FOLDER), device, 1, 0)


def split_control_tokens(render, text: str) -> str:
    """A text without the judge's own control tokens: an answer that holds one would end the question, and answer it itself."""
    return render.special_texts.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def too_long_reply(length: int, limit: int) -> Reply:
    return Reply(f"{length:,} tokens, and the judge has {limit:,} positions", "long")
