"""What is attacked: a small dataset, a model, a run, images of every form."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import zarr
from PIL import Image
from safetensors.numpy import load_file

import rescrnet
import rescrnet.checking.check
import rescrnet.exchange.keras
import rescrnet.reporting.page
from rescrnet.datasets.synthetic import write_dataset
from tests.attack.commands import command, forked
from tests.exchange.test_keras import KerasFile, random_network
from tests.support.configs import TINY

OPTIONS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]


@dataclass(frozen=True)
class Material:
    """Files in ``folder``, which nobody changes."""

    folder: Path

    @property
    def data(self) -> Path:
        """A dataset of 3 + 2 images."""
        return self.folder / "data"

    @property
    def run(self) -> Path:
        """A finished run of it."""
        return self.folder / "run"

    @property
    def image(self) -> Path:
        """One of its images."""
        return next((self.data / "val_local/images/img").glob("*.png"))

    @classmethod
    def make(cls, folder: Path) -> Material:
        """Draw, train and save all of it."""
        made = cls(folder)
        write_dataset("em", made.data, train=3, val=2, size=(64, 72))
        outcome = forked(command("train", made.data, "--out", made.run, *OPTIONS), within=120)
        if outcome.code:
            raise RuntimeError(outcome.text)
        made._write_images()
        made._write_texts()
        keras = folder / "keras"
        keras.mkdir()
        KerasFile(random_network()).write(keras, full=True).rename(folder / "k.h5")
        y, x = np.ogrid[:900, :1000]
        np.save(folder / "large.npy", ((y // 9 + x // 7) % 251).astype(np.uint8))
        rescrnet.predict_files(rescrnet.load(made.run), made.image, folder / "warm")  # all is imported now
        return made

    def _write_images(self) -> None:
        grey = np.asarray(Image.open(self.image))
        images = self.folder / "images"
        images.mkdir()
        for suffix in ("png", "jpg", "bmp", "gif", "webp", "pgm"):
            Image.fromarray(grey).save(images / f"a.{suffix}")
        indexed = Image.fromarray(grey)
        indexed.putpalette([i // 3 for i in range(768)])
        indexed.save(images / "indexed.png")
        np.save(images / "a.npy", grey)
        np.save(images / "floats.npy", np.asfortranarray(grey / np.float64(255)))
        tifffile.imwrite(images / "strips.tif", grey, rowsperstrip=8)
        tifffile.imwrite(images / "deflate.tif", grey, compression="zlib", predictor=True)
        tifffile.imwrite(images / "tiles.tif", grey, tile=(16, 16), compression="lzw")
        tifffile.imwrite(images / "stack.ome.tif", np.stack([grey, grey]), ome=True, metadata={"axes": "ZYX"})
        tifffile.imwrite(images / "imagej.tif", grey, imagej=True, resolution=(2, 2), metadata={"unit": "um"})
        for version in (2, 3):
            group = zarr.open_group(images / f"v{version}.zarr", mode="w", zarr_format=version)
            group.create_array("0", data=grey, chunks=(16, 16))
            multiscales = [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}], "version": "0.4"}]
            labelled = {"multiscales": multiscales}
            group.attrs.update({"ome": {"version": "0.5", **labelled}} if version == 3 else labelled)

    def _write_texts(self) -> None:
        classes = [{"name": name, "value": value} for name, value in (("a", 0), ("b", 128), ("c", 255))]
        (self.folder / "dataset.yaml").write_text(
            f"classes: {json.dumps(classes)}\ngroups: {{g: ['01', '02']}}\npixel_size: [0.1, 0.1]\n", encoding="utf-8"
        )
        shutil.copy(self.run / "config.yaml", self.folder / "config.yaml")
        table = ["image,mask,split,group"]
        for split, part in (("train", "train_local"), ("val", "val_local")):
            for image in sorted((self.data / part / "images/img").glob("*.png")):
                mask = next((self.data / part).rglob(f"masks*/**/{image.stem}*.png"))
                table.append(f"{image.relative_to(self.data)},{mask.relative_to(self.data)},{split},g")
        (self.folder / "table.csv").write_text("\n".join(table), encoding="utf-8")


def fingerprint(path: Path) -> str:
    """What tells a result from another: tensors of models and states, the bytes of all else but of run.json."""
    hashed = hashlib.sha256()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_dir() or file.name in ("run.json", "history.csv", "report.html"):  # which hold times
            continue
        hashed.update(str(file.relative_to(path)).encode("utf-8", "surrogateescape"))
        if file.suffix == ".safetensors":
            for name, array in sorted(load_file(file).items()):
                hashed.update(name.encode() + array.tobytes())
        else:
            hashed.update(file.read_bytes())
    return hashed.hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Hidden files and folders of ours that a command should not leave."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if path.suffix in (".partial", ".lock"))
