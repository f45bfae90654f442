from commands.builds.changes import align_columns, changed_params, describe_change, format_value


def test_parameters_are_told_by_dotted_key():
    old = {"seed": 7, "steps": {"sft": {"args": {"learning_rate": 1e-4}, "from": "base"}}}
    new = {"seed": 7, "steps": {"sft": {"args": {"learning_rate": 2e-4}, "from": "base"}}}
    assert [describe_change(change) for change in changed_params(old, new)] == [
        "steps.sft.args.learning_rate: 0.0001 -> 0.0002"
    ]


def test_a_section_that_is_new_or_gone_is_one_change():
    found = changed_params({"datasets": {"a": {"kind": "sft"}}}, {"datasets": {"b": {"kind": "kto"}}})
    assert [describe_change(change) for change in found] == [
        'datasets.a: removed, was {"kind": "sft"}',
        'datasets.b: added: {"kind": "kto"}',
    ]


def test_null_and_absent_are_two_things():
    assert changed_params({"lora": None}, {}) == [{"key": "lora", "old": None}]
    assert changed_params({}, {"lora": None}) == [{"key": "lora", "new": None}]
    assert changed_params({"lora": None}, {"lora": {"r": 8}}) == [{"key": "lora", "old": None, "new": {"r": 8}}]


def test_a_number_and_its_text_are_told_apart():
    (change,) = changed_params({"revision": 7}, {"revision": "7"})
    assert describe_change(change) == 'revision: 7 -> "7"'
    assert (format_value("base"), format_value("true"), format_value(True), format_value(None)) == (
        "base",
        '"true"',
        "true",
        "null",
    )


def test_nothing_that_a_terminal_obeys_passes():
    assert "\x1b" not in describe_change({"key": "a\x1b[2J", "old": "\x1b]0;x\x07", "new": "b\x1b[31m"})


def test_columns_stand_under_each_other():
    assert list(align_columns([["rows", "change"], ["1,000", "added"]], right={0})) == [
        "   rows  change",
        "  1,000  added",
    ]
