r"""Pictures of three independent digits, one a channel: a thousand modes whose shares are known (Metz et al. 2017).

.. math:: x = (x_a, x_b, x_c), \qquad y = 100 a + 10 b + c, \qquad p(y) = p(a)\, p(b)\, p(c)

with each digit drawn from the grey pictures of its split, so that no digit is in two splits. A model that has lost modes shows
it here, where modes are many and a judge of single digits, which reads each channel by itself, tells them apart almost without
error. Sizes are those of the usual protocol: 128 000 training pictures, and as many test pictures as models are asked for,
26 000 (Lin et al. 2018, https://arxiv.org/abs/1712.04086).

Source:
    Unrolled Generative Adversarial Networks (Metz et al., 2017), https://arxiv.org/abs/1611.02163
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Generator, Tensor

from ..domain import Discrete
from ..errors import DataError
from ..randomness import generator
from .dataset import Dataset, Split, assemble
from .mapped import in_memory
from .mnist import IMAGE, load_mnist

__all__ = ["CHANNELS", "SIZES", "STACKED", "load_stacked", "modes_of", "stacked"]

CHANNELS = ("red", "green", "blue")
SIZES = (128_000, 5_000, 26_000)
"""Pictures for training, validation and test."""
STACKED = (len(CHANNELS), *IMAGE[1:])


def modes_of(names: Sequence[str], channels: int) -> tuple[str, ...]:
    """The names of all combinations of one class a channel, such as ``"042"``, the first channel's class changing last."""
    return tuple(map("".join, product(names, repeat=channels)))


def stacked(data: Dataset, sizes: tuple[int, int, int] = SIZES, seed: int = 0) -> Dataset:
    """Pictures whose three channels are grey pictures of others, drawn independently and with replacement.

    The label is the combination of the channels' labels; the factors ``red``, ``green`` and ``blue`` are these labels.

    Args:
        data: Grey pictures with labels.
        sizes: How many are drawn for training, validation and test.
        seed: Of the draws.

    Raises:
        DataError: if they are no grey pictures, or have no labels.
    """
    grey = data.domain
    if not isinstance(grey, Discrete) or not grey.image or grey.shape[0] != 1 or data.given is None:
        raise DataError("Only grey pictures with labels are stacked.", got=data.summary)
    classes = data.given.levels
    parts = [
        _drawn(split, n, classes, generator(seed, "stacked", name))
        for (name, split), n in zip(data.splits.items(), sizes, strict=True)
    ]
    names = data.label_names
    return assemble(
        f"stacked-{data.name}",
        Discrete((len(CHANNELS), *grey.shape[1:]), grey.levels),
        parts,
        label_names=modes_of(names, len(CHANNELS)),
        note=f"each channel a picture of {data.name}: {classes ** len(CHANNELS)} modes",
        factor_names=CHANNELS,
        factor_values=dict.fromkeys(CHANNELS, names),
        channel=data.source or data.name,
        shares=_shares(data.train, classes),
    )


def load_stacked(seed: int) -> Dataset:
    """Three digits of ``mnist`` in each picture, from the same split of it."""
    return stacked(load_mnist("mnist"), SIZES, seed)


def _drawn(split: Split, n: int, classes: int, noise: Generator) -> Split:
    pictures, labels = in_memory(split.x), split.y
    assert labels is not None  # noqa: S101 - of data with labels every split has some
    rows = torch.randint(len(split), (n, len(CHANNELS)), generator=noise)
    x = torch.empty(n, len(CHANNELS), *pictures.shape[2:], dtype=pictures.dtype)
    for channel, chosen in enumerate(rows.T):
        x[:, channel] = pictures[chosen, 0]
    digits = labels[rows]
    places = classes ** torch.arange(len(CHANNELS) - 1, -1, -1)
    return Split(x, digits @ places, digits.double())


def _shares(split: Split, classes: int) -> Tensor:
    """How often each mode is drawn, ``(modes,)``: the product of the shares of its digits in the split."""
    assert split.y is not None  # noqa: S101 - as above
    one = torch.bincount(split.y, minlength=classes).double() / len(split)
    found = one
    for _ in CHANNELS[1:]:
        found = (found[:, None] * one).flatten()
    return found
