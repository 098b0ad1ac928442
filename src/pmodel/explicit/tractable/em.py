r"""Expectation maximisation (Dempster, Laird and Rubin 1977), once for all kinds of components.

.. math:: p(x) = \sum_{k=1}^{K} w_k \, p_k(x), \qquad r_{nk} = \frac{w_k \, p_k(x_n)}{p(x_n)}

A pass over the data computes the responsibilities r and, under them, the sums of the components' sufficient statistics; these
determine the next parameters, and the likelihood never falls. The data go through in blocks, so that nothing of the size
N × D² is ever held. A single component is the case K = 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ...capability import Completes, Marginalises, Samples
from ...domain import Domain
from ...errors import BadInput
from ...learning import Batch, ClosedForm
from .components import Components, Sums
from .concurrency import in_parts

__all__ = ["WeightedSum"]


class WeightedSum(Samples, Completes, Marginalises, ClosedForm):
    """A weighted sum of components, fitted by expectation maximisation. A subclass says where it starts.

    Args:
        domain: What one datum is.
        given: None.
        parts: The components.
    """

    iterative = True

    weights: Tensor

    def __init__(self, domain: Domain, given: Domain | None, parts: Components) -> None:
        super().__init__(domain, given)
        self.parts = parts
        self.register_buffer("weights", torch.full((parts.components,), 1 / parts.components, dtype=torch.float64))

    @property
    def means(self) -> Tensor:
        """The components' means, ``(K, *shape)``: what they look like."""
        return self.parts.expectations().reshape(-1, *self.domain.shape)

    @property
    def freedom(self) -> int:
        """The components' parameters, and the weights, which sum to one."""
        return len(self.weights) - 1 + self.parts.freedom

    @abstractmethod
    def _partition(self, x: Tensor, generator: Generator) -> Tensor:
        """The component that each row of ``x`` ``(N, D)`` starts in, ``(N,)``."""

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Partition the subset and estimate each part by itself; a missing value counts as its column's mean."""
        x, observed = self._rows(subset.x), None if subset.observed is None else self._rows(subset.observed)
        if len(x) == 0:
            raise BadInput("Expectation maximisation cannot start from no data.", got=0)
        if observed is not None:
            known = torch.where(observed, x, 0)
            means = known.sum(0) / observed.sum(0).clamp_min(1)
            x = torch.where(observed, x, means.to(x.dtype))
        self.parts.anchor(x)
        labels = F.one_hot(self._partition(x, generator), self.parts.components).double()
        kernel, sums = self.parts.kernel(), Sums()
        for rows, shares in zip(torch.split(x, kernel.block), torch.split(labels, kernel.block), strict=True):
            _add(sums, kernel.sums(kernel.features(rows), shares.T.contiguous()))
        self.maximise(kernel.finish(sums))

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """E-step: the log-likelihood, and the sufficient statistics under the responsibilities."""
        x, observed = self._rows(batch.x), None if batch.observed is None else self._rows(batch.observed)
        sums: Sums = {"n": torch.tensor(float(len(x)), dtype=torch.float64, device=x.device)}
        if observed is None:
            return sums | self._sums_of_whole(x)
        whole = observed.all(1)
        sums |= self._sums_of_whole(x[whole])
        if not bool(whole.all()):
            _add(sums, self._sums_of_holes(x[~whole], observed[~whole]))
        return sums

    def _sums_of_whole(self, x: Tensor) -> Sums:
        sums = Sums()
        for part in in_parts(self._sums_of_part, x, self.parts.kernel().block):
            _add(sums, part)
        return sums

    def _sums_of_part(self, x: Tensor) -> Sums:
        kernel, log_weights = self.parts.kernel(), self.weights.log()[:, None]
        sums, total = Sums(), torch.zeros((), dtype=torch.float64, device=x.device)
        for rows in torch.split(x, kernel.block):
            features = kernel.features(rows)
            joint = kernel.log_prob(features).add_(log_weights)
            responsibilities, log_prob = _bayes(joint)
            total += log_prob.sum()
            _add(sums, kernel.sums(features, responsibilities))
        return {"log_prob": total, **kernel.finish(sums)}

    def _sums_of_holes(self, x: Tensor, observed: Tensor) -> Sums:
        responsibilities, log_prob = _bayes(self._log_joint(x, observed))
        return {"log_prob": log_prob.sum(), **self.parts.expected_sums(x, observed, responsibilities)}

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """M-step. A component that has lost its data becomes a neighbour of the heaviest, with half of its weight."""
        self.parts.update(statistics)
        count = statistics["count"]
        self.weights.copy_(count / count.sum())
        for lost in (count < LOST).nonzero()[:, 0].tolist():
            source = int(self.weights.argmax())
            self.parts.split(source, lost)
            self.weights[source] /= 2
            self.weights[lost] = self.weights[source]
        self.weights.div_(self.weights.sum())

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        labels = _draw(self.weights.expand(n, -1), generator)
        return self.parts.sample(labels, generator).reshape(n, *self.domain.shape)

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        return torch.cat(in_parts(self._log_prob_of_part, self._rows(x), self.parts.kernel().block))

    def _log_prob_of_part(self, x: Tensor) -> Tensor:
        kernel, log_weights = self.parts.kernel(), self.weights.log()[:, None]
        blocks = torch.split(x, kernel.block)
        return torch.cat([(kernel.log_prob(kernel.features(rows)) + log_weights).logsumexp(0) for rows in blocks])

    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        return self._log_joint(self._rows(x), self._rows(observed)).logsumexp(0)

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        rows, mask = self._rows(x), self._rows(observed)
        posterior = self._log_joint(rows, mask).softmax(0).T
        posterior = torch.where(posterior.isnan(), self.weights, posterior)  # impossible under every component
        labels = _draw(posterior, generator)
        return self.parts.complete(rows, mask, labels, generator).reshape(x.shape)

    def _log_joint(self, x: Tensor, observed: Tensor) -> Tensor:
        """``log w_k p_k`` of the observed entries, ``(K, N)``."""
        return self.parts.log_marginal(x, observed) + self.weights.log()[:, None]

    def _rows(self, x: Tensor) -> Tensor:
        """Data, or a mask, as a matrix ``(N, D)``."""
        return x.reshape(-1, self.domain.entries)


LOST = 1e-3
"""A component with fewer data than this has lost its data."""


NOTHING = -100.0
"""A summand e^-100 of the likelihood is lost in the rounding of 1; kept, such numbers underflow in products, and a processor
takes several times as long for a subnormal number."""


def _bayes(joint: Tensor) -> tuple[Tensor, Tensor]:
    """``w_k p_k(x) / p(x)``, in place of the logarithms ``joint`` ``(K, B)`` of its numerators, and ``log p(x)``.

    One exponential serves both. The responsibilities of a datum that is impossible under every component are 0.
    """
    peak = joint.amax(0).nan_to_num_(neginf=0.0)
    joint.sub_(peak)
    total = joint.masked_fill_(joint < NOTHING, -torch.inf).exp_().sum(0)
    return joint.div_(total.clamp_min(1e-300)), total.log().add_(peak)


def _draw(probabilities: Tensor, generator: Generator) -> Tensor:
    """A component for each row of ``(n, K)``."""
    if len(probabilities) == 0:
        return torch.zeros(0, dtype=torch.int64, device=probabilities.device)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _add(total: Sums, part: Mapping[str, Tensor]) -> None:
    for name, value in part.items():
        total[name] = total[name].add_(value) if name in total else value
