"""A judge on this machine: the model in `judge/`, loaded once, a reward model or a language model.

    reward_replies([[{"role": "user", ...}, {"role": "assistant", ...}]], "evaluate sft: judge") -> [Reply("1.25")]
    chat_replies([[{"role": "user", ...}]], 8, 1024, "evaluate sft: judge") -> [Reply("[[A]]")]

An edit of this module, or of one that it imports, asks a judge on this machine again.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.progress import with_progress
from stages.scoring.generation import LoadedModel, context_length, generate, load_for_generation
from stages.scoring.replies import Reply
from stages.training.messages import FailedProof
from stages.training.models import disable_progress_bars, renderer
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from stages.training.rendering import Renderer

Turns = list[dict[str, Any]]  # the messages of a conversation
JUDGE_FOLDER = Path("judge")


def chat_replies(questions: list[Turns], batch_size: int, max_new_tokens: int, task: str) -> list[Reply]:
    """A language model's reply to each question, decoded greedily."""
    judge = load_for_generation(JUDGE_FOLDER, batch_size, max_new_tokens)
    judge.task = task
    asked = [
        [{"role": turn["role"], "content": split_control_tokens(judge.render, turn["content"])} for turn in each]
        for each in questions
    ]
    unaskable = [reply_if_unaskable(judge, each, max_new_tokens) for each in asked]
    answers = generate(judge, [each for each, reply in zip(asked, unaskable, strict=True) if reply is None])
    # a judge that is cut in its thought has given no verdict yet
    cut = [in_answer or in_thought for in_answer, in_thought in zip(answers.cut, answers.cut_thinking, strict=True)]
    replies = iter(Reply(text, "cut" if is_cut else "") for text, is_cut in zip(answers.texts, cut, strict=True))
    return [reply or next(replies) for reply in unaskable]


def reply_if_unaskable(judge: LoadedModel, question: Turns, max_new_tokens: int) -> Reply | None:
    """A Reply with the reason why a judge cannot be asked: its template refuses the question, or it is too long. None where it can."""
    try:
        text = judge.render.prompt(question)
    except FailedProof as error:
        return Reply(str(error), "refused")
    length, limit = len(judge.tokenizer(text, add_special_tokens=False)["input_ids"]), context_length(judge)
    return None if limit is None or length + max_new_tokens <= limit else too_long_reply(length, limit)


def reward_replies(conversations: list[Turns], task: str) -> list[Reply]:
    """A reward model's reward for each conversation, one at a time: in a batch, padding changes the reward."""
    import torch

    judge, replies = load_reward_model(), []
    limit = context_length(judge)
    for messages in with_progress(conversations, task, "answer"):
        turns = [turn | {"content": split_control_tokens(judge.render, turn.get("content") or "")} for turn in messages]
        try:
            text = judge.render.text(judge.render.template_messages(turns))
        except FailedProof as error:  # for example a template without a system turn
            replies.append(Reply(str(error), "refused"))
            continue
        ids = judge.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(judge.device)
        if limit is not None and ids.shape[1] > limit:
            replies.append(too_long_reply(ids.shape[1], limit))
            continue
        with torch.inference_mode():
            replies.append(Reply(repr(judge.model(input_ids=ids).logits[0, 0].float().item())))
    return replies


def load_reward_model() -> LoadedModel:
    """The reward model of `judge/`. Raises Problems where the files lack weights, for which transformers makes random ones."""
    import torch
    from transformers import AutoModelForSequenceClassification

    disable_progress_bars()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        JUDGE_FOLDER, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    if missing := sorted(loading["missing_keys"]):
        found, hint = (
            f"its files have no {', '.join(missing[:3])}",
            "take a reward model that was trained as one; kind: chat asks a language model",
        )
        raise Problems([Problem("evaluate.judge.model", found, "all weights: the others would be random", hint)])
    return LoadedModel(model.to(device).eval(), renderer(JUDGE_FOLDER), device, 1, 0)


def split_control_tokens(render: "Renderer", text: str) -> str:
    """A text with a space inside each control token of the judge: an answer with one could end the question and reply to it."""
    return render.special_texts.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def too_long_reply(length: int, limit: int) -> Reply:
    return Reply(f"{length:,} tokens, and the judge has {limit:,} positions", "long")
