"""The answer in what a model said: what follows its reasoning, for metrics and for rewards alike.

answer_of("<think>4 + 38</think>\n\n42") -> "42"
"""

import re

# harmony's channels (gpt-oss), with their control tokens or as a decoder leaves them without
HARMONY_CHANNELS = re.compile(
    r"\A(?:<\|channel\|>)?(?:analysis|commentary)(?:<\|message\|>)?.*?(?:assistant)?(?:<\|channel\|>)?final(?:<\|message\|>)",
    re.DOTALL,
)
CHANNELS_WITHOUT_TOKENS = re.compile(r"\Aanalysis.*?assistantfinal", re.DOTALL)
FINAL_CHANNEL = re.compile(r"\A<\|channel\|>final<\|message\|>")


def answer_of(text: str) -> str:
    """What is said after the reasoning, without white space around it; nothing where the reasoning does not end.

    A block of reasoning stands at the beginning, and may have been opened by the prompt.
    """
    text = FINAL_CHANNEL.sub(
        "", CHANNELS_WITHOUT_TOKENS.sub("", HARMONY_CHANNELS.sub("", text, count=1), count=1), count=1
    )
    before, opened, thought = text.partition("<think>")
    if not opened:
        return text.partition("</think>")[2].strip() if "</think>" in text else text.strip()
    if before.strip():
        return text.strip()  # the block is part of an answer
    return thought.partition("</think>")[2].strip()
