from stages.reporting.clips import clip, is_long, make_visible


def test_a_text_is_cut_and_says_by_how_much():
    assert clip("abcdef", 4) == {"text": "abcd", "more": 2}
    assert clip("abcd", 4) == {"text": "abcd", "more": 0}


def test_a_part_of_a_text_says_how_much_of_the_whole_is_missing():
    assert clip("abcde", 4, length=100_000) == {"text": "abcd", "more": 99_996}


def test_control_characters_and_turns_of_direction_are_made_visible():
    assert make_visible("a\x00b\x1b[31m\x7f\u202e") == "a␀b␛[31m␡‹U+202E›"


def test_line_ends_tabs_and_every_script_stay_as_they_are():
    text = "one\n\ttwo שלום 👩🏽‍🚀"
    assert make_visible(text) == text
    assert make_visible(7) == 7


def test_a_text_is_long_by_its_characters_or_by_its_lines():
    assert not is_long(clip("a" * 110, 700)) and not is_long(clip("a\nb\nc", 700))
    assert is_long(clip("a" * 111, 700)) and is_long(clip("a\nb\nc\nd", 700))
