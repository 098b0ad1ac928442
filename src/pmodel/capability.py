"""The capabilities: abstract classes, each adding verbs to ``Model``.

A public verb validates, seeds, splits and restores; the private method of the same name holds only the mathematics.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from .distribution import Distribution
from .domain import Domain, Table
from .errors import BadInput, RangeError, ShapeError
from .likelihood import Kind, Likelihood
from .model import Model
from .randomness import Seed, as_generator

__all__ = ["Bound", "Completes", "Density", "Latent", "Marginalises", "Samples", "Scores", "as_mask", "evaluating"]

CHUNK = 2**21
"""Entries handled at a time by the public verbs: the batch is split so that memory stays bounded."""
MOST = 2**31
"""The most entries that one call of ``sample`` may return."""


class Samples(Model):
    """A model that draws new data."""

    verbs: ClassVar[tuple[str, ...]] = ("sample",)

    @abstractmethod
    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        """Draw ``n`` data, ``(n, *shape)`` of the domain's type."""

    def sample(self, n: int, *, given: object = None, generator: Seed = None) -> Tensor:
        """Draw ``n`` new data.

        Args:
            n: How many, 0 or more.
            given: A label for all, or one for each; None draws labels by their training frequencies.
            generator: A seed, a generator, or None for fresh randomness.

        Returns:
            ``(n, *shape)`` of the domain's type.

        Raises:
            NotSupported: if the model cannot be sampled.
            BadInput: if ``n`` or ``given`` is out of range.
        """
        self._require("sample")
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n * self.domain.entries <= MOST:
            raise RangeError(f"n must be a whole number from 0 to {MOST // self.domain.entries}.", got=n)
        noise = as_generator(generator, self.device)
        with evaluating(self):
            labels = self._checked_given(given, n)
            labels = self._drawn_given(n, noise) if labels is None else labels
            parts = [
                self._sample(stop - start, None if labels is None else labels[start:stop], noise)
                for start, stop in _spans(n, self.domain)
            ]
        return torch.cat(parts)


