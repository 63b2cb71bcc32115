"""Small DM3 and DM4 files, byte by byte as the format is described at https://www.er-c.org/cbb/info/dmformat."""

import struct

_SIMPLE = {int: (3, "<i"), float: (7, "<d")}
_ARRAYS = {"i1": 9, "u1": 8, "i2": 2, "u2": 4, "i4": 3, "u4": 5, "f4": 6, "f8": 7}
_IMAGES = {"i1": 9, "u1": 6, "i2": 1, "u2": 10, "i4": 7, "u4": 11, "f4": 2, "f8": 12}
_GROUP, _DATA, _ARRAY = 20, 21, 20


def dm_file(image, version=3, unit="nm", scale=4.0, thumbnail=True, data_type=None):
    """The bytes of a file as DigitalMicrograph writes it: an image, (Y, X) or (Z, Y, X), and its thumbnail."""
    images = [_image_tags(image, unit, scale, data_type)]
    tags = {"InImageMode": 1}
    if thumbnail:
        small = {"DataType": 23, "Data": ("u4", bytes(16)), "Dimensions": [2, 2], "PixelDepth": 4}
        images.insert(0, {"ImageData": small})
        tags["Thumbnails"] = [{"ImageIndex": 0}]
    body = _group(tags | {"ImageList": images}, version)
    size = ">I" if version == 3 else ">Q"
    return struct.pack(">i", version) + struct.pack(size, len(body) + 4) + struct.pack(">i", 1) + body + bytes(8)


def _image_tags(image, unit, scale, data_type):
    kind = f"{image.dtype.kind}{image.dtype.itemsize}"
    units = unit.encode("utf-16-le")
    step = {"Origin": 0.0, "Scale": scale, "Units": ("u2", units)}
    return {
        "ImageData": {
            "Calibrations": {"Dimension": [step, step] + [{"Origin": 0.0, "Scale": 1.0}] * (image.ndim - 2)},
            "Data": (kind, image.tobytes()),
            "DataType": data_type or _IMAGES[kind],
            "Dimensions": list(image.shape[::-1]),
            "PixelDepth": image.dtype.itemsize,
        }
    }


def _group(tags, version):
    entries = list(tags.items()) if isinstance(tags, dict) else [("", value) for value in tags]
    head = struct.pack(">bb", isinstance(tags, dict), 0) + _number(len(entries), version)
    return head + b"".join(_entry(name, value, version) for name, value in entries)


def _entry(name, value, version):
    if isinstance(value, (dict, list)):
        kind, content = _GROUP, _group(value, version)
    elif isinstance(value, tuple):
        code = _ARRAYS[value[0]]
        count = len(value[1]) // int(value[0][1])
        kind, content = _DATA, _data((_ARRAY, code, count), value[1], version)
    else:
        code, form = _SIMPLE[type(value)]
        kind, content = _DATA, _data((code,), struct.pack(form, value), version)
    length = _number(len(content), version) if version == 4 else b""
    return struct.pack(">bH", kind, len(name)) + name.encode() + length + content


def _data(described, values, version):
    return b"%%%%" + _number(len(described), version) + b"".join(_number(n, version) for n in described) + values


def _number(value, version):
    return struct.pack(">I" if version == 3 else ">Q", value)
