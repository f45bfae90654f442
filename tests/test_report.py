"""The report says what was built, in words, and nothing that differs between two builds of the same thing.

And `tilth report`: builds it, says of which commit it is, and lets `dvc plots show` draw without a network.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import fake_build
import pyarrow.parquet as pq
import pytest
from builds import git, write_params

from commands import report as command
from stages import report

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def test_columns_of_numbers_stand_on_the_right():
    assert (
        report.markdown_table(["name", "rows"], [["a|b", "1,000"]])
        == "| name | rows |\n| --- | --: |\n| a\\|b | 1,000 |"
    )


def test_a_change_is_bold_only_where_its_interval_excludes_zero():
    item = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "change": 0.1, "change_low": 0.05, "change_high": 0.15}
    assert report.score_cell(item) == "0.500 [0.400, 0.600] (**+0.100**, +0.050 to +0.150)"
    assert report.score_cell(item | {"change_low": -0.05}) == "0.500 [0.400, 0.600] (+0.100, -0.050 to +0.150)"
    assert report.score_cell(item | {"change": None}) == "0.500 [0.400, 0.600]"
    few = item | dict.fromkeys(("low", "high", "change_low", "change_high"))
    assert (
        report.score_cell(few | {"cut": 3}) == "0.500 n 9: too few rows (+0.100); 3 of 9 answers cut at max_new_tokens"
    )
    assert report.score_cell(few | {"value": None, "change": None}) == "none"


def test_a_table_of_scores_says_of_which_metrics_less_is_better(tmp_path, monkeypatch):
    monkeypatch.chdir(fake_build.fake_build(tmp_path / "build"))
    assert "| model | loss (lower is better) | exact_match |" in report.scores_section({"sft": {}})


def test_rights_and_waivers_are_in_the_report_and_on_the_page(tmp_path, monkeypatch):
    made = fake_build.fake_build(tmp_path / "build")
    monkeypatch.chdir(made)
    name = next(iter(fake_build.PARAMS["datasets"]))
    said = {"license": {"data/raw/<a>*": "CC-BY-4.0"}, "consent": "asked", "waive": {"CC-BY-4.0": "why"}}
    datasets = fake_build.PARAMS["datasets"] | {name: fake_build.PARAMS["datasets"][name] | said}
    rights = {"datasets": datasets, "license": "mit", "expires": {name: "2027-01-31"}}
    write_params(fake_build.PARAMS | rights)
    report.main()
    text, html = (Path("report", file).read_text(encoding="utf-8") for file in ("report.md", "index.html"))
    assert "## Rights\n\nModels: mit.\n\n" in text and f"- {name}: CC-BY-4.0 waived: why" in text
    assert (
        f"| {name} | all |  |  | asked | 2027-01-31 |" in text
        and f"| {name} | data/raw/<a>* | CC-BY-4.0 |  |  |  |" in text
    )
    assert f'id="rights-{name}"' in html and "data/raw/&lt;a&gt;*" in html and "CC-BY-4.0 waived: why" in html


def test_without_a_word_of_rights_there_is_no_section_of_them(tmp_path, monkeypatch):
    monkeypatch.chdir(fake_build.fake_build(tmp_path / "build"))
    report.main()
    assert "Rights" not in Path("report/report.md").read_text(encoding="utf-8")
    assert "rights-" not in Path("report/index.html").read_text(encoding="utf-8")


def test_rows_that_were_not_sampled_are_named_and_counted_as_no_rejects(tmp_path, monkeypatch):
    made = fake_build.fake_build(tmp_path / "build")
    monkeypatch.chdir(made)
    path = Path("data/rejected/chat.parquet")
    table = pq.read_table(path)
    checks = ["curate.mixed_out"] * 15 + table["check"].to_pylist()[15:]
    place = table.column_names.index("check")
    pq.write_table(table.set_column(place, table.schema.field("check"), [checks]), path)
    report.main()
    text, html = (Path("report", file).read_text(encoding="utf-8") for file in ("report.md", "index.html"))
    assert "| chat | sft | 56 | 8 | 8 | 25 | 15 |" in text and "- chat: 15 rows not sampled" in text
    assert "| `curate.mixed_out` |" not in text and "<code>curate.mixed_out</code>" not in html
    assert '<path class="unsampled"' in html and "15 not sampled, as" in html


def test_gates_are_in_the_report_in_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(report.gates_section()) == []
    Path("gates.json").write_text(json.dumps(fake_build.GATES))
    (said,) = report.gates_section()
    assert said.startswith("## Gates\n\ndo not ship: 1 of 3 gates pass, 1 waived.\n")
    assert "| align | exact_match of chat | at least 0.5 | passes: 0.500 (0.450 to 0.550) |" in said


@pytest.mark.slow
def test_the_report_of_a_build_names_datasets_rejects_steps_scores_and_waivers(built):
    text = (built.folder / "report/report.md").read_text(encoding="utf-8")
    for part in ("| chat | sft |", "| align | dpo | sft | pairs |", "### pairs", "(waived: the tiny model"):
        assert part in text
    for path in (built.folder / "data/rejected").iterdir():
        for check in set(pq.read_table(path)["check"].to_pylist()):
            assert f"`{check}`" in text
    assert str(built.folder) not in text


@pytest.mark.slow
def test_the_report_deletes_nothing_of_what_it_reads(built, tmp_path, monkeypatch):
    project = built.copy(tmp_path / "copy")
    (project.folder / "scores/gone.json").write_text("{}")
    monkeypatch.chdir(project.folder)
    report.main()
    assert (project.folder / "scores/gone.json").exists()


def test_what_is_not_built_yet_is_named_in_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = {"sft": {"method": "sft", "from": "base", "dataset": "chat"}}
    assert report.datasets_section({"chat": {"kind": "sft"}}, {}, {}).endswith("None.\n\nNot built yet: chat.")
    assert "Not built yet: sft." in report.steps_section(
        {"base": {"model": "tiny", "revision": None}, "seed": 7, "steps": steps}
    )
    assert "Not built yet: base, sft." in report.scores_section(steps)


@pytest.mark.slow
def test_the_page_of_a_build_is_small_and_all_of_it(built):
    html = (built.folder / "report/index.html").read_text(encoding="utf-8")
    assert len(html.encode()) < 2_000_000
    for part in ('<h3 id="data-problems">', '<h3 id="step-align">', "Nothing was logged", "3 of 3", 'class="row"'):
        assert part in html
    assert "is not there" not in html.replace("preflight/_findings.json is not there", "")
    assert str(built.folder) not in html


@pytest.mark.slow
def test_every_file_that_the_lineage_names_is_in_the_lock_by_its_md5(built):
    html = (built.folder / "report/index.html").read_text(encoding="utf-8")
    lock = (built.folder / "dvc.lock").read_text(encoding="utf-8")
    named = re.findall(r'class="mono">([^<]+\.json)</th><td class="mono[^>]*>(\w{32})</td>', html)
    assert {path for path, _ in named} >= {"data/train.json", "scores/align.json", "preflight/align.json"}
    for path, md5 in named:
        assert f"path: {path}\n" in lock and md5 in lock, path


# -- tilth report -------------------------------------------------------------------------------------------------


def test_the_commit_is_said_with_whether_all_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.commit_in_words() == "of no commit yet"
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "a")
    assert command.commit_in_words().startswith("of commit ") and "changes" not in command.commit_in_words()
    (tmp_path / "a").write_text("b")
    assert command.commit_in_words().endswith(" and changes that are not committed")


def test_the_scripts_for_plots_are_written_once_for_each_version(tmp_path, monkeypatch):
    import vl_convert

    made = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda vl_version: made.append(1) or "window.vegaEmbed = 1;\n")
    command.write_vega_scripts()
    command.write_vega_scripts()
    assert len(made) == 1 and command.VEGA_SCRIPTS.read_text().endswith("window.vegaEmbed = 1;\n")
    command.VEGA_SCRIPTS.write_text("// of vl-convert-python 0.1\n")
    command.write_vega_scripts()
    assert len(made) == 2


@pytest.fixture
def page(tmp_path):
    """Opens a page from disk, waits until it has so many drawings; returns what it requested and its text."""
    if BROWSER is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")

    def opened(path, drawings):
        with playwright.sync_playwright() as play:
            tab = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"]).new_page()
            asked = []
            tab.on("request", lambda request: asked.append(request.url))
            tab.goto(path.as_uri())
            tab.wait_for_function(f"document.querySelectorAll('.marks').length == {drawings}")
            return asked, tab.inner_text("body")

    return opened


@pytest.mark.slow
def test_plots_are_drawn_without_a_network_and_say_so_where_they_cannot_be_yet(built, tmp_path, page):
    project = built.copy(tmp_path / "copy")
    project.run("dvc", "plots", "show")
    plots = project.folder / "dvc_plots/index.html"
    _, text = page(plots, drawings=0)
    assert text.count("run `tilth report` once") == 2
    said = project.run(sys.executable, "-m", "commands", "report", "--no-open", "--plots")
    assert "report/index.html: " in said and "of commit " in said
    asked, _ = page(plots, drawings=2)
    assert asked == [plots.as_uri(), (project.folder / ".dvc/tmp/vega.js").as_uri()]


@pytest.mark.slow
def test_where_the_build_fails_the_command_fails_without_a_traceback(built, tmp_path):
    project = built.copy(tmp_path / "copy")
    project.edit("params.yaml", "dataset: pairs", "dataset: nothing")
    said = project.run(sys.executable, "-m", "commands", "report", "--no-open", fails=True)
    assert "no dataset" in said or "nothing" in said
    assert "Traceback" not in said
