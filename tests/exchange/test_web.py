"""The page for browsers, used as a person would: choose or drop, look, toggle, save; and what it says of bad files."""

import base64
import csv
import html
import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from rescrnet.errors import UsageError
from rescrnet.exchange import web
from rescrnet.exchange.export import export
from tests.exchange.models import HOSTILE, model_of, small
from tests.support.folders import noise, save
from tests.support.headless_chromium import BINARY, TOO_WIDE, Browser

pytest.importorskip("onnx")


def template_or_skip():
    try:
        return web.template()
    except UsageError:
        pytest.skip("the page is not built: run `make web`")


def element(name):
    return f"document.getElementById('{name}')"


class Page:
    """The page in a browser."""

    def __init__(self, browser, file, **how):
        self.browser = browser
        browser.open(file, **how)
        # What would be saved is kept, for a headless browser has no folder for it.
        browser.evaluate(
            """window.saved = {}; HTMLAnchorElement.prototype.click = function () {
            window.saved[this.download] = fetchBlob(this.href) };
            window.blobs = {}; const make = URL.createObjectURL;
            URL.createObjectURL = blob => { const address = make(blob); window.blobs[address] = blob; return address };
            window.fetchBlob = address => new Promise(done => { const reader = new FileReader();
            reader.onload = () => done(reader.result); reader.readAsDataURL(window.blobs[address]) }); 1"""
        )

    def text(self, name):
        return self.browser.evaluate(f"{element(name)}.textContent")

    def choose(self, file):
        root = self.browser.call("DOM.getDocument")["root"]["nodeId"]
        node = self.browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.browser.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def drop(self, name, content):
        data = base64.b64encode(content).decode()
        self.browser.evaluate(
            f"""(() => {{ const given = new DataTransfer();
            given.items.add(new File([Uint8Array.from(atob('{data}'), c => c.charCodeAt(0))], {json.dumps(name)}));
            dispatchEvent(new DragEvent('drop', {{ dataTransfer: given, cancelable: true }})) }})(); 1"""
        )

    def wait(self, expression, seconds=120):
        end = time.monotonic() + seconds
        while not self.browser.evaluate(expression):
            assert time.monotonic() < end, (self.text("status"), self.text("error"), self.browser.complaints())
            time.sleep(0.1)

    def result(self):
        self.wait(f"!{element('result')}.hidden || {element('error')}.textContent")
        assert self.text("error") == ""
        return self

    def refusal(self):
        self.wait(f"{element('error')}.textContent")
        return self.text("error")

    def click(self, name):
        self.browser.evaluate(f"{element(name)}.click()")

    def saved(self, name):
        content = self.browser.evaluate(f"window.saved[{json.dumps(name)}]")
        return base64.b64decode(content.partition(",")[2])

    def mask(self, name):
        self.click("mask")
        return np.asarray(Image.open(io.BytesIO(self.saved(f"{name}_mask.png"))))


