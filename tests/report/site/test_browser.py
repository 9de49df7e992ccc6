"""The page in a real browser: sorting, filters, keyboard, viewer, hints, accessibility, hostile names."""

from __future__ import annotations

import shutil

import pytest

from xcore.api import report
from xcore.cli.main import main
from xcore.report import PAGE
from xcore.report.site import run_page


def column(page, number):
    return page.eval_on_selector_all(
        f"#results tbody tr:not([hidden]) td:nth-child({number})", "cells => cells.map(cell => cell.textContent)"
    )


def violations(page):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed: pip install .[test]"
    )
    found = axe.Axe().run(page).response["violations"]
    return [(v["id"], v["nodes"][0]["html"][:200]) for v in found]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_is_accessible_and_fits_the_screen(run, open_page, scheme, width):
    page = open_page(run.path / PAGE, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_press_on_a_head_sorts_and_a_second_turns_round(run, open_page):
    page = open_page(run.path / PAGE)
    assert page.locator("#results thead th").nth(3).get_attribute("aria-sort") == "none"
    button = page.locator("#results thead button", has_text="tested")
    button.click()
    values = [float(text.split()[0]) for text in column(page, 4) if text]
    assert values == sorted(values)
    assert len(set(values)) > 1
    assert page.locator("#results thead th").nth(3).get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    again = [float(text.split()[0]) for text in column(page, 4) if text]
    assert again == sorted(values, reverse=True)
    texts = column(page, 4)
    assert texts == [*filter(None, texts), *(text for text in texts if not text)], "rows without a value stay last"


def test_a_filter_keeps_the_rows_that_hold_all_words(run, open_page):
    page = open_page(run.path / PAGE)
    every = len(column(page, 1))
    page.fill("input[type=search]", "GREEN crash")
    kept = column(page, 1)
    assert 0 < len(kept) < every
    assert set(kept) == {"green"}
    assert page.inner_text("#results-count") == f"{len(kept)} of {every} rows"


def test_arrows_go_through_the_table_and_focus_tells_spread_n_and_definition(run, open_page):
    page = open_page(run.path / PAGE)
    page.locator("#results thead button").last.focus()
    page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    said = page.inner_text("#tip")
    assert "± " in said
    assert "over random sets" in said or "over seeds" in said
    assert "n 2" in said
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"
    before = page.evaluate("document.activeElement.parentElement.rowIndex")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.parentElement.rowIndex") == before + 1
    page.keyboard.press("Escape")
    assert not page.is_visible("#tip")
    page.locator("#results thead button", has_text="tested").hover()
    assert "how often the class rises with the concept; higher is better; is made up" in page.inner_text("#tip")


def test_the_first_tab_skips_to_the_content(run, open_page):
    page = open_page(run.path / PAGE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_the_viewer_opens_turns_and_closes_by_keys(run, open_page):
    page = open_page(run.path / PAGE)
    tile = page.locator("#class-1 .concept-row .strip").first.locator(".tile").first
    tile.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.getElementById('viewer').open")
    caption = page.inner_text("#viewer figcaption")
    assert caption.endswith("(1 of 4)")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer figcaption").endswith("(2 of 4)")
    assert page.evaluate("document.querySelector('#viewer img').naturalWidth") > 0
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('viewer').open")
    assert page.evaluate("document.activeElement.className") == "tile", "focus goes back to where it was"


def test_every_picture_can_be_shown_and_has_a_text(run, open_page):
    page = open_page(run.path / PAGE)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    broken = (
        "images => images.filter(image => !image.alt || !image.complete || !image.naturalWidth).map(image => image.alt)"
    )
    pictures = "main img"
    page.evaluate("document.querySelectorAll('main img').forEach(image => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.querySelectorAll('main img')].every(image => image.complete)")
    assert page.locator(pictures).count() > 40
    assert page.eval_on_selector_all(pictures, broken) == []
    below = page.evaluate("getComputedStyle(document.querySelector('.tile.map')).backgroundImage")
    assert below.startswith('url("data:image/webp')


def test_the_slider_sets_how_strong_maps_are(run, open_page):
    page = open_page(run.path / PAGE)
    heat = "getComputedStyle(document.querySelector('#class-1 .tile.map img')).opacity"
    assert page.evaluate(heat) == "0.75"
    page.locator("#class-1-heat").fill("20")
    assert page.evaluate(heat) == "0.2"
    assert page.evaluate(heat.replace("class-1", "class-2")) == "0.75"


def test_hostile_names_are_text(run, open_page):
    page = open_page(run.path / PAGE)
    assert page.title() == "Concepts of red, green by full, crash, skip"
    assert "</script><script>document.title='taken'</script>" in page.inner_text("#class-1")
    assert "{{ 7 * 7 }}" in page.inner_text("#class-1")
    assert page.locator("main script, main [onerror]").count() == 0


def test_the_policy_stops_what_would_get_in(run, open_page, tmp_path):
    text = (run.path / PAGE).read_text("utf-8")
    take = "document.title='taken'"
    inside = f"<script>{take}</script><img src='https://example.org/a.png' onerror=\"{take}\">"
    (tmp_path / "page.html").write_text(text.replace("<main ", f"{inside}<main ", 1), encoding="utf-8")
    said = []
    page = open_page(run.path / PAGE)
    other = page.context.new_page()
    other.on("console", lambda message: said.append(message.text))
    other.goto((tmp_path / "page.html").as_uri())
    assert other.title().startswith("Concepts of")
    assert sum("Content Security Policy" in line for line in said) >= 2


def test_on_paper_everything_is_open(run, open_page):
    page = open_page(run.path / PAGE)
    assert page.locator("details:not([open])").count() > 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


def test_reduced_motion_and_no_script_leave_all_content(run, open_page):
    page = open_page(run.path / PAGE, reduced_motion="reduce", java_script_enabled=False)
    assert page.locator("#results td[title]").count() > 0
    assert page.locator("#class-1 .tile img").count() > 0
    scripted = open_page(run.path / PAGE)
    for part in ("main img", "main .concept-row", "main .plot", "main .curve", "main details"):
        assert page.locator(part).count() == scripted.locator(part).count() > 0, part


@pytest.fixture
def long_page(run, tmp_path, monkeypatch):
    """The page of a copy of the run, most rows of whose table wait."""
    monkeypatch.setattr(run_page, "ROWS", 3)
    shutil.copytree(run.path, tmp_path / "run")
    report(tmp_path / "run")
    return tmp_path / "run" / PAGE


IDLE = "window.requestIdleCallback = () => {}; window.IntersectionObserver = class { observe() {} unobserve() {} };"
"""A browser that never has time, and in which nothing comes into view."""


@pytest.mark.parametrize(
    "act",
    [
        lambda page: page.locator("#results thead button", has_text="tested").click(),
        lambda page: page.fill("input[type=search]", "r"),
        lambda page: page.evaluate("dispatchEvent(new Event('beforeprint'))"),
    ],
    ids=["sorting", "filtering", "printing"],
)
def test_rows_that_wait_are_there_when_the_table_needs_them(run, long_page, chromium, open_page, act):
    every = column(open_page(run.path / PAGE), 1)
    context = chromium.new_context()
    context.add_init_script(IDLE)
    page = context.new_page()
    page.goto(long_page.as_uri())
    assert len(column(page, 1)) == 3
    assert page.inner_text("#results-count") == f"{len(every)} rows"
    act(page)
    assert sorted(column(page, 1)) == sorted(every)
    context.close()


def test_rows_that_wait_are_a_table_of_their_own_without_script(run, long_page, open_page):
    page = open_page(long_page, java_script_enabled=False)
    every = page.locator("#results tbody tr").count() + page.locator("#more-results tbody tr").count()
    assert every == open_page(run.path / PAGE).locator("#results tbody tr").count() > 3
    assert page.locator("#results tbody tr").count() == 3


def test_a_section_is_filled_when_it_comes_into_view(run, chromium):
    context = chromium.new_context()
    context.add_init_script("window.requestIdleCallback = () => {};")
    page = context.new_page()
    page.goto((run.path / PAGE).as_uri())
    page.locator("#class-2").scroll_into_view_if_needed()
    page.locator("#class-2 .tile").first.wait_for()
    context.close()


def test_many_runs_have_an_index_with_links_that_lead_to_them(run, open_page, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["xcore", "view", str(run.path), str(run.path), "--out", str(tmp_path / "site")])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert "index.html" in capsys.readouterr().out
    page = open_page(tmp_path / "site" / "index.html")
    assert violations(page) == []
    page.fill("input[type=search]", "nothing like it")
    assert page.inner_text("#runs-count").startswith("0 of ")
    page.fill("input[type=search]", "")
    page.locator("#runs tbody a").first.click()
    assert page.title().startswith("Concepts of red, green")
