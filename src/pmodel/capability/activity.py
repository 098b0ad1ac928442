r"""How much of a code is used: which units of one of real numbers, how many values of one of levels.

A unit is *active* (Burda et al. 2016, https://arxiv.org/abs/1509.00519, section 5.3) if

.. math:: A_j = \mathrm{Cov}_x\bigl(E_{q(z|x)}[z_j]\bigr) > 0.01 .

Under a standard normal prior a unit that says nothing of the datum has the same mean for all of them, and those of a trained
model are far to either side of the threshold. Where there are several layers of latents, each in units of its own prior, the
expectation is that given the expectations above.

Levels that stand at a share :math:`f_k` of the places are as hard to guess as so many equally frequent ones:

.. math:: \mathrm{perplexity} = \exp\Bigl(-\sum_k f_k \log f_k\Bigr) .
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from ..distribution import Distribution
from ..domain import Discrete, Real
from ..errors import BadInput, NotSupported
from ..model import Model

__all__ = ["ACTIVE", "Usage", "active", "active_units", "code_usage", "perplexity"]

ACTIVE = 0.01
"""The variance over data that the mean of an active unit is above."""
AT_ONCE = 1024
"""Data that are encoded at a time."""


def active(means: Tensor) -> Tensor:
    """Whether each unit is active, ``(units,)``, from the means of its posteriors ``(N, *shape)``."""
    return means.flatten(1).var(0, correction=0) > ACTIVE


def active_units(model: Model, x: object, *, given: object = None) -> Tensor:
    """Whether each unit of a model's code is active on some data, bool ``(latent,)``.

    Args:
        model: A model with a code of real numbers.
        x: Two data or more, ``(N, *shape)``; some thousand are enough.
        given: Their conditions, for a conditional model.

    Raises:
        NotSupported: if the model has no code, or one of levels.
        BadInput: if the data do not fit, or there is only one.
    """
    encoder: Any = model
    if not model.can("encode") or not isinstance(encoder.codes, Real):
        raise NotSupported("Units are active, or not, in a code of real numbers.", got=type(model).__name__)
    means = torch.cat([q.mean for q in _encoded(encoder, x, given)])
    if len(means) < 2:
        raise BadInput("What varies with the datum is seen on two data or more.", got=len(means))
    return active(means)


@final
@dataclass(frozen=True, eq=False)
class Usage:
    """How the levels of a discrete code are used.

    Args:
        counts: At how many places each level stands, ``(levels,)``.
    """

    counts: Tensor

    @property
    def used(self) -> float:
        """The share of the levels that stand anywhere."""
        return float((self.counts > 0).double().mean())

    @property
    def perplexity(self) -> float:
        """So many equally frequent levels would be as hard to guess."""
        return float(perplexity(self.counts.double() / self.counts.sum()))


def code_usage(model: Model, x: object, *, given: object = None) -> Usage:
    """How the levels of a model's discrete code are used by some data, each with its most probable code.

    Args:
        model: A model with a code of levels.
        x: Data, ``(N, *shape)``.
        given: Their conditions, for a conditional model.

    Raises:
        NotSupported: if the model has no code, or one of real numbers.
        BadInput: if the data do not fit.
    """
    encoder: Any = model
    if not model.can("encode") or not isinstance(encoder.codes, Discrete):
        raise NotSupported("Codes are used, or not, where they are levels.", got=type(model).__name__)
    codes = torch.cat([q.mode for q in _encoded(encoder, x, given)])
    return Usage(torch.bincount(codes.flatten(), minlength=encoder.codes.levels))


def perplexity(shares: Tensor) -> Tensor:
    """The exponential of the entropy of levels of frequencies ``(K,)``."""
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def _encoded(model: Any, x: object, given: object) -> Iterator[Distribution]:
    """The posteriors, some data at a time."""
    data = model.domain.check(x)
    if not len(data):
        raise BadInput("What a code is used for is seen on data: one datum or more.", got=0)
    labels = model._checked_given(given, len(data))
    for start in range(0, len(data), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        yield model.encode(data[part], given=None if labels is None else labels[part])
