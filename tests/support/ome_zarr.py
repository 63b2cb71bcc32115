"""OME-Zarr images for tests."""

import zarr

from tests.support.folders import noise

SHAPE = (2, 3, 61, 83)  # t c y x


def write_image(path, zarr_format, array=noise(SHAPE), axes="tcyx", levels=2, **multiscale):  # noqa: B008
    """An OME-Zarr image as other programs write it: 0.4 in Zarr 2, 0.5 in Zarr 3."""
    units = {"x": "micrometer", "y": "nanometer", "z": "micrometer"}
    kinds = {"t": "time", "c": "channel"}
    description = {
        "version": "0.4",
        "axes": [{"name": a, "type": kinds.get(a, "space")} | ({"unit": units[a]} if a in units else {}) for a in axes],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [{"x": 0.25 * 2**level, "y": 500 * 2**level}.get(a, 3) for a in axes]},
                    {"type": "translation", "translation": [{"x": 10}.get(a, 0) for a in axes]},
                ],
            }
            for level in range(levels)
        ],
    } | multiscale
    attributes = {"multiscales": [description]}
    if zarr_format == 3:
        del description["version"]
        attributes = {"ome": {"version": "0.5", **attributes}}
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format, attributes=attributes)
    for level in range(levels):
        group.create_array(
            str(level),
            data=array[..., :: 2**level, :: 2**level],
            chunks=(1,) * (len(axes) - 2) + (16, 32),
            chunk_key_encoding={"name": "v2" if zarr_format == 2 else "default", "separator": "/"},
            config={"write_empty_chunks": True},
        )
    return path
