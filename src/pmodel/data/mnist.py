"""MNIST and Fashion-MNIST: found on this machine, else downloaded, and always checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..domain import Discrete
from .dataset import Dataset, Split, assemble, hold_out
from .download import Remote, fetched
from .idx import read_idx
from .places import found

__all__ = ["IMAGE", "SOURCES", "VALID", "available", "load_mnist", "official"]

VALID = 5_000
"""How many of the 60 000 official training images are drawn at random for validation."""

IMAGE = (1, 28, 28)


@dataclass(frozen=True)
class Source:
    """Four IDX files in a folder: their hashes, unpacked, and where they can be fetched."""

    folder: str
    label_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    train_images: str
    train_labels: str
    test_images: str
    test_labels: str

    @property
    def remotes(self) -> tuple[Remote, Remote, Remote, Remote]:
        """Training images and labels, then test images and labels."""
        return (
            self._remote("train-images-idx3-ubyte", self.train_images, 16 + 60_000 * 784),
            self._remote("train-labels-idx1-ubyte", self.train_labels, 8 + 60_000),
            self._remote("t10k-images-idx3-ubyte", self.test_images, 16 + 10_000 * 784),
            self._remote("t10k-labels-idx1-ubyte", self.test_labels, 8 + 10_000),
        )

    def _remote(self, stem: str, sha256: str, size: int) -> Remote:
        return Remote(f"{stem}.gz", sha256, size, tuple(f"{mirror}/{stem}.gz" for mirror in self.mirrors))


CLOTHES = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Boot"

SOURCES: Mapping[str, Source] = {
    "mnist": Source(
        folder="mnist",
        label_names=tuple("0123456789"),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        train_images="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        train_labels="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        test_images="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        test_labels="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": Source(
        folder="fashion-mnist",
        label_names=tuple(CLOTHES.split()),
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
        train_images="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        train_labels="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        test_images="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        test_labels="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def load_mnist(name: str) -> Dataset:
    """MNIST or Fashion-MNIST with the official test set.

    Raises:
        DataError: if a file is neither on this machine nor to be had, or is not what it should be.
    """
    train, test = official(name)
    domain = Discrete(IMAGE, 256)
    return assemble(name, domain, (*hold_out(train, VALID), test), label_names=SOURCES[name].label_names)


def official(name: str) -> tuple[Split, Split]:
    """The 60 000 training and 10 000 test images in the official order."""
    source = SOURCES[name]
    paths = [found(source.folder, remote.name) or fetched(remote, source.folder) for remote in source.remotes]
    checked = zip(paths, source.remotes, strict=True)
    arrays = [torch.from_numpy(read_idx(path, sha256=remote.sha256)) for path, remote in checked]
    train_x, train_y, test_x, test_y = arrays
    return Split(train_x.reshape(-1, *IMAGE), train_y.long()), Split(test_x.reshape(-1, *IMAGE), test_y.long())


def available(name: str) -> bool:
    """Whether all four files are on this machine."""
    source = SOURCES[name]
    return all(found(source.folder, remote.name) for remote in source.remotes)
