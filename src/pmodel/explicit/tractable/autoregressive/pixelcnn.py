r"""The gated PixelCNN (van den Oord et al. 2016, https://arxiv.org/abs/1606.05328), with the mixture of PixelCNN++ as a choice.

.. math:: \log p(x \mid y) = \sum_{i=1}^{HW} \log p(x_i \mid x_1, \dots, x_{i-1}, y)

over pixels in raster order, and over the channels of a pixel one after the other. Every factor comes from one network
(``gated.py``), whose features of pixel i are functions of the earlier pixels and of the label y, and from a distribution given
them (``outputs.py``). The factors of a known picture are computed in one pass. Sampling goes pixel by pixel (``writing.py``),
and what it needs of earlier pixels is kept (``cache.py``), so that all of it costs about one pass.

What differs from the paper: features know the place in the picture, through one bias for each channel and pixel; the channels
of a pixel meet at the output, not in masked groups; and a smaller, shorter-trained network, for a processor.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

import torch
from torch import Generator, Tensor

from ....capability import Samples
from ....domain import Discrete, Domain
from ....errors import BadInput, RangeError
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .completing import CompletesInOrder
from .gated import GatedStacks
from .outputs import CategoricalOutput, LogisticOutput, Output, scaled
from .writing import write

__all__ = ["PixelCNN"]

OutputName = Literal["auto", "categorical", "logistic"]

MANY = 256
"""Levels up to which each has a logit of its own, if nothing is said."""


@final
class PixelCNN(Samples, CompletesInOrder, GradientTrained):
    """A gated PixelCNN for pictures of one or three channels, of any size and any number of levels from 2 on.

    ``complete`` is exact where the missing entries of a picture have at most 256 joint states, which are then all scored, and
    where nothing observed comes after something missing in raster order. Else it is a particle filter, which tends to
    p(missing | observed) as ``particles`` grows; where the observed part says much about earlier missing entries, such as a
    lower half about the upper, a few particles are a rough approximation.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, which shifts every gate; or None.
        channels: Of each of the two stacks.
        layers: Gated layers.
        kernel: Side of the windows, odd. The features of a pixel see ``(layers + 1) * (kernel // 2)`` pixels far.
        width: Hidden units of the output.
        output: ``categorical``: one logit for each level. ``logistic``: a mixture of discretised logistics, which knows that
            levels are ordered. ``auto``: categorical up to 256 levels, which is also better on the grey levels of MNIST, where
            two of them are far more frequent than their neighbours.
        mixtures: Components of the logistic output.
        dropout: Probability with which a gated channel is set to zero in training.
        particles: Copies of a picture in ``complete``, where it is not exact.

    Raises:
        BadInput: if the data are not pictures, or there is no such output.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete,)
    conditional: ClassVar[bool] = True
    chunk: int = 2**17
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"channels": 8, "layers": 2, "kernel": 3, "width": 16, "mixtures": 4},
        "small": {"channels": 16, "layers": 4, "width": 32},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        channels: int = 32,
        layers: int = 7,
        kernel: int = 5,
        width: int = 64,
        output: OutputName = "auto",
        mixtures: int = 10,
        dropout: float = 0.0,
        particles: int = 16,
    ) -> None:
        super().__init__(domain, given)
        reason = self.refuses(domain)
        if reason is not None or not isinstance(domain, Discrete):
            raise BadInput(f"PixelCNN cannot take these data: {reason}.", got=domain)
        _check_options(channels, layers, kernel, width, output, mixtures, dropout)
        self.levels, self.particles = domain.levels, particles
        self._check_sampling()
        self.stacks = GatedStacks(domain.shape, channels, layers, kernel, len(self.given_frequencies), dropout)
        self.output = _output(output, channels, domain, width, mixtures)

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """It takes pictures of at least two levels."""
        if isinstance(domain, Discrete) and domain.image and domain.levels >= 2:
            return None
        return "it takes pictures of shape (1, H, W) or (3, H, W) with at least two discrete levels"

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> PixelCNN:
        """Two layers of eight channels."""
        return cls(domain, given, **cls.sizes["tiny"])

    def recipe(self) -> Recipe:
        """AdamW on small batches: in a few minutes, the number of steps is what is short."""
        return Recipe(batch=16, rate=4e-3, ema=0.999, clip=1.0)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start near the best distribution that is the same for every pixel."""
        self.output.prepare(subset)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: the likelihood itself."""
        return (Phase("likelihood", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        log_prob = self._log_prob(batch.x, batch.given).mean()
        return Loss(-log_prob, {"log_prob": log_prob})

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        features = self.stacks(scaled(x, self.levels, self.stacks.place.dtype), given)
        return self.output.log_prob(features, x.permute(0, 2, 3, 1)).flatten(1).sum(1)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        blank = torch.zeros(n, *self.domain.shape, dtype=torch.int64, device=self.device)
        return write(self.stacks, self.output, blank, given, None, generator)

    def _written(
        self, x: Tensor, given: Tensor | None, observed: Tensor, generator: Generator, particles: int
    ) -> Tensor:
        return write(self.stacks, self.output, x, given, observed, generator, particles)

    def _by_order(self, observed: Tensor) -> Tensor:
        return observed.permute(0, 2, 3, 1).flatten(1)


def _output(name: OutputName, channels: int, domain: Discrete, width: int, mixtures: int) -> Output:
    if name == "logistic" or (name == "auto" and domain.levels > MANY):
        return LogisticOutput(channels, domain.shape[0], domain.levels, width, mixtures)
    return CategoricalOutput(channels, domain.shape[0], domain.levels, width)


def _check_options(
    channels: int, layers: int, kernel: int, width: int, output: str, mixtures: int, dropout: float
) -> None:
    whole = {"channels": channels, "layers": layers, "kernel": kernel, "width": width, "mixtures": mixtures}
    for name, value in whole.items():
        _check_whole(name, value)
    if kernel % 2 == 0 or kernel < 3:
        raise RangeError("kernel must be odd and at least 3.", got=kernel)
    if output not in ("auto", "categorical", "logistic"):
        raise BadInput("output is auto, categorical or logistic.", got=output)
    if not 0 <= dropout < 1:
        raise RangeError("dropout must be at least 0 and below 1.", got=dropout)


def _check_whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**12:
        raise RangeError(f"{name} must be a whole number from 1 to {2**12}.", got=value)
