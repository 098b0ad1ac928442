r"""Which units of a code are active (Burda et al. 2016, https://arxiv.org/abs/1509.00519, section 5.3).

.. math:: A_j = \mathrm{Cov}_x\bigl(E_{q(z|x)}[z_j]\bigr) > 0.01 .

Under a standard normal prior a unit that says nothing of the datum has the same mean for all of them, and those of a trained
model are far to either side of the threshold. Where there are several layers of latents, each in units of its own prior, the
expectation is that given the expectations above.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..domain import Real
from ..errors import BadInput, NotSupported
from ..model import Model

__all__ = ["ACTIVE", "active", "active_units"]

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
    data = model.domain.check(x)
    if len(data) < 2:
        raise BadInput("What varies with the datum is seen on two data or more.", got=len(data))
    labels = model._checked_given(given, len(data))
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(data), AT_ONCE)]
    means = [encoder.encode(data[part], given=None if labels is None else labels[part]).mean for part in parts]
    return active(torch.cat(means))
