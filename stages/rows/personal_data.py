"""Personal data in the text of rows: e-mail addresses, telephone numbers, IBANs and numbers of credit cards.

    find_spans("Write to ada@lovelace.org", {"email"}, []) -> [Span("email", 9, 25, "a…@…")]

Checksums are verified: mod 97 and the country's form of an IBAN (python-stdnum), Luhn and the issuer of a card. A telephone
number must be valid in its country (phonenumbers). The domains that RFC 2606 reserves, and numbers in sums and decimals, are
not reported. Nothing here shows the data itself: a span has a mask.

A telephone number with + and the code of its country is always found. A number without them is found only if `regions` has
the country. Ten digits in a row count only after a word such as `phone`.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from stages.rows.tables import COLUMNS, MESSAGES
from stages.rows.types import Row

if TYPE_CHECKING:
    import numpy as np

CHECK = "curate.personal_data"
WITHHELD = "its text is withheld: "
MAX_SHOWN = 5
Place = tuple[str, str, str]  # (kind of data, place, mask)
EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{0,63}[\w+-]@(?:[^\W_][\w-]*\.)+(?:xn--[a-z0-9-]+|[^\W\d_]{2,24})(?![\w(])")
RESERVED_DOMAIN = re.compile(r"(?:^|\.)(?:example(?:\.\w+)*|test|invalid|localhost|local)$", re.IGNORECASE)
# `icon@2x.png`, `x@w.shape`: endings of files and attributes in code, which are not top-level domains
FILE_ENDING = re.compile(
    r"\.(?:png|jpe?g|gif|svg|webp|py|js|ts|css|html?|json|shape|dtype|transpose|data|grad)$", re.IGNORECASE
)
IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}))")
CARD = re.compile(r"(?<![\w.])[0-9](?:[ -]?[0-9]){12,18}(?!\w|\.[0-9])")
# Visa (13 digits are no longer issued, and occur in sums), Mastercard, American Express, Discover, JCB, Diners Club, UnionPay: first digits and lengths (ISO/IEC 7812)
CARD_ISSUERS = re.compile(
    r"4(?:\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11}|62\d{14,17}"
)
CARD_GROUPS = re.compile(r"\d+|\d{4}([ -])(?:\d{4}\1){2}\d{1,4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5}")
SUM_BEFORE = re.compile(r"[0-9)\]]\s*[-+*/×÷^=]\s*$|[*×÷^]\s*$")
SUM_AFTER = re.compile(r"\s*(?:[*×÷^=<>%]|\+\s)|\+")
PLUS_IN_SUM = re.compile(
    r"[0-9)\]](?:[+＋].|\s+[+＋]\s)$"
)  # 1+2 and 1 + 2; but `+1 650 253 0000 +44 20 7946 0958` are two numbers
SPACE = r"[ ()./\-\u00a0\u2010-\u2015]{0,3}"
DIGIT_RUN = re.compile(rf"(?<!\d)[+＋(]{{0,2}}\d(?:{SPACE}\d){{6,}}")
COUNT_OR_DATE = re.compile(r"\d+[.,]\d+|\d{1,3}(?:[ .]\d{3})+|(?:\d{1,3} )+\d{1,3}|\d{4}-\d\d-\d\d.*")
PHONE_WORD = re.compile(
    r"(?:phone|mobile|mob\b|tel\b|telefon|cell|whats ?app|fax|call|dial|sms|handy|m[oó]vil|电话|手机|電話|携帯)\W*(?:\w+\W+){0,2}$",
    re.IGNORECASE,
)
ESCAPED = re.compile(r"\\+[nrt]")
# every text with such data matches; without look-around, as polars runs these too
SEARCH_PATTERNS = {
    "email": r"\w@\w",
    "phone": rf"\d(?:{SPACE}\d){{6}}",
    "iban": r"[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]",
    "credit_card": r"[0-9](?:[ -]?[0-9]){12}",
}
COUNTRY_CODE = r"[+＋][ (]{0,2}"


@dataclass(frozen=True)
class Span:
    """A place in a text with personal data of a kind. masked: what may be shown of it."""

    kind: str
    start: int
    end: int
    masked: str


# -- one text -----------------------------------------------------------------------------------------------------


def find_spans(text: str, kinds: Collection[str], regions: Sequence[str]) -> list[Span]:
    """The spans of a text with personal data of these kinds, in order, without overlaps. regions: `US`, `DE`, ..."""
    priority, spans = list(FINDERS), []
    for span in sorted(
        (s for kind in kinds for s in FINDERS[kind](text, regions)), key=lambda span: (span.start, span.end)
    ):
        if spans and span.start < spans[-1].end:
            # parts of a card's or an account's number may look like a telephone number
            spans[-1] = min(spans[-1], span, key=lambda span: priority.index(span.kind))
        else:
            spans.append(span)
    return spans


def find_emails(text: str, _: Sequence[str]) -> Iterator[Span]:
    for match in EMAIL.finditer(text) if "@" in text else ():
        name, _, domain = match[0].rpartition("@")
        if (
            not RESERVED_DOMAIN.search(domain)
            and not FILE_ENDING.search(domain)
            and (name, domain) != ("git", "github.com")
        ):
            yield Span("email", match.start(), match.end(), f"{name[0]}…@…")


def find_ibans(text: str, _: Sequence[str]) -> Iterator[Span]:
    from stdnum import iban

    for match in IBAN.finditer(text):
        candidate, start = match[1], match.start()
        ends = [i for i in range(15, len(candidate) + 1) if not text[start + i : start + i + 1].isalnum()]
        for end in reversed(ends):
            # capitals as banks write it, or one case throughout: `De44 500 ...` is prose
            if iban.is_valid(candidate[:end]) and (candidate[:end].isupper() or candidate[:end].islower()):
                yield Span("iban", start, start + end, f"{candidate[:2].upper()}…{candidate[end - 2 : end]}")
                break


def find_cards(text: str, _: Sequence[str]) -> Iterator[Span]:
    from stdnum import luhn

    for match in CARD.finditer(text):
        digits = re.sub("[ -]", "", match[0])
        if (
            CARD_ISSUERS.fullmatch(digits)
            and CARD_GROUPS.fullmatch(match[0])
            and luhn.is_valid(digits)
            and not in_sum(text, match.start(), match.end())
        ):
            yield Span("credit_card", match.start(), match.end(), f"…{digits[-2:]}")


def find_phones(text: str, regions: Sequence[str]) -> Iterator[Span]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for candidate in DIGIT_RUN.finditer(text):
        if not is_phone(text, candidate.start(), candidate.end(), regions):
            continue
        # the library takes a millisecond for a page, and needs only what is around a number
        first = max(0, candidate.start() - 2)
        window = text[first : candidate.end() + 2]
        for region in [None] if "+" in candidate[0] or "＋" in candidate[0] else regions:
            for match in PhoneNumberMatcher(window, region, leniency=Leniency.STRICT_GROUPING):
                start, end = first + match.start, first + match.end
                if is_phone(text, start, end, regions):
                    yield Span("phone", start, end, f"…{match.raw_string.rstrip()[-2:]}")


def is_phone(text: str, start: int, end: int, regions: Sequence[str]) -> bool:
    """Whether what looks like a telephone number is not a sum, decimal, count or date."""
    before, raw = text[max(0, start - 40) : start], text[start:end]
    if in_sum(text, start, end):
        return False
    if "+" in raw or "＋" in raw:
        return True
    if not regions or raw.isdigit():
        return bool(regions) and PHONE_WORD.search(before) is not None
    return not COUNT_OR_DATE.fullmatch(raw) and not before.endswith((".", "-", "/"))


def in_sum(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 8) : start], text[end : end + 4]
    plus = text[start : start + 1] in "+＋" and PLUS_IN_SUM.search(f"{before}{text[start : start + 2]}")
    return bool(plus or SUM_BEFORE.search(before) or SUM_AFTER.match(after))


FINDERS = {"email": find_emails, "iban": find_ibans, "credit_card": find_cards, "phone": find_phones}
KINDS = tuple(FINDERS)


def mask_text(text: str, kinds: Collection[str], regions: Sequence[str]) -> str:
    """A text with its personal data masked."""
    for span in reversed(find_spans(text, kinds, regions)):
        text = text[: span.start] + span.masked + text[span.end :]
    return text


def blank_escapes(text: str) -> str:
    """JSON text with spaces for its escapes of white space, whose letters would join a word."""
    return ESCAPED.sub(" ", text)


def search_pattern(kinds: Collection[str], regions: Sequence[str]) -> str:
    """A regular expression that every text with data of these kinds matches, and most other texts do not."""
    return "|".join(
        (COUNTRY_CODE if kind == "phone" and not regions else "") + SEARCH_PATTERNS[kind] for kind in sorted(kinds)
    )


# -- rows ---------------------------------------------------------------------------------------------------------


def find_in_table(
    table: pa.Table, kind: str, kinds: Collection[str], regions: Sequence[str], rows: Iterable[int] | None = None
) -> dict[int, list[Place]]:
    """{row: [(kind of data, place, masked)]} of the rows of a table that hold any. rows: numbers of rows to search, else all.

    All text is searched: every turn with its calls and its reasoning, tools, ground truth, and the record's other keys.
    """
    searched = set(range(len(table)) if rows is None else rows)
    suspects = sorted(searched & rows_matching(table, kind, search_pattern(kinds, regions)))
    spans_by_row = {}
    for number, row in zip(suspects, table.take(pa.array(suspects, pa.int64())).to_pylist(), strict=True):
        spans = [
            (span.kind, place, span.masked)
            for place, text in row_texts(row, kind)
            for span in find_spans(text, kinds, regions)
        ]
        if spans:
            spans_by_row[number] = spans
    return spans_by_row


def rows_matching(table: pa.Table, kind: str, pattern: str) -> set[int]:
    """The numbers of the rows with a text that matches a pattern."""
    numbers = set()
    for name, column in COLUMNS[kind].items():
        values = table[name].combine_chunks()
        if column == MESSAGES:
            owners, turns = pc.list_parent_indices(values).to_numpy(), pc.list_flatten(values)
            for field in turns.type:
                if field.name != "role" and not pa.types.is_boolean(field.type):
                    hits = matching_texts(pc.struct_field(turns, field.name), pattern)
                    numbers.update(owners[hits].tolist())
        elif not pa.types.is_boolean(values.type):
            numbers.update(matching_texts(values, pattern).nonzero()[0].tolist())
    return numbers


def matching_texts(texts: pa.Array, pattern: str) -> "np.ndarray":
    """True where a text matches, (rows,); JSON columns are text too."""
    texts = texts.storage if isinstance(texts, pa.ExtensionArray) else texts
    return (
        cast(pl.Series, pl.from_arrow(texts.cast(pa.large_string()))).str.contains(pattern).fill_null(False).to_numpy()
    )


def row_texts(row: Row, kind: str) -> Iterator[tuple[str, str]]:
    """(place, text) of every text of a row."""
    for name, column in COLUMNS[kind].items():
        value = row[name]
        if column == MESSAGES:
            for number, turn in enumerate(value or ()):
                for field, text in turn.items():
                    if field != "role" and isinstance(text, str):
                        place = f"{name}[{number}]"
                        yield (place, text) if field == "content" else (f"{place}.{field}", blank_escapes(text))
        elif isinstance(value, str) and value:
            yield name, blank_escapes(value) if name in ("tools", "extra") else value


def describe_places(spans: Iterable[Place]) -> str:
    """The personal data of a row in words: kinds and places, masked."""
    texts = list(dict.fromkeys(f"{kind} in {place}: {mask}" for kind, place, mask in spans))
    more = [f"{len(texts) - MAX_SHOWN} more"] if len(texts) > MAX_SHOWN else []
    return "; ".join(texts[:MAX_SHOWN] + more)


def withhold_texts(rejects: pa.Table, kinds: Collection[str], regions: Sequence[str]) -> pa.Table:
    """Rejects of earlier stages. Those with data of these kinds lose their raw text, and their detail is masked."""
    pattern = search_pattern(kinds, regions)
    suspects = (
        matching_texts(rejects["raw"].combine_chunks(), pattern)
        | matching_texts(rejects["detail"].combine_chunks(), pattern)
    ).nonzero()[0]
    if not len(suspects):
        return rejects
    raws, details = rejects["raw"].to_pylist(), rejects["detail"].to_pylist()
    for number in suspects.tolist():
        spans = [
            (span.kind, "the raw text", span.masked)
            for span in find_spans(blank_escapes(raws[number] or ""), kinds, regions)
        ]
        details[number] = mask_text(details[number] or "", kinds, regions)
        if spans:
            raws[number], details[number] = None, f"{details[number]}; {WITHHELD}{describe_places(spans)}"
    for name, values in (("raw", raws), ("detail", details)):
        rejects = rejects.set_column(
            rejects.column_names.index(name), rejects.schema.field(name), pa.array(values, pa.string())
        )
    return rejects
