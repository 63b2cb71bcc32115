"""Whatever prediction reads, a dataset is read from: the same pixels, whichever file they come in."""

import numpy as np
import pytest
import tifffile
import zarr

from rescrnet.checking.check import check
from rescrnet.images.whole import read_image, read_pixels
from tests.support.folders import noise, save, stripes
from tests.support.ome_zarr import write_image
from tests.support.reading import load

SIZE = (64, 80)


def pyramid(path, array):
    with tifffile.TiffWriter(path, ome=path.name.endswith(".ome.tif")) as file:
        how = {"tile": (32, 32), "compression": "zlib", "photometric": "minisblack"}
        file.write(array, subifds=1, **how)
        file.write(array[::2, ::2], subfiletype=1, **how)


def zarr_array(path, array):
    zarr.create_array(path, data=array, chunks=(32, 32))


WAYS = {
    "a.png": save,
    "a.bmp": save,
    "a.tif": save,
    "a.npy": np.save,
    "a.zarr": zarr_array,
    "a.ome.tif": pyramid,
    "a.svs": lambda path, array: pyramid(path, array),
    "a.lsm": lambda path, array: save(path.with_suffix(".tif"), array).rename(path),
    "a.ome.zarr": lambda path, array: write_image(path, 2, array, "yx"),
    "b.ome.zarr": lambda path, array: write_image(path, 3, array, "yx"),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("role", ["images", "masks"])
def test_a_dataset_is_read_from_every_format_that_prediction_reads(tmp_path, name, role):
    stem = name.split(".")[0]
    content = {"images": noise(SIZE), "masks": stripes(0, 1, 2, shape=SIZE)}
    for kind, array in content.items():
        (tmp_path / kind).mkdir()
        path = tmp_path / kind / (name if kind == role else f"{stem}.png")
        (WAYS[name] if kind == role else save)(path, array)
    save(tmp_path / "images/other.png", noise(SIZE, seed=1))
    save(tmp_path / "masks/other.png", content["masks"])
    samples = {sample.stem: sample for sample in load(tmp_path, "other").train}
    assert list(samples) == [stem]
    np.testing.assert_allclose(samples[stem].image[..., 0], content["images"] / 255, rtol=1e-6)
    np.testing.assert_array_equal(samples[stem].mask, content["masks"])


def test_the_planes_of_a_numpy_stack_are_images_with_a_plane_of_the_mask_each(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    images = np.stack([noise(SIZE, seed=seed) for seed in range(3)])
    masks = np.stack([np.roll(stripes(0, 1, shape=SIZE), 9 * seed, axis=1) for seed in range(3)])
    np.save(tmp_path / "images/stack.npy", images)
    np.save(tmp_path / "masks/stack.npy", masks)
    data = load(tmp_path, "stack-3")
    assert [sample.stem for sample in (*data.train, *data.val)] == ["stack-1", "stack-2", "stack-3"]
    for index, sample in enumerate((*data.train, *data.val)):
        np.testing.assert_allclose(sample.image[..., 0], images[index] / 255, rtol=1e-6)
        np.testing.assert_array_equal(sample.mask, masks[index])


def test_arrays_of_python_objects_as_cellpose_keeps_them_are_passed_over(tmp_path):
    save(tmp_path / "images/a.png", noise(SIZE))
    save(tmp_path / "masks/a.png", stripes(0, 1, shape=SIZE))
    np.save(tmp_path / "images/a_seg.npy", {"masks": stripes(0, 1), "outlines": None})
    reading = check(tmp_path).reading
    assert [example.pair.stem for example in reading.examples] == ["a"]
    assert reading.foreign == [tmp_path / "images/a_seg.npy"]


def test_a_lost_file_of_an_ome_tiff_is_refused_for_training_as_for_prediction(tmp_path):
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="80" SizeY="64" SizeZ="1" '
        'SizeC="2" SizeT="1"><TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:a</UUID>'
        '</TiffData><TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="gone.ome.tif">urn:uuid:b</UUID>'
        "</TiffData></Pixels></Image></OME>"
    )
    save(tmp_path / "images/a.ome.tif", noise(SIZE), description=xml, metadata=None, compression="zlib")
    save(tmp_path / "masks/a.png", stripes(0, 1, shape=SIZE))
    names = {finding.check.name for finding in check(tmp_path).errors}
    assert "unreadable-image" in names


@pytest.mark.parametrize("samples", [1, 3])
def test_rgb_in_several_channels_is_read_as_all_of_them(tmp_path, samples):
    array = noise((2, *SIZE, 3)) if samples == 3 else noise((2, *SIZE))
    axes = "CYXS" if samples == 3 else "CYX"
    photometric = "rgb" if samples == 3 else "minisblack"
    path = save(tmp_path / "a.ome.tif", array, photometric=photometric, metadata={"axes": axes})
    expected = np.moveaxis(array, 0, 2).reshape(*SIZE, -1)
    np.testing.assert_array_equal(read_pixels(path).values, expected)
    assert read_image(path).shape == (*SIZE, 2 * samples)
