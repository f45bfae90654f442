"""Personal data is found by its form and its checksums, in all text of a row, and never told in clear."""

import json

import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params

from commands.checks.conservation import differing_rejects, tables_of
from commands.checks.row_ids import read_rejects
from stages.reporting.sections import personal_data_sentences
from stages.rows.personal_data import KINDS, describe_places, find_in_table, find_spans
from stages.rows.rejects import personal_data_counts
from stages.rows.tables import row_schema, to_table

ALL = set(KINDS)


def kinds_in(text, regions=()):
    return [span.kind for span in find_spans(text, ALL, list(regions))]


# -- one text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["mail ada@lovelace.org.", "邮箱ada@qq.com谢谢", "a.b+c@uni-bonn.de,", "<ada@math.ox.ac.uk>", "用户@例子.公司"],
)
def test_an_address_is_found(text):
    assert kinds_in(text) == ["email"]


@pytest.mark.parametrize(
    "text",
    ["ada@example.com", "a@b.example", "x@localhost.localhost", "@user.name", "icon@2x.png", "q @ k.T", "q@k.transpose(1)", "x@w.shape", "git@github.com:a/b"],
)  # fmt: skip
def test_what_is_no_persons_address_is_left_alone(text):
    assert kinds_in(text) == []


@pytest.mark.parametrize(
    "text",
    ["GB82 WEST 1234 5698 7654 32 IS MINE", "DE89370400440532013000", "de89370400440532013000.", "AB12 NL91ABNA0417164300"],
)  # fmt: skip
def test_an_iban_is_found(text):
    assert kinds_in(text) == ["iban"]


@pytest.mark.parametrize(
    "text",
    ["GB82 WEST 1234 5698 7654 33", "DE8937040044053201300", "xDE89370400440532013000", "ab12cd34ef56ab12cd34ef56"],
)
def test_an_iban_is_its_countrys_length_and_its_sum_is_right(text):
    assert kinds_in(text) == []


@pytest.mark.parametrize(
    "text",
    ["4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005", "3782 822463 10005", "card=5555555555554444"],
)
def test_a_card_is_found(text):
    assert kinds_in(text) == ["credit_card"]


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112", "0.4111111111111111", "4111111111111111 + 2", "7 * 4111111111111111", "1111222233334444",
        "41 11 11 11 11 11 11 11", "4212883012996",
    ],
)  # fmt: skip
def test_a_card_has_an_issuer_and_a_right_sum_and_stands_in_no_arithmetic(text):
    assert kinds_in(text) == []


@pytest.mark.parametrize(
    "text, regions",
    [
        ("+1 650 253 0000", []), ("tel:+4930901820", []), ("(650) 253-0000", ["US"]), ("call 650-253-0000", ["DE", "US"]),
        ('{"phone": "6502530000"}', ["US"]), ("手机：13812345678", ["CN"]), ("Tel. 030 901820", ["DE"]),
    ],
)  # fmt: skip
def test_a_telephone_number_is_found(text, regions):
    assert kinds_in(text, regions) == ["phone"]


def test_two_numbers_beside_each_other_are_two():
    assert kinds_in("+1 650 253 0000 +44 20 7946 0958") == ["phone", "phone"]


@pytest.mark.parametrize(
    "text",
    [
        "650-253-0001-2", "6502530000", "3.14159265359", "28980 - 18480 = <<28980-18480=10500>>", "2026-01-02 10:11:12",
        "821091117+4908374100427", "= 3600000000000 + 62426244000 + 198472480000", "192.168.100.200", "{-2147483648.0: 1}",
        "1 2 3 4 5 6 7 8 9 10", "360-270=90", "[64, 262144, 5159780352]", "ISBN 978-3-16-148410-0", "12345654321",
    ],
)  # fmt: skip
def test_a_number_of_code_or_mathematics_is_no_telephone_number(text):
    assert kinds_in(text, ["US", "DE", "GB"]) == []


def test_nothing_is_shown_in_clear():
    text = "ada@lovelace.org, +1 650 253 0000, DE89370400440532013000, 4111 1111 1111 1111"
    assert [span.masked for span in find_spans(text, ALL, [])] == ["a…@…", "…00", "DE…00", "…11"]


# -- rows ---------------------------------------------------------------------------------------------------------


ADA = "ada@lovelace.org"
ORIGIN = {"id": "0", "source": "s", "line": 1}


