r"""What autoregressive models of vectors share: they are the product of their factors, and are written entry by entry.

.. math:: \log p(x \mid y) = \sum_{i=1}^{D} \log p(x_i \mid x_1, \dots, x_{i-1}, y)

A model computes the numbers that all factors are made from (``conditionals.py``) in one pass, for data that are known; and, as
``Steps``, those of one entry after another while data are written, keeping what does not change. Data of any shape are flat
vectors here, in raster order.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Protocol, final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from .....capability import Samples
from .....domain import Discrete, Domain, Real
from .....errors import BadInput, RangeError
from .....learning import MaximumLikelihood
from .. import writing
from ..completing import CompletesInOrder
from ..particles import Weights
from .conditionals import Conditional, factor_of

__all__ = ["AutoregressiveVector", "Steps", "check_options", "check_weights", "write"]

MOST = 2**16
"""The largest value of an option: a guard against absurd ones from files and arguments."""
WEIGHTS = 2**27
"""The most weights of a layer."""


class Steps(Protocol):
    """The numbers of one factor after another, for data that are being written."""

    def outputs(self, i: int) -> Tensor:
        """The numbers ``(n, P)`` of the entry of step i, from the entries of the steps before."""

    def put(self, i: int, x: Tensor) -> None:
        """Make the entry of step i known by its code ``(n, Q)``."""

    def select(self, rows: Tensor) -> None:
        """Go on with these data: datum n becomes what datum ``rows[n]`` was. Labels must be the same."""


class AutoregressiveVector(Samples, CompletesInOrder, MaximumLikelihood):
    """An autoregressive model of vectors. ``complete`` is exact or a particle filter: see ``completing.py``.

    Args:
        domain: Discrete data of at least two levels, or real ones.
        given: A class label, or None.
        mixtures: Components of a factor, where values are real or their levels many.
        particles: Copies of a datum in ``complete``, where it is not exact.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True

    def __init__(self, domain: Domain, given: Domain | None, mixtures: int, particles: int) -> None:
        super().__init__(domain, given)
        reason = self.refuses(domain)
        if reason is not None:
            raise BadInput(f"{type(self).__name__} cannot take these data: {reason}.", got=domain)
        check_options(mixtures=mixtures)
        self.particles = particles
        self._check_sampling()
        self.factor: Conditional = factor_of(domain, mixtures)

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """It takes real numbers, and levels of which there are at least two."""
        if isinstance(domain, Discrete) and domain.levels < 2:
            return "it takes discrete data with at least two levels"
        return super().refuses(domain)

    def _idle(self, weight: Tensor) -> None:
        """Leave weights alone where there is a single entry, which no other tells anything."""
        weight.requires_grad_(self.domain.entries > 1)

    @torch.no_grad()
    def _fit_alone(self, x: Tensor, given: Tensor | None, bias: Tensor, shift: Tensor | None) -> None:
        """Set the biases ``(DP,)`` so that entries alone are fitted, and what labels add to them ``(DP, labels)``."""
        x = x.flatten(1)
        alone = self.factor.fitted(x).flatten()
        bias.copy_(alone)
        if shift is not None and given is not None:
            for label in range(shift.shape[1]):
                rows = x[given == label]
                shift[:, label] = self.factor.fitted(rows).flatten().to(shift.dtype) - bias if len(rows) else 0

    @abstractmethod
    def _numbers(self, codes: Tensor, label: Tensor | None) -> Tensor:
        """The numbers ``(N, D, P)`` of all factors, from codes ``(N, D, Q)`` and labels one-hot."""

    @abstractmethod
    def _steps(self, n: int, label: Tensor | None) -> Steps:
        """The same one entry after another, for n data that are not known yet."""

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        x = x.flatten(1)
        numbers = self._numbers(self.factor.code(x, self._dtype), self._label(given))
        return self.factor.log_prob(numbers, x).sum(1)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        x, _ = write(self._steps(n, self._label(given)), self.factor, self._blank(n), self._order(), None, generator)
        return x.reshape(-1, *self.domain.shape)

    def _written(
        self, x: Tensor, given: Tensor | None, observed: Tensor, generator: Generator, particles: int
    ) -> Tensor:
        label = self._label(None if given is None else given.repeat_interleave(particles))
        steps = self._steps(len(x) * particles, label)
        filled, _ = write(steps, self.factor, x.flatten(1), self._order(), observed.flatten(1), generator, particles)
        return filled.reshape(x.shape)

    def _by_order(self, observed: Tensor) -> Tensor:
        return observed.flatten(1)

    def _order(self) -> list[int]:
        """The entries in the order in which they are written."""
        return list(range(self.domain.entries))

    def _blank(self, n: int) -> Tensor:
        dtype = torch.int64 if isinstance(self.domain, Discrete) else self._dtype
        return torch.zeros(n, self.domain.entries, dtype=dtype, device=self.device)

    def _label(self, given: Tensor | None) -> Tensor | None:
        return None if given is None else F.one_hot(given, len(self.given_frequencies)).to(self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        """Of the arithmetic: that of the weights."""
        return next(self.parameters()).dtype


@torch.no_grad()
def write(
    steps: Steps,
    factor: Conditional,
    x: Tensor,
    order: list[int],
    observed: Tensor | None,
    generator: Generator,
    particles: int = 1,
) -> tuple[Tensor, Tensor]:
    """Vectors ``(N, D)`` drawn from a model, and the logarithms ``(N,)`` of estimates of p(observed).

    The uniform numbers of the copies of a datum are stratified, one in each K-th of the unit interval.

    Args:
        steps: The model's, for N · K data.
        factor: The distributions.
        x: Data, ``(N, D)``; read only where they are observed.
        order: The entries in the order of writing.
        observed: A mask of the entries to keep, or None for none.
        generator: Of the noise.
        particles: Copies K of each datum.
    """
    u = _uniform(x.shape[1], len(x), particles, generator, x.device)
    weights = Weights(len(x), particles, generator, u)
    forced = None if observed is None else observed[:, order].repeat_interleave(particles, 0).unsqueeze(2)
    entries = x[:, order].repeat_interleave(particles, 0).unsqueeze(2)
    found = torch.empty_like(x)
    found[:, order] = writing.write(_Entries(steps, factor), entries, forced, u, weights).squeeze(2)
    return found, weights.log_evidence


@final
class _Entries(writing.Writer):
    """Entry after entry of a vector.

    Args:
        steps: The model's.
        factor: The distributions.
    """

    def __init__(self, steps: Steps, factor: Conditional) -> None:
        self.steps, self.factor = steps, factor

    def step(self, t: int, x: Tensor, u: Tensor, held: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """An entry from its numbers; nothing is drawn where all are held."""
        numbers, entry, weight = self.steps.outputs(t), x[:, t, 0], None
        if held is None or not bool(held.all()):
            drawn = self.factor.draw(numbers, u).to(x.dtype)
            entry = drawn if held is None else torch.where(held[:, 0], entry, drawn)
        if held is not None:
            weight = torch.where(held[:, 0], self.factor.log_prob(numbers, entry), 0)
        self.steps.put(t, self.factor.code(entry, numbers.dtype))
        return entry.unsqueeze(1), weight

    def select(self, rows: Tensor) -> None:
        """In the model's steps."""
        self.steps.select(rows)


def _uniform(entries: int, n: int, particles: int, generator: Generator, device: torch.device) -> Tensor:
    """Uniform numbers ``(D, n · K)``."""
    u = torch.rand(entries, n, particles, generator=generator, device=device, dtype=torch.float64)
    if particles > 1:
        u = (torch.rand(u.shape, generator=generator, device=device).argsort(2) + u) / particles
    return u.flatten(1)


def check_options(dropout: float = 0.0, **whole: object) -> None:
    """Refuse options out of range: whole numbers from 1, and a probability below 1.

    Raises:
        RangeError: with the option's name and value.
    """
    for name, value in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
            raise RangeError(f"{name} must be a whole number from 1 to {MOST}.", got=value)
    if not 0 <= dropout < 1:
        raise RangeError("dropout must be at least 0 and below 1.", got=dropout)


def check_weights(model: str, weights: int) -> None:
    """Refuse data for which the largest layer would have more weights than are sensible.

    Raises:
        BadInput: with their number.
    """
    if weights > WEIGHTS:
        raise BadInput(
            f"{model} would have {weights:,} weights for data of this size; at most {WEIGHTS:,} are allowed.",
            got=weights,
            hint="use fewer mixtures or units, or a model of pictures such as pixelcnn",
        )
