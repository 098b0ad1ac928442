"""The parts of a mixture: K distributions of one kind, evaluated and re-estimated together.

One pass of expectation maximisation is the same for every kind (Dempster, Laird and Rubin 1977):

* E-step: responsibilities ``r_nk`` proportional to ``w_k p_k(x_n)``;
* sums ``sum_n r_nk T(x_n)`` of the sufficient statistics ``T`` of the kind;
* M-step: the parameters that these sums determine.

``Components`` holds the parameters of one kind, as float64 buffers. ``Components.kernel`` freezes them for one pass, together
with all that can be worked out once (factors, inverses, constants). A datum is a row of D entries here, whatever its shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn

__all__ = ["Components", "Kernel", "Sums", "patterns"]

Sums = dict[str, Tensor]


class Kernel(ABC):
    """Components with their parameters frozen for one pass over the data."""

    block: int = 4096
    """How many data to treat at a time, so that the working set stays in the cache."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What both steps need of the rows ``x`` ``(B, D)``, computed once a block."""

    @abstractmethod
    def log_prob(self, features: Tensor) -> Tensor:
        """``log p_k(x_n)``, ``(K, B)``."""

    def by_datum(self, features: Tensor) -> Tensor:
        """The same, datum by datum: ``(B, K)``."""
        return self.log_prob(features).T

    @abstractmethod
    def sums(self, features: Tensor, weights: Tensor) -> Sums:
        """Sufficient statistics of the block under ``weights`` ``(K, B)``, additive over blocks."""

    def finish(self, sums: Sums) -> Sums:
        """Bring the summed statistics into the form that ``Components.update`` takes, by a linear map."""
        return sums


class Components(nn.Module, ABC):
    """K distributions of one kind over rows of D entries.

    Args:
        components: K.
        entries: D.
    """

    def __init__(self, components: int, entries: int) -> None:
        super().__init__()
        self.components = components
        self.entries = entries

    @property
    @abstractmethod
    def freedom(self) -> int:
        """Free parameters of all components together, without their weights."""

    @abstractmethod
    def expectations(self) -> Tensor:
        """The expectations of the components, ``(K, D)``."""

    @abstractmethod
    def kernel(self) -> Kernel:
        """Freeze the parameters for one pass."""

    @abstractmethod
    def anchor(self, x: Tensor) -> None:
        """Fix what sums need before there are parameters, such as the point that they are taken about."""

    @abstractmethod
    def update(self, sums: Mapping[str, Tensor]) -> None:
        """M-step from finished sums, of which ``sums["count"]`` is ``sum_n r_nk``."""

    @abstractmethod
    def split(self, source: int, target: int) -> None:
        """Put component ``target``, which has lost its data, beside ``source``."""

    @abstractmethod
    def sample(self, labels: Tensor, generator: Generator) -> Tensor:
        """One draw for each of ``labels`` ``(n,)`` from the component it names, ``(n, D)``."""

    @abstractmethod
    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        """``log p_k`` of the observed entries alone, ``(K, N)``; the others may hold anything."""

    @abstractmethod
    def expected_sums(self, x: Tensor, observed: Tensor, weights: Tensor) -> Sums:
        """Finished sums in which unobserved entries count by their expectation given the observed ones."""

    @abstractmethod
    def complete(self, x: Tensor, observed: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """Draw the unobserved entries given the observed ones, each row under the component that its label names."""


def patterns(observed: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The distinct rows of a mask, each with the indices of the rows that share it: one factorisation serves them all."""
    distinct, member = torch.unique(observed, dim=0, return_inverse=True)
    order = torch.argsort(member, stable=True)
    sizes = torch.bincount(member, minlength=len(distinct)).tolist()
    return list(zip(distinct, torch.split(order, sizes), strict=True))
