"""Synthetic micrographs with exact masks: electron microscopy of cells, fluorescence of muscle fibres.

Lengths are written for an image whose shorter side is 262 pixels, that of the published electron micrographs,
and scaled to the image that is drawn. A *depth* is a signed distance in pixels to an outline, positive inside.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_cdt, gaussian_filter, zoom
from scipy.spatial import cKDTree

from rescrnet.atomic import write_folder
from rescrnet.errors import UsageError

SampleKind = Literal["em", "fm"]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Bytes = NDArray[np.uint8]

CLASS_NAMES: dict[SampleKind, tuple[str, ...]] = {
    "em": ("cytoplasm", "nucleus", "mitochondrion"),
    "fm": ("fibre", "boundary", "gap"),
}
_SMALLEST_SIDE, _REFERENCE_SIDE, _REFERENCE_AREA = 64, 262, 262 * 400

_MASK_VALUES: dict[SampleKind, Bytes] = {"em": np.array([0, 128, 255], np.uint8), "fm": 255 * np.eye(3, dtype=np.uint8)}
_YAML_CLASSES: dict[SampleKind, tuple[tuple[str, str], ...]] = {  # mask value and display colour of each class
    "em": (("0", "#4c8c4a"), ("128", "#c0392b"), ("255", "#2e6fb7")),
    "fm": (('"#ff0000"', "#d55e00"), ('"#00ff00"', "#f0e442"), ('"#0000ff"', "#0072b2")),
}


def draw(kind: SampleKind, height: int, width: int, seed: int) -> tuple[Bytes, Bytes]:
    """Draw one synthetic micrograph and its exact mask; the same arguments give the same arrays.

    Returns the image, uint8 in [0, 255], of shape (height, width) in YX order for ``em`` and (height, width, 3)
    in YXC order (RGB) for ``fm``; and the mask, uint8 of shape (height, width) in YX order, whose values index
    ``CLASS_NAMES[kind]``. Every class occurs in every mask.

    Raises ``UsageError`` for an unknown kind, a side below 64 pixels or a negative seed.
    """
    _check(kind, height, width, seed)
    rows, columns = np.indices((height, width), dtype=np.float64)
    # Objects shrink less than the image does, so that small images keep their fine structure.
    scale = (min(height, width) / _REFERENCE_SIDE) ** 0.85
    field = _Field(np.random.default_rng(seed), rows, columns, scale)
    return _draw_em(field) if kind == "em" else _draw_fm(field)


def write_dataset(
    kind: SampleKind, folder: Path, train: int = 8, val: int = 4, size: tuple[int, int] = (262, 400), seed: int = 0
) -> None:
    """Write a folder of training and validation images of ``size`` (height, width), masks and ``dataset.yaml``.

    The layout is ``{train,val}_local/images/img/NN.png`` and ``{train,val}_local/masks/msk/NN.png``; the numbers
    run on from train to val. Masks hold the pixel values that ``dataset.yaml`` names: grey for ``em``, RGB for
    ``fm``. The folder appears whole or not at all.

    Raises ``UsageError`` for what :func:`draw` refuses or a count below 1, and ``OutputError`` if ``folder``
    already holds files or cannot be written.
    """
    _check(kind, *size, seed)
    if train < 1 or val < 1:
        raise UsageError("samples", f"{train} train and {val} val images asked for", "ask for at least 1 of each")
    write_folder(folder, lambda partial: _write_files(kind, partial, (train, val), size, seed))


def _check(kind: str, height: int, width: int, seed: int) -> None:
    if kind not in CLASS_NAMES:
        raise UsageError(f"sample kind {kind!r}", "is unknown", f"choose one of: {', '.join(CLASS_NAMES)}")
    if min(height, width) < _SMALLEST_SIDE:
        raise UsageError(
            f"sample size {height} × {width}", "is too small", f"choose at least {_SMALLEST_SIDE} pixels a side"
        )
    if seed < 0:
        raise UsageError(f"seed {seed}", "is negative", "choose 0 or more")


def _write_files(kind: SampleKind, folder: Path, counts: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    seeds = np.random.SeedSequence(seed).generate_state(sum(counts))  # neighbouring seeds share no image
    splits = ["train"] * counts[0] + ["val"] * counts[1]
    for number, (split, image_seed) in enumerate(zip(splits, seeds, strict=True)):
        image, mask = draw(kind, *size, int(image_seed))
        for pixels, place in ((image, "images/img"), (_MASK_VALUES[kind][mask], "masks/msk")):
            path = folder / f"{split}_local" / place / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    classes = zip(CLASS_NAMES[kind], _YAML_CLASSES[kind], strict=True)
    lines = [f'  - {{name: {name}, value: {value}, color: "{colour}"}}\n' for name, (value, colour) in classes]
    (folder / "dataset.yaml").write_text("classes:\n" + "".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class _Field:
    """The field of view that is drawn: its random numbers, pixel coordinates and scale."""

    random: np.random.Generator
    rows: Floats
    columns: Floats
    scale: float

    def noise(self, grain: float) -> Floats:
        """Smooth noise of zero mean and unit deviation whose grain is never finer than a pixel."""
        sigma = max(grain * self.scale, 0.5)
        step = max(1, int(sigma / 3))  # coarse noise is filtered on a coarse grid, for speed
        coarse = -(-np.array(self.rows.shape) // step) + 1
        smooth: Floats = gaussian_filter(self.random.standard_normal(coarse), sigma / step, truncate=3)
        fine: Floats = zoom(smooth, self.rows.shape / coarse, order=2) if step > 1 else smooth[:-1, :-1]
        return (fine - float(smooth.mean())) / float(smooth.std())

    def dots(self, density: float, radius: float) -> Floats:
        """Blurred dots of peak about 1 at random places; ``density`` is a count per reference pixel."""
        sigma = max(radius * self.scale, 0.5)
        places = np.where(self.random.random(self.rows.shape) < density / self.scale**2, 2 * np.pi * sigma**2, 0)
        return np.asarray(gaussian_filter(places, sigma))

    def turned(self, centre: tuple[float, float], angle: float) -> tuple[Floats, Floats]:
        """Coordinates along and across an axis through ``centre`` (row, column)."""
        down, right = self.rows - centre[0], self.columns - centre[1]
        return right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)

    def line(self, distance: Floats, width: float = 1.3) -> Floats:
        """Profile of a membrane: 1 on the line, falling to 0 over ``width``."""
        return np.exp(-((distance / max(width * self.scale, 0.7)) ** 2))


class _Body(NamedTuple):
    """An elongated, bent body: the part of the field about it, its depth, and coordinates along and across it."""

    window: tuple[slice, slice]
    field: _Field
    depth: Floats
    along: Floats
    across: Floats


def _draw_em(field: _Field) -> tuple[Bytes, Bytes]:
    random, scale = field.random, field.scale
    nucleus, cell = _cell(field)
    grey = _cytoplasm(field, cell)
    _paint_nucleus(field, grey, nucleus)
    mask = (nucleus > 0).astype(np.uint8)
    free = (nucleus < -6 * scale) & (np.abs(cell) > 8 * scale)

    matrix = random.uniform(0.42, 0.56)
    crowding = mask.size / (_REFERENCE_AREA * scale**2)
    for _ in range(max(4, round(random.integers(6, 11) * crowding))):
        if body := _place(field, free, radius=random.uniform(11, 17) * scale, elongation=random.uniform(0.5, 4)):
            _paint_mitochondrion(body, grey[body.window], matrix)
            mask[body.window][body.depth > 0] = 2
    for _ in range(round(random.integers(10, 22) * crowding)):
        if body := _place(field, free, radius=random.uniform(4, 12) * scale, elongation=random.choice([0, 0.3, 1.5])):
            _paint_vesicle(body, grey[body.window], matrix)
    return _micrograph(field, grey), mask


def _cell(field: _Field) -> tuple[Floats, Floats]:
    """Depths inside a nucleus, which the image may cut, and inside its cell; a neighbouring cell lies beyond."""
    random, scale, (height, width) = field.random, field.scale, field.rows.shape
    centre = (height * random.uniform(0.2, 0.8), width * random.uniform(0.15, 0.85))
    along, across = field.turned(centre, random.uniform(0, np.pi))
    long, short = random.uniform(72, 100) * scale, random.uniform(54, 70) * scale
    nucleus = (1 - np.hypot(along / long, across / short)) * np.sqrt(long * short) + 4 * scale * field.noise(22)
    outward, _ = field.turned(centre, random.uniform(0, 2 * np.pi))
    return nucleus, random.uniform(135, 200) * scale - outward + 9 * scale * field.noise(30)


def _cytoplasm(field: _Field, cell: Floats) -> Floats:
    """Cytoplasm of two cells: sheets of rough reticulum, ribosomes, patches of glycogen, two plasma membranes."""
    random, scale = field.random, field.scale
    grey = 0.62 + 0.035 * field.noise(14) + 0.035 * field.noise(2) + random.uniform(-0.08, 0.08) * (cell < 0)
    sheets, pitch = field.noise(26), random.uniform(0.35, 0.5)
    to_sheet = np.abs((sheets / pitch) % 1 - 0.5) * pitch / (np.hypot(*np.gradient(sheets)) + 1e-3)
    rough = np.clip(0.2 + 1.5 * field.noise(30), 0, 1) * np.clip(0.8 + 0.6 * field.noise(6), 0, 1)
    grey -= 0.27 * rough * field.line(to_sheet, 1.6)
    grey -= 0.17 * field.dots(0.03, 0.9).clip(0, 1.5) * np.clip(0.6 + 0.5 * field.noise(18), 0, 1)
    grey -= 0.4 * field.dots(0.03, 1.5).clip(0, 1) * np.clip(field.noise(25) - 0.8, 0, 1)
    membranes = field.line(cell - 5 * scale, 1.6) + field.line(cell + 5 * scale, 1.6)
    return grey + 0.2 * field.line(cell, 3) - 0.45 * membranes


def _paint_nucleus(field: _Field, grey: Floats, depth: Floats) -> None:
    """Paint chromatin, dense in clumps and along the rim, a nucleolus and an envelope of two membranes."""
    scale, random = field.scale, field.random
    rim = random.uniform(1.5, 3) * np.exp(-depth.clip(0) / (9 * scale))
    heterochromatin = np.clip(2.5 * (field.noise(9) + 0.5 * field.noise(4) + rim - 0.6), 0, 1)
    inside = random.uniform(0.64, 0.74) - random.uniform(0.24, 0.34) * heterochromatin + 0.05 * field.noise(2)
    deep = np.unravel_index(np.argmax(depth + 12 * scale * field.noise(12)), depth.shape)
    nucleolus = random.uniform(13, 20) * scale - np.hypot(field.rows - deep[0], field.columns - deep[1])
    nucleolus = np.clip((nucleolus + 2.5 * scale * field.noise(6)) / (3 * scale), 0, 1)
    inside += nucleolus * (0.3 + 0.05 * field.noise(3) - inside)
    inside += 0.25 * field.line(depth - 3.6 * scale, 1.8)
    inside -= 0.4 * field.line(depth - 1.2 * scale) + 0.35 * field.line(depth - 6.2 * scale)
    np.copyto(grey, inside, where=depth > 0)


def _place(field: _Field, free: NDArray[np.bool_], radius: float, elongation: float) -> _Body | None:
    """Fit a body, shortened if it must be, into the free area and take that area; None if there is no room."""
    random = field.random
    places = np.argwhere(distance_transform_cdt(free) > 1.5 * radius)  # where at least a round body fits
    if not len(places):
        return None
    row, column = (int(index) for index in random.choice(places))
    reach = int(2 * radius * (elongation + 1))
    window = np.s_[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
    part = replace(field, rows=field.rows[window], columns=field.columns[window])
    angle, bend = random.uniform(0, np.pi), random.uniform(-0.06, 0.06)
    warp = radius * np.clip(0.12 * part.noise(10), -0.36, 0.36)
    for half_length in (radius * elongation, radius * elongation / 2, 0):
        along, across = part.turned((row, column), angle)
        across = across - bend * along**2 / radius
        depth = radius + warp - np.hypot((np.abs(along) - half_length).clip(0), across)
        if free[window][depth > 0].all():
            break
    free[window] &= depth < -0.3 * radius
    return _Body(window, part, depth, along, across)


def _paint_mitochondrion(body: _Body, grey: Floats, matrix: float) -> None:
    """Paint two membranes and a granular matrix that cristae cross, some of them part of the way."""
    field, scale, random = body.field, body.field.scale, body.field.random
    inside = matrix + random.normal(0, 0.02) + 0.03 * field.noise(2) + 0.03 * field.noise(6)
    pitch = max(random.uniform(6.5, 9.5) * scale, 4.0)
    position = (body.along + random.uniform(-0.5, 0.5) * body.across + 2.2 * scale * field.noise(7)) / pitch
    to_crista = np.abs(position % 1 - 0.5) * pitch
    side = np.where(position % 2 < 1, 1, -1)  # cristae grow from either side in turn
    reach = np.clip((body.across * side / scale + random.uniform(2, 9) + 3 * field.noise(8)) / 3, 0, 1)
    cristae = reach * np.clip((body.depth / scale - 3) / 2, 0, 1)
    inside += cristae * (0.16 * field.line(to_crista, 1.1) - 0.32 * field.line(to_crista - 1.7 * scale, 1.1))
    inside += 0.2 * field.line(body.depth - 2.9 * scale, 1.2) - 0.3 * field.dots(0.004, 1.3).clip(0, 1)
    inside -= 0.38 * field.line(body.depth - 1.0 * scale) + 0.28 * field.line(body.depth - 4.8 * scale, 1.0)
    np.copyto(grey, inside, where=body.depth > 0)


def _paint_vesicle(body: _Body, grey: Floats, matrix: float) -> None:
    """Paint a vesicle, lysosome or lipid droplet: one membrane, no cristae, a mitochondrion's greys."""
    field, random = body.field, body.field.random
    inside = random.choice([matrix, matrix - 0.14, 0.74]) + 0.03 * field.noise(2)
    inside += random.uniform(0, 0.08) * field.noise(4) - 0.3 * field.line(body.depth - field.scale)
    np.copyto(grey, inside, where=body.depth > 0)


