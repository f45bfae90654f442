"""The page: what it says, that nothing of the data is markup in it, and, in a real browser, that it works and calls nobody."""

import hashlib
import itertools
import re
import shutil
from pathlib import Path

import fake_build
import pytest
from builds import SAMPLE, write_params
from fake_build import EMOJI, HEBREW

from stages import report
from stages.core.params import read_params
from stages.reporting import page as _page
from validators.params import read_params_yaml

ROOT = Path(__file__).parents[1]
STYLE = (ROOT / "stages/reporting/templates/style.css").read_text(encoding="utf-8")
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A build with awkward text in it, and its page."""
    made = fake_build.fake_build(tmp_path_factory.mktemp("fake") / "build")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        report.main()
    return made


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "report/index.html").read_text(encoding="utf-8")


# -- bytes --------------------------------------------------------------------------------------------------------


def test_the_same_build_gives_the_same_bytes(folder, html, monkeypatch):
    monkeypatch.chdir(folder)
    assert _page.render_page(read_params("report")) == html


def test_no_path_of_this_machine_is_in_the_page(folder, html):
    assert str(folder) not in html and str(ROOT) not in html


def test_no_two_elements_have_one_id_and_every_reference_leads_to_one(html):
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    references += [name for found in re.findall(r'aria-labelledby="([^"]+)"', html) for name in found.split()]
    assert len(references) > 20
    assert set(references) <= set(ids)


def test_headings_go_down_one_level_at_a_time(html):
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_every_drawing_a_name_or_is_hidden(html):
    assert html.count("<table") == html.count("<caption>") > 5
    for drawing in re.findall(r"<svg[^>]*>", html):
        assert 'aria-label="' in drawing or 'aria-hidden="true"' in drawing, drawing


def test_the_policy_takes_this_style_and_this_script_alone(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    style, script = re.search(r"<style>(.*?)</style>", html, re.S)[1], re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(script) == 1
    assert _page.security_policy(style, script[0]) == policy
    assert not re.search(r'\sstyle="|\son\w+="', html.replace("&#34;", ""))


# -- text from data and models --------------------------------------------------------------------------------------


def test_markup_in_the_data_is_text_on_the_page(html):
    assert "<script>document" not in html and "<img" not in html and "<b>0</b>" not in html
    assert html.count("&lt;script&gt;document.title") > 5  # in rejects, a finding, a waiver, questions and answers


def test_any_script_is_shown_in_its_direction(html):
    for text in (HEBREW, EMOJI):
        assert re.search(rf'<dd class="said" dir="auto">{text}</dd>', html)


def test_a_very_long_row_is_cut_with_a_mark(html):
    assert "x" * 700 + "<mark> … cut: 99,300 more characters</mark>" in html
    assert "x" * 701 not in html


def test_what_cannot_be_seen_is_made_visible(html):
    assert "bell␇ null␀ ‹U+202E›turned" in html
    assert "\x07" not in html and "\x00" not in html and "\u202e" not in html


def test_tokens_of_sample_rows_are_text_with_their_ids_and_kinds(html):
    step = html.split('<h3 id="step-sft">')[1].split('<h3 id="step-align">')[0]
    assert '<span class="token context special" title="40000">&lt;|user|&gt;</span>' in step
    assert '<span class="token context" title="40001">&lt;script&gt;document.title' in step
    assert '<span class="token context" title="40003">↵\n</span>' in step
    assert "bell␇ null␀ ‹U+202E›turned</span>" in step and 'title="40005">·</span>' in step
    assert '<span class="token learned" title="40008"> word8</span>' in step
    assert '<span class="token cut" title="40011"> word11</span>' in step
    assert "conversation, 12 tokens: 3 learned, 8 context, 1 cut" in step
    assert step.count("tokens not shown") == 1 and "<mark> … 700 tokens not shown … </mark>" in step
    assert "as the trainer sees them" not in html.split('<h3 id="step-align">')[1]


# -- what it says ---------------------------------------------------------------------------------------------------


def test_the_page_names_every_reason_and_shows_samples_of_it(html):
    for number in range(9):
        assert f"<code>ingest.check_{number}</code>" in html
    assert "data/raw/chat/&lt;i&gt;bad&lt;/i&gt;.jsonl:0" in html


def test_changes_are_marked_only_where_the_interval_excludes_zero(html):
    scores = html.split('<h2 id="scores">')[1].split('<h2 id="methods">')[0]
    chat, problems = scores.split('<h3 id="scores-problems">')
    assert (
        chat.count("▼ worse</span></td>") == 2 and chat.count("▲ better</span></td>") == 2
    )  # loss rises, exact_match too
    assert "+0.050" in problems and "▲" not in problems and "▼" not in problems


def test_gates_stand_on_the_page_with_each_reason_and_waiver(html):
    section = html.split('<h2 id="gates">')[1].split("</section>")[0]
    assert '<strong class="failed">do not ship: 1 of 3 gates pass, 1 waived</strong>' in section
    assert re.findall(r'class="badge (\w+)">([^<]+)<', section) == [
        ("ok", "passes"),
        ("failed", "does not pass"),
        ("waived", "waived"),
    ]
    assert "+0.050, and no interval: n 8: too few rows" in section and "a first try &lt;script" in section
    assert "do not ship: 1 of 3" in html.split('<h2 id="data">')[0]


def test_without_gates_the_page_has_no_section_of_them(folder, html, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(_page, "gate_verdicts", lambda: None)
    assert "gates" not in _page.render_page(read_params("report")).split("<script>")[0].replace("gates.json", "")


def test_findings_and_waivers_of_preflight_stand_at_their_step(html):
    step = html.split('<h3 id="step-sft">')[1].split('<h3 id="step-align">')[0]
    assert "preflight.truncated_share" in step and '<span class="badge warning">warning</span>' in step
    assert '<span class="badge waived">waived</span>' in step


def test_findings_of_eval_rows_stand_at_their_dataset(html):
    chat = html.split('<h3 id="data-chat">')[1].split('<h3 id="data-pairs">')[0]
    assert "Eval rows, as preflight found them" in chat and '<th scope="row" class="nowrap">preflight.said</th>' in chat
    assert "Eval rows, as preflight" not in html.split('<h3 id="data-pairs">')[1]


def test_answers_in_training_stand_at_their_step_with_those_that_are_paid_and_wrong(html):
    sft, align = html.split('<h3 id="step-sft">')[1].split('<h3 id="step-align">')
    align = align.split("<h3")[0]
    assert "Answers in training" in align and "Answers in training" not in sft
    assert "16 answers in 8 groups" in align and "3 groups (37.5%) gave no signal" in align
    assert re.search(r"<code>exact_match</code></th><td [^>]*>0.625</td><td [^>]*>0.750</td>", align)
    assert "&lt;script&gt;document.title" in align and "99,700 more" in align and "bell\u2407" in align


def test_what_a_training_saw_is_told_from_its_own_record(folder, html):
    step = html.split('<h3 id="step-sft">')[1].split('<h3 id="step-align">')[0]
    said = " ".join(step.split())
    assert "The training saw 3 of 8 rows (37.5%), 5 with repetitions, and 12,345 tokens." in said
    compared = html.split('<h2 id="methods">')[1]
    assert re.search(r'data-label="rows">3</td>.*"rows seen">5</td>.*"tokens seen">12,345</td>', compared)
    assert "| sft | sft | base | chat | 3 of 8 | 20 |" in (folder / "report/report.md").read_text(encoding="utf-8")


def test_rows_that_preflight_left_out_are_in_the_flow_and_at_their_step(html):
    flow = html.split('aria-label="48 raw records of chat: ')[1].split("</svg>")[0]
    assert flow.startswith("train 5, SAID: not in sft 2, LENGTH: not in sft 1, eval 7, SAID: not scored 1, ")
    step = html.split('<h3 id="step-sft">')[1].split('<h3 id="step-align">')[0]
    assert '<code>SAID</code> <span class="count">2 in preflight</span>' in step
    assert "data/raw/sft/&lt;b&gt;0&lt;/b&gt;.jsonl:1" in step and "SAID: &lt;script&gt;document.title" in step
    chat = html.split('<h3 id="data-chat">')[1].split('<h3 id="data-pairs">')[0]
    assert "In eval, but not scored, by proof" in chat
    assert "left out of this step" not in html.split('<h3 id="step-align">')[1]


def test_the_report_in_words_counts_rows_that_preflight_left_out(folder):
    said = (folder / "report/report.md").read_text(encoding="utf-8")
    assert "| chat | preflight: left out of sft | `SAID` | 2 | `data/raw/sft/<b>0</b>.jsonl:1` |" in said
    assert "| chat | preflight: not scored | `SAID` | 1 |" in said


def test_the_report_in_words_ends_with_the_gist_of_its_scores_and_what_shows_more(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    report.main()
    text, _, after = capsys.readouterr().out.partition("## In short\n\n")
    lines = after.splitlines()
    assert lines[0].startswith("- sft (sft on chat): exact_match 0.")
    assert lines[-1].startswith("tilth report opens the page; tilth answers ") and "## Scores" in text
    assert "## In short" in (folder / "report/report.md").read_text(encoding="utf-8")


def test_the_gist_says_that_a_training_taught_nothing_and_that_a_base_is_random(folder, tmp_path, monkeypatch, capsys):
    copy = shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(copy)
    (copy / "scores/align.csv").write_text("step,epoch,loss,frac_reward_zero_std\n10,0.5,0.1,1.0\n20,1.0,0.1,0.9\n")
    report.main()
    said = capsys.readouterr().out.partition("## In short")[2]
    assert (
        "- align: in 95% of the groups all answers earned the same, so they taught nothing; easier or harder prompts"
        in said
    )
    assert "\n  - against base, which is random: better, +0" in said
    page = (copy / "report/index.html").read_text(encoding="utf-8")
    assert 'against base, which is random: <span class="better">better, +0' in page


def test_the_records_of_a_file_count_once_though_two_datasets_read_it():
    item = {"missing": [], "train": 1, "eval": 1, "rejected": 0, "not_sampled": 0}
    both = [item | {"records_of": {"a": 2, "b": 5}}, item | {"records_of": {"a": 2}}]
    assert _page.page_facts(both, {}) == [
        ("raw records", "7"), ("train rows", "2"), ("eval rows", "2"), ("rejected", "0"), ("models scored", "0 of 0"),
    ]  # fmt: skip


def test_the_lineage_has_the_md5_that_dvc_lock_has(folder, html):
    for path in ("data/train.json", "scores/align.json", "preflight/sft.json"):
        assert hashlib.md5((folder / path).read_bytes()).hexdigest() in html


@pytest.mark.parametrize(
    "gone, said",
    [
        ("scores/align.csv", "There is no training curve, scores/align.csv"),
        ("scores/align.seen.parquet", 'data-label="rows seen">–</td>'),
        ("scores/align.json", "There are no scores of align."),
        ("scores/align.parquet", "What the models say"),
        ("preflight/align.json", "There is no preflight/align.json."),
        ("preflight/_xray.json", "Checks before training"),
        ("preflight/_findings.json", "preflight/_findings.json is missing"),
        ("data/train/pairs.parquet", "Not built yet: data/train/pairs.parquet is not there."),
        ("data/eval/problems.parquet", "Not built yet: data/eval/problems.parquet is not there."),
        ("data/eval.json", "What was built"),
    ],
)
def test_what_is_not_built_yet_is_said_in_its_place(folder, tmp_path, monkeypatch, gone, said):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / gone).unlink()
    monkeypatch.chdir(copy)
    report.main()
    assert said in (copy / "report/index.html").read_text(encoding="utf-8")


def test_a_training_too_short_for_its_log_is_not_called_untrained(folder, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "scores/align.csv").write_text("step,epoch,loss\n")
    monkeypatch.chdir(copy)
    report.main()
    html = (copy / "report/index.html").read_text(encoding="utf-8")
    assert "Nothing was logged" in html and "There is no training curve" not in html


def test_a_page_of_nothing_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(read_params_yaml(SAMPLE))
    report.main()
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    for command in ("dvc repro curate@chat", "dvc repro train@sft", "dvc repro evaluate_base", "dvc repro preflight"):
        assert f"<code>{command}</code>" in html


# -- colours --------------------------------------------------------------------------------------------------------


def luminance(colour):
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Source: WCAG 2.2, contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_aa_on_every_ground(theme):
    colours = {name: pair[theme] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", STYLE)}
    assert len(colours) == 14
    for text in ("ink", "quiet", "first", "second", "third", "cut"):
        for ground in ("paper", "card", "soft"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["band"]) >= 4.5  # tokens that are learned


def test_every_colour_of_a_chart_has_its_variable():
    from stages.reporting import charts as _charts

    for colour in (_charts.INK, _charts.GRID, _charts.FIRST, _charts.SECOND, _charts.CUT):
        assert f'="{colour}"]' in STYLE


# -- in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    if BROWSER is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, folder):
    """Opens the page from disk; `heard` collects what the console says and every request."""
    contexts = []

    def opened(**options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        tab = context.new_page()
        tab.heard = []
        tab.on("console", lambda message: tab.heard.append(message.text))
        tab.on("pageerror", lambda error: tab.heard.append(str(error)))
        tab.on("request", lambda request: tab.heard.append(request.url))
        tab.goto((folder / "report/index.html").as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_tokens_stay_inside_their_box_and_differ_without_their_colour(opened, width):
    tab = opened(viewport={"width": width, "height": 900})
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    inside = "[...document.querySelectorAll('.tokens')].every(each => each.scrollWidth <= each.clientWidth)"
    assert tab.evaluate(inside)
    line = "name => getComputedStyle(document.querySelector(`.tokens .${name}`)).textDecorationLine"
    assert [tab.evaluate(line, name) for name in ("learned", "context", "cut")] == ["underline", "none", "line-through"]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_requested_and_the_console_is_silent(opened, folder, width):
    tab = opened(viewport={"width": width, "height": 900})
    tab.wait_for_timeout(200)
    assert tab.heard == [(folder / "report/index.html").as_uri()]
    assert tab.title() == "Tilth report: 2 models of 4 datasets"  # no script of the data has run
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.click("#more-answers > summary")
    assert "<script>document.title" in tab.inner_text("#more-list")
    assert tab.locator("main script, main img").count() == 0


def test_no_request_could_leave_the_page(opened):
    tab = opened()
    said = tab.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert said == "refused"
    assert any("Content Security Policy" in line for line in tab.heard)


def test_the_filters_show_what_they_say(opened):
    tab = opened()
    tab.click("#more-answers > summary")
    shown = tab.locator(".row:visible")
    everything = shown.count()
    tab.select_option("#filter-dataset", "problems")
    assert 0 < shown.count() < everything
    assert {row.get_attribute("data-dataset") for row in shown.all()} == {"problems"}
    tab.fill("#filter-search", HEBREW)
    assert shown.count() == 1 and tab.inner_text("#filter-count") == f"1 of {everything} rows"
    tab.fill("#filter-search", "")
    tab.select_option("#filter-first", "base")
    tab.select_option("#filter-second", "align")
    assert set(tab.locator(".answer:visible").evaluate_all("all => all.map(each => each.dataset.model)")) == {
        "base",
        "align",
    }


def test_the_rows_where_two_models_differ_most_come_first(opened):
    tab = opened()
    tab.click("#more-answers > summary")
    tab.select_option("#filter-first", "sft")
    tab.select_option("#filter-second", "align")
    apart = tab.locator(".row:visible").evaluate_all(
        "rows => rows.map(row => Math.abs(...['sft', 'align'].map(model => Number(row.querySelector(`[data-model=${model}]`).dataset.score)).reduce((a, b) => [a - b])))"
    )
    assert apart == sorted(apart, reverse=True) and apart[0] == 1


def test_the_theme_is_the_systems_until_it_is_chosen_and_then_stays(opened):
    def ground(tab):
        return tab.evaluate("getComputedStyle(document.body).backgroundColor")

    assert ground(opened(color_scheme="light")) == "rgb(251, 250, 246)"
    tab = opened(color_scheme="dark")
    assert ground(tab) == "rgb(21, 25, 22)"
    tab.click("#theme")
    assert ground(tab) == "rgb(251, 250, 246)" and tab.inner_text("#theme") == "Theme: light"
    tab.reload()
    assert ground(tab) == "rgb(251, 250, 246)"
    drawn = "getComputedStyle(document.querySelector('.chart path[stroke]')).stroke"
    light = tab.evaluate(drawn)
    tab.click("#theme")
    assert tab.inner_text("#theme") == "Theme: dark" and tab.evaluate(drawn) != light


def test_all_scores_can_be_copied(opened):
    tab = opened(permissions=["clipboard-read", "clipboard-write"])
    tab.click("#copy")
    tab.wait_for_function("document.querySelector('#copy').textContent === 'Copied'")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines()[0].split("\t")[:4] == ["dataset", "metric", "model", "value"]
    assert "problems\treward\talign\t0.5" in copied


def test_the_keyboard_reaches_the_content_and_every_control(opened):
    tab = opened()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "theme"
    tab.keyboard.press("Enter")
    assert tab.inner_text("#theme") == "Theme: light"
    names = "[...document.querySelectorAll('select, input, button, textarea')].filter(each => !(each.labels?.length || each.textContent.trim()))"
    assert tab.evaluate(f"{names}.length") == 0


def test_without_scripts_everything_is_there_but_the_controls(opened):
    tab = opened(java_script_enabled=False)
    tab.click("#more-answers > summary")
    assert tab.locator(".row:visible").count() > 10
    assert not tab.is_visible("#theme") and not tab.is_visible(".filters")


def test_what_is_folded_is_open_on_paper(opened):
    tab = opened()
    assert tab.locator("details[open]").count() == 0
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details[open]").count() == 0


# -- long rows ----------------------------------------------------------------------------------------------------

TALLEST = {1280: 6_900, 390: 12_200}  # pixels, of a page of four datasets, two steps and three gates
CUT = """() => [...document.querySelectorAll('main *')].filter(each => {
  const box = each.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !each.closest('svg') && !each.closest('[aria-label^="The graph of"]');
}).map(each => each.outerHTML.slice(0, 200))"""
OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"
CLIPPED = "() => [...document.querySelectorAll('.long > .text')].filter(each => each.scrollHeight > each.clientHeight + 1).length"


def wait_until(tab, expression):
    """Waits for an expression to hold: `wait_for_function` asks twice by `eval`, which the page's policy refuses."""
    for _ in range(100):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(expression)


