"""The answer in a model's text: what follows the reasoning. Metrics and rewards both use it.

answer_of("<think>4 + 38</think>\n\n42") -> "42"
"""

import re

# harmony's channels (gpt-oss), with their control tokens, or without them where the decoder skips special tokens
HARMONY_CHANNELS = re.compile(
    r"\A(?:<\|channel\|>)?(?:analysis|commentary)(?:<\|message\|>)?.*?(?:assistant)?(?:<\|channel\|>)?final(?:<\|message\|>)",
    re.DOTALL,
)
CHANNELS_WITHOUT_TOKENS = re.compile(r"\Aanalysis.*?assistantfinal", re.DOTALL)
FINAL_CHANNEL = re.compile(r"\A<\|channel\|>final<\|message\|>")


def answer_of(text: str) -> str:
    """The text after the reasoning, stripped; "" where the reasoning does not end.

    Reasoning comes first in the text. The prompt may already hold its opening tag.
    """
    text = FINAL_CHANNEL.sub(
        "", CHANNELS_WITHOUT_TOKENS.sub("", HARMONY_CHANNELS.sub("", text, count=1), count=1), count=1
    )
    before, opened, thought = text.partition("<think>")
    if not opened:
        return text.partition("</think>")[2].strip() if "</think>" in text else text.strip()
    if before.strip():
        return text.strip()  # text comes before the tag, so the block is part of the answer
    return thought.partition("</think>")[2].strip()