def _micrograph(field: _Field, grey: Floats) -> Bytes:
    """Expose the specimen: focus, uneven staining and illumination, contrast, noise."""
    random, (height, width) = field.random, grey.shape
    along, _ = field.turned((height / 2, width / 2), random.uniform(0, 2 * np.pi))
    grey = gaussian_filter(grey, random.uniform(0.5, 0.9) * min(1, field.scale**0.5))
    grey = grey + 0.03 * field.noise(60) + random.uniform(0, 0.1) * along / max(height, width)
    grey = random.uniform(0.75, 1.1) * (grey - 0.58) + random.uniform(0.48, 0.62)
    grey = grey + random.uniform(0.04, 0.07) * gaussian_filter(random.standard_normal(grey.shape), 0.4)
    return (grey.clip(0, 1) * 255).round().astype(np.uint8)


def _draw_fm(field: _Field) -> tuple[Bytes, Bytes]:
    centres, nearest, to_sides = _packing(field)
    cleft = _cleft(field, centres, nearest, to_sides)
    filled = _filled(field, centres)[nearest]
    depth = _to_outline(field, to_sides, filled[..., :1] | filled[..., 1:])
    depth = np.where(filled[..., 0], np.minimum(depth, -cleft), depth)
    mask = np.where(filled[..., 0], 0, 2).astype(np.uint8)
    mask[depth < max(2.2 * field.scale, 0.9)] = 1
    mask[cleft > 0] = 2
    return _fluorograph(field, _light(field, mask, nearest[..., 0], depth)), mask


