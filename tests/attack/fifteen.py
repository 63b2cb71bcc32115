"""The fifteen faults that the first attacks found, on commit f4f70b0: each in the shortest form that shows it.

They use nothing of the program but its command line, so they run with any version of it, and they have to fail with the
one that had the faults::

    git archive --prefix=old/ f4f70b0 | tar x -C /tmp
    PYTHONPATH=/tmp/old/src OMP_NUM_THREADS=1 python -m tests.attack.fifteen
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.attack.commands import Outcome, called, command, forked, measured, start

SOURCE = Path(__file__).resolve().parents[2]
_SMALL = {
    "network.n": 1,
    "network.m": 0,
    "network.filters": 2,
    "data.patch_size": 32,
    "training.epochs": 1,
    "training.steps_per_epoch": 1,
}
ESCAPE = "\x1b]0;owned\x07\u202eTXET"


def _options(**changes: object) -> list[str]:
    settings = _SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


@dataclass(frozen=True)
class Place:
    """A folder to work in, with what most attacks need; made when first asked for.

    Attributes:
        folder: holds it, and one folder for each attack.
        patient: whether attacks may take a minute, and are timed.
    """

    folder: Path
    patient: bool = False

    def new(self, name: str) -> Path:
        """An empty folder."""
        made = self.folder / name
        made.mkdir(parents=True)
        return made

    @cached_property
    def data(self) -> Path:
        """A dataset of 3 + 2 images."""
        _worked(run("samples", "em", self.folder / "data", "--train", 3, "--val", 2, "--size", 64, 72))
        return self.folder / "data"

    @cached_property
    def run(self) -> Path:
        """A finished run of a tiny network."""
        return self._trained("run")

    @cached_property
    def wide(self) -> Path:
        """One of a network with so many filters that its blocks have compiled kernels."""
        return self._trained("wide", network__filters=16)

    @cached_property
    def recurrent(self) -> Path:
        """One of a network with a ConvLSTM block, which needs scratch space."""
        return self._trained("recurrent", network__m=1)

    @property
    def image(self) -> Path:
        """An image of the dataset."""
        return min((self.data / "val_local/images/img").glob("*.png"))

    @cached_property
    def keras(self) -> Path:
        """A Keras file, written by this version of the program, whichever is attacked."""
        import rescrnet

        write = (
            "import sys, pathlib; from tests.exchange.test_keras import KerasFile, random_network\n"
            f"KerasFile(random_network()).write(pathlib.Path({str(self.folder)!r}), full=True)"
        )
        if Path(rescrnet.__file__).is_relative_to(SOURCE):
            _worked(forked(lambda: exec(write), within=60))
        else:
            environment = {**os.environ, "PYTHONPATH": f"{SOURCE / 'src'}{os.pathsep}{SOURCE}"}
            subprocess.run([sys.executable, "-c", write], check=True, env=environment)
        return self.folder / "weights.h5"

    def _trained(self, name: str, **changes: object) -> Path:
        _worked(run("train", self.data, "--out", self.folder / name, *_options(**changes), within=120))
        return self.folder / name


def run(*arguments: object, within: float = 20, **environment: str) -> Outcome:
    """The command line in a child of this process."""

    def do() -> None:
        os.environ.update(environment)
        command(*arguments)()

    return forked(do, within=within)


def _worked(outcome: Outcome) -> None:
    if outcome.code:
        raise RuntimeError(outcome.text)


def _said(outcome: Outcome) -> str:
    """How a command ended, in a line."""
    lines = outcome.text.strip().splitlines()
    return f"{outcome.fault or f'exit code {outcome.code}'} ({lines[-1][:160] if lines else 'not a word'})"


def _unless_refused(what: str, outcome: Outcome, says: str = "") -> Iterator[str]:
    """A fault where a command did not end in a line, which names what is wrong, and an exit code."""
    if outcome.fault or not outcome.code or says not in outcome.text:
        yield f"{what}: {_said(outcome)}"


def _unless_done(what: str, outcome: Outcome) -> Iterator[str]:
    if outcome.fault or outcome.code:
        yield f"{what}: {_said(outcome)}"


def kernel_sizes(place: Place) -> Iterator[str]:
    """F1: kernels and dilations with which the compiled code wrote beyond its arrays."""
    folder = place.new("f1")
    for number, (kernels, dilations, says) in enumerate(
        (("[101,3,5]", "[1,1,1]", "kernel"), ("[1]", "[9007199254740978]", "dilation"))
    ):
        options = _options(
            network__filters=16, network__kernel_sizes=kernels, network__dilations=dilations, training__seed=0
        )
        outcome = run("train", place.data, "--out", folder / f"r{number}", *options, within=30)
        yield from _unless_refused(f"kernel_sizes={kernels}, dilations={dilations}", outcome, says)


def two_writers(place: Place) -> Iterator[str]:
    """F2: two commands that go on with one run at the same time."""
    out = place.new("f2") / "r"
    shutil.copytree(place.run, out)
    log = out / "history.csv"
    before = log.read_bytes()
    first = start("train", place.data, "--out", out, "--resume", "--epochs", 100_000)
    try:
        until = time.monotonic() + 60
        while log.read_bytes() == before and time.monotonic() < until:
            time.sleep(0.05)
        second = run("train", place.data, "--out", out, "--resume", "--epochs", 2, within=60)
        if second.code == 0 or second.fault:
            yield f"--resume beside --resume: {_said(second)}"
    finally:
        first.kill()
        first.wait()


def memory(place: Place) -> Iterator[str]:
    """F3: pictures that are decoded whole, however little ``--memory`` allows."""
    folder = place.new("f3")
    pixels = np.tile(np.arange(250, dtype=np.uint8), (12_000, 48))
    for suffix in ("jpg", "png", "bmp") if place.patient else ("jpg",):  # which is refused; the others take minutes
        file = folder / f"a.{suffix}"
        Image.fromarray(pixels).save(file)
        call = ("predict", place.run, file, "--out", folder / suffix, "--memory", "400MB")
        outcome = measured(*call, within=30)
        if outcome.peak > 400 * 10**6:
            yield f"12000² {suffix} at 400 MB: peak {outcome.peak / 1e6:.0f} MB, {_said(outcome)}"
        file.unlink()


def damage(place: Place) -> Iterator[str]:
    """F4: a flipped bit in weights."""
    folder = place.new("f4")
    flipped = bytearray((place.run / "best.safetensors").read_bytes())
    flipped[-7] ^= 4
    (folder / "m.safetensors").write_bytes(flipped)
    yield from _unless_refused("info of a flipped weight", run("info", folder / "m.safetensors"))
    shutil.copytree(place.run, folder / "r")
    state = bytearray((folder / "r/state.safetensors").read_bytes())
    state[-7] ^= 4
    (folder / "r/state.safetensors").write_bytes(state)
    again = run("train", place.data, "--out", folder / "r", "--resume", "--epochs", 2)
    yield from _unless_refused("--resume from a flipped state", again)


def cached_code(place: Place) -> Iterator[str]:
    """F5: a compiler that hangs, and compiled libraries of a cache that were cut short."""
    folder = place.new("f5")
    (folder / "bin").mkdir()
    (folder / "bin/gcc").write_text("#!/bin/sh\nexec sleep 600\n")
    (folder / "bin/gcc").chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    call = ("predict", place.wide, place.image, "--out")
    hanging = run(*call, folder / "o0", within=15, PATH=path, XDG_CACHE_HOME=str(folder / "c0"))
    yield from _unless_done("predict with a compiler that hangs", hanging)
    cache = folder / "c1"
    yield from _unless_done("predict", run(*call, folder / "o1", within=120, XDG_CACHE_HOME=str(cache)))
    for library in cache.rglob("*.so"):
        library.write_bytes(library.read_bytes()[:4096])
    again = run(*call, folder / "o2", within=120, XDG_CACHE_HOME=str(cache))
    yield from _unless_done("predict with a library that was cut short", again)


def begun(place: Place) -> Iterator[str]:
    """F6: a run that was killed while its folder was made."""
    out = place.new("f6") / "r"
    out.mkdir()
    (out / "config.yaml").touch()
    yield from _unless_refused("--resume of nothing", run("train", place.data, "--out", out, "--resume"))
    yield from _unless_done("the same command again", run("train", place.data, "--out", out, *_options()))


def _zarr(path: Path) -> Path:
    """An OME-Zarr of 48 by 48 pixels."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", shape=(48, 48), chunks=(16, 16), dtype="u1")[:] = np.arange(48)[None].repeat(48, axis=0)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group.attrs.update({"ome": {"version": "0.5", "multiscales": multiscales}})
    return path


