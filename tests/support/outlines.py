"""Files of annotations as LabelMe, COCO and QuPath write them."""

import json

import numpy as np

from tests.support.folders import noise, save

SIZE = (12, 16)
SQUARE = [[2, 3], [7, 3], [7, 9], [2, 9]]  # covers rows 3 to 8 and columns 2 to 6
RIGHT = [[10, 3], [14, 3], [14, 9], [10, 9]]
FLAT, FLAT_RIGHT = (np.ravel(points).tolist() for points in (SQUARE, RIGHT))  # x and y by turns


def to_the_right(columns):
    """The square as many pixels to the right."""
    return [[x + columns, y] for x, y in SQUARE]


def polygon(label, points, kind="polygon", **more):
    """A shape of LabelMe."""
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def labelme(path, *shapes, image="", size=SIZE):
    """A file of LabelMe."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.2.1", "flags": {}, "shapes": shapes, "imagePath": image or path.stem + ".png"}
    path.write_text(json.dumps({**content, "imageData": None, "imageHeight": size[0], "imageWidth": size[1]}))
    return path


def coco(path, images, annotations, classes=("nucleus", "fibre")):
    """A file of COCO; annotations as (image, class, segmentation), by place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for i, name in enumerate(images)]
    drawn = [
        {"id": i, "image_id": image, "category_id": kind, "segmentation": segmentation, "bbox": [0, 0, 1, 1]}
        for i, (image, kind, segmentation) in enumerate(annotations)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(classes)]
    path.write_text(json.dumps({"images": listed, "categories": categories, "annotations": drawn}))
    return path


def feature(kind, coordinates, name=None):
    """A feature as QuPath writes it."""
    properties = {"objectType": "annotation"} | ({"classification": {"name": name, "color": [1, 2, 3]}} if name else {})
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def geojson(path, *features):
    """A collection of features."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def images(folder, stems="abc"):
    """Images of :data:`SIZE`."""
    for seed, stem in enumerate(stems):
        save(folder / f"{stem}.png", noise(SIZE, seed=seed))
    return folder


def box(rows, columns):
    """A mask of :data:`SIZE`, 1 in the rows and columns."""
    mask = np.zeros(SIZE, int)
    mask[slice(*rows), slice(*columns)] = 1
    return mask
