"""A hidden Markov model: a chain of states that is not seen, each of which emits an element that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self, final

import torch
from torch import Generator, Tensor

from ....capability import evaluating
from ....domain import Discrete, Domain, Real, Sequences
from ....errors import BadInput, RangeError, require_whole
from ..categorical_components import CategoricalComponents
from ..components import Components
from ..gaussian_options import gaussian_components
from .baum_welch import BaumWelch
from .forward_backward import Chain
from .inference import Evidence, Inference
from .log_space import log_filtered
from .packing import Packing
from .paths import drawn_paths, walks

__all__ = ["HMM"]


@final
class HMM(BaumWelch):
    r"""A hidden Markov model, fitted by expectation maximisation (Baum-Welch).

    .. math:: p(x_1 \dots x_T) = \sum_{z_1 \dots z_T} \pi_{z_1} \prod_{t=2}^{T} A_{z_{t-1} z_t} \prod_{t=1}^{T} p(x_t \mid z_t)

    The sum over all :math:`K^T` paths is T products with the matrix A. Any entries may be missing: their factor is integrated
    out, and ``complete`` draws them from their exact conditional distribution, a forecast among them (the prefix is observed).
    For sequences with an end symbol the chain has one more state, the end, which emits the end and is never left.

    Args:
        domain: Sequences of discrete or real elements.
        given: None; for labels there is one model a class.
        states: K.
        emission: ``categorical`` for discrete elements, ``gaussian`` or ``mixture`` (of ``components`` Gaussians or products of
            categories a state) for real ones; ``auto`` is the first that fits.
        components: Components of a state, for ``mixture``.
        covariance: Of Gaussian components: ``full``, ``tied`` (one for all states), ``diagonal`` or ``spherical``.
        shrinkage: How many data the prior of a component is worth, as for ``mixture``: 0 is maximum likelihood.
        smoothing: How many transitions from each state, spread evenly, are added to those in the data, and as many first
            states; 0 is maximum likelihood. Where there is an end symbol, the end has its share of both: at the start it is
            the empty string.
        floor: The least variance, as a part of the variance of the data.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if emission or covariance is of no known kind, or does not suit the data.

    Source:
        | A maximization technique occurring in the statistical analysis of probabilistic functions of Markov chains
        | (Baum, Petrie, Soules and Weiss, 1970)
        | https://doi.org/10.1214/aoms/1177697196
    """

    natives = (Sequences,)

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        states: int = 16,
        emission: Literal["auto", "gaussian", "mixture", "categorical"] = "auto",
        components: int = 3,
        covariance: Literal["full", "tied", "diagonal", "spherical"] = "full",
        shrinkage: float | None = None,
        smoothing: float = 0.0,
        floor: float = 1e-6,
    ) -> None:
        if not isinstance(domain, Sequences):
            raise BadInput("A hidden Markov model takes sequences.", got=domain)
        require_whole("states", states, 1, 10_000)
        require_whole("components", components, 1, 1000)
        if not 0 <= smoothing < float("inf"):
            raise RangeError("smoothing must be a number of transitions, 0 or more.", got=smoothing)
        self.element = domain.element
        total = states * components if emission == "mixture" else states
        parts = _parts(domain.element, total, emission, covariance, shrinkage, floor)
        super().__init__(domain, given, states=states, parts=parts, smoothing=smoothing)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """Two states."""
        return cls(domain, given, states=2)

    @property
    def freedom(self) -> int:
        """The first state's probabilities, the transitions, the weights within the states, and the components' parameters."""
        chain = len(self.initial) - 1 + self.states * (self.transition.shape[1] - 1)
        return chain + self.states * (self.emission.each - 1) + self.emission.parts.freedom

    @property
    def means(self) -> Tensor:
        """The expected element of each state, ``(K, *element.shape)``."""
        return self.emission.expectations().reshape(-1, *self.element.shape)

    @property
    def _whole_chain(self) -> Chain:
        """With the end as a state that is never left, where there is one."""
        stay = torch.zeros(int(self.ends), self.states + self.ends, dtype=torch.float64, device=self.device)
        stay[:, -1:] = 1.0
        return Chain(self.initial, torch.cat([self.transition, stay]))

    def posteriors(self, x: object) -> Tensor:
        """The states given all of a sequence, p(z_t | x): ``(N, longest, K)``, zero after the end.

        Args:
            x: Data, ``(N, *shape)``; missing values (NaN) are integrated out, where the domain allows them.

        Raises:
            BadInput: if the data do not fit the domain.
        """
        return self._decoded(x, 0.0, lambda inference, evidence: inference.smoothed(evidence).gamma)

    def filtered(self, x: object) -> Tensor:
        """The states given past and present only, p(z_t | x_1 … x_t), whether the sequence ends there or goes on.

        Arguments, shape and errors as for ``posteriors``.
        """
        return self._decoded(x, 0.0, Inference.filtered)

    def viterbi(self, x: object) -> Tensor:
        """The likeliest path of states (Viterbi 1967), ``(N, longest)`` int64, -1 after the end.

        The probability of the path as a whole is largest; the likeliest state of each time is ``posteriors(x).argmax(2)``.
        Arguments and errors as for ``posteriors``.
        """
        return self._decoded(x, -1, Inference.viterbi)

    def _decoded(self, x: object, fill: float, decode: Callable[[Inference, Evidence], Tensor]) -> Tensor:
        """What ``decode`` says of every element, in its place."""
        data = self.domain.check(x).to(self.device)
        mask, inference, parts = self.domain.observed(data), self.inference, []
        with evaluating(self):
            for rows in self.groups(self.sequences.lengths(data)) or [torch.arange(0, device=self.device)]:
                evidence = self.evidence(data, mask, rows)
                found = decode(inference, evidence)
                out = found.new_full((len(rows), data.shape[1], *found.shape[1:]), fill)
                parts.append(evidence.packing.unpack(found, out))
        return torch.cat(parts)

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._scored(x, None)

    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        if not self.ends:
            return self._scored(x, observed)
        parts = [log_filtered(self._whole_chain, *self._symbols(x[rows], observed[rows]))[0] for rows in self._all(x)]
        return torch.cat([self.initial.new_zeros(0), *parts])

    def _scored(self, x: Tensor, observed: Tensor | None) -> Tensor:
        inference, lengths = self.inference, self.sequences.lengths(x)
        parts = [inference.log_prob(self.evidence(x, observed, rows)) for rows in self.groups(lengths)]
        log_prob = torch.cat([self.initial.new_zeros(0), *parts])
        return torch.where(lengths == 0, self.initial[-1].log(), log_prob) if self.ends else log_prob

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        filled = [self._filled(x[rows], observed[rows], generator) for rows in self._all(x)]
        return torch.cat(filled) if filled else x

    def _all(self, x: Tensor) -> list[Tensor]:
        """Parts of the sequences that fit into memory, whatever their lengths turn out to be."""
        return self.groups(torch.full((len(x),), self.sequences.longest, device=x.device))

    def _filled(self, x: Tensor, observed: Tensor, generator: Generator) -> Tensor:
        """States drawn given what is known, then elements given the states."""
        if self.ends:
            logs, packing = self._symbols(x, observed)
            elements, seen = packing.pack(x)[:, None], packing.pack(observed)[:, None]
        else:
            evidence = self.evidence(x, observed, torch.arange(len(x), device=x.device))
            logs, packing = self.inference.log_likelihood(evidence), evidence.packing
            elements, seen = evidence.x, torch.as_tensor(evidence.observed)
        chain = self._whole_chain
        states = drawn_paths(chain, log_filtered(chain, logs, packing)[1], packing, generator)
        within = states < self.states
        drawn = self.emission.complete(states[within], elements[within], seen[within], generator)
        rows = torch.full(elements.shape, self.sequences.end, dtype=drawn.dtype, device=x.device)
        rows[within] = drawn
        return packing.unpack(rows.reshape(-1, *self.element.shape).to(x.dtype), x.clone())

    def _symbols(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Packing]:
        """The log-likelihoods of what is known of symbols and ends, ``(P, K + 1)``: every sequence goes on to the longest."""
        packing = Packing.of(torch.full((len(x),), self.sequences.longest, device=x.device))
        symbols, seen = packing.pack(x), packing.pack(observed)
        over = symbols == self.sequences.end
        logs = self.emission.log_likelihood(torch.where(over, 0, symbols)[:, None])
        ends = torch.where(over, 0.0, -torch.inf).to(logs.dtype)
        logs = torch.cat([logs.masked_fill(over[:, None], -torch.inf), ends[:, None]], 1)
        return logs.masked_fill_(~seen[:, None], 0.0), packing

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        states = walks(self._whole_chain, n, self.sequences.longest, generator).flatten()
        within = states < self.states
        drawn = self.emission.sample(states[within], generator)
        rows = torch.full((len(states), drawn.shape[1]), self.sequences.end, dtype=drawn.dtype, device=self.device)
        rows[within] = drawn
        return rows.reshape(n, *self.domain.shape)


def _parts(
    element: Discrete | Real, components: int, emission: str, covariance: str, shrinkage: float | None, floor: float
) -> Components:
    """The components that the options describe."""
    if emission not in ("auto", "gaussian", "mixture", "categorical"):
        raise BadInput("emission must be auto, gaussian, mixture or categorical.", got=emission)
    if isinstance(element, Discrete):
        if emission == "gaussian":
            raise BadInput("Gaussian emissions need real elements.", got=element, hint="use emission=categorical")
        return CategoricalComponents(components, element.entries, levels=element.levels, shrinkage=shrinkage)
    if emission == "categorical":
        raise BadInput("Categorical emissions need discrete elements.", got=element, hint="use emission=gaussian")
    if covariance == "lowrank":
        raise BadInput("covariance must be one of full, tied, diagonal, spherical.", got=covariance)
    return gaussian_components(
        components, element.entries, covariance, rank=1, isotropic=False, shrinkage=shrinkage, floor=floor
    )
