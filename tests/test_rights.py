"""Licenses that plainly forbid the model's own stop the check by name; what is not known is a warning."""

import pytest
from test_params import put, shipped

from stages.check import check_file_patterns
from stages.reporting.rights import rights_rows
from validators._by_file import value_for_file
from validators._rights import COMMON_LICENSES, is_known, terms_of, unlicensed_file_cautions, why_forbidden
from validators.params import examine, fill_defaults


def found(license, model="apache-2.0", **more):
    """(problems, cautions of rights) of the shipped params with a license of chat and one of the models."""
    data = put(put(shipped(), "datasets.chat.license", license), "license", model)
    for name in ("pairs", "base"):
        place = data["base"] if name == "base" else data["datasets"][name]
        place["license"] = "MIT"
    data["datasets"]["chat"] |= more
    problems, cautions = examine(data)
    return problems, [caution for caution in cautions if hasattr(caution, "where")]


# -- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, model",
    [
        ("CC-BY-NC-4.0", "apache-2.0"), ("cc-by-nc-sa-4.0", "mit"), ("CC-BY-NC-4.0", "gpl-3.0"), ("CC-BY-SA-4.0", "apache-2.0"),
        ("GPL-3.0-only", "mit"), ("AGPL-3.0", "gpl-3.0"), ("ODbL-1.0", "cc-by-4.0"), ("CC-BY-ND-4.0", "cc-by-nd-4.0"),
        ("all rights reserved", "cc-by-nc-4.0"), ("openai-terms", "apache-2.0"), ("llama3.1", "apache-2.0"), ("gemma", "mit"),
    ],
)  # fmt: skip
def test_what_is_plainly_forbidden_is_forbidden(data, model):
    assert why_forbidden(data, model)


@pytest.mark.parametrize(
    "data, model",
    [
        ("MIT", "apache-2.0"), ("Apache-2.0", "gpl-3.0"), ("CC-BY-4.0", "cc-by-nc-4.0"), ("CC-BY-NC-4.0", "cc-by-nc-4.0"),
        ("CC-BY-NC-4.0", "cc-by-nc-sa-4.0"), ("CC-BY-SA-4.0", "cc-by-sa-4.0"), ("CC-BY-SA-4.0", "gpl-3.0"), ("GPL-2.0", "gpl-3.0"),
        ("llama3.1", "llama3.2"), ("CC0-1.0", "mit"), ("MPL-2.0", "mit"), ("something", "mit"),
    ],
)  # fmt: skip
def test_what_is_allowed_or_not_known_is_not_forbidden(data, model):
    assert why_forbidden(data, model) is None


def test_every_common_license_is_known_and_of_a_sort():
    assert all(is_known(license) and terms_of(license) for license in COMMON_LICENSES)


# -- tilth check --------------------------------------------------------------------------------------------------


def test_a_license_that_does_not_go_into_the_models_stops_the_check_by_name():
    (problem,), cautions = found("CC-BY-NC-4.0")
    assert problem.where == "params.yaml: datasets.chat.license" and "CC-BY-NC-4.0 does not go into" in problem.found
    assert "waive: {CC-BY-NC-4.0: who allowed it}" in problem.hint and cautions == []


def test_of_a_mapping_each_license_is_looked_at():
    problems, _ = found({"a": "MIT", "b": "CC-BY-SA-4.0", "c": "all-rights-reserved"})
    assert [problem.found.split()[0] for problem in problems] == ["CC-BY-SA-4.0", "all-rights-reserved"]


def test_a_waiver_with_its_reason_lets_it_through_and_is_told():
    problems, (caution,) = found("CC-BY-NC-4.0", waive={"CC-BY-NC-4.0": "their letter of 3 May"})
    assert problems == [] and str(caution).endswith("(their letter of 3 May)")


def test_a_waiver_of_a_license_that_is_not_there_is_a_mistake():
    (problem,), _ = found("MIT", waive={"MTI": "x"})
    assert problem.hint == "did you mean 'MIT'?"