def sizes(place: Place) -> Iterator[str]:
    """F7: sizes and files that lie: all memory, or for ever."""
    folder = place.new("f7")
    _zarr(folder / "z.zarr")
    metadata = folder / "z.zarr/0/zarr.json"
    metadata.write_text(metadata.read_text().replace("48", "1000000000"))
    call = ("predict", place.run)
    yield from _unless_refused("a Zarr of 10^18 pixels", run(*call, folder / "z.zarr", "--out", folder / "o"))
    os.mkfifo(folder / "a.png")
    yield from _unless_refused("a pipe", run(*call, folder / "a.png", "--out", folder / "p", within=8))
    os.mkfifo(folder / "a.npy")
    yield from _unless_refused("a pipe", run(*call, folder / "a.npy", "--out", folder / "q", within=8))
    patch = _options(data__patch_size=10**9)
    outcome = run("train", place.data, "--out", folder / "r", *patch, "--max-time", 0)
    if outcome.fault or (outcome.code and "memory" in outcome.text):
        yield f"patch_size of 10^9: {_said(outcome)}"


def names(place: Place) -> Iterator[str]:
    """F8: names that are markup, and names that are no text."""
    for number, (name, stem) in enumerate((("[/bold]", b"x"), ("a", b"\xff\xfe"))):
        folder = place.new(f"f8-{number}")
        data = folder / "d"
        shutil.copytree(place.data, data)
        for image in sorted(data.rglob("01*.png")):
            image.rename(image.with_name(image.name.replace("01", f"01{os.fsdecode(stem)}", 1)))
        values = sorted(np.unique(Image.open(next(data.rglob("masks*/**/*.png")))).tolist())
        lines = [f"- {{name: {f'{name}{i}'!r}, value: {value}}}" for i, value in enumerate(values)]
        (data / "dataset.yaml").write_text("classes:\n" + "\n".join(lines) + "\n")
        outcome = run("train", data, "--out", folder / "r", *_options(), within=60)
        if outcome.fault:
            yield f"a class {name!r}, a file {stem!r}: {_said(outcome)}"