@pytest.fixture(scope="module")
def long_page(tmp_path_factory):
    """The page of a build of forty rows a side whose texts have 4,000 characters each."""
    made = tmp_path_factory.mktemp("long") / "build"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            fake_build,
            "QUESTIONS",
            [f"Question {at}. {'It reads the file and says so. ' * 140}"[:4000] for at in range(40)],
        )
        fake_build.fake_build(made)
        patch.chdir(made)
        report.main()
    return made / "report/index.html"


@pytest.fixture
def opened_long(opened, long_page):
    def opened_long(width, **options):
        tab = opened(viewport={"width": width, "height": 900}, **options)
        tab.goto(long_page.as_uri())
        return tab

    return opened_long


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("width", TALLEST)
def test_a_page_of_long_rows_is_short(opened_long, width, scripts):
    tab = opened_long(width, java_script_enabled=scripts)
    height = tab.evaluate("document.documentElement.scrollHeight")
    assert 2_000 < height < TALLEST[width]


@pytest.mark.parametrize("width", [390, 700, 1000, 1280])
def test_no_table_is_cut_at_any_width(opened_long, width):
    tab = opened_long(width)
    tab.evaluate(OPEN_ALL)
    assert tab.evaluate(CUT) == []
    sideways = "[...document.querySelectorAll('.scroll:has(table)')].filter(each => each.scrollWidth > each.clientWidth).length"
    assert tab.evaluate(sideways) == 0
    for cell in (
        ".scores .change",
        ".scores .its",
        ".stack td[data-label='what it says']",
        ".stack td[data-label='sha256']",
    ):
        assert tab.locator(cell).last.is_visible(), cell