def _packing(field: _Field) -> tuple[Floats, Indices, Floats]:
    """Pack fibres with wavy sides on a shaken hexagonal lattice that is wider than the field.

    Returns the fibres' centres (row, column), the numbers of the five nearest to each pixel, nearest first,
    and the distances from each pixel to the sides that the first of the five shares with the others.
    """
    pitch = field.random.uniform(44, 58) * field.scale
    height, width = field.rows.shape
    rows, columns = np.mgrid[-2 * pitch : height + 2 * pitch : 0.87 * pitch, -2 * pitch : width + 2 * pitch : pitch]
    columns[::2] += pitch / 2
    centres = np.stack([rows.ravel(), columns.ravel()], axis=-1)
    centres += field.random.normal(0, 0.17 * pitch, centres.shape)
    points = np.stack([axis + 3 * field.scale * field.noise(9) for axis in (field.rows, field.columns)], axis=-1)
    nearest = np.asarray(cKDTree(centres).query(points, k=5)[1], dtype=np.intp)
    squares = ((centres[nearest] - points[..., None, :]) ** 2).sum(axis=-1)
    between = np.linalg.norm(centres[nearest[..., 1:]] - centres[nearest[..., :1]], axis=-1)
    return centres, nearest, (squares[..., 1:] - squares[..., :1]) / (2 * between)


