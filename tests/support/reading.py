"""Datasets read without being judged by what only training asks of them."""

from rescrnet.checking.check import judge
from rescrnet.datasets.read import read_dataset


def load(folder, val=None, **how):
    """The dataset, as a model is scored on it; the first fault that keeps it from being read is raised."""
    return judge(read_dataset(folder, val, **how), essential=True).require()
