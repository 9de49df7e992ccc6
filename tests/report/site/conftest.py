"""One small run of every outcome, and a browser that opens its page."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

from xcore.api import bench

PLUGINS = Path(__file__).parents[2] / "plugins"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of two classes and two seeds: a method with all that a page shows, one that fails, one that is skipped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        yield bench(
            ["full", "crash", "skip"],
            plugins=[PLUGINS / "toy_plugin.py", PLUGINS / "page_plugin.py"],
            out=tmp_path_factory.mktemp("site") / "run",
            data="toy",
            classes=["red", "green"],
            seeds=[0, 1],
            metrics=["tested", "brightness"],
            controls=[],
        )


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium; tests that need it are skipped, with the reason, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install .[test]")
    if not CHROMIUM:
        warnings.warn("the page was not tested in a browser: there is no chromium on the path", stacklevel=1)
        pytest.skip("there is no chromium on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """A function that opens a file, and fails the test at its end if the browser complained of anything."""
    said, contexts = [], []

    def make(path, **how):
        contexts.append(chromium.new_context(**how))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url))
        page.goto(Path(path).as_uri())
        if how.get("java_script_enabled", True):  # what waits as text becomes elements when the browser has time
            page.locator("main noscript").first.wait_for(state="detached")
        return page

    yield make
    for context in contexts:
        context.close()
    assert said == []