def _to_outline(field: _Field, to_sides: Floats, counted: NDArray[np.bool_]) -> Floats:
    """Distance to the nearest of the sides that count, smaller in the corners, which rounds them."""
    rounding = 2.8 * field.scale
    return np.asarray(-rounding * np.logaddexp.reduce(np.where(counted, -to_sides / rounding, -np.inf), axis=-1))


def _cleft(field: _Field, centres: Floats, nearest: Indices, to_sides: Floats) -> Floats:
    """Depth inside the cleft between two bundles of fibres, of uneven width and closed in places."""
    shape = np.array(field.rows.shape)
    place, angle = shape * field.random.uniform(0.15, 0.85, 2), field.random.uniform(0, np.pi)
    bundle = (centres - place) @ (np.cos(angle), np.sin(angle)) > 0
    opening = field.random.uniform(1, 7) + 4 * field.noise(30)
    return opening * field.scale - _to_outline(field, to_sides, bundle[nearest[..., 1:]] != bundle[nearest[..., :1]])


def _filled(field: _Field, centres: Floats) -> NDArray[np.bool_]:
    """Which places in the packing hold a fibre: all but a few, which lie well inside the field."""
    shape = np.array(field.rows.shape)
    inside = np.flatnonzero(((centres > 0.12 * shape) & (centres < 0.88 * shape)).all(axis=-1))
    empty = field.random.choice(inside, max(1, round(len(inside) * field.random.uniform(0.05, 0.2))), replace=False)
    return ~np.isin(np.arange(len(centres)), empty)


