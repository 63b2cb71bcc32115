"""Folder layouts: which images and masks belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rescrnet.annotations.read import form_of
from rescrnet.datasets.challenge import find_films
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.folders import (
    Folders,
    ImageAndMaskFolders,
    Listing,
    find_folders,
    list_folder,
    parts_of,
    unnested,
)
from rescrnet.datasets.image_folders import ImageFolders, arrange, find_image_folders
from rescrnet.datasets.names import name_of
from rescrnet.datasets.one_folder import divide
from rescrnet.datasets.outlines import as_outlines, find_outlines
from rescrnet.datasets.pairing import classes_in_names, pair_names, same_stem
from rescrnet.datasets.tables import find_table, read_table
from rescrnet.errors import DataError
from rescrnet.images.axes import guess_axes
from rescrnet.images.channels import CHANNEL, NNUNET_CHANNEL, channel_of, group_channels
from rescrnet.images.open import count_planes, image_stem, open_image, unnamed_shape
from rescrnet.images.whole import Channels, Objects, Origin, Outlines, Page, files_of
from rescrnet.masks.declared import declared_in
from rescrnet.masks.stored import MaskFiles
from rescrnet.wording import count


@dataclass(frozen=True)
class Pair:
    """An image and its mask files.

    Attributes:
        stem: its name.
        image: where the image is read from.
        masks: where the masks are read from, by folder of a class.
        group: what it was taken from, where the layout tells: an animal, a stack; empty where not. Pairs of one group
            resemble each other.
    """

    stem: str
    image: Origin
    masks: MaskFiles
    group: str = ""


@dataclass(frozen=True)
class Split:
    """The pairs of a dataset."""

    train: list[Pair]
    val: list[Pair]


@dataclass(frozen=True)
class Contents:
    """What a dataset folder holds.

    Attributes:
        layout: what the layout is called.
        split: the pairs; validation images where the layout has some.
        faults: what is wrong with the rest.
        foreign: files in them that are no images or masks; the first thousand of a folder.
        root: the folder that holds the layout: the dataset's, or one inside it.
    """

    layout: str
    split: Split
    faults: list[Fault]
    foreign: list[Path]
    root: Path


def find_pairs(folder: Path, axes: str = "") -> Split:
    """The pairs of a dataset folder.

    Understood without being told are the authors' layout, ``images`` and ``masks`` or ``labels``, nnU-Net's, BiaPy's,
    CVAT's, the Cell Tracking Challenge's, a folder or a file of binary masks for each class below ``masks``, images and
    masks in one folder, a folder for each image, and a CSV table of them.
    Where the layout has no validation images, all pairs are for training; :func:`split_off` takes some.

    Raises :class:`DataError` where a folder is missing or empty, or an image or a mask has no partner or two.
    """
    found = look_through(folder, axes)
    if found.faults:
        raise found.faults[0].error
    return found.split


def look_through(folder: Path, axes: str = "") -> Contents:
    """Like :func:`find_pairs`, but all that is wrong is returned beside the pairs that are right.

    ``axes`` are those of images whose files do not say theirs; what ``dataset.yaml`` says goes before them.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "expected a folder of images and masks")
    try:
        root = unnested(folder)
        axes = _declared_axes(folder, root) or axes
        if table := find_table(root):
            return _taken_apart(_from_table(table), axes)
        if films := _from_films(root):
            return _taken_apart(films, axes)
        folders = find_folders(root)
        missing = any(fault.check == "missing-folder" for fault in folders.faults)
        contents = _from_image_folders(root) if missing and folders.layout == "unknown" else None
        contents = _taken_apart(contents or _from_folders(folders, root), axes)
        return replace(contents, layout=f"{contents.layout}{_in_files(contents.split)}")
    except OSError as error:
        raise DataError(
            error.filename or folder, f"cannot be read ({error.strerror})", "correct its permissions"
        ) from None


def _declared_axes(*folders: Path) -> str:
    for folder in folders:
        try:
            if declared := declared_in(folder):
                return declared.axes
        except DataError:  # it is said where it is understood
            return ""
    return ""


def _in_files(split: Split) -> str:
    """What the masks are, where a mask has several files."""
    origins = [origin for pair in (*split.train, *split.val) for origin in pair.masks.values()]
    if any(isinstance(origin, Objects) for origin in origins):
        return ", a mask for each object"
    if outlined := {form_of(origin.path): None for origin in origins if isinstance(origin, Outlines)}:
        return f", outlines of {' and '.join(outlined)}"
    return ", a mask for each class" if len(origins) > len(split.train) + len(split.val) else ""


