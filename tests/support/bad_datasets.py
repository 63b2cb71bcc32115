"""For every check of a dataset, ways to break a good one so that it must find it."""

import os

import numpy as np
from PIL import Image

from tests.support.folders import noise, save, stripes
from tests.support.micrographs import LEVELS, SIZE, good, image_of, mask_of
from tests.support.outlines import labelme, polygon

BAD = {}


def bad(name, *files, says=""):
    """Enter a way to break a good dataset; the check must name these files and say this."""

    def enter(damage):
        BAD.setdefault(name, []).append((damage, files, says))
        return damage

    return enter


def image(folder, stem="c"):
    return folder / f"images/{stem}.png"


def mask(folder, stem="c"):
    return folder / f"masks/{stem}.png"


def read(path):
    return np.asarray(Image.open(path))


# Files


@bad("missing-folder", "masks", says="no such folder")
def _(data):
    (data / "masks").rename(data / "drawings")


@bad("ambiguous-folder", "labels", "masks", says="either could hold the masks")
def _(data):
    save(data / "labels/a.png", noise())


@bad("no-images", "images", says="holds no images")
def _(data):
    for file in (data / "images").iterdir():
        file.unlink()


@bad("form-not-read", "masks/c.czi", says="Zeiss CZI")
def _(data):
    mask(data).unlink()
    (data / "masks/c.czi").write_bytes(b"ZISRAWFILE" + bytes(99))


@bad("form-not-read", "images/c.json", says="annotations of LabelMe")
def _(data):
    mask(data).unlink()
    (data / "images/c.json").write_text('{"version": "5.0", "shapes": [], "imagePath": "c.png"}', encoding="utf-8")


@bad("image-without-mask", "images/c.png", "images/d.png", says="has no mask")
def _(data):
    mask(data).unlink()
    mask(data, "d").unlink()


@bad("mask-without-image", "masks/c.png", says="has no image")
def _(data):
    image(data).unlink()


@bad("ambiguous-pair", "masks/c.png", "masks/c_mask.png", says="either could be meant")
def _(data):
    save(data / "masks/c_mask.png", stripes(0, 255))


@bad("mixed-masks", "masks", says="holds both masks and folders of masks")
def _(data):
    save(data / "masks/cell/c.png", stripes(0, 255))


@bad("same-name", "images/a.png", "images/a.tif", says="'a' is the name of two images")
def _(data):
    save(data / "images/a.tif", image_of(mask_of(50), 50))
    lines = ["image,mask,split", *(f"images/{s}.png,masks/{s}.png,train" for s in "abcd")]
    (data / "table.csv").write_text("\n".join([*lines, "images/a.tif,masks/a.png,val"]))


@bad("missing-channel", "images/c_c1.png", says="channel 2 of 'c' is missing")
def _(data):
    for stem in "abcdefgh":
        for channel in "12" if stem != "c" else "1":
            save(data / f"images/{stem}_c{channel}.png", read(image(data, stem)))
        image(data, stem).unlink()


@bad("axes-unknown", "images/c.tif", says="does not say what its axes are")
def _(data):
    save(data / "images/c.tif", np.stack([read(image(data))] * 3), photometric="minisblack")
    image(data).unlink()


@bad("pages-differ", "masks/c.tif", says="has 2 pages but its image")
def _(data):
    image(data).unlink()
    mask(data).unlink()
    for folder, pages in (("images", 3), ("masks", 2)):
        save(data / folder / "c.tif", noise((pages, *SIZE)), imagej=True, metadata={"axes": "ZYX"})


@bad("table-row", "table.csv", says="there is no file 'images/z.png'")
def _(data):
    lines = ["image,mask", *(f"images/{stem}.png,masks/{stem}.png" for stem in "abcdz")]
    (data / "table.csv").write_text("\n".join(lines))


@bad("description", "dataset.yaml", says="is not valid YAML")
def _(data):
    (data / "dataset.yaml").write_text("classes: [")


@bad("description", "dataset.yaml", says="key 'names' is unknown")
def _(data):
    (data / "dataset.yaml").write_text("names: [a, b]")


@bad("unreadable-image", "images/c.png", says="cannot be read as an image")
def _(data):
    os.truncate(image(data), 60)


