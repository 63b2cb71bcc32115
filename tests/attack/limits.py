"""Sizes against ``--memory``, workers that are killed, addresses where no scheduler is."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.attack.commands import called, measured, start
from tests.attack.material import OPTIONS, Material, fingerprint
from tests.attack.tally import Tally

_LONGEST = 15.0  # seconds until an address is given up


def _picture(path: Path, height: int, width: int) -> None:
    y, x = np.ogrid[:height, :width]
    grey = ((y // 9 + x // 7) % 251).astype(np.uint8)
    if path.suffix == ".npy":
        np.save(path, grey)
    elif path.suffix == ".tif":
        how = {"s": {"rowsperstrip": height}, "l": {"rowsperstrip": height, "compression": "lzw"}}.get(path.stem, {})
        tifffile.imwrite(path, grey, **({"compression": "zlib"} | how))
    else:
        Image.fromarray(grey).save(path)


def memory(material: Material, folder: Path, count: int, seed: int = 0) -> Tally:
    """``count`` images of random sizes and forms against random bounds: peaks within them, or refused beforehand."""
    tally, rng = Tally("memory"), random.Random(seed)
    stored = folder.with_name("stored")
    outcome = called("train", material.data, "--out", stored, *OPTIONS, "--set", "network.image_statistics=false")
    if outcome.code:
        tally.add("train", "not done at all", outcome.text)
    for number in range(count):
        if tally.over:
            break
        folder.mkdir(exist_ok=True)
        pixels, ratio = 10 ** rng.uniform(5, 7.4), rng.uniform(0.3, 3)
        height, width = max(1, round((pixels * ratio) ** 0.5)), max(1, round((pixels / ratio) ** 0.5))
        name = ("a.png", "a.jpg", "a.bmp", "s.tif", "l.tif", "t.tif", "a.npy")[number % 7]
        bound = rng.choice([340, 360, 400, 500])
        _picture(folder / name, height, width)
        model = (material.run, stored)[number % 2]  # the statistics of an image take memory of their own
        call = ["predict", model, folder / name, "--out", folder / "o", "--memory", f"{bound}MB"]
        outcome = measured(*call, within=300)
        fault = outcome.fault or ("over memory" if outcome.peak > bound * 10**6 else "")
        peak = f"peak {outcome.peak / 1e6:.0f} MB of {bound}"
        tally.add(f"{name} {height}×{width}, {peak}", fault, outcome.text, outcome.code)
        shutil.rmtree(folder)
    return tally


def workers(material: Material, folder: Path, count: int, seed: int = 0) -> Tally:
    """``count`` predictions with two workers, of which some are killed."""
    tally, rng = Tally("workers"), random.Random(seed)
    folder.mkdir(exist_ok=True)
    image = folder / "a.npy"
    _picture(image, 1500, 1400)
    call = ["predict", material.run, image, "--memory", "400MB", "--format", "tiff"]
    whole = called(*call, "--out", folder / "o", within=300)
    if whole.code:
        tally.add("alone", whole.fault or "not done at all", whole.text)
        shutil.rmtree(folder)
        return tally
    known = fingerprint(folder / "o")
    for number in range(count):
        if tally.over:
            break
        out = folder / f"o{number}"
        process = start(*call, "--out", out, "--workers", 2)
        for _ in range(1 + number % 3):
            time.sleep(rng.uniform(3, 9))
            for child in _workers_of(process.pid)[:1]:
                os.kill(child, signal.SIGKILL)
        try:
            code: int | None = process.wait(240)
        except TimeoutError:
            code = None
        fault = "hang" if code is None else "" if code == 0 else f"exit code {code}"
        if not fault and fingerprint(out) != known:
            fault = "differing result"
        tally.add(f"{1 + number % 3} workers killed", fault, "", code)
    shutil.rmtree(folder)
    return tally


def _workers_of(process: int) -> list[int]:
    """The processes below it that compute."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(re.sub(r"\(.*\)", "", path.read_text())[:200].split()[2])
            line = path.with_name("cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if parent == process and b"spawn_main" in line:
            found.append(int(path.parent.name))
    return sorted(found)


class _Web(BaseHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def addresses(material: Material, folder: Path, count: int) -> Tally:
    """Twenty addresses where no scheduler is, as many as ``count``."""
    tally = Tally("addresses")
    folder.mkdir(exist_ok=True)
    with socket.socket() as silent, HTTPServer(("127.0.0.1", 0), _Web) as web:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        threading.Thread(target=web.serve_forever, daemon=True).start()
        at, web_at = silent.getsockname()[1], web.server_address[1]
        wrong = [f"tcp://127.0.0.1:{at}", f"tcp://127.0.0.1:{web_at}", "nonsense", "", "tls://127.0.0.1:1", "tcp://127.0.0.1:1",
                 "ucx://x", "inproc://x", "http://127.0.0.1:80", f"tls://127.0.0.1:{at}", f"tls://127.0.0.1:{web_at}", "tcp://",
                 "tcp://256.256.256.256:1", "tcp://no.such.host.invalid:8786", "127.0.0.1:99999", "tcp://127.0.0.1:-1", "ws://127.0.0.1:1",
                 f"http://127.0.0.1:{web_at}", "tcp://[::1", "x" * 5000]  # fmt: skip

        def one(number: int) -> None:
            call = ["predict", material.run, material.image, "--out", folder / f"o{number}", "--dask", wrong[number]]
            outcome = called(*call)
            slow = "slower than 15 s" if outcome.seconds > _LONGEST else ""
            fault = outcome.fault or slow or ("" if outcome.code == 2 else "accepted")
            tally.add(wrong[number][:60], fault, f"{outcome.seconds:.1f} s {outcome.text}", outcome.code)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(min(count, len(wrong)))))
        web.shutdown()
    shutil.rmtree(folder)
    return tally
