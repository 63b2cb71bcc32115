"""Objects of files: what is written, read again by other libraries, and what is refused."""

import csv
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import label

from rescrnet import cli
from rescrnet.datasets import synthetic
from rescrnet.inference.budget import PROGRAM
from rescrnet.inference.resources import Resources
from rescrnet.objects import folder as objects_folder
from rescrnet.objects.find import BYTES
from rescrnet.objects.folder import ObjectOptions, write_objects
from rescrnet.objects.subjects import find_subjects
from tests.support.blobs import probabilities
from tests.support.folders import noise, save

CLASSES = ("object", "boundary", "background")


def predicted(folder, shape=(70, 90), stems=("a",), pixel_size=None):
    """What predict writes: masks, probabilities and classes.json."""
    for number, stem in enumerate(stems):
        values = probabilities(*shape, seed=number)
        how = {"resolution": (1e4 / pixel_size,) * 2, "resolutionunit": "CENTIMETER"} if pixel_size else {}
        save(folder / f"{stem}{'.tif' if pixel_size else '.png'}", values.argmax(0).astype(np.uint8), **how)
        tifffile.imwrite(
            folder / f"{stem}_probabilities.tif", values, metadata={"axes": "CYX"}, photometric="minisblack"
        )
    legend = [{"index": index, "name": name, "colour": "#e69f00"} for index, name in enumerate(CLASSES)]
    (folder / "classes.json").write_text(json.dumps(legend))
    return folder