def _from_table(table: Path) -> Contents:
    rows, faults = read_table(table)
    pairs: dict[str, list[Pair]] = {"train": [], "val": []}
    names = _names_apart([row.image for row in rows])
    for row in rows:
        mask = MaskFiles({"": as_outlines(row.mask, row.image)})
        pairs[row.split].append(Pair(names[row.image], row.image, mask, row.group))
    if not rows and not faults:
        faults.append(Fault("no-images", (table,), "lists no images", "expected a row for each"))
    split = Split(pairs["train"], pairs["val"])
    return Contents("a table", split, faults + inconsistencies(split, table), [], table.parent)


def _names_apart(images: Sequence[Path]) -> dict[Path, str]:
    """The stem of each image, with the name of its folder where files in other folders have the same: ``wt-001``."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_stem[image_stem(image)].append(image)
    return {
        image: f"{image.parent.name}-{stem}" if len({one.parent for one in same}) > 1 else stem
        for stem, same in by_stem.items()
        for image in same
    }


def _from_films(root: Path) -> Contents | None:
    """The Cell Tracking Challenge: the images of a film are a group, where there are several."""
    if not (found := find_films(root)):
        return None
    films, faults = found
    pairs = [
        Pair(stem, image, MaskFiles({"": mask}), name if len(films) > 1 else "")
        for name, film in films.items()
        for stem, (image, mask) in film.items()
    ]
    return Contents("Cell Tracking Challenge", Split(pairs, []), faults, [], root)


def _from_image_folders(root: Path) -> Contents | None:
    """A folder for each image, in ``train`` and ``val`` where there are such."""
    split = parts_of(root)
    found = [find_image_folders(part) if part else None for part in split or (root, None)]
    if not found[0] or (split and split[1] and not found[1]):
        return None
    pairs: list[list[Pair]] = []
    faults: list[Fault] = []
    for part in found:
        of_part, more = _pairs_of_image_folders(part) if part else ([], [])
        pairs.append(of_part)
        faults += more
    both = Split(*pairs)
    foreign = [file for part in found if part for file in part.foreign]
    return Contents(found[0].layout, both, faults + inconsistencies(both, root), foreign, root)


def _pairs_of_image_folders(found: ImageFolders) -> tuple[list[Pair], list[Fault]]:
    pairs = [Pair(name, found.images[name], MaskFiles(masks)) for name, masks in found.masks.items()]
    faults = list(found.faults)
    for name, part in found.parts.items():
        inside, more, _ = _pairs_in(part, {path: list_folder(path) for path in {part.images, part.masks}})
        pairs += [replace(pair, stem=f"{name}-{pair.stem}", group=name) for pair in inside]
        faults += more
    return pairs, faults


def with_numbered_objects(split: Split) -> Split:
    """The pairs with objects that have a file or an outline each numbered, so that they stay apart."""

    def numbered(pair: Pair) -> Pair:
        masks = {
            k: replace(o, numbered=True) if isinstance(o, Objects | Outlines) else o for k, o in pair.masks.items()
        }
        return replace(pair, masks=MaskFiles(masks)) if dict(pair.masks) != masks else pair

    return Split([numbered(pair) for pair in split.train], [numbered(pair) for pair in split.val])


def _from_folders(folders: Folders, root: Path) -> Contents:
    pairs: list[list[Pair]] = []
    faults = list(folders.faults)
    foreign: list[Path] = []
    for part in (folders.train, folders.val):
        found: list[Pair] = []
        if part:
            listings = {path: list_folder(path) for path in dict.fromkeys((part.images, part.masks))}
            found, more, passed_over = _pairs_in(part, listings)
            faults += more
            foreign += passed_over
            foreign += [file for listing in listings.values() for file in listing.foreign]
        pairs.append(found)
    split = Split(pairs[0], pairs[1])
    if folders.val:
        faults += inconsistencies(split, folders.val.images)
    masks = {file for pair in (*split.train, *split.val) for one in pair.masks.values() for file in files_of(one)}
    return Contents(folders.layout, split, faults, [file for file in foreign if file not in masks], root)


def _pairs_in(part: ImageAndMaskFolders, listings: dict[Path, Listing]) -> tuple[list[Pair], list[Fault], list[Path]]:
    """The pairs of a part, what is wrong with the rest, and what is passed over: overlays and the like."""
    images, listing = list(listings[part.images].images), listings[part.masks]
    singles, class_folders = list(listing.images), list(listing.folders)
    if part.images == part.masks:
        images, singles = divide(images)
        class_folders = []
    outlined = [*listing.annotations, *listings[part.images].annotations]
    if part.images.parent == part.masks and not singles:
        class_folders = []  # the folder of the dataset, in which a file of outlines lies
    if not images:
        remedy = "expected PNG, TIFF, JPEG, BMP, NumPy or Zarr images"
        if visible := [file.name for file in listings[part.images].foreign if not file.name.startswith(".")]:
            remedy += f"; found: {', '.join(visible[:3])}{' …' if len(visible) > 3 else ''}, which are not read"
        return [], [Fault("no-images", (part.images,), "holds no images", remedy)], []
    layers = {"": singles}
    if class_folders:
        inside = {path.name: list(list_folder(path).images) for path in class_folders}
        if not singles and {name_of(name) for name in inside} >= {name_of(image.stem) for image in images}:
            return *_join_folders(images, inside), []
        if not singles:
            layers = inside
        elif mixed := [name for name, files in inside.items() if files]:
            reason = f"holds both masks and folders of masks ({', '.join(mixed)})"
            return [], [Fault("mixed-masks", (part.masks,), reason, "keep one kind")], []
    return _join(part, images, layers, listing.foreign, outlined)


def _join_folders(images: list[Path], inside: dict[str, list[Path]]) -> tuple[list[Pair], list[Fault]]:
    """Pair images with folders of masks that are named after them."""
    faults: list[Fault] = []
    by_name = {name_of(image.stem): image for image in images}
    if lacking := sorted(
        by_name[name_of(name)] for name, files in inside.items() if not files and name_of(name) in by_name
    ):
        faults.append(
            Fault("image-without-mask", tuple(lacking), "has no mask", "expected one in the folder of its name")
        )
    inside = {name: files for name, files in inside.items() if files}
    masks = arrange({name_of(name): files for name, files in inside.items() if name_of(name) in by_name}, faults)
    pairs = [Pair(image_stem(by_name[name]), by_name[name], MaskFiles(found)) for name, found in sorted(masks.items())]
    return pairs, faults


def _join(
    part: ImageAndMaskFolders,
    images: list[Path],
    layers: dict[str, list[Path]],
    beside: Sequence[Path],
    outlined: Sequence[Path],
) -> tuple[list[Pair], list[Fault], list[Path]]:
    """Pair images with the masks in every layer, or, where there are none, with outlines."""
    faults: list[Fault] = []
    passed_over: list[Path] = []
    masks: dict[Path, dict[str, Origin]] = defaultdict(dict)
    channels, uneven = _channels(images, layers, nnunet=part.images.name.lower() == "imagestr")
    faults += uneven
    named = {path.with_name(name + path.suffix): path for name, (path, *_) in channels.items()} or dict(
        zip(images, images, strict=True)
    )
    origins: dict[Path, Path | Channels] = {}
    for name, file in named.items():
        joined = channels.get(name.stem, [file])
        origins[name] = joined[0] if len(joined) == 1 else Channels(tuple(joined))
    found_outlines = find_outlines([] if any(layers.values()) else outlined, origins, part.masks, beside)
    if found_outlines.files:
        outlined_masks = sorted(found_outlines.masks.items())
        pairs = [Pair(image_stem(image), origins[image], MaskFiles({"": mask})) for image, mask in outlined_masks]
        return pairs, [*faults, *found_outlines.faults], []
    in_folders = set(layers) != {""}
    if not in_folders:
        layers = classes_in_names(list(named), layers[""]) or layers
    for layer, files in layers.items():
        paired = pair_names(list(named), files, part.masks / layer if in_folders else part.masks, beside)
        real = [replace(fault, files=tuple(named.get(file, file) for file in fault.files)) for fault in paired.faults]
        faults += [fault for fault in real if fault not in faults]
        passed_over += [named.get(file, file) for file in paired.passed_over]
        for image, mask in paired.pairs.items():
            masks[image][layer] = mask
    pairs = []
    for image, found in sorted(masks.items()):
        if len(found) == len(layers):
            masks_of_image = MaskFiles({layer: found[layer] for layer in layers})
            pairs.append(Pair(image_stem(image), origins[image], masks_of_image))
    return pairs, faults, passed_over


def _channels(
    images: Sequence[Path], layers: dict[str, list[Path]], *, nnunet: bool
) -> tuple[dict[str, list[Path]], list[Fault]]:
    """The files of each image by name, where every channel is a file of its own; else nothing.

    Names such as ``cell_c1`` mean channels only where no mask has such a name.
    """
    pattern = NNUNET_CHANNEL if nnunet else CHANNEL
    numbered = group_channels(images, pattern)
    if not numbered or (
        not nnunet and any(channel_of(name_of(mask.stem)) for files in layers.values() for mask in files)
    ):
        return {}, []
    files = {name: [numbers[n] for n in sorted(numbers)] for name, numbers in numbered.items()}
    usual = max(numbered.values(), key=len)
    faults = same_stem(images)
    for name, numbers in numbered.items():
        if missing := usual.keys() - numbers.keys():
            reason = f"channel {min(missing)} of '{name}' is missing, others have {len(usual)} channels"
            faults.append(Fault("missing-channel", (files[name][0],), reason, "add the file of it"))
            files.pop(name)
    return files, faults


def _taken_apart(contents: Contents, axes: str) -> Contents:
    """The contents with a pair for each page of an image stack; ``axes`` are those of files that do not say theirs."""
    parts: list[list[Pair]] = []
    faults = list(contents.faults)
    for pairs in (contents.split.train, contents.split.val):
        found = [_pages(pair, axes) for pair in pairs]
        parts.append([pair for expanded in found if not isinstance(expanded, Fault) for pair in expanded])
        faults += _joined([fault for fault in found if isinstance(fault, Fault)])
    return replace(contents, split=Split(*parts), faults=faults)


def _joined(faults: Sequence[Fault]) -> list[Fault]:
    """The faults, those of one kind with one text as one of all their files."""
    alike: dict[tuple[str, str, str], list[Fault]] = defaultdict(list)
    for fault in faults:
        alike[fault.check, fault.found, fault.remedy].append(fault)
    return [replace(same[0], files=tuple(file for fault in same for file in fault.files)) for same in alike.values()]


def _pages(pair: Pair, axes: str) -> list[Pair] | Fault:
    """A pair for each page of an image stack; the pair itself where the image is no stack."""
    if isinstance(pair.image, Channels):
        return [pair]
    image = files_of(pair.image)[0]
    said = axes if axes and unnamed_shape(image) else ""
    pages = count_planes(image, said)
    for origin in pair.masks.values():
        file = files_of(origin)[0]
        if not said and (fault := _lacks_axes(image, origin)):
            return fault
        if pages > 1 and (found := count_planes(file)) != pages:
            reason = f"has {count(found, 'page')} but its image {image} has {pages}"
            return Fault("pages-differ", (file,), reason, "expected a mask for each page")
    if pages == 1:
        return [_of_page(pair, pair.stem, Page(image, None, said))] if said else [pair]
    digits = len(str(pages))
    return [
        replace(
            _of_page(pair, f"{pair.stem}-{index + 1:0{digits}}", Page(image, index, said)),
            masks=MaskFiles({layer: Page(files_of(origin)[0], index) for layer, origin in pair.masks.items()}),
            group=pair.group or pair.stem,
        )
        for index in range(pages)
    ]


def _of_page(pair: Pair, stem: str, page: Page) -> Pair:
    masks = {k: replace(o, image=page) if isinstance(o, Outlines) else o for k, o in pair.masks.items()}
    return replace(pair, stem=stem, image=page, masks=MaskFiles(masks))


def _lacks_axes(image: Path, mask: Origin) -> Fault | None:
    """Why an array that does not say its axes fits its mask only if one of them is that of channels; else nothing."""
    if isinstance(mask, Outlines) or not (shape := unnamed_shape(image)):
        return None
    file = files_of(mask)[0]
    try:
        stack = open_image(file)
    except DataError:  # it is said where it is read
        return None
    axes = guess_axes(shape, stack.size, len(stack))
    if not axes or (len(stack) > 1 and len(shape) < 4):
        return None
    reason = f"is an array of {'×'.join(map(str, shape))} that does not say what its axes are; its mask is "
    reason += "×".join(map(str, (*([len(stack)] if len(stack) > 1 else []), *stack.size)))
    remedy = f"where {shape[axes.index('C')]} is the number of channels, write dataset.yaml with 'axes: {axes}'"
    return Fault("axes-unknown", (image,), reason, remedy)


def inconsistencies(split: Split, where: Path) -> list[Fault]:
    """What is wrong with training and validation images side by side."""
    faults = []
    names: dict[str, Pair] = {}
    for pair in (*split.train, *split.val):
        first = names.setdefault(pair.stem, pair)
        if first is not pair:
            files = tuple(dict.fromkeys((*files_of(first.image), *files_of(pair.image))))
            if first.image == pair.image:
                fault = Fault("same-name", files, "trains and validates at once", "choose another to validate")
            else:
                reason = f"'{pair.stem}' is the name of two images"
                fault = Fault("same-name", files, reason, "rename or remove one", named=len(files))
            faults.append(fault)
    if split.train and split.val and (unlike := split.train[0].masks.keys() ^ split.val[0].masks.keys()):
        reason = (
            "the masks differ in kind from those for training; expected in both single masks, or in both the same "
            f"folders for classes (only one has '{min(unlike) or 'single masks'}')"
        )
        faults.append(Fault("mixed-masks", (where,), reason, "add what is missing"))
    return faults