def test_an_unknown_license_is_a_warning_with_the_one_that_was_meant():
    problems, (caution,) = found("CC-BY-4")
    assert problems == [] and "did you mean 'CC-BY-4.0'?" in str(caution) and caution.waived is None


def test_an_unknown_license_that_begins_as_a_forbidden_one_is_forbidden():
    assert "CC-BY-NC-4 does not go into" in found("CC-BY-NC-4")[0][0].found


@pytest.mark.parametrize("license", ["MPL-2.0", "other", "EUPL-1.2"])
def test_what_the_table_does_not_decide_is_a_warning(license):
    problems, (caution,) = found(license)
    assert problems == [] and "is not known here" in str(caution)


def test_a_dataset_without_a_license_is_a_warning_once_the_models_have_one():
    data = put(shipped(), "license", "apache-2.0")
    problems, cautions = examine(data)
    assert problems == [] and [c.where for c in cautions if hasattr(c, "where")] == ["datasets.chat", "datasets.pairs"]
    assert not [c for c in examine(shipped())[1] if hasattr(c, "where")]


def test_what_no_step_trains_on_forbids_nothing():
    data = put(put(shipped(), "license", "mit"), "datasets.problems.license", "CC-BY-NC-4.0")
    assert examine(data)[0] == []


def test_the_base_models_license_is_looked_at_too():
    data = put(put(shipped(), "license", "mit"), "base.license", "cc-by-nc-4.0")
    assert [problem.where for problem in examine(data)[0]] == ["params.yaml: base.license"]
    assert examine(put(data, "base.waive", {"cc-by-nc-4.0": "bought"}))[0] == []


@pytest.mark.parametrize("value", [7, [], {}, {"a": 7}, {"a": ""}, ""])
def test_a_license_is_a_text_or_one_by_pattern(value):
    (problem,), _ = found(value)
    assert problem.where == "params.yaml: datasets.chat.license" and "a text for each pattern" in problem.expected


# -- by raw file --------------------------------------------------------------------------------------------------


def test_the_first_pattern_that_a_path_matches_counts():
    value = {"raw/a*": "MIT", "b": "CC0-1.0", "raw": "ISC"}
    found = [
        value_for_file(value, *paths)
        for paths in (("raw/ab", "raw"), ("raw/b", "raw"), ("raw/c", "raw"), ("raw", "raw"))
    ]
    assert found == ["MIT", "CC0-1.0", None, "ISC"]
    assert (value_for_file("MIT", "x", "x"), value_for_file(None, "x", "x")) == ("MIT", None)


def test_a_pattern_that_fits_no_raw_file_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/chat.jsonl").write_text("{}")
    dataset = {"raw": "raw", "license": {"*": "MIT"}, "source": {"caht*": "x"}}
    problems, _ = check_file_patterns("d", dataset, {"license": "mit", "expires": {"d": {"b": "2027-01-01"}}})
    assert [problem.where for problem in problems] == ["params.yaml: datasets.d.source", "params.yaml: expires.d"]
    assert "did you mean 'chat.jsonl'?" in problems[0].hint


def test_raw_files_that_no_pattern_has_a_license_for_are_a_warning():
    dataset = {"raw": "raw", "license": {"a": "MIT"}}
    (caution,) = unlicensed_file_cautions("d", dataset, ["raw/a", "raw/b"], "mit")
    assert "1 of 2 raw files fit no pattern and have no license, such as raw/b" in str(caution)
    assert (
        unlicensed_file_cautions("d", dataset, ["raw/a", "raw/b"], None)
        == unlicensed_file_cautions("d", dataset, ["raw/a"], "mit")
        == []
    )


def test_the_table_of_the_report_has_a_line_for_each_pattern():
    data = shipped()
    data["datasets"]["chat"] |= {"license": {"raw/a": "MIT"}, "source": "the web"}
    data["expires"] = {"chat": {"raw/b": "2027-01-01"}}
    params = fill_defaults(data)
    assert rights_rows("chat", params) == [
        (None, "", "the web", "", ""), ("raw/a", "MIT", "", "", ""), ("raw/b", "", "", "", "2027-01-01"),
    ]  # fmt: skip
    assert rights_rows("pairs", params) == []