def turn(role, content=None, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


@pytest.mark.parametrize(
    "kind, row, place",
    [
        ("sft", {"messages": [turn("user", "hi"), turn("assistant", f"to {ADA}")], "tools": None}, "messages[1]"),
        ("sft", {"messages": [turn("user", "hi"), turn("assistant", None, json.dumps([{"function": {"arguments": json.dumps({"to": f"x\n{ADA}"})}}]))], "tools": None}, "messages[1].tool_calls"),
        ("sft", {"messages": [turn("user", "hi"), turn("assistant", "a")], "tools": json.dumps([{"description": ADA}])}, "tools"),
        ("preference", {"prompt": [turn("user", "hi")], "chosen": [turn("assistant", "a")], "rejected": [turn("assistant", ADA)]}, "rejected[0]"),
        ("kto", {"prompt": [turn("system", ADA), turn("user", "hi")], "completion": [turn("assistant", "a")], "label": True}, "prompt[0]"),
        ("grpo", {"prompt": [turn("user", "hi")], "ground_truth": ADA, "extra": "{}"}, "ground_truth"),
        ("grpo", {"prompt": [turn("user", "hi")], "ground_truth": "a", "extra": json.dumps({"author": ADA})}, "extra"),
    ],
)  # fmt: skip
def test_all_text_of_a_row_counts(kind, row, place):
    table = to_table([row | ORIGIN], row_schema(kind))
    assert find_in_table(table, kind, {"email"}, []) == {0: [("email", place, "a…@…")]}


def test_a_thought_counts_where_turns_have_one():
    import pyarrow as pa

    turns = [[{"role": "assistant", "content": "a", "reasoning_content": f"they are {ADA}"}]]
    table = pa.table({"messages": turns, "tools": pa.array([None], pa.string())})
    assert find_in_table(table, "sft", {"email"}, []) == {0: [("email", "messages[0].reasoning_content", "a…@…")]}


def test_a_row_without_any_is_not_told_of():
    row = {"messages": [turn("user", "2147483648 @ 4"), turn("assistant", "a@b")], "tools": None}
    assert find_in_table(to_table([row | ORIGIN] * 2, row_schema("sft")), "sft", ALL, ["US"]) == {}


def test_of_very_many_places_the_first_are_named():
    spans = [("email", f"messages[{number}]", "a…@…") for number in range(9)]
    assert describe_places(spans).endswith("messages[4]: a…@…; 4 more")


# -- curate -------------------------------------------------------------------------------------------------------


def chat(question, answer="a", **more):
    return {"prompt": question, "completion": answer} | more


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs the three data stages on records with rules for personal data; the rejects by line."""
    monkeypatch.chdir(tmp_path)

    def build(rules, *records, engine="local"):
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        datasets = "{d: {kind: sft, raw: raw.jsonl, max_reject_share: 1}}"
        write_params(f"engine: {engine}\ndatasets: {datasets}\ncurate: {{personal_data: {rules}}}\n")
        run_data_stages("d")
        return {row["line"]: row for row in pq.read_table("data/rejected/d.parquet").to_pylist()}

    return build


OTHERS = [chat(f"question {i}") for i in range(5)]


def test_a_row_with_personal_data_is_rejected_without_its_text(build):
    rejects = build("{reject: [email]}", chat("Who?", f"Write to {ADA}"), *OTHERS)
    assert (rejects[1]["check"], rejects[1]["detail"]) == ("curate.personal_data", "email in messages[1]: a…@…")
    assert rejects[1]["raw"] is None and list(rejects) == [1]


def test_what_is_only_warned_of_stays_and_is_counted(build, capsys):
    rejects = build(
        "{reject: [email], warn: [phone, iban]}",
        chat("q", "+1 650 253 0000"),
        chat("r", f"{ADA} +1 650 253 0000"),
        *OTHERS,
    )
    assert list(rejects) == [2]
    assert personal_data_counts("data/rejected/d.parquet") == {"reject": {"email": 1}, "warn": {"phone": 2}}
    assert "warning: curate.personal_data: phone in 2 rows" in capsys.readouterr().out


def test_the_text_of_what_other_stages_rejected_is_withheld_as_well(build):
    wrong = {"messages": [{"role": ADA, "content": "q"}, {"role": "assistant", "content": f"to {ADA}"}]}
    rejects = build("{reject: [email]}", wrong, {"about": ADA}, chat("q", " "), *OTHERS)
    assert all(ADA not in str(reject) for reject in rejects.values())
    assert rejects[1]["raw"] is None and "its text is withheld: email in the raw text: a…@…" in rejects[1]["detail"]
    assert rejects[3]["raw"] is not None


def test_verify_accepts_what_is_withheld_and_nothing_else(build):
    wrong = {"messages": [{"role": "user", "content": ADA}]}
    build("{reject: [email]}", wrong, chat("q", " "), *OTHERS)
    assert differing_rejects("d", tables_of("d")) == []
    table = pq.read_table("data/rejected/d.parquet")
    assert [origin["line"] for batch in table.to_batches() for origin, _ in read_rejects(batch)] == [2]
    import pyarrow as pa

    changed = table.set_column(table.column_names.index("raw"), "raw", pa.nulls(len(table), pa.string()))
    pq.write_table(changed, "data/rejected/d.parquet")
    assert len(differing_rejects("d", tables_of("d"))) == 2


def test_the_report_tells_the_counts_by_kind():
    assert list(personal_data_sentences({"reject": {"email": 1200, "iban": 1}, "warn": {"phone": 2}})) == [
        "rejected for email 1,200, iban 1 rows",
        "let through, as `warn` says: phone 2 rows",
    ]
    assert list(personal_data_sentences({"reject": {}, "warn": {}})) == ["looked for, and none found"] and not list(
        personal_data_sentences({})
    )


def test_very_many_numbers_in_one_text_take_no_time_of_the_square():
    assert len(kinds_in("ada@lovelace.org " * 20_000)) == 20_000


def test_without_the_rule_nothing_is_looked_for(build):
    assert build("null", chat("q", ADA), *OTHERS) == {}
    assert personal_data_counts("data/rejected/d.parquet") == {}


def test_of_a_personal_row_and_its_duplicate_both_are_rejected_for_it(build):
    rejects = build("{reject: [email]}", chat("q", ADA), chat("q", ADA), *OTHERS)
    assert {reject["check"] for reject in rejects.values()} == {"curate.personal_data"} and len(rejects) == 2


@pytest.mark.slow
def test_ray_finds_the_same(build, ray_cluster):
    records = [chat("q", ADA), chat("r", "+1 650 253 0000"), *OTHERS]
    local = build("{reject: [email, phone]}", *records)
    assert build("{reject: [email, phone]}", *records, engine="ray") == local and len(local) == 2