@bad("unreadable-mask", "masks/c.png", says="cannot be read as an image")
def _(data):
    mask(data).write_text("no mask")


@bad("unreadable-mask", "masks/c.tif", says="the mask holds fractions")
def _(data):
    mask(data).unlink()
    save(data / "masks/c.tif", np.random.default_rng(0).random(SIZE).astype(np.float32))


@bad("wrong-suffix", "images/c.png", says=r"the content is JPEG, the name ends in .png")
def _(data):
    Image.open(image(data)).save(data / "c.jpg", quality=95)
    (data / "c.jpg").rename(image(data))


@bad("odd-name", "c" * 210 + ".png", says="214 bytes long")
def _(data):
    image(data).rename(data / "images" / ("c" * 210 + ".png"))
    mask(data).rename(data / "masks" / ("c" * 210 + ".png"))


@bad("odd-name", r"c\xff.png", says="cannot be written as text")
def _(data):
    for folder in ("images", "masks"):
        (data / folder / "c.png").rename(data / folder / os.fsdecode(b"c\xff.png"))


@bad("other-files", "images/Thumbs.db", says="1 file among the images is no image")
def _(data):
    (data / "images/Thumbs.db").touch()


# Images


@bad("not-finite", "images/c.tif", says="2 values are NaN or infinite")
def _(data):
    pixels = read(image(data)).astype(np.float32)
    pixels[0, :2] = np.nan, np.inf
    image(data).unlink()
    save(data / "images/c.tif", pixels)


@bad("constant-image", "images/c.png", says="every pixel has the same value, 7")
def _(data):
    save(image(data), np.full(SIZE, 7, np.uint8))


@bad("channels-differ", "images/c.png", says=r"images differ: grey \(7\), RGB \(1\)")
def _(data):
    save(image(data), noise((*SIZE, 3)))


@bad("types-differ", "images/c.png", says=r"types of values differ: uint8 \(7\), uint16 \(1\)")
def _(data):
    save(image(data), image_of(mask_of(2), 2, np.uint16))


@bad("pixel-sizes-differ", "images/c.tif", says=r"pixel sizes differ: unknown \(6\), 0\.5 µm \(1\), 0\.25 µm \(1\)")
def _(data):
    for stem, resolution in (("b", 20_000), ("c", 40_000)):
        how = {"resolution": (resolution, resolution), "resolutionunit": "CENTIMETER"}
        save(data / f"images/{stem}.tif", read(image(data, stem)), **how)
        image(data, stem).unlink()


@bad("sizes-differ", "images/c.png", says=r"sizes differ: 40×48 \(7\), 44×52 \(1\)")
def _(data):
    save(image(data), image_of(mask_of(2, (44, 52)), 2))
    save(mask(data), LEVELS[mask_of(2, (44, 52))])


@bad("alpha-left-out", "images/c.png", says="an alpha channel is left out")
def _(data):
    pixels = read(image(data))
    save(image(data), np.stack([pixels, np.full_like(pixels, 255)], axis=-1))


@bad("alpha-is-a-channel", "images/c.png", says="its alpha channel is left out, but holds an image")
def _(data):
    save(image(data), np.stack([read(image(data))] * 4, axis=-1))


@bad("no-data", "images/c.tif", says="pixels without data, marked by a value such as -9999")
def _(data):
    for stem in "abcdefgh":
        pixels = read(image(data, stem)).astype(np.float32) / 255
        if stem == "c":
            pixels[:3] = -9999
        image(data, stem).unlink()
        save(data / f"images/{stem}.tif", pixels)


@bad("mixed-polarity", "images/c.tif", says="is stored with white as zero, other images with black as zero")
def _(data):
    save(data / "images/c.tif", 255 - read(image(data)), photometric="miniswhite")
    image(data).unlink()


@bad("mixed-polarity", "masks/c.tif", says="is stored with white as zero, other masks with black as zero")
def _(data):
    save(data / "masks/c.tif", 255 - read(mask(data)), photometric="miniswhite")
    mask(data).unlink()


@bad("true-is-black", "masks/a.tif", says="was written by tifffile as one bit, with True as black")
def _(data):
    for stem in "abcdefgh":
        save(data / f"masks/{stem}.tif", read(mask(data, stem)) > 0)
        mask(data, stem).unlink()


