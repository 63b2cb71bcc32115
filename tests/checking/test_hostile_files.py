"""Files that are made to harm, or are odd by accident, end in named findings, quickly and in little memory."""

import os
import re
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
import tifffile

from rescrnet.checking.check import check as check_dataset
from tests.support.folders import noise, save
from tests.support.micrographs import good

# Not getrusage: that of a child process begins with what its parent, a large test run, had when it was started.
MEASURE = """
import sys, time
from pathlib import Path
from rescrnet.checking.check import check as check_dataset
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
started = time.monotonic()
checked = check_dataset(Path(sys.argv[1]))
print(time.monotonic() - started, (peak() - before) / 1024, len(checked.errors), len(checked.reading.examples))
"""


def found(data, file):
    """The findings that name a file."""
    return {
        f.check.name: f.reason for f in check_dataset(data).findings if any(name.endswith(file) for name in f.files)
    }


def png(width, height, depth, pixels=b""):
    chunks = [b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([depth, 0, 0, 0, 0])]
    chunks += [b"IDAT" + zlib.compress(pixels), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks
    )


@pytest.mark.parametrize("depth", [1, 8, 16])
def test_a_png_of_four_gigapixels_is_not_unpacked(tmp_path, depth):
    data = good(tmp_path)
    (data / "images/c.png").write_bytes(png(65535, 65535, depth))
    assert "claims to hold" in found(data, "images/c.png")["unreadable-image"]


def test_a_tiff_of_four_gigapixels_is_not_unpacked(tmp_path):
    data = good(tmp_path)
    (data / "masks/c.png").unlink()
    save(data / "masks/c.tif", noise(), metadata=None)
    with tifffile.TiffFile(data / "masks/c.tif", mode="r+") as opened:
        for tag in ("ImageWidth", "ImageLength"):
            opened.pages[0].tags[tag].overwrite(65535)
    assert re.search(r"is cut short, \d+ bytes of 4294836\d+", found(data, "masks/c.tif")["unreadable-mask"])


@pytest.mark.parametrize("name", ["images", "masks", "images/deep"])
def test_a_link_that_leads_in_a_circle_is_passed_over_or_named(tmp_path, name):
    data = good(tmp_path)
    (data / name).mkdir(exist_ok=True)
    (data / name / "loop.png").symlink_to(data / name / "loop.png")
    (data / name / "around").symlink_to(data, target_is_directory=True)
    errors = check_dataset(data).errors
    assert len(errors) <= 1
    assert all(finding.check.name == "mixed-masks" for finding in errors)


@pytest.mark.parametrize(("suffix", "form"), [(".tif", "PNG"), (".png", "TIFF"), (".jpg", "BMP")])
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, suffix, form):
    data = good(tmp_path)
    written = save(tmp_path / f"c.{form[:4].lower().removesuffix('f') + 'f' * (form == 'TIFF')}", noise((40, 48)))
    (data / "images/c.png").unlink()
    written.rename(data / f"images/c{suffix}")
    assert f"the content is {form}, the name ends in {suffix}" in found(data, f"images/c{suffix}")["wrong-suffix"]


@pytest.mark.parametrize("name", [b"c\xff\xfe", b"c\n\x1b[31m", ("µ" * 120).encode()])
def test_names_that_are_no_text_or_very_long_are_named(tmp_path, name):
    data = good(tmp_path)
    for folder in ("images", "masks"):
        (data / folder / "c.png").rename(data / folder / os.fsdecode(name + b".png"))
    (finding,) = [finding for finding in check_dataset(data).findings if finding.check.name == "odd-name"]
    assert str(finding).isprintable()
    assert str(finding).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_hundred_thousand_files_take_seconds_and_little_memory():
    pytest.importorskip("resource")
    memory = Path("/dev/shm")  # where there is one, files are written in a fraction of the time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        _look_at_a_hundred_thousand(Path(folder))


def _look_at_a_hundred_thousand(folder):
    data = good(folder, "ab", size=(16, 16))
    content = (data / "images/a.png").read_bytes()
    for number in range(100_000):
        with open(f"{data}/images/n{number:06}.png", "wb") as file:  # noqa: PTH123 - a hundred thousand Paths take long
            file.write(content)
    shown = subprocess.run([sys.executable, "-c", MEASURE, data], capture_output=True, text=True, check=True).stdout
    seconds, megabytes, errors, opened = map(float, shown.split())
    print(f"{seconds:.1f} s, {megabytes:.0f} MB")
    assert (errors, opened) == (1, 2)
    assert seconds < 60
    assert megabytes < 400