@pytest.fixture(scope="module")
def model():
    return model_of(small(classes=5, lstm_filters=2))


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    template_or_skip()
    return export(model, "web", tmp_path_factory.mktemp("web") / "cells <b> @@MODEL@@.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not BINARY:
        pytest.skip("there is no Chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(browser, file):
    return Page(browser, file)


def indices(model, image):
    return model.predict_normalised(image).argmax(0)


def same(found, expected):
    """All but the pixels between two classes of nearly the same probability."""
    assert found.shape == expected.shape
    assert (found != expected).mean() < 1e-3


def test_a_dropped_image_is_segmented_without_a_request(page, model, browser):
    image = noise((60, 80))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    page.drop("a,b.png", buffer.getvalue())
    page.result()
    expected = indices(model, image[..., None] / np.float32(255))
    same(page.mask("a,b"), expected)
    page.click("csv")
    rows = list(csv.DictReader(io.StringIO(page.saved("a,b_areas.csv").decode(), newline="")))
    assert [row["class"] for row in rows] == model.classes
    assert sum(int(row["pixels"]) for row in rows) == image.size
    assert {row["area_um2"] for row in rows} == {""}
    assert "does not say how large a pixel is" in page.text("caption")
    away = [url for url in browser.requests() if not url.startswith(("file:", "blob:"))]
    assert away == []
    assert browser.complaints() == []


def test_classes_can_be_hidden_and_made_opaque(page, browser):
    buffer = io.BytesIO()
    Image.fromarray(noise((40, 50))).save(buffer, "PNG")
    page.drop("a.png", buffer.getvalue())
    page.result()
    pixels = "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.join()"
    both = browser.evaluate(pixels)
    for index in range(5):
        page.click(f"class{index}")
    grey = browser.evaluate(pixels)
    assert both != grey
    values = np.array(grey.split(","), int).reshape(-1, 4)
    assert (values[:, 0] == values[:, 1]).all()
    browser.evaluate(f"{element('class0')}.click(); {element('opacity')}.value = 100; {element('opacity')}.oninput()")
    values = np.array(browser.evaluate(pixels).split(","), int).reshape(-1, 4)
    assert (values[:, :3] == [0x4D, 0x4D, 0x4D]).all(1).sum() > 0
    assert "%" in browser.evaluate(f"{element('canvas')}.getAttribute('aria-label')")


IMAGES = {
    "16-bit PNG": ("a.png", noise((30, 40), np.uint16), {}),
    "16-bit TIFF, LZW": ("a.tif", noise((30, 40), np.uint16), {"compression": "lzw"}),
    "8-bit TIFF, deflate, tiles": ("a.tif", noise((40, 50)), {"compression": "zlib", "tile": (16, 16)}),
    "float TIFF": ("a.tif", noise((30, 40)).astype(np.float32) / 300, {}),
    "grey stored as RGB": ("a.png", noise((30, 40))[..., None].repeat(3, -1), {}),
    "1×1": ("a.png", noise((1, 1)), {}),
    "1 pixel wide": ("a.tif", noise((40, 1)), {}),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_are_read_as_rescrnet_reads_them(page, model, tmp_path, case):
    from rescrnet.images.whole import read_image
    from rescrnet.intensity import match_channels

    name, array, how = IMAGES[case]
    image = save(tmp_path / name, array, **how)
    page.choose(image)
    page.result()
    same(page.mask("a"), indices(model, match_channels(read_image(image), 1, image)))


def test_a_page_of_a_stack_is_chosen_and_its_areas_are_in_micrometres(page, model, tmp_path, browser):
    stack = noise((3, 30, 40), np.uint16)
    tifffile.imwrite(
        tmp_path / "z.tif", stack, imagej=True, resolution=(4, 4), metadata={"unit": "micron", "axes": "ZYX"}
    )
    page.choose(tmp_path / "z.tif")
    page.wait(f"!{element('pages')}.hidden")
    assert page.text("of") == "of 3"
    browser.evaluate(f"{element('page')}.value = 2; {element('pages')}.requestSubmit()")
    page.result()
    expected = indices(model, stack[1][..., None] / np.float32(65535))
    same(page.mask("z"), expected)
    assert "a pixel is 0.25 × 0.25 µm" in page.text("caption")
    page.click("csv")
    rows = list(csv.DictReader(io.StringIO(page.saved("z_areas.csv").decode(), newline="")))
    assert sum(float(row["area_um2"]) for row in rows) == pytest.approx(30 * 40 / 16)


def png_of(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


HUGE = png_of(noise((2, 2)))
HUGE = HUGE[:16] + (30000).to_bytes(4, "big") + (20000).to_bytes(4, "big") + HUGE[24:]
BAD = {
    "empty": ("a.png", b"", "is empty (0 bytes)"),
    "no image": ("notes.txt", b"hello", "is no PNG, JPEG or TIFF image"),
    "colours": ("a.png", png_of(noise((20, 20, 3))), "is RGB (3 channels); this model sees images that are grey"),
    "huge": ("a.png", HUGE, "30000 × 20000 pixels, 600.0 million; this page takes up to"),
    "cut PNG": ("a.png", png_of(noise((40, 40)))[:300], "cannot be read"),
    "cut in the header": ("a.png", png_of(noise((40, 40)))[:20], "is cut off"),
    "no JPEG": ("a.jpg", b"\xff\xd8\xff nothing", "cannot be read"),
    "no TIFF": ("a.tif", b"II*\0\xff\xff\xff\xff", "cannot be read"),
    "hostile name": ("<img src=x onerror=alert(1)>.png", b"", "<img src=x onerror=alert(1)>.png is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_a_sentence_and_the_page_lives_on(page, case):
    name, content, sentence = BAD[case]
    page.drop(name, content)
    assert sentence in page.refusal()
    page.drop("good.png", png_of(noise((20, 20))))
    page.result()
    assert page.text("status").startswith("good.png: 20 × 20 pixels")
    page.drop(name, content)
    page.refusal()
    assert page.text("result-title") == "Result of good.png"


def test_a_running_segmentation_can_be_cancelled(page):
    page.drop("large.png", png_of(noise((1500, 1500))))
    page.wait(f"!{element('working')}.hidden")
    page.click("cancel")
    assert page.browser.evaluate(f"{element('working')}.hidden")
    assert page.text("status") == "Cancelled."
    page.drop("good.png", png_of(noise((20, 20))))
    page.result()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_the_window(browser, file, width, scheme):
    page = Page(browser, file, width=width, scheme=scheme)
    page.drop("good.png", png_of(noise((300, 400))))
    page.result()
    assert browser.evaluate(TOO_WIDE) == 0


AXE = Path(__file__).resolve().parents[2] / "web/node_modules/axe-core/axe.min.js"
WHAT_HINDERS = """axe.run().then(found => found.violations.map(one =>
    [one.id, one.help, ...one.nodes.map(node => node.html.slice(0, 200))].join(" | ")))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_people_who_listen_to_the_page(browser, file, tmp_path, scheme):
    if not AXE.is_file():
        pytest.skip("axe-core is not there: run `make web`")
    page = Page(browser, file, scheme=scheme, width=390)
    browser.evaluate(AXE.read_text(encoding="utf-8") + "; 1")
    assert browser.evaluate(WHAT_HINDERS) == []
    page.drop("notes.txt", b"hello")
    page.refusal()
    assert browser.evaluate(WHAT_HINDERS) == []
    tifffile.imwrite(tmp_path / "z.tif", noise((2, 30, 40)), photometric="minisblack")
    page.choose(tmp_path / "z.tif")
    page.wait(f"!{element('pages')}.hidden")
    assert browser.evaluate(WHAT_HINDERS) == []
    browser.evaluate(f"{element('pages')}.requestSubmit()")
    page.result()
    assert browser.evaluate(WHAT_HINDERS) == []
    browser.evaluate("document.body.append(document.createElement('button')); 1")
    assert any(one.startswith("button-name") for one in browser.evaluate(WHAT_HINDERS))  # it would have been found


KEYS = {"Tab": (9, ""), " ": (32, " "), "Enter": (13, "\r"), "ArrowRight": (39, "")}
FOCUSED = """(() => { const at = document.activeElement, box = at.type === "file" ? at.parentElement : at;
    const style = getComputedStyle(box);
    return [at.id || at.className, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1] })()"""


def press(browser, key):
    code, text = KEYS[key]
    about = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
    browser.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **about)


def test_all_of_it_is_done_with_keys_alone_and_one_sees_where_one_is(page, browser):
    browser.call("Emulation.setFocusEmulationEnabled", enabled=True)
    press(browser, "Tab")
    assert browser.evaluate(FOCUSED) == ["file", True]
    page.drop("a.png", png_of(noise((40, 50))))
    page.result()
    assert browser.evaluate("document.activeElement.id") == "result-title"  # what is new is read out
    order = []
    for _ in range(9):
        press(browser, "Tab")
        name, seen = browser.evaluate(FOCUSED)
        assert seen, f"one does not see that {name} has the focus"
        order.append(name)
        if name == "class3":
            press(browser, " ")
        elif name == "opacity":
            press(browser, "ArrowRight")
        elif name in ("mask", "csv"):
            press(browser, "Enter")
    assert order == [*(f"class{index}" for index in range(5)), "opacity", "mask", "csv", "scroll"]
    assert browser.evaluate(f"{element('class3')}.checked") is False
    assert page.text("shown") == "51 %"
    assert browser.evaluate("Object.keys(window.saved)") == ["a_mask.png", "a_areas.csv"]


def test_names_are_texts_whatever_they_hold(page, model, browser):
    assert browser.evaluate("document.scripts.length") == 5
    assert browser.evaluate(f"{element('classes')}.textContent") == "".join(model.classes)
    assert browser.evaluate("document.querySelector('h1').textContent") == "cells <b> @@MODEL@@"


def test_a_policy_forbids_the_network(model, file, browser, page):
    text = file.read_text(encoding="utf-8")
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe-inline" not in policy
    refused = browser.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', error => error.name)")
    assert refused == "TypeError"
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())
    assert 4e6 < file.stat().st_size < 6e6
    assert all(json.dumps(name)[1:-1].replace("<", "\\u003c") in text for name in HOSTILE[:5])


def test_without_the_template_the_way_to_it_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "TEMPLATE", "nowhere.html")
    with pytest.raises(UsageError, match="has no page to put a model into; run `make web`"):
        export(model, "web", tmp_path / "a.html")
    assert not list(tmp_path.iterdir())