def rows_of(file):
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["rescrnet", "objects", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_the_command_writes_labels_a_table_and_a_summary(tmp_path, monkeypatch, capsys):
    masks = predicted(tmp_path / "masks", stems=("a", "b"))
    code, out, err = call(monkeypatch, capsys, masks, "--out", tmp_path / "out")
    assert code == 0, err
    rows, summary = rows_of(tmp_path / "out/objects.csv"), rows_of(tmp_path / "out/summary.csv")
    assert f"object: {len(rows)} objects in 2 images" in out
    for stem, line in zip("ab", summary, strict=True):
        labels = tifffile.imread(tmp_path / f"out/{stem}_object_labels.ome.tif")
        own = [row for row in rows if row["image"] == stem]
        assert labels.dtype == np.uint16
        assert [int(row["area_px"]) for row in own] == np.bincount(labels.ravel())[1:].tolist()
        assert (line["image"], int(line["objects"])) == (stem, labels.max())
        mask = np.bincount((labels > 0).ravel()) / labels.size
        assert float(line["objects_area_fraction"]) == pytest.approx(mask[1], abs=1e-6)
        assert sum(float(line[f"area_fraction_{name}"]) for name in CLASSES) == pytest.approx(1)
        assert line["objects_per_mm2"] == ""
    assert not list((tmp_path / "out").glob(".*"))


def test_results_do_not_depend_on_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("rescrnet.objects.flood.HALO", 8)
    monkeypatch.setattr("rescrnet.objects.find.HALO", 8)
    monkeypatch.setattr("rescrnet.objects.find._SMALLEST_TILE", 16)
    masks = predicted(tmp_path / "masks", (300, 330))
    for name, pixels in (("whole", 10**6), ("tiled", 70 * 70)):
        resources = Resources(memory=PROGRAM + pixels * BYTES, program=PROGRAM)
        write_objects(find_subjects([masks], None), tmp_path / name, resources=resources)
    whole, tiled = (sorted(path for path in (tmp_path / name).iterdir()) for name in ("whole", "tiled"))
    assert [path.name for path in whole] == [path.name for path in tiled]
    labels = [tifffile.imread(files[0].parent / "a_object_labels.ome.tif") for files in (whole, tiled)]
    np.testing.assert_array_equal(*labels)
    rows = [rows_of(files[0].parent / "objects.csv") for files in (whole, tiled)]
    assert len(rows[0]) == len(rows[1]) > 50
    for one, other in zip(*rows, strict=True):
        for name, value in one.items():
            if name in ("image", "plane", "class", "touches_edge"):
                assert value == other[name]
            else:
                assert float(value or 0) == pytest.approx(float(other[name] or 0), rel=1e-6, abs=1e-9)


def test_an_interrupted_call_is_resumed_by_the_same_one(tmp_path, monkeypatch):
    masks = predicted(tmp_path / "masks", stems=("a", "b"))
    write_objects(find_subjects([masks], None), tmp_path / "whole", ObjectOptions(exports=("coco",)))
    really, done = objects_folder.find_objects, []

    def interrupted(evidence, *arguments, **options):
        if done:
            raise KeyboardInterrupt
        done.append(evidence)
        return really(evidence, *arguments, **options)

    monkeypatch.setattr(objects_folder, "find_objects", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_objects(find_subjects([masks], None), tmp_path / "out", ObjectOptions(exports=("coco",)))
    assert not (tmp_path / "out").exists()
    again = []
    monkeypatch.setattr(
        objects_folder, "find_objects", lambda *arguments, **options: again.append(1) or really(*arguments, **options)
    )
    write_objects(find_subjects([masks], None), tmp_path / "out", ObjectOptions(exports=("coco",)))
    assert len(again) == 1
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name


def test_sizes_are_in_micrometres_where_the_size_of_a_pixel_is_known(tmp_path, monkeypatch, capsys):
    masks = predicted(tmp_path / "masks", pixel_size=0.5)
    code, _, err = call(monkeypatch, capsys, masks, "--out", tmp_path / "out", "--um", "--smallest", 5)
    assert code == 0, err
    rows = rows_of(tmp_path / "out/objects.csv")
    assert min(int(row["area_px"]) for row in rows) >= 20
    assert all(float(row["area_um2"]) == pytest.approx(int(row["area_px"]) / 4) for row in rows)
    assert json.loads((tmp_path / "out/objects.json").read_text())["object"]["smallest"] == 20
    line = rows_of(tmp_path / "out/summary.csv")[0]
    assert float(line["objects_per_mm2"]) == pytest.approx(len(rows) / (70 * 90 * 0.25) * 1e6, rel=1e-5)
    with tifffile.TiffFile(tmp_path / "out/a_object_labels.ome.tif") as file:
        assert float(re.search('PhysicalSizeX="([0-9.]+)"', file.ome_metadata)[1]) == pytest.approx(0.5)


def test_intensities_and_the_size_of_a_pixel_come_from_the_images(tmp_path, monkeypatch, capsys):
    masks = predicted(tmp_path / "masks")
    image = noise((70, 90), np.uint16)
    save(tmp_path / "images/a.tif", image, resolution=(4e4, 4e4), resolutionunit="CENTIMETER")
    code, _, err = call(monkeypatch, capsys, masks, "--out", tmp_path / "out", "--images", tmp_path / "images")
    assert code == 0, err
    labels = tifffile.imread(tmp_path / "out/a_object_labels.ome.tif")
    for row in rows_of(tmp_path / "out/objects.csv"):
        values = image[labels == int(row["label"])]
        assert float(row["intensity_mean_0"]) == pytest.approx(values.mean(), rel=1e-6)
        assert float(row["intensity_max_0"]) == values.max()
        assert float(row["area_um2"]) == pytest.approx(int(row["area_px"]) / 16)


def test_masks_that_number_objects_are_measured_as_they_are(tmp_path, monkeypatch, capsys):
    labels = np.zeros((30, 40), np.uint16)
    labels[2:8, 3:9], labels[2:8, 9:15], labels[20:22, 20:22] = 700, 5, 41
    save(tmp_path / "masks/a.tif", labels)
    code, _, err = call(monkeypatch, capsys, tmp_path / "masks", "--out", tmp_path / "out", "--numbered")
    assert code == 0, err
    rows = rows_of(tmp_path / "out/objects.csv")
    assert [(int(row["area_px"]), int(row["neighbors_touching"])) for row in rows] == [(36, 1), (36, 1), (4, 0)]


def test_planes_of_a_stack_are_told_apart_in_the_table_and_one_label_image(tmp_path):
    values = np.stack([probabilities(40, 50, seed=seed).argmax(0) for seed in range(3)]).astype(np.uint8)
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "classes.json").write_text(json.dumps([{"index": i, "name": name} for i, name in enumerate(CLASSES)]))
    tifffile.imwrite(masks / "s.ome.tif", values, metadata={"axes": "TYX"}, photometric="minisblack")
    tables = write_objects(find_subjects([masks], None), tmp_path / "out", ObjectOptions(exports=("qupath",)))
    labels = tifffile.imread(tmp_path / "out/s_object_labels.ome.tif")
    assert labels.shape == values.shape
    assert [table.plane for table in tables] == ["t0", "t1", "t2"]
    assert [len(table) for table in tables] == labels.max((1, 2)).tolist()
    assert (tmp_path / "out/s_object_t2.geojson").is_file()


def test_labels_of_zarr_are_read_by_ome_zarr(tmp_path):
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    masks = predicted(tmp_path / "masks")
    write_objects(find_subjects([masks], None), tmp_path / "out", ObjectOptions(kind="ome-zarr"))
    node = next(iter(reader.Reader(parse_url(tmp_path / "out/a_object_labels.ome.zarr"))()))
    write_objects(find_subjects([masks], None), tmp_path / "tiff")
    np.testing.assert_array_equal(
        np.asarray(node.data[0]).squeeze(), tifffile.imread(tmp_path / "tiff/a_object_labels.ome.tif")
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Labels with holes and parts that share a corner, written for other programs."""
    folder = tmp_path_factory.mktemp("exported")
    mask = np.ones((24, 31), np.uint8)
    mask[2:12, 3:15], mask[5:8, 6:9], mask[9, 12] = 0, 1, 1
    mask[15:18, 20:23] = mask[18:21, 23:26] = 0
    mask[0, 0] = mask[23, 30] = mask[20:24, 2:6] = 0
    save(folder / "masks/a.png", mask)
    (folder / "masks/classes.json").write_text('[{"index": 0, "name": "cell"}, {"index": 1, "name": "background"}]')
    options = ObjectOptions(("cell",), exports=("qupath", "coco", "imagej"), outlines=True)
    write_objects(find_subjects([folder / "masks"], None), folder / "out", options)
    labels = tifffile.imread(folder / "out/a_cell_labels.ome.tif")
    assert labels.max() == label(mask == 0, np.ones((3, 3)))[1] == 5
    return folder / "out", labels


def test_geojson_for_qupath_encloses_the_pixels_of_each_object(exported):
    geometry = pytest.importorskip("shapely.geometry")
    folder, labels = exported
    content = json.loads((folder / "a_cell.geojson").read_text(encoding="utf-8"))
    assert content["type"] == "FeatureCollection"
    rows, columns = np.indices(labels.shape)
    for number, feature in enumerate(content["features"], start=1):
        shape = geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert shape.area == (labels == number).sum() == feature["properties"]["measurements"]["Area px^2"]
        inside = [
            shape.contains(geometry.Point(x + 0.5, y + 0.5)) for y, x in zip(rows.ravel(), columns.ravel(), strict=True)
        ]
        np.testing.assert_array_equal(np.reshape(inside, labels.shape), labels == number)
        assert feature["properties"]["classification"]["name"] == "cell"
        assert feature["properties"]["objectType"] == "detection"
    assert len(content["features"]) == 5


def test_rois_for_imagej_are_outlines_of_the_objects(exported):
    import roifile

    folder, labels = exported
    rois = roifile.roiread(folder / "a_cell_rois.zip")
    assert [roi.name for roi in rois] == [f"{number:04}-cell" for number in range(1, 6)]
    from skimage.draw import polygon2mask

    for number, roi in enumerate(rois, start=1):
        points = roi.coordinates()[:, ::-1].astype(float)
        filled = polygon2mask(labels.shape, points - 0.5)
        own = labels == number
        assert (filled >= own).all() or (filled != own).mean() < 0.05  # holes are not kept


def test_rois_of_a_stack_lie_in_the_planes_that_imagej_counts_from_1(tmp_path):
    import roifile

    stack = np.zeros((3, 20, 20), np.uint8)
    stack[:, 5:9, 6:12] = 1
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks/z.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    options = ObjectOptions(exports=("imagej",))
    write_objects(find_subjects([tmp_path / "masks"], None, numbered=True), tmp_path / "out", options)
    archives = sorted((tmp_path / "out").glob("*_rois.zip"))
    assert [roi.position for archive in archives for roi in roifile.roiread(archive)] == [1, 2, 3]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
def test_coco_run_lengths_are_the_masks(exported):
    tools = pytest.importorskip("pycocotools.coco")
    folder, labels = exported
    coco = tools.COCO(str(folder / "coco.json"))
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 5
    assert coco.loadCats(1)[0]["name"] == "cell"
    for number, annotation in enumerate(annotations, start=1):
        mask = coco.annToMask(annotation)
        np.testing.assert_array_equal(mask, labels == number)
        assert annotation["area"] == mask.sum()
        x, y, width, height = annotation["bbox"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum()


def test_parquet_holds_what_csv_holds(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    masks = predicted(tmp_path / "masks", stems=("a", "b"))
    write_objects(find_subjects([masks], None), tmp_path / "out", ObjectOptions(parquet=True))
    rows = rows_of(tmp_path / "out/objects.csv")
    table = parquet.read_table(tmp_path / "out/objects.parquet")
    assert table.column_names == list(rows[0])
    assert table["area_px"].to_pylist() == [int(row["area_px"]) for row in rows]


def test_the_fibres_of_a_drawn_section_are_counted_and_measured(tmp_path):
    """Counts and areas of the demo's fibres are those that were drawn."""
    synthetic.write_dataset("fm", tmp_path / "data", train=1, val=1, size=(144, 192))
    tables = write_objects(find_subjects([tmp_path / "data"], None), tmp_path / "out")
    for table, seed in zip(tables, np.random.SeedSequence(0).generate_state(2), strict=True):
        _, mask = synthetic.draw("fm", 144, 192, int(seed))
        drawn, count = label(mask == 0)
        assert table.name == "fibre"
        assert len(table) == count > 20
        assert sorted(table.columns["area_px"].tolist()) == sorted(np.bincount(drawn.ravel())[1:].tolist())
        assert table.columns["area_px"].sum() == (mask == 0).sum()


BAD = {
    "no legend": (lambda f: (f / "masks/classes.json").unlink(), [], r"classes\.json.*--names"),
    "no class mask": (
        lambda f: save(f / "masks/a.png", noise((70, 90))),
        [],
        r"is no mask of the classes 0 object.*--numbered",
    ),
    "colour": (lambda f: save(f / "masks/a.png", noise((70, 90, 3))), [], r"holds 3 channels and is no class mask"),
    "fractions": (
        lambda f: save(f / "masks/c.tif", np.full((9, 9), 0.5, np.float32)),
        [],
        r"holds fractions and is no class mask",
    ),
    "image of another size": (
        lambda f: save(f / "images/a.png", noise((70, 91))),
        ["--images", "images"],
        r"is 70×91, but the mask .*a\.png is 70×90",
    ),
    "no image": (
        lambda f: save(f / "images/b.png", noise((70, 90))),
        ["--images", "images"],
        r"has no image of its name",
    ),
    "probabilities of another size": (
        lambda f: save(f / "masks/a.png", noise((70, 95)) % 3),
        [],
        r"but the mask .* is 70×95",
    ),
    "no pixel size": (lambda f: None, ["--um", "--smallest", "3"], r"does not say how large its pixels are, and --um"),
    "unknown class": (lambda f: None, ["--class", "cell"], r"class 'cell': is unknown; expected object, boundary"),
    "no boundary": (
        lambda f: (f / "masks/classes.json").write_text(
            json.dumps([{"index": index, "name": name} for index, name in enumerate("xyz")])
        ),
        ["--split", "watershed"],
        r"--split watershed: none of the classes x, y, z .*--boundary",
    ),
    "unknown export": (lambda f: None, ["--export", "excel"], r"expected imagej, qupath, coco"),
    "unknown format": (lambda f: None, ["--format", "png"], r"--format png: cannot number objects"),
    "bits": (lambda f: None, ["--bits", "8"], r"expected 16 or 32"),
    "threshold": (lambda f: None, ["--threshold", "2"], r"threshold: Input should be less than 1 \(found 2"),
    "nothing there": (
        lambda f: (f / "masks/a.png").unlink() or (f / "masks/a_probabilities.tif").unlink(),
        [],
        r"no images",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing(case, tmp_path, monkeypatch, capsys):
    predicted(tmp_path / "masks")
    spoil, options, expected = BAD[case]
    spoil(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capsys, "masks", "--out", "out", *options)
    assert code != 0
    assert out == ""
    assert err.startswith("rescrnet: ")
    assert err.count("\n") == 1
    assert re.search(expected, err), err
    assert not Path("out").exists()


def test_results_that_would_have_one_name_are_refused(tmp_path, monkeypatch, capsys):
    masks = predicted(tmp_path / "masks")
    legend = [{"index": index, "name": name} for index, name in enumerate(("back ground", "a b", "a/b"))]
    (masks / "classes.json").write_text(json.dumps(legend))
    code, _, err = call(monkeypatch, capsys, masks, "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (1, 1)
    assert "its result would have the name of that of a b in" in err


def test_objects_beside_masks_are_no_masks_but_a_folder_of_that_name_may_hold_some(tmp_path):
    masks = predicted(tmp_path / "masks")
    write_objects(find_subjects([masks], None), masks / "objects")
    assert [one.place for one in find_subjects([masks], None)] == ["a"]
    (masks / "objects").rename(masks / "more")
    assert [one.place for one in find_subjects([masks], None)] == ["a"]
    shutil.copytree(masks, tmp_path / "all/objects", ignore=shutil.ignore_patterns("more"))
    (tmp_path / "all/objects/classes.json").rename(tmp_path / "all/classes.json")
    assert [one.place for one in find_subjects([tmp_path / "all"], None)] == ["objects/a"]


def test_a_background_that_is_guessed_is_said(tmp_path, monkeypatch, capsys):
    masks = predicted(tmp_path / "masks")
    for number, names in enumerate((CLASSES, ("red", "green", "blue"))):
        (masks / "classes.json").write_text(json.dumps([{"index": i, "name": name} for i, name in enumerate(names)]))
        code, _, err = call(monkeypatch, capsys, masks, "--out", tmp_path / f"out{number}")
        assert code == 0, err
        assert ("'red' is taken for it; --class says otherwise" in err) == (names[0] == "red")


def test_more_objects_than_16_bits_number_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(objects_folder._MOST, 16, 3)
    predicted(tmp_path / "masks")
    code, _, err = call(monkeypatch, capsys, tmp_path / "masks", "--out", tmp_path / "out", "--bits", 16)
    assert code == 2
    assert "--bits 16 numbers 3; use --bits 32" in err
    assert not (tmp_path / "out").exists()


def test_masks_without_objects_make_empty_tables(tmp_path):
    save(tmp_path / "masks/a.png", np.ones((9, 9), np.uint8))
    (tmp_path / "masks/classes.json").write_text('[{"index": 0, "name": "cell"}, {"index": 1, "name": "background"}]')
    options = ObjectOptions(exports=("qupath", "coco"))
    assert [
        len(table) for table in write_objects(find_subjects([tmp_path / "masks"], None), tmp_path / "out", options)
    ] == [0]
    assert rows_of(tmp_path / "out/objects.csv") == []
    assert rows_of(tmp_path / "out/summary.csv")[0]["median_area_px"] == ""
    assert json.loads((tmp_path / "out/a_cell.geojson").read_text())["features"] == []
    assert json.loads((tmp_path / "out/coco.json").read_text())["annotations"] == []
    assert tifffile.imread(tmp_path / "out/a_cell_labels.ome.tif").max() == 0


def test_an_empty_archive_for_imagej_is_one(tmp_path):
    save(tmp_path / "masks/a.png", np.ones((9, 9), np.uint8))
    (tmp_path / "masks/classes.json").write_text('[{"index": 0, "name": "cell"}, {"index": 1, "name": "background"}]')
    write_objects(find_subjects([tmp_path / "masks"], None), tmp_path / "out", ObjectOptions(exports=("imagej",)))
    assert zipfile.ZipFile(tmp_path / "out/a_cell_rois.zip").namelist() == []
