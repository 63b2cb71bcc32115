"""The checks themselves, in the order in which a dataset goes wrong: files, images, masks, classes, split."""

from rescrnet.checking.checks import files, images, masks, meaning, splits

__all__ = ["files", "images", "masks", "meaning", "splits"]