@bad("white-is-zero", "images/a.tif", says="is stored with white as zero, and read as viewers show it")
def _(data):
    for stem in "abcdefgh":
        save(data / f"images/{stem}.tif", 255 - read(image(data, stem)), photometric="miniswhite")
        image(data, stem).unlink()


@bad("grey-as-rgb", "images/c.png", says="is stored as RGB, but is grey")
def _(data):
    save(image(data), np.stack([read(image(data))] * 3, axis=-1))


@bad("jpeg-image", "images/c.jpg", says="is compressed by JPEG")
def _(data):
    Image.open(image(data)).save(data / "images/c.jpg")
    image(data).unlink()


@bad("narrow-range", "images/c.png", says="holds 12-bit values in 16 bits")
def _(data):
    save(image(data), (read(image(data)).astype(np.uint16) * 12))


@bad("few-grey-values", "images/c.png", says=r"holds only \d+ different grey values")
def _(data):
    save(image(data), read(image(data)) // 25)


@bad("saturated", "images/c.png", says=r"\d+% of its pixels are at the top of the range")
def _(data):
    pixels = read(image(data)).copy()
    pixels[mask_of(2) == 2] = 255
    save(image(data), pixels)


@bad("float-range", "images/a.tif", says="bright pixels are at .* here, at .* in another image")
def _(data):
    for stem, scale in zip("abcdefgh", (1, *[1 / 255] * 7), strict=True):
        save(data / f"images/{stem}.tif", read(image(data, stem)).astype(np.float32) * np.float32(scale))
        image(data, stem).unlink()


@bad("tiny-image", "images/c.png", says="a side of fewer than 32 pixels")
def _(data):
    save(image(data), image_of(mask_of(2, (20, 48)), 2))
    save(mask(data), LEVELS[mask_of(2, (20, 48))])


@bad("only-image", "images/a.png", says="is the only image")
def _(data):
    for file in (*data.glob("images/*"), *data.glob("masks/*")):
        if file.stem != "a":
            file.unlink()


@bad("few-images", "", says="3 images train")
def _(data):
    for stem in "efgh":
        image(data, stem).unlink()
        mask(data, stem).unlink()


# Masks


@bad("mask-size-swapped", "masks/c.png", says="is 48×40, its image 40×48: it was rotated or transposed")
def _(data):
    save(mask(data), read(mask(data)).T.copy())


@bad("mask-resized", "masks/c.png", says="is 20×24, its image 40×48: it was scaled")
def _(data):
    save(mask(data), read(mask(data))[::2, ::2].copy())


@bad("mask-size-differs", "masks/c.png", says="is 40×47, its image 40×48")
def _(data):
    save(mask(data), read(mask(data))[:, 1:].copy())


@bad("jpeg-mask", "masks/c.jpg", says="was saved as JPEG")
def _(data):
    Image.open(mask(data)).save(data / "masks/c.jpg", quality=95)
    mask(data).unlink()


@bad("shapes-without-area", "masks/c.json", says="holds 1 point beside outlines")
def _(data):
    corners = [[4, 4], [20, 4], [20, 30], [4, 30]]
    for number, stem in enumerate("abcdefgh"):
        mask(data, stem).unlink()
        shapes = [polygon("cell", [[x + number, y] for x, y in corners])]
        labelme(
            data / f"masks/{stem}.json", *shapes, *([polygon("cell", [[1, 1]], "point")] * (stem == "c")), size=SIZE
        )


@bad("soft-edges", "masks/c.png", says="has smooth edges")
def _(data):
    rows, columns = np.indices(SIZE)
    for number, stem in enumerate("abcdefgh"):
        coverage = 9.3 + number - np.hypot(rows - 20, columns - 24)
        coverage = coverage.clip(0, 1) if stem == "c" else coverage > 0.5
        save(mask(data, stem), (255 * coverage).astype(np.uint8))


@bad("looks-black", "masks/a.png", "masks/h.png", says="looks black in most viewers")
def _(data):
    for seed, stem in enumerate("abcdefgh"):
        save(mask(data, stem), mask_of(seed))


@bad("palette-mask", "masks/a.png", says="has a palette")
def _(data):
    for seed, stem in enumerate("abcdefgh"):
        indexed = Image.fromarray(mask_of(seed))
        indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        indexed.save(mask(data, stem))


@bad("mixed-values", "masks/c.png", says="holds 1, 2 beside 0, other masks hold 128, 255")
def _(data):
    save(mask(data), mask_of(2))


@bad("mixed-colours", "masks/c.png", says="is in colour, other masks are not")
def _(data):
    save(mask(data), (255 * np.eye(3, dtype=np.uint8))[mask_of(2)])


@bad("many-values", "", says=r"the masks hold \d+ grey values")
def _(data):
    save(mask(data), noise(SIZE))


@bad("many-values", "", says="the masks hold colours that are not one channel a class")
def _(data):
    for seed, stem in enumerate("abcdefgh"):
        save(mask(data, stem), np.array([(0, 0, 0), (200, 30, 90), (9, 99, 199)], np.uint8)[mask_of(seed)])


@bad("many-values", "", says="the masks look like numbered objects")
def _(data):
    for seed, stem in enumerate("abcdefgh"):
        objects = np.zeros(SIZE, np.uint8)
        for number in range(6):
            objects[2 + 6 * number : 6 + 6 * number, 4 : 30 + seed] = 10 * seed + number + 1
        save(mask(data, stem), objects)


@bad("stray-values", "", says=r"stray values were given to the nearest class: 120 \(1 pixels\)")
def _(data):
    for folder in ("images", "masks"):
        for file in (data / folder).iterdir():
            file.unlink()
    good(data, size=(120, 160))
    pixels = read(mask(data)).copy()
    pixels[0, 0] = 120
    save(mask(data), pixels)


@bad("mask-is-image", "masks/c.png", says="is a copy of its image")
def _(data):
    save(mask(data), read(image(data)))


@bad("same-mask-twice", "masks/c.png", "masks/d.png", says="is the same mask, though the images differ")
def _(data):
    save(mask(data), read(mask(data, "d")))


@bad("empty-layer", "masks/vesicle/a.png", says="nothing is drawn in any mask of 'vesicle'")
def _(data):
    for seed, stem in enumerate("abcdefgh"):
        mask(data, stem).unlink()
        save(data / f"masks/cell/{stem}.png", np.where(mask_of(seed) > 0, 255, 0).astype(np.uint8))
        save(data / f"masks/vesicle/{stem}.png", np.zeros(SIZE, np.uint8))


# What the masks mean


@bad("one-class", "masks/c.png", says="holds one class only, 'grey 128'")
def _(data):
    save(mask(data), np.full(SIZE, 128, np.uint8))


@bad("nothing-labelled", "masks/c.png", says="no pixel is labelled")
def _(data):
    (data / "dataset.yaml").write_text("ignore: 77")
    save(mask(data), np.full(SIZE, 77, np.uint8))


@bad("mostly-unlabelled", "masks/c.png", says="more than half of its pixels are unlabelled")
def _(data):
    (data / "dataset.yaml").write_text("ignore: 77")
    pixels = read(mask(data)).copy()
    pixels[:30] = 77
    save(mask(data), pixels)


@bad("class-nowhere", "", says="class 'vesicle' is in no mask")
def _(data):
    classes = "[{name: a, value: 0}, {name: b, value: 128}, {name: c, value: 255}, {name: vesicle, value: 9}]"
    (data / "dataset.yaml").write_text(f"classes: {classes}")


@bad("class-only-in-validation", "masks/h.png", says="class 'grey 64' is in validation masks but in no training")
def _(data):
    pixels = read(mask(data, "h")).copy()
    pixels[:10, :10] = 64
    save(mask(data, "h"), pixels)


@bad("class-not-in-validation", "masks/c.png", says="class 'grey 64' is in training masks but in no validation")
@bad("class-absent", "masks/a.png", says="shows no 'grey 64', which 1 others do")
def _(data):
    pixels = read(mask(data)).copy()
    pixels[:10, :10] = 64
    save(mask(data), pixels)


@bad("too-few-classes", "", says="the masks show one class, 'grey 255'")
def _(data):
    for stem in "abcdefgh":
        save(mask(data, stem), np.full(read(mask(data, stem)).shape, 255, np.uint8))


@bad("part-unlabelled", "masks/h.png", says="no pixel is labelled, nor in another validation mask")
def _(data):
    (data / "dataset.yaml").write_text("validation: [h]\nignore: 255")
    save(mask(data, "h"), np.full(read(mask(data, "h")).shape, 255, np.uint8))


@bad("rare-class", "", says=r"class 'grey 64' covers 0\.08% of the pixels")
def _(data):
    for stem in "ah":
        pixels = read(mask(data, stem)).copy()
        pixels[10:12, 10:13] = 64
        save(mask(data, stem), pixels)


@bad("specks", "masks/c.png", says=r"\d+ of \d+ parts of 'grey 255' have at most 4 pixels")
def _(data):
    for stem in "abcdefgh":
        pixels = read(mask(data, stem)).copy()
        pixels[::4, ::6] = 255
        save(mask(data, stem), pixels)


@bad("inverted-mask", "masks/c.png", says="shows as much of 'grey 0' as other masks show of 'grey 255'")
def _(data):
    for seed, stem in enumerate("abcdefgh"):
        save(mask(data, stem), np.where(mask_of(seed) > 1, 255, 0).astype(np.uint8))
    save(mask(data), 255 - read(mask(data)))


@bad("contrast-differs", "images/a.png", "images/b.png", "images/c.png", says="than the rest here, and the other way")
def _(data):
    for stem in "abc":
        save(image(data, stem), 255 - read(image(data, stem)))


@bad("mask-of-another-image", "masks/c.png", "masks/d.png", says=r"fits d\.png better than its own image")
def _(data):
    first, second = read(mask(data)), read(mask(data, "d"))
    save(mask(data), second)
    save(mask(data, "d"), first)


@bad("mask-mirrored", "masks/c.png", says="fits its image far better mirrored left to right")
def _(data):
    save(mask(data), read(mask(data))[:, ::-1].copy())


@bad("mask-unrelated", "masks/c.png", says=r"explains \d% of its image, other masks usually \d\d%")
def _(data):
    save(mask(data), LEVELS[mask_of(77)])


@bad("split", "dataset.yaml", says="'z' is no image")
def _(data):
    (data / "dataset.yaml").write_text("validation: [a, z]")


@bad("mask-of-another-image", "masks/a.png", "masks/h.png", says="8 masks fit other images better than their own; the")
def _(data):
    masks = [read(mask(data, stem)) for stem in "abcdefgh"]
    for stem, moved in zip("abcdefgh", [*masks[1:], masks[0]], strict=True):
        save(mask(data, stem), moved)


# Training and validation


@bad("same-image-on-both-sides", "images/a.png", "images/h.png", says="is the same image, once for training and once")
def _(data):
    save(image(data, "h"), read(image(data, "a")))


@bad("same-image-twice", "images/a.png", "images/b.png", says="is the same image under different names")
def _(data):
    save(image(data, "b"), read(image(data, "a")))


@bad("same-place-on-both-sides", "images/a.png", "images/h.png", says=r"show the same place, \d+% of it")
def _(data):
    for stem, corner in (("a", 0), ("h", 60)):
        wide = mask_of(33, (160, 220))[:, corner : corner + 160]
        save(image(data, stem), image_of(mask_of(33, (160, 220)), 33)[:, corner : corner + 160])
        save(mask(data, stem), LEVELS[wide])


@bad("group-on-both-sides", "images/d.png", "images/c.png", says="group 'mouse 1' has images for training and for val")
def _(data):
    rows = [("a", "", "train"), ("b", "mouse 2", "train"), ("c", "mouse 1", "train"), ("d", "mouse 1", "val")]
    lines = [f"images/{stem}.png,masks/{stem}.png,{group},{split}" for stem, group, split in rows]
    (data / "table.csv").write_text("\n".join(["image,mask,group,split", *lines]))


@bad("intensities-differ", "images/h.png", says="the intensities, .*, lie far from those of the training images")
def _(data):
    save(image(data, "h"), read(image(data, "h")) // 6)


@bad("few-to-validate", "images/d.png", says="is the only image to validate on")
def _(data):
    for stem in "efgh":
        image(data, stem).unlink()
        mask(data, stem).unlink()
