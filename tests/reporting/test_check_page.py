"""The page of a check: findings, pictures worst first, nothing fetched, in a browser at desk and phone width."""

import os
import re

import numpy as np
import pytest

from rescrnet.checking.check import check as check_dataset
from rescrnet.errors import OutputError
from rescrnet.reporting.check_page import write_page
from tests.support.folders import noise, save
from tests.support.headless_chromium import BINARY, DECODE, TOO_WIDE, Browser
from tests.support.micrographs import LEVELS, good, mask_of


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    data = good(tmp_path_factory.mktemp("check") / "data <b>")
    os.truncate(data / "images/c.png", 60)
    save(data / "images/d.png", noise((40, 48)) // 200 * 25)
    save(data / "masks/e.png", LEVELS[mask_of(4)][:, ::-1].copy())
    (data / "masks/f.png").unlink()
    write_page(check_dataset(data), data.parent / "page.html", "training takes 3 minutes")
    return data.parent / "page.html"


def test_findings_files_and_classes_are_shown(page):
    html = page.read_text(encoding="utf-8")
    assert re.search(r"Training would refuse it: 2 errors, \d warnings, no notes\.", html)
    assert "Training takes 3 minutes." in html
    for words in ("has no mask", "cannot be read as an image", "fits its image far better mirrored", "grey 128"):
        assert words in html
    assert "data <b>" not in html


def test_images_with_findings_come_first(page):
    html = page.read_text(encoding="utf-8")
    names = [part[: part.index("</h3>")] for part in html.split("<h3>")[1:]]
    assert (names[0], set(names[1:3]), names[3:]) == ("c", {"d", "e"}, ["a", "b", "g", "h"])
    assert html.count("<figure>") == 2 * 6
    assert "cannot be shown" in html


def test_a_page_that_cannot_be_written_is_refused(tmp_path):
    checked = check_dataset(good(tmp_path / "data", "ab"))
    with pytest.raises(OutputError, match=r"page\.html: cannot be written"):
        write_page(checked, tmp_path / "no/page.html")


def test_unlabelled_pixels_show_the_image(tmp_path):
    data = good(tmp_path / "data")
    (data / "dataset.yaml").write_text("ignore: 77")
    save(data / "masks/a.png", np.where(np.arange(48) < 30, 77, LEVELS[mask_of(0)]).astype(np.uint8))
    write_page(check_dataset(data), tmp_path / "page.html")
    assert "mostly unlabelled" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.skipif(BINARY is None, reason="no chromium, chromium-browser or google-chrome on the path")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_works_in_a_browser(page, tmp_path, width):
    with Browser(tmp_path) as browser:
        browser.open(page, width)
        browser.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert browser.complaints() == []
        assert browser.requests() == [page.as_uri()]
        assert browser.evaluate(DECODE) == [40 * 48] * 12
        assert browser.evaluate(TOO_WIDE) == 0
        browser.evaluate("document.querySelector('figure button').click()")
        assert browser.evaluate("document.querySelector('dialog').open")
