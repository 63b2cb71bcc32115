"""Which images files, folders and patterns mean, and where their results lie."""

from pathlib import Path

import pytest
import tifffile

from rescrnet.errors import DataError
from rescrnet.images.whole import Channels
from rescrnet.inference.inputs import describe_left_out, find_inputs, join_channels
from tests.support.folders import noise, save


@pytest.fixture
def folder(tmp_path):
    def write(*names):
        for name in names:
            save(tmp_path / name, noise())
        return tmp_path

    return write


def places(images):
    return [image.place for image in images]


def found(*inputs, **how):
    return find_inputs(inputs, **how).images


def test_files_and_folders_mix_and_a_file_named_twice_counts_once(folder):
    images = folder("one.png", "Zelle 2 µ.tif")
    assert places(found(images / "one.png", images)) == ["one", "Zelle 2 µ"]


def test_sub_folders_are_mirrored_where_the_folder_itself_holds_no_image(folder):
    assert places(found(folder("wt/001.png", "ko/deep/001.png", ".hidden/x.png"))) == ["ko/deep/001", "wt/001"]


def test_sub_folders_beside_images_are_said_to_be_left_out_or_taken_on_request(folder):
    images = folder("a.png", "below/b.png", "below/c.png")
    inputs = find_inputs([images])
    assert places(inputs.images) == ["a"]
    (note,) = describe_left_out(inputs.left_out)
    assert note.endswith("2 images in sub-folders are left out; --recursive takes them too")
    assert places(found(images, recursive=True)) == ["a", "below/b", "below/c"]


def test_results_of_an_earlier_prediction_are_no_images(folder):
    images = folder("a.png", "masks/a.png")
    (images / "masks/classes.json").write_text("[]")
    assert places(found(images, recursive=True)) == ["a"]


def test_images_of_one_name_in_several_folders_get_the_names_of_their_folders(folder):
    images = folder("wt/1.png", "wt/2.png", "ko/1.png", "ko/3.png")
    assert places(found(images / "wt", images / "ko")) == ["wt/1", "wt/2", "ko/1", "ko/3"]
    assert places(found(images / "wt/1.png", images / "ko/1.png")) == ["wt/1", "ko/1"]
    assert places(found(images / "wt/2.png", images / "ko")) == ["2", "1", "3"]


def test_a_pattern_that_the_command_line_did_not_expand_finds_images_alone(folder):
    images = folder("a/1.png", "a/2.tif", "b/3.png")
    (images / "a/notes.txt").write_text("no image")
    assert places(found(images / "a/*")) == ["1", "2"]
    assert places(found(images / "*/*.png")) == ["1", "3"]
    assert places(found(images / "?")) == ["1", "2", "3"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    images = folder("slide [d=2,x=0].png", "slide d.png")
    assert places(found(images / "slide [d=2,x=0].png")) == ["slide [d=2,x=0]"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.png", r"none\.png: no such file or folder"),
        ("empty", "empty: holds no images; expected PNG"),
        ("*.tif", r"\*\.tif: no file has such a name"),
    ],
)
def test_what_is_not_there_is_refused_alone_and_named_among_others(folder, name, message):
    images = folder("in/one.png")
    (images / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_inputs([images / name])
    good, bad = found(images / "in/one.png", images / name)
    assert good.fault is None
    with pytest.raises(DataError, match=message):
        raise bad.fault


@pytest.mark.parametrize(
    "names",
    [
        ("a_0000.png", "a_0001.png", "b_0000.png", "b_0001.png"),
        ("a_c1.tif", "a_c2.tif", "b_c1.tif", "b_c2.tif"),
        ("a_ch0.png", "a_ch1.png", "b_ch0.png", "b_ch1.png"),
    ],
    ids=["nnU-Net", "c1", "ch0"],
)
def test_channels_in_files_of_their_own_are_one_image_of_their_common_name(folder, names):
    images = found(folder(*names))
    joined = join_channels(images, 2)
    assert places(joined) == ["a", "b"]
    assert [file.name for file in joined[0].files] == list(names[:2])
    assert isinstance(joined[0].origin, Channels)
    assert join_channels(joined, 2) == joined
    assert join_channels(images, 1) == images
    assert join_channels(images, 3) == images


def test_a_missing_channel_is_named(folder):
    whole, lacking = join_channels(found(folder("a_0000.png", "a_0001.png", "b_0001.png")), 2)
    assert whole.fault is None
    assert "b_0001.png: of its channels there are 1, of other images 0, 1" in str(lacking.fault)


def test_colour_images_with_numbers_in_their_names_stay_images(tmp_path):
    for name in ("a_0000.png", "a_0001.png", "a_0002.png"):
        save(tmp_path / name, noise((12, 16, 3)))
    images = found(tmp_path)
    assert join_channels(images, 3) == images


def test_the_files_of_an_ome_set_are_the_image_that_each_of_them_stands_for(tmp_path):
    names = [f"cell_ch{channel}.ome.tif" for channel in (0, 1)]
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{channel}" for channel in (0, 1)]
    data = "".join(
        f'<TiffData FirstC="{c}" FirstT="0" FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="{names[c]}">{uuids[c]}'
        "</UUID></TiffData>"
        for c in (0, 1)
    )
    for channel, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuids[channel]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
            'SizeX="16" SizeY="12" SizeC="2" SizeZ="1" SizeT="1" BigEndian="false"><Channel ID="Channel:0:0"/>'
            f'<Channel ID="Channel:0:1"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / name, noise(), description=xml, metadata=None)
    (joined,) = join_channels(found(tmp_path), 2)
    assert (joined.place, joined.files) == ("cell", (tmp_path / names[0],))


def test_a_link_that_leads_nowhere_is_named_and_the_rest_is_found(tmp_path):
    save(tmp_path / "a.png", noise())
    (tmp_path / "b.tif").symlink_to(tmp_path / "gone.tif")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone.txt")
    found = find_inputs(tmp_path).images
    assert [one.place for one in found] == ["a", "b"]
    assert str(found[1].fault) == (
        f"{tmp_path / 'b.tif'}: is a link that leads nowhere; copy the image to it, or remove the link"
    )


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_found(tmp_path, monkeypatch):
    save(tmp_path / "a/1.png", noise())
    save(tmp_path / "b/2.png", noise())
    real = Path.iterdir

    def iterdir(self):
        if self.name == "b":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = find_inputs(tmp_path).images
    assert [one.place for one in found] == ["a/1", "b"]
    assert (
        str(found[1].fault) == f"{tmp_path / 'b'}: cannot be looked into (Permission denied); correct its permissions"
    )


@pytest.mark.parametrize(("of_images", "of_masks"), [("images", "masks"), ("train/Images", "train/Ground Truth")])
def test_the_masks_of_a_dataset_are_no_images(tmp_path, of_images, of_masks):
    for folder in (of_images, of_masks):
        save(tmp_path / folder / "a.png", noise())
    found = find_inputs(tmp_path)
    assert [one.place for one in found.images] == [f"{of_images}/a"]
    assert describe_left_out(found.left_out, found.masks) == [
        f"{tmp_path / of_masks}: left out, as masks of the images beside it; name the folder to predict it"
    ]
    assert [one.place for one in find_inputs(tmp_path / of_masks).images] == ["a"]
