"""Models with a likelihood: exact, or bounded from below."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..domain import Sequences
from ..errors import require_whole
from ..likelihood import Kind, Likelihood
from ..model import Model
from ..randomness import Seed, as_generator
from .verbs import as_mask, evaluating

__all__ = ["Bound", "Density", "Marginalises", "Scores", "Weigher"]

Weigher = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""From data, their conditions and the mask of what is observed to draws of their log-likelihood, ``(effort, N)`` float64."""


class Scores(Model):
    """A model with a likelihood of any kind. Subclasses are ``Density`` and ``Bound``."""

    verbs: ClassVar[tuple[str, ...]] = ("score",)
    weighted: bool = True
    """Whether draws are weights, whose exponentials have the mean p(x); else only the mean of the draws means something."""
    ordered: bool = False
    """Whether the draws of a datum are evenly spread over something and come in its order, and no weights: then they differ
    by more than chance, and their mean by less."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What its likelihoods are: exact, lower bounds, or estimates."""

    @property
    def way(self) -> str:
        """What the draws of a likelihood that is not exact are combined to, in words."""
        return "importance-weighted" if self.weighted else "evidence lower bound"

    @abstractmethod
    def _draw(self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator) -> Tensor:
        """One draw of the log-likelihood's estimator, ``(N,)``; the value itself where it is exact."""

    def score(
        self,
        x: object,
        *,
        given: object = None,
        observed: object = None,
        generator: Seed = 0,
        effort: int = 16,
    ) -> Likelihood:
        r"""The log-likelihood of each datum, with its kind and Monte Carlo error.

        Exact where the model has a density. Else the importance-weighted bound of Burda et al. (2016),

        .. math:: \log \frac1K \sum_{k=1}^K w_k, \qquad \mathbb{E}\,w_k = p(x),

        whose expectation rises towards log p(x) with K; or the evidence lower bound, where draws of it are no weights
        (``weighted``).

        Args:
            x: Data, ``(N, *shape)``.
            given: Their conditions; None scores a conditional model as the mixture over its training frequencies.
            observed: A mask of the shape of ``x``: score only these entries. Missing values (NaN) need none.
            generator: Seed or generator of the draws.
            effort: The number K of draws for each datum.

        Raises:
            NotSupported: if the model has no likelihood, or cannot marginalise what is missing.
            BadInput: if the data do not fit the domain.
        """
        self._require("score")
        require_whole("effort", effort, 1, 10**6)
        data = self.domain.check(x).to(self.device)
        mask = self._checked_observed(data, observed)
        labels = self._checked_given(given, len(data))
        if self.translates:
            self._require_given(labels, "score")
        noise = as_generator(generator, self.device)
        effort = effort if self.kind != "exact" else 1
        values, errors = [], []
        with evaluating(self):
            for weights in self._weighed(data, labels, mask, noise, effort):
                values.append(_log_mean_exp(weights) if self.weighted else weights.mean(0))
                errors.append(_log_mean_exp_stderr(weights) if self.weighted else self._mean_stderr(weights))
        estimator = "exact" if self.kind == "exact" else f"{self.way}, {_draws(effort)}"
        return Likelihood(torch.cat(values), self.kind, estimator, torch.cat(errors) if effort > 1 else None)

    def _mean_stderr(self, draws: Tensor) -> Tensor:
        """The standard error of the mean over the draws, ``(effort, N) -> (N,)``."""
        return _neighbours_stderr(draws) if self.ordered else _mean_stderr(draws)

    def _weighed(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Iterator[Tensor]:
        """The draws of consecutive data, as many at a time as memory allows; over all labels where none are given."""
        mixed = self.given is not None and given is None
        weigh = self._mixing_weigher(generator, effort) if mixed else self._weigher(given, generator, effort)
        for start, stop in self._spans(len(x)):
            labels = None if given is None else given[start:stop]
            yield weigh(x[start:stop], labels, None if observed is None else observed[start:stop])

    def _weigher(self, given: Tensor | None, generator: Generator, effort: int) -> Weigher:
        """What weighs the data of one call, a part at a time: what all of them share is drawn once.

        Args:
            given: The conditions of all data; None of an unconditional model.
            generator: Of the draws.
            effort: How many there are for each datum.
        """
        return lambda x, labels, observed: self._log_weights(x, labels, observed, generator, effort)

    def _log_weights(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Tensor:
        """``effort`` draws that share nothing with those of other data, ``(effort, N)`` float64."""
        return torch.stack([self._draw(x, given, observed, generator).double() for _ in range(effort)])

    def _mixing_weigher(self, generator: Generator, effort: int) -> Weigher:
        """What weighs data that come without labels, as those of a mixture over all labels."""
        joint, pilot = (self._joint_weigher(generator, effort) for _ in range(2))

        def weigh(x: Tensor, _: Tensor | None, observed: Tensor | None) -> Tensor:
            draws = joint(x, None, observed)
            return draws.logsumexp(-1) if self.weighted else _expected_joint(pilot(x, None, observed).mean(0), draws)

        return weigh

    def _joint_weigher(self, generator: Generator, effort: int) -> Weigher:
        """Draws of log p(x, y) for every label y, ``(effort, N, labels)``."""
        labels = torch.arange(len(self.given_frequencies), device=self.device)
        weighers = [self._weigher(label.reshape(1), generator, effort) for label in labels]

        def weigh(x: Tensor, _: Tensor | None, observed: Tensor | None) -> Tensor:
            draws = [each(x, y.expand(len(x)), observed) for each, y in zip(weighers, labels, strict=True)]
            return torch.stack(draws, -1) + self._label_weights(x).log()

        return weigh

    def _label_weights(self, x: Tensor, prior: Tensor | None = None) -> Tensor:
        r"""The probability of each label before the data are seen, ``(N, labels)``.

        That is the prior, p(y); where lengths are given, :math:`p(y \mid T) \propto p(y) \, p(T \mid y)`, with the training
        frequencies of lengths, and the prior again for a length that comes with no label.

        Args:
            x: Checked data, ``(N, *shape)``.
            prior: ``(labels,)``; by default how often each occurs in training.
        """
        everywhere = (self.given_frequencies if prior is None else prior).expand(len(x), -1)
        if not isinstance(self.domain, Sequences) or self.domain.ends:
            return everywhere
        joint = everywhere * self.length_frequencies[:, self.domain.lengths(x) - 1].T
        total = joint.sum(1, keepdim=True)
        return torch.where(total > 0, joint / total.clamp_min(1e-300), everywhere)

    def _checked_observed(self, x: Tensor, observed: object) -> Tensor | None:
        """The mask of observed entries, or None if all are: NaN means missing, where the domain allows it."""
        mask = self.domain.observed(x, None if observed is None else as_mask(observed, x))
        if mask is None or bool(mask.all()):
            return None
        self._require("marginalise")
        return mask


class Density(Scores):
    """A model whose log-probability is computed exactly."""

    verbs: ClassVar[tuple[str, ...]] = ("log_prob",)

    @abstractmethod
    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        """Exact log-probability in nats, ``(N,)``."""

    def _draw(self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator) -> Tensor:
        if observed is not None and isinstance(self, Marginalises):
            return self._log_marginal(x, observed, given)
        return self._log_prob(x, given)

    @property
    def kind(self) -> Kind:
        """Exact."""
        return "exact"

    def log_prob(self, x: object, *, given: object = None, observed: object = None) -> Tensor:
        """Exact log-probability of each datum, ``(N,)`` float64 nats. Arguments and errors are those of ``score``."""
        self._require("log_prob")
        return self.score(x, given=given, observed=observed).values


class Marginalises(Density):
    """A density that integrates out what is not observed, exactly."""

    verbs: ClassVar[tuple[str, ...]] = ("marginalise",)

    @abstractmethod
    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        """Exact log-probability of the observed entries, ``(N,)``; unobserved ones hold arbitrary values or NaN."""


class Bound(Scores):
    """A model whose log-probability is bounded from below by the mean of draws: of log-weights, where ``weighted``."""

    verbs: ClassVar[tuple[str, ...]] = ("elbo",)

    @abstractmethod
    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """One draw of log p(x, z) - log q(z | x), ``(N,)``: its mean is the ELBO, its exponential's mean is p(x).

        Where ``weighted`` is False, one draw of something else that has the ELBO as its mean.
        """

    def _draw(self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator) -> Tensor:
        return self._log_weight(x, given, generator)

    @property
    def kind(self) -> Kind:
        """A lower bound."""
        return "lower_bound"

    def elbo(self, x: object, *, given: object = None, generator: Seed = 0, effort: int = 16) -> Likelihood:
        """The evidence lower bound: the mean of ``effort`` log-weights for each datum. Arguments as in ``score``."""
        self._require("elbo")
        require_whole("effort", effort, 1, 10**6)
        data = self.domain.check(x).to(self.device)
        mask = self._checked_observed(data, None)
        labels = self._checked_given(given, len(data))
        self._require_given(labels, "compute its evidence lower bound")
        noise = as_generator(generator, self.device)
        means, errors = [], []
        with evaluating(self):
            for draws in self._weighed(data, labels, mask, noise, effort):
                means.append(draws.mean(0))
                errors.append(self._mean_stderr(draws))
        return Likelihood(
            torch.cat(means),
            "lower_bound",
            f"evidence lower bound, {_draws(effort)}",
            torch.cat(errors) if effort > 1 else None,
        )


def _draws(effort: int) -> str:
    return f"{effort} draw{'s' * (effort > 1)}"


def _log_mean_exp(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def _std(draws: Tensor) -> Tensor:
    """The standard deviation over the draws; zero for a single one."""
    return draws.std(0) if len(draws) > 1 and draws.numel() else torch.zeros_like(draws[0])


def _mean_stderr(draws: Tensor) -> Tensor:
    return _std(draws) / math.sqrt(len(draws))


def _neighbours_stderr(draws: Tensor) -> Tensor:
    r"""The standard error of the mean of draws that are evenly spread, from the differences of neighbours.

    .. math:: \frac{1}{K} \cdot \frac{1}{2 (K - 1)} \sum_k (w_{k+1} - w_k)^2

    is its square (Wolter 2007, *Introduction to Variance Estimation*, section 8.2): the variance over all draws would count
    what the spreading takes away.
    """
    if len(draws) < 2:
        return torch.zeros_like(draws[0])
    return (draws.diff(dim=0).square().mean(0) / (2 * len(draws))).sqrt()


def _expected_joint(pilot: Tensor, joint: Tensor) -> Tensor:
    r"""Draws that bound log p(x) over labels: :math:`\sum_y r_y (\log p(x, y) - \log r_y) \le \log p(x)` for any weights r.

    The weights come from other draws than the ones they are applied to. The logarithm of a sum of noisy bounds would not do:
    it is convex, so that noise alone lifts it above what it bounds.

    Args:
        pilot: Bounds of log p(x, y) that the weights are taken from, ``(N, labels)``.
        joint: Draws, ``(effort, N, labels)``.
    """
    log_r = torch.where(pilot.isneginf().all(-1, keepdim=True), 0.0, pilot).log_softmax(-1)  # nothing known: all alike
    r = log_r.exp()
    terms: Tensor = torch.where(r == 0, 0.0, r * (joint - log_r))
    return terms.sum(-1)


def _log_mean_exp_stderr(log_weights: Tensor) -> Tensor:
    """The delta method: the standard error of the mean weight over the mean weight."""
    if log_weights.numel() == 0:
        return torch.zeros_like(log_weights[0])
    peak = log_weights.max(0).values
    weights = (log_weights - torch.where(peak.isfinite(), peak, 0.0)).exp()
    return _std(weights) / weights.mean(0).clamp_min(1e-300) / math.sqrt(len(weights))