def _light(field: _Field, mask: Bytes, fibre: Indices, depth: Floats) -> Floats:
    """Light of each class: fibres by type and brightness, uneven laminin with nuclei in it, gaps dark or hazy."""
    random, count = field.random, int(fibre.max()) + 1
    types = np.array([(0.62, 0.13, 0.08), (0.1, 0.55, 0.14), (0.42, 0.36, 0.08), (0.1, 0.1, 0.06)])
    type_of = random.choice(len(types), count, p=random.dirichlet((3, 3, 1, 1.5)))
    brightness = np.exp(random.normal(-0.1, 0.3, count))[fibre]
    mottle = 1 + 0.13 * field.noise(1.2) + 0.12 * field.noise(5) + 0.12 * field.noise(25)
    fibres = types[type_of[fibre]] * (brightness * mottle.clip(0.2))[..., None]

    stain = random.uniform(0.45, 0.7) + 0.35 * field.noise(9) + 0.15 * field.noise(2)
    laminin = stain.clip(0, 1.2) * (0.35 + 0.65 * field.line(depth - 0.6 * field.scale, 2))
    hue = random.choice([(0.15, 0.35, 0.85), (0.15, 0.75, 0.25), (0.75, 0.75, 0.7), (0.7, 0.15, 0.15)])
    boundaries = 0.05 + laminin[..., None] * hue + field.dots(0.0012, 2.2).clip(0, 1)[..., None] * (0.1, 0.25, 0.9)

    haze = np.clip(0.3 + 0.45 * field.noise(22), 0, 0.9) * (1 + 0.1 * field.noise(2) + 0.12 * field.noise(6))
    gaps = 0.04 + haze[..., None] * random.choice([(0.3, 0.5, 0.15), (0.5, 0.3, 0.12), (0.25, 0.4, 0.5)])
    return np.select([(mask == index)[..., None] for index in range(3)], [fibres, boundaries, gaps])


def _fluorograph(field: _Field, colours: Floats) -> Bytes:
    """Expose the section: focus, light from other depths, uneven illumination, shot and camera noise."""
    random, focus, glow = field.random, max(0.9 * field.scale, 0.4), max(7 * field.scale, 1)
    light = gaussian_filter(colours, (focus, focus, 0)) + 0.2 * gaussian_filter(colours, (glow, glow, 0), truncate=3)
    light = light * (random.uniform(0.8, 1.15) + 0.12 * field.noise(70))[..., None]
    photons = random.uniform(90, 220)
    light = random.poisson(light.clip(0) * photons) / photons + random.normal(0, 0.015, light.shape)
    return np.asarray((light.clip(0, 1) * 255).round().astype(np.uint8))
