"""The page works in a browser, from ``file://``, at desk and phone width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.headless_chromium import BINARY, DECODE, TOO_WIDE, Browser

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium, chromium-browser or google-chrome on the path")

WIDTHS = pytest.mark.parametrize("width", [390, 1280])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@WIDTHS
def test_browser_has_nothing_to_complain_of_and_fetches_nothing(browser: Browser, reported: Path, width: int) -> None:
    browser.open(reported / "report.html", width)
    browser.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert browser.complaints() == []
    assert browser.requests() == [(reported / "report.html").as_uri()]


@WIDTHS
def test_every_image_decodes(browser: Browser, reported: Path, width: int) -> None:
    browser.open(reported / "report.html", width)
    areas = browser.evaluate(DECODE)
    assert areas[:8] == [64 * 80] * 8
    assert min(areas[8:]) > 0  # of objects


@WIDTHS
def test_page_is_no_wider_than_the_window(browser: Browser, reported: Path, width: int) -> None:
    browser.open(reported / "report.html", width)
    browser.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate(TOO_WIDE) == 0


def test_picture_enlarges_on_a_click_and_the_arrow_keys_go_on(browser: Browser, reported: Path) -> None:
    browser.open(reported / "report.html")
    browser.evaluate("document.querySelector('figure button').click()")
    assert browser.evaluate("document.querySelector('dialog').open")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    assert browser.evaluate("document.querySelector('dialog p').textContent").startswith("True mask")
    assert browser.evaluate("document.querySelector('dialog img').clientWidth > 900")
    browser.evaluate("document.querySelector('dialog img').click()")
    assert not browser.evaluate("document.querySelector('dialog').open")
    assert browser.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(browser: Browser, reported: Path, scheme: str) -> None:
    browser.open(reported / "report.html", scheme=scheme)
    ink, paper = (
        sum(map(int, browser.evaluate(f"getComputedStyle(document.body).{name}")[4:-1].split(",")))
        for name in ("color", "backgroundColor")
    )
    assert (paper - ink > 500) if scheme == "light" else (ink - paper > 500)


@pytest.mark.parametrize(
    ("extra", "finding"),
    [
        ("<script>console.error('wrong')</script>", "complaint"),
        ("<script>missing.call()</script>", "complaint"),
        ("<img src='https://example.org/x.png' alt=''>", "complaint"),
        ("<img src='data:image/png;base64,AAAA' alt=''>", "image"),
        ("<div style='width: 500px'>wide</div>", "width"),
    ],
)
def test_these_checks_find_a_broken_page(
    browser: Browser, reported: Path, tmp_path: Path, extra: str, finding: str
) -> None:
    html = (reported / "report.html").read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(html.replace("</main>", f"{extra}</main>"), encoding="utf-8")
    browser.open(broken, 390)
    found = {
        "complaint": bool(browser.complaints()),
        "image": 0 in browser.evaluate(DECODE),
        "width": browser.evaluate(TOO_WIDE) > 0,
    }
    assert found[finding]
