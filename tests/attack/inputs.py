"""Mutated files of every kind that the program reads."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.attack.commands import command, forked
from tests.attack.material import Material, leftovers
from tests.attack.tally import Tally

_NUMBERS = [0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
_WORDS = [b"\0", b"\xff" * 8, b"[" * 3000, b"{a: " * 1500, b"- " * 3000, b"1e999", b"-1", b"null", b"NaN", b'"\\ud800"',
          b"10000000000000000000000000000000", b"../../etc/passwd", b"\x1b[31m", "\u202e".encode(), b"\r\n", b"!!python/object:os.system"]  # fmt: skip  # noqa: E501  # noqa: E501

_step = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("byte"), st.floats(0, 1), st.integers(0, 255)),
    st.tuples(st.just("number"), st.floats(0, 1), st.tuples(st.sampled_from(_NUMBERS), st.sampled_from("<>"))),
    st.tuples(st.just("word"), st.floats(0, 1), st.sampled_from(_WORDS)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(None)),
    st.tuples(st.just("delete"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("repeat"), st.floats(0, 1), st.integers(1, 64)),
)
# Headers are where lies are: most places are near the start.
_steps = st.lists(_step, min_size=1, max_size=4)


def mutate(content: bytes, steps: list[tuple[str, float, object]]) -> bytes:
    """``content`` after some changes, each at a share of its length."""
    changed = bytearray(content)
    for kind, share, value in steps:
        near = share**3 if kind != "cut" else share
        place = min(len(changed) - 1, int(near * len(changed))) if changed else 0
        if kind == "cut":
            del changed[place:]
        elif not changed:
            continue
        elif kind == "flip":
            changed[place] ^= 1 << value  # type: ignore[operator]
        elif kind == "byte":
            changed[place] = value  # type: ignore[call-overload]
        elif kind == "number":
            number, order = value  # type: ignore[misc]
            size = "B" if number < 256 else "H" if number < 65536 else "I" if number < 2**32 else "Q"
            packed = struct.pack(order + size, number)
            changed[place : place + len(packed)] = packed
        elif kind == "word":
            changed[place:place] = value  # type: ignore[call-overload]
        elif kind == "delete":
            del changed[place : place + value]  # type: ignore[operator]
        elif kind == "repeat":
            changed[place:place] = changed[place : place + value]  # type: ignore[operator]
    return bytes(changed)


Attack = tuple[str, Path, Callable[[bytes, Path], list[object]]]
"""What it is called, the file that is mutated, and how the mutated one is used, in an empty folder."""


def attacks(material: Material) -> Iterator[Attack]:
    """Each kind of file."""
    quick = ["--set", "training.epochs=4", "--set", "training.steps_per_epoch=1"]

    def alone(name: str, before: list[object], after: list[object]) -> Callable[[bytes, Path], list[object]]:
        def use(content: bytes, folder: Path) -> list[object]:
            (folder / name).write_bytes(content)
            return [*before, folder / name, *after, *([] if "info" in before else ["--out", folder / "out"])]

        return use

    yield "model, info", material.run / "best.safetensors", alone("m.safetensors", ["info"], [])
    yield "model", material.run / "best.safetensors", alone("m.safetensors", ["predict"], [material.image])
    for image in sorted((material.folder / "images").iterdir()):
        if image.is_file():
            yield image.name, image, alone(image.name, ["predict", material.run], [])
            continue
        for file in ("zarr.json", "0/zarr.json", ".zattrs", "0/.zarray", "0/c/0/0", "0/0/0", "0/0.0"):
            if (image / file).is_file():
                yield f"{image.name}/{file}", image / file, _in_zarr(material, image, file)
    for name, place in (("config.yaml", None), ("dataset.yaml", "dataset.yaml"), ("table.csv", "table.csv")):
        yield name, material.folder / name, _in_dataset(material, name, place, quick)
    for name in ("run.json", "history.csv", "state.safetensors", "config.yaml"):
        yield f"run/{name}", material.run / name, _in_run(material, name)
    keras = material.folder / "k.h5"
    yield "h5", keras, alone("k.h5", ["import-keras"], [])


def _in_zarr(material: Material, image: Path, file: str) -> Callable[[bytes, Path], list[object]]:
    def use(content: bytes, folder: Path) -> list[object]:
        shutil.copytree(image, folder / image.name)
        (folder / image.name / file).write_bytes(content)
        return ["predict", material.run, folder / image.name, "--out", folder / "out"]

    return use


def _in_dataset(
    material: Material, name: str, place: str | None, quick: list[str]
) -> Callable[[bytes, Path], list[object]]:
    def use(content: bytes, folder: Path) -> list[object]:
        if place is None:
            (folder / name).write_bytes(content)
            return ["train", material.data, "--out", folder / "out", "--config", folder / name, *quick, "--max-time", 0]
        shutil.copytree(material.data, folder / "data", copy_function=os.link)
        (folder / "data" / place).unlink(missing_ok=True)  # the link, not what it leads to
        (folder / "data" / place).write_bytes(content)
        return ["check", folder / "data", "--no-estimate"]

    return use


def _in_run(material: Material, name: str) -> Callable[[bytes, Path], list[object]]:
    def use(content: bytes, folder: Path) -> list[object]:
        shutil.copytree(material.run, folder / "run")
        (folder / "run" / name).write_bytes(content)
        if len(content) % 2:
            return ["report", folder / "run"]
        return ["train", material.data, "--out", folder / "run", "--resume", "--epochs", 4]

    return use


def inputs(material: Material, count: int, number: int = 0) -> Tally:
    """``count`` mutated files, evenly spread over the kinds; ``number`` tells one series of them from another."""
    tally = Tally(f"inputs {number}")
    kinds = list(attacks(material))
    for place, kind in enumerate(kinds):
        _attack(tally, kind, max(1, count // len(kinds)), 1000 * number + place, material.folder.parent)
    return tally


def _attack(tally: Tally, kind: Attack, count: int, number: int, room: Path) -> None:
    name, file, use = kind
    content = file.read_bytes()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_steps)
    def one(steps: list[tuple[str, float, object]]) -> None:
        if tally.over:
            return
        with TemporaryDirectory(dir=room) as temporary:
            folder = Path(temporary)
            outcome = forked(command(*use(mutate(content, steps), folder)))
            fault = outcome.fault
            if not fault and outcome.code and ((folder / "out").exists() or leftovers(folder)):
                fault = "half-written"
            tally.add(f"{name} {steps!r}"[:300], fault, outcome.text, outcome.code)

    one()