def test_a_graph_wider_than_the_screen_says_that_it_scrolls(opened_long):
    box = "[aria-label^='The graph of']"
    assert opened_long(1280).is_hidden(".sideways")
    tab = opened_long(390)
    assert tab.is_visible(".sideways") and tab.evaluate(f'document.querySelector("{box}").scrollWidth') > 390
    tab.focus(box)
    for _ in range(40):
        tab.keyboard.press("ArrowRight")
    wait_until(tab, f'document.querySelector("{box}").scrollLeft > 300')


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_clipped_text_is_shown_whole_by_the_keyboard(opened_long, scripts):
    tab = opened_long(1280, java_script_enabled=scripts)
    answer = tab.locator("#answers-list .answer").first
    text, more = answer.locator(".text"), answer.locator("summary")
    folded = text.bounding_box()["height"]
    assert more.inner_text() == "show all" and folded < 90
    more.focus()
    tab.keyboard.press("Enter")
    assert more.inner_text() == "show less" and text.bounding_box()["height"] > 3 * folded
    tab.keyboard.press("Enter")
    assert text.bounding_box()["height"] == folded


def test_every_text_is_whole_once_all_is_unfolded(opened_long):
    tab = opened_long(390)
    assert tab.evaluate(CLIPPED) > 10
    tab.evaluate(OPEN_ALL)
    assert tab.evaluate(CLIPPED) == 0


def test_show_all_stands_only_where_something_is_clipped(opened):
    tab = opened()
    tab.click("#more-answers > summary")
    idle = "[...document.querySelectorAll('.row .long')].filter(each => each.querySelector('.text').clientHeight && each.querySelector('.more').hidden === each.querySelector('.text').scrollHeight > each.querySelector('.text').clientHeight + 1).length"
    wait_until(tab, f"{idle} === 0")
    assert tab.locator(".row .more:visible").count() > 0


def test_paper_has_every_text_whole(opened_long):
    tab = opened_long(1280)
    tab.emulate_media(media="print")
    assert tab.evaluate(CLIPPED) == 0
    assert (
        tab.locator(".more:visible").count() == 0 and tab.locator(".fold table:visible").count() > 0
    )  # without the script's event


def test_a_link_leads_into_what_is_folded(opened, folder):
    tab = opened()
    assert tab.is_hidden("#more-list")
    tab.evaluate("document.querySelector('#more-list .row').id = 'inside'; location.hash = 'inside'")
    wait_until(tab, "document.querySelector('#more-answers').open")
    assert tab.is_visible("#inside")
