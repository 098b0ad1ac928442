r"""Models of pictures in raster order: a network for the features of each pixel, and a distribution given them.

.. math:: \log p(x \mid y) = \sum_{i=1}^{HW} \log p(x_i \mid x_1, \dots, x_{i-1}, y)

over pixels, and over the channels of a pixel one after the other. The features of pixel i (``network.py``) are functions of the
earlier pixels and of the label y; ``outputs.py`` has the distributions. The factors of a known picture are computed in one
pass. Sampling goes pixel by pixel (``writing.py``), and what it needs of earlier pixels is kept.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from .....capability import Samples
from .....domain import Discrete, Domain
from .....errors import BadInput, RangeError, require_whole
from .....learning import MaximumLikelihood, Recipe
from ..categories import scaled
from ..completing import CompletesInOrder
from .network import Network
from .outputs import CategoricalOutput, LogisticOutput, Output
from .writing import write

__all__ = ["OutputName", "RasterModel", "check_options", "output_of"]

OutputName = Literal["auto", "categorical", "logistic"]

MANY = 256
"""Levels up to which each has a logit of its own, if nothing is said."""


class RasterModel(Samples, CompletesInOrder, MaximumLikelihood):
    """Everything but the network: learning, scoring, sampling and completing.

    Attributes:
        network: Features of pixels.
        output: Distributions given features.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete,)
    conditional: ClassVar[bool] = True
    chunk: int = 2**17
    network: Network
    output: Output

    def _pictures(self) -> Discrete:
        """The domain.

        Raises:
            BadInput: if it is none of pictures.
        """
        reason = self.refuses(self.domain)
        if reason is not None or not isinstance(self.domain, Discrete):
            raise BadInput(f"{type(self).__name__} cannot take these data: {reason}.", got=self.domain)
        return self.domain

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """It takes pictures of at least two levels."""
        if isinstance(domain, Discrete) and domain.image and domain.levels >= 2:
            return None
        return "it takes pictures of shape (1, H, W) or (3, H, W) with at least two discrete levels"

    @abstractmethod
    def recipe(self) -> Recipe:
        """The training settings that this network is known to train with."""

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start near the best distribution that is the same for every pixel."""
        self.output.prepare(subset)

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        features = self.network(scaled(x, self.levels, self.network.place.dtype), given)
        return self.output.log_prob(features, x.permute(0, 2, 3, 1)).flatten(1).sum(1)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        blank = torch.zeros(n, *self.domain.shape, dtype=torch.int64, device=self.device)
        return write(self.network, self.output, blank, given, None, generator)

    def _written(
        self, x: Tensor, given: Tensor | None, observed: Tensor, generator: Generator, particles: int
    ) -> Tensor:
        return write(self.network, self.output, x, given, observed, generator, particles)

    def _by_order(self, observed: Tensor) -> Tensor:
        return observed.permute(0, 2, 3, 1).flatten(1)


def output_of(name: OutputName, features: int, domain: Discrete, width: int, mixtures: int) -> Output:
    """The output of this name for features of so many channels."""
    if name == "logistic" or (name == "auto" and domain.levels > MANY):
        return LogisticOutput(features, domain.shape[0], domain.levels, width, mixtures)
    return CategoricalOutput(features, domain.shape[0], domain.levels, width)


def check_options(output: str, kernel: int, **whole: int) -> None:
    """Refuse options that are out of range.

    Raises:
        BadInput: if there is no such output.
        RangeError: if a number is out of range.
    """
    for name, value in {"kernel": kernel, **whole}.items():
        require_whole(name, value, 1)
    if kernel % 2 == 0 or kernel < 3:
        raise RangeError("kernel must be odd and at least 3.", got=kernel)
    if output not in ("auto", "categorical", "logistic"):
        raise BadInput("output is auto, categorical or logistic.", got=output)