class Scores(Model):
    """A model with a likelihood of any kind. Subclasses are ``Density`` and ``Bound``."""

    verbs: ClassVar[tuple[str, ...]] = ("score",)

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What its likelihoods are: exact, lower bounds, or estimates."""

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

        whose expectation rises towards log p(x) with K.

        Args:
            x: Data, ``(N, *shape)``.
            given: Their conditions; None scores a conditional model as the mixture over its training frequencies.
            observed: A mask of the shape of ``x``: score only these entries. Missing values of a table need none.
            generator: Seed or generator of the draws.
            effort: The number K of draws for each datum.

        Raises:
            NotSupported: if the model has no likelihood, or cannot marginalise what is missing.
            BadInput: if the data do not fit the domain.
        """
        self._require("score")
        _check_effort(effort)
        data = self.domain.check(x).to(self.device)
        mask = self._checked_observed(data, observed)
        labels = self._checked_given(given, len(data))
        noise = as_generator(generator, self.device)
        effort = effort if self.kind != "exact" else 1
        values, errors = [], []
        with evaluating(self):
            for start, stop in _spans(len(data), self.domain):
                weights = self._log_weights(
                    data[start:stop],
                    None if labels is None else labels[start:stop],
                    None if mask is None else mask[start:stop],
                    noise,
                    effort,
                )
                values.append(_log_mean_exp(weights))
                errors.append(_log_mean_exp_stderr(weights))
        estimator = "exact" if self.kind == "exact" else f"importance-weighted, {effort} draws"
        return Likelihood(torch.cat(values), self.kind, estimator, torch.cat(errors) if effort > 1 else None)

    def _log_weights(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Tensor:
        """``effort`` draws, ``(effort, N)`` float64; over all labels where the model is conditional and none are given."""
        if self.given is None or given is not None:
            return torch.stack([self._draw(x, given, observed, generator).double() for _ in range(effort)])
        labels = torch.arange(len(self.given_frequencies), device=x.device)
        draws = [self._log_weights(x, label.expand(len(x)), observed, generator, effort) for label in labels]
        return torch.logsumexp(torch.stack(draws, -1) + self.given_frequencies.log(), -1)

    def _checked_observed(self, x: Tensor, observed: object) -> Tensor | None:
        """The mask of observed entries, or None if all are: NaN in a table means missing."""
        mask = ~x.isnan() if isinstance(self.domain, Table) and self.domain.missing else None
        if observed is not None:
            asked = as_mask(observed, x)
            mask = asked if mask is None else mask & asked
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


class Bound(Scores):
    """A model whose log-probability is bounded from below by the mean of a log-weight."""

    verbs: ClassVar[tuple[str, ...]] = ("elbo",)

    @abstractmethod
    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """One draw of log p(x, z) - log q(z | x), ``(N,)``: its mean is the ELBO, its exponential's mean is p(x)."""

    def _draw(self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator) -> Tensor:
        return self._log_weight(x, given, generator)

    @property
    def kind(self) -> Kind:
        """A lower bound."""
        return "lower_bound"

    def elbo(self, x: object, *, given: object = None, generator: Seed = 0, effort: int = 16) -> Likelihood:
        """The evidence lower bound: the mean of ``effort`` log-weights for each datum. Arguments as in ``score``."""
        self._require("elbo")
        _check_effort(effort)
        data = self.domain.check(x).to(self.device)
        mask = self._checked_observed(data, None)
        labels = self._checked_given(given, len(data))
        self._require_given(labels, "compute its evidence lower bound")
        noise = as_generator(generator, self.device)
        means, errors = [], []
        with evaluating(self):
            for start, stop in _spans(len(data), self.domain):
                part = None if labels is None else labels[start:stop]
                seen = None if mask is None else mask[start:stop]
                draws = self._log_weights(data[start:stop], part, seen, noise, effort)
                means.append(draws.mean(0))
                errors.append(_std(draws) / effort**0.5)
        return Likelihood(
            torch.cat(means),
            "lower_bound",
            f"evidence lower bound, {effort} draws",
            torch.cat(errors) if effort > 1 else None,
        )


class Latent(Model):
    """A model with a latent code z for each datum."""

    verbs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    @abstractmethod
    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution: ...

    @abstractmethod
    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution: ...

    def encode(self, x: object, *, given: object = None) -> Distribution:
        """The distribution q(z | x) of each datum's code; its ``mean`` is the code to look at.

        Raises:
            NotSupported: if the model has no latent.
            BadInput: if the data do not fit the domain.
        """
        self._require("encode")
        data = self.domain.check(x).to(self.device)
        labels = self._checked_given(given, len(data))
        self._require_given(labels, "encode")
        with evaluating(self):
            return self._encode(data, labels)

    def decode(self, z: Tensor, *, given: object = None) -> Distribution:
        """The distribution p(x | z) for each code ``z`` of shape ``(N, latent)``.

        Raises:
            NotSupported: if the model has no latent.
        """
        self._require("decode")
        labels = self._checked_given(given, len(z))
        self._require_given(labels, "decode")
        with evaluating(self):
            return self._decode(z.to(self.device), labels)


class Completes(Model):
    """A model that draws the unobserved part of a datum given the observed part."""

    verbs: ClassVar[tuple[str, ...]] = ("complete",)

    @abstractmethod
    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """Fill in the entries that are not observed; what the others hold in the answer does not matter."""

    def complete(self, x: object, observed: object, *, given: object = None, generator: Seed = None) -> Tensor:
        """Draw from p(x_unobserved | x_observed). Observed entries come back bit for bit.

        Args:
            x: Data, ``(N, *shape)``; the unobserved entries may hold any value of the domain.
            observed: A mask, of the shape of ``x`` or of one datum.
            given: Conditions, for a conditional model.
            generator: A seed, a generator, or None.

        Raises:
            NotSupported: if the model cannot complete.
            BadInput: if the data or the mask do not fit.
        """
        self._require("complete")
        data = self.domain.check(x).to(self.device)
        mask = as_mask(observed, data)
        if isinstance(self.domain, Table):
            mask = mask & ~data.isnan()
        labels = self._checked_given(given, len(data))
        self._require_given(labels, "complete")
        with evaluating(self):
            filled = self._complete(data, mask, labels, as_generator(generator, self.device))
        return torch.where(mask, data, filled.to(data.dtype))


class Marginalises(Density):
    """A density that integrates out what is not observed, exactly."""

    verbs: ClassVar[tuple[str, ...]] = ("marginalise",)

    @abstractmethod
    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        """Exact log-probability of the observed entries, ``(N,)``; unobserved ones hold arbitrary values or NaN."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no autocast; every submodule's mode is put back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def as_mask(observed: object, x: Tensor) -> Tensor:
    """A boolean mask of the shape of ``x`` from a mask of that shape or of one datum.

    Raises:
        BadInput: if it is not boolean or has another shape.
    """
    mask = torch.as_tensor(observed, device=x.device)
    if mask.dtype != torch.bool:
        raise BadInput("observed must be boolean: True where the entry is known.", got=str(mask.dtype))
    if mask.shape not in (x.shape, x.shape[1:]):
        raise ShapeError(
            "observed must have the shape of the data, or of one datum.",
            got=tuple(mask.shape),
            hint=f"pass a mask of shape {tuple(x.shape[1:])}",
        )
    return mask.expand(x.shape)


def _spans(n: int, domain: Domain) -> list[tuple[int, int]]:
    """Consecutive spans that cover 0 … n, each of at most ``CHUNK`` entries; one empty span if n is 0."""
    size = max(1, CHUNK // domain.entries)
    return [(start, min(start + size, n)) for start in range(0, n, size)] or [(0, 0)]


def _log_mean_exp(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def _check_effort(effort: object) -> None:
    if isinstance(effort, bool) or not isinstance(effort, int) or not 1 <= effort <= 10**6:
        raise RangeError("effort must be a whole number from 1 to 1000000.", got=effort)


def _std(draws: Tensor) -> Tensor:
    """The standard deviation over the draws; zero for a single one."""
    return draws.std(0) if len(draws) > 1 and draws.numel() else torch.zeros_like(draws[0])


def _log_mean_exp_stderr(log_weights: Tensor) -> Tensor:
    """The delta method: the standard error of the mean weight over the mean weight."""
    if log_weights.numel() == 0:
        return torch.zeros_like(log_weights[0])
    peak = log_weights.max(0).values
    weights = (log_weights - torch.where(peak.isfinite(), peak, 0.0)).exp()
    return _std(weights) / weights.mean(0).clamp_min(1e-300) / math.sqrt(len(weights))
