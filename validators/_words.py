"""The words of a text. In a script that is written without spaces, each character counts as one.

    words("The cat sat.") -> ["the", "cat", "sat"];  words("猫坐着。") -> ["猫", "坐", "着"]

Chinese, Japanese, Thai, Lao, Burmese and Khmer: a clause of these would be a single word otherwise, so that two texts that
differ in one character share none. Characters are the usual unit there, as in the Chinese form of ROUGE.
"""

import re

# Thai and Lao; Burmese; Khmer; kana; Chinese characters, their compatibility forms and extensions; half-width kana
UNSPACED = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
# what is between spaces, punctuation with it: a pattern for `re` and for Rust's regex alike
BETWEEN_SPACES = rf"[{UNSPACED}]|[^\s{UNSPACED}]+"
ANY_UNSPACED = f"[{UNSPACED}]"


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return WORD.findall(text.casefold())