def tracebacks(place: Place) -> Iterator[str]:
    """F9: damaged or hostile files of every kind that ended in a traceback."""
    folder = place.new("f9")
    (folder / "deep.yaml").write_text("[" * 5000)
    deep = run("train", place.data, "--out", folder / "r", "--config", folder / "deep.yaml")
    yield from _unless_refused("5000 brackets", deep)
    shutil.copytree(place.run, folder / "tampered")
    (folder / "tampered/run.json").write_text("[" * 100_000)
    yield from _unless_refused("a run.json of brackets", run("report", folder / "tampered"))
    tifffile.imwrite(folder / "a.tif", np.zeros((48, 64), np.uint8), photometric="minisblack")
    with tifffile.TiffFile(folder / "a.tif", mode="r+") as file:
        file.pages[0].tags[262].overwrite(255)
    tag = run("predict", place.run, folder / "a.tif", "--out", folder / "o")
    if tag.fault:
        yield f"a TIFF whose photometric interpretation is 255: {_said(tag)}"
    np.save(folder / "a.npy", np.zeros((48, 64), np.uint8))
    (folder / "a.npy").write_bytes((folder / "a.npy").read_bytes().replace(b"(", b"[", 1))
    header = run("predict", place.run, folder / "a.npy", "--out", folder / "p")
    yield from _unless_refused("a bracket in the header of an .npy", header)


def no_scheduler(place: Place) -> Iterator[str]:
    """F10: addresses where no scheduler is."""
    folder = place.new("f10")
    for number, address in enumerate(("tls://127.0.0.1:1", "nonsense", "inproc://x")):
        call = ("predict", place.run, place.image, "--out", folder / str(number), "--dask", address)
        outcome = called(*call, within=60)
        yield from _unless_refused(f"--dask {address}", outcome, "no scheduler answers there")
        if place.patient and outcome.seconds > 15:  # which depends on who else computes here
            yield f"--dask {address}: {outcome.seconds:.0f} s"


def leftovers(place: Place) -> Iterator[str]:
    """F11: what a refusal leaves behind."""
    folder = place.new("f11")
    (folder / "i").mkdir()
    side = int((shutil.disk_usage(folder).free / 6) ** 0.5)  # wants 24 bytes a pixel
    file = np.lib.format.open_memmap(folder / "i/a.npy", mode="w+", dtype=np.uint8, shape=(side, side))
    file[0, 0] = 1
    del file  # which takes next to no room on the disk
    call = ("predict", place.recurrent, folder / "i/a.npy", "--out", folder / "o", "--memory", "600MB")
    yield from _unless_refused(f"{side}² without the room for it", run(*call, within=60), "scratch")
    yield from (f"{side}² without the room for it left {path.name}" for path in folder.iterdir() if path.name != "i")
    image = _zarr(folder / "i/z.zarr")
    call = ("predict", place.run, image, "--out", folder / "o", "--label", "x" * 300)
    yield from _unless_refused("--label of 300 bytes", run(*call))
    yield from (f"--label of 300 bytes left {path.name}" for path in image.iterdir() if path.name == "labels")


