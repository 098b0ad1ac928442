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

import math
from typing import Any, ClassVar, Literal, final

import torch
from torch import Generator, Tensor

from ....capability import Completes, Density, Samples
from ....domain import Discrete, Domain
from ....errors import BadInput, RangeError
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .gated import GatedStacks
from .outputs import CategoricalOutput, LogisticOutput, Output, inverse_cdf, scaled
from .writing import in_order, write

__all__ = ["PixelCNN"]

OutputName = Literal["auto", "categorical", "logistic"]

STATES = 256
"""Joint states of missing entries up to which completion scores them all: those of one entry of a byte."""

LISTED = 2**22
"""Entries that are held at once while joint states are scored, or those of one picture's if they are more."""

MANY = 256
"""Levels up to which each has a logit of its own, if nothing is said."""


@final
class PixelCNN(Samples, Density, Completes, GradientTrained):
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
    adjustable = ("particles",)
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

    def _check_sampling(self) -> None:
        _check_whole("particles", self.particles)

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

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        filled, missing = x.clone(), (~observed).flatten(1).sum(1)
        few = missing * math.log(self.levels) < math.log(STATES + 0.5)
        for count in sorted(set(missing[few & (missing > 0)].tolist())):
            rows = (missing == count).nonzero()[:, 0]
            labels = None if given is None else given[rows]
            filled[rows] = self._enumerated(x[rows], observed[rows], labels, count, generator)
        ordered = in_order(observed)
        for rows, particles in ((~few & ordered, 1), (~few & ~ordered, self.particles)):
            size = max(1, self.chunk // (particles * x.shape[2:].numel()))
            for part in torch.split(rows.nonzero()[:, 0], size):
                labels = None if given is None else given[part]
                filled[part] = write(
                    self.stacks, self.output, x[part], labels, observed[part], generator, particles=particles
                )
        return filled

    def _enumerated(
        self, x: Tensor, observed: Tensor, given: Tensor | None, missing: int, generator: Generator
    ) -> Tensor:
        """Draw the missing entries, as many in each picture, from the scores of all their joint states.

        Pictures that share what is observed share the scores: they are computed once.
        """
        flat, mask = x.flatten(1).masked_fill(~observed.flatten(1), 0), observed.flatten(1)
        labels = torch.zeros_like(flat[:, :1]) if given is None else given.unsqueeze(1)
        evidence, same = torch.unique(torch.cat([flat, mask.to(flat.dtype), labels], 1), return_inverse=True, dim=0)
        flat, mask, labels = torch.split(evidence, [self.domain.entries, self.domain.entries, 1], 1)
        holes = (mask == 0).nonzero()[:, 1].reshape(len(flat), missing)
        powers = self.levels ** torch.arange(missing - 1, -1, -1, device=x.device)
        states = torch.arange(self.levels**missing, device=x.device).unsqueeze(1) // powers % self.levels
        size = max(1, LISTED // (len(states) * self.domain.entries))
        spans = [slice(start, start + size) for start in range(0, len(flat), size)]
        log_p = torch.cat([self._of_states(flat[s], holes[s], labels[s], states) for s in spans])
        u = torch.rand(len(x), 1, generator=generator, device=x.device, dtype=log_p.dtype)
        chosen = inverse_cdf(log_p[same], u)
        return x.flatten(1).scatter(1, holes[same], states[chosen]).reshape(x.shape)

    def _of_states(self, flat: Tensor, holes: Tensor, labels: Tensor, states: Tensor) -> Tensor:
        """The log-probability ``(N, S)`` of pictures ``(N, D)`` with each of the states ``(S, K)`` in the holes ``(N, K)``."""
        n, count = len(flat), len(states)
        every = flat.unsqueeze(1).expand(-1, count, -1)
        every = every.scatter(2, holes.unsqueeze(1).expand(-1, count, -1), states.expand(n, -1, -1))
        told = None if self.given is None else labels.expand(-1, count).flatten()
        return self._scored(every.reshape(-1, *self.domain.shape), told).reshape(n, count)

    def _scored(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The log-probability of many pictures, a chunk at a time."""
        parts = [
            self._log_prob(x[start:stop], None if given is None else given[start:stop])
            for start, stop in self._spans(len(x))
        ]
        return torch.cat(parts)


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