def escapes(place: Place) -> Iterator[str]:
    """F12: names that a terminal obeys."""
    folder = place.new("f12")
    for call in (
        ("predict", place.run, folder / ESCAPE, "--out", folder / "o"),
        ("info", folder / ESCAPE),
        ("train", place.data, "--out", folder / "r", "--set", f"network.{ESCAPE}=1"),
        ("predict", place.run, place.image, "--out", folder / "o", "--format", ESCAPE),
    ):
        outcome = run(*call)
        if "\x1b" in outcome.text or "\u202e" in outcome.text:
            yield f"{call[0]} prints {ESCAPE!r} as it is"


def last_writer(place: Place) -> Iterator[str]:
    """F13: two commands that write one new file, of which one takes longer to read what it is made of."""
    weights, out, found = place.keras, place.new("f13") / "m.safetensors", list[Outcome]()

    def slowly(seconds: float) -> Callable[[], None]:
        def do() -> None:
            import h5py

            opening = h5py.File.__init__

            def later(*arguments: object, **how: object) -> None:
                h5py.File.__init__ = opening
                time.sleep(seconds)
                opening(*arguments, **how)

            h5py.File.__init__ = later
            command("import-keras", weights, "--out", out)()

        return do

    calls = [slowly(0.5), slowly(2)]
    both = [threading.Thread(target=lambda call=call: found.append(forked(call, within=60))) for call in calls]
    for one in both:
        one.start()
    for one in both:
        one.join()
    codes = sorted(outcome.code or 0 for outcome in found)
    if codes[0] or codes[1] not in (1, 2) or any(outcome.fault for outcome in found):
        yield f"two import-keras into one file: {' and '.join(map(_said, found))}"


def library_warnings(place: Place) -> Iterator[str]:
    """F14: NumPy's own warnings beside the line."""
    folder = place.new("f14")
    for number, (kind, value) in enumerate(
        (
            (np.float32, 3e38),
            (np.float32, np.nan),
            (np.float64, 1e300),
            (np.float64, np.inf),
            (np.float64, np.nan),
        )
    ):
        image = np.random.default_rng(0).random((64, 72)).astype(kind)
        image[3:9] = value
        np.save(folder / f"{number}.npy", image)
        outcome = run("predict", place.run, folder / f"{number}.npy", "--out", folder / str(number))
        if outcome.fault:
            yield f"{np.dtype(kind)} {value}: {_said(outcome)}"


def exit_codes(place: Place) -> Iterator[str]:
    """F15: an output that is full, and a current folder that is gone."""
    folder = place.new("f15")
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}  # found from a folder that is gone, too
    program = f"'{sys.executable}' -m rescrnet"
    for what, script in (
        ("standard output full", f"exec {program} info '{place.run}' >/dev/full"),
        ("current folder removed", f"mkdir '{folder}/gone'; cd '{folder}/gone'; rmdir ../gone; exec {program} info x"),
    ):
        done = subprocess.run(["sh", "-c", script], capture_output=True, check=False, timeout=60, env=environment)
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode not in (1, 2) or len(said) != 1 or not said[0].startswith("rescrnet: "):
            yield f"{what}: exit code {done.returncode}, {said[-1][:160] if said else 'not a word'}"


FIFTEEN: dict[str, Callable[[Place], Iterator[str]]] = {
    f"F{number}": attack
    for number, attack in enumerate(
        (
            kernel_sizes, two_writers, memory, damage, cached_code, begun, sizes, names, tracebacks, no_scheduler,
            leftovers, escapes, last_writer, library_warnings, exit_codes,
        ),
        start=1,
    )
}  # fmt: skip
"""Each yields a line for each fault that it finds, and nothing where the program holds."""


def import_all() -> None:
    """Import all of the program, so that the children do not have to; what is not installed is left out."""
    import rescrnet

    for module in pkgutil.walk_packages(rescrnet.__path__, "rescrnet."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def main() -> None:
    """Attack the program that Python finds; exit code 1 where there was a fault."""
    import rescrnet

    import_all()
    print(f"rescrnet of {Path(rescrnet.__file__).parent}", flush=True)
    faulty = 0
    with tempfile.TemporaryDirectory(prefix="fifteen-") as folder:
        place = Place(Path(folder), patient=True)
        for name in sys.argv[1:] or FIFTEEN:
            started = time.monotonic()
            found = list(FIFTEEN[name](place))
            faulty += bool(found)
            what = (FIFTEEN[name].__doc__ or "").split("\n")[0]
            print(f"{what} {time.monotonic() - started:.0f} s, {len(found) or 'no'} faults", flush=True)
            for line in found:
                print(f"    {line}", flush=True)
    print(f"{faulty} of {len(sys.argv[1:] or FIFTEEN)} are faulty")
    sys.exit(bool(faulty))


if __name__ == "__main__":
    main()
