r"""What the data say of the states: emissions and recursions together.

A sequence that ended by itself, where the model has an end, has the factor :math:`p(\mathrm{end} \mid z_T)` more: it belongs
to the likelihood of its last element, but for ``filtered``, which knows nothing of the future. Sequences that the scaled
recursions lose are done again in logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from .emission import Emission, scaled
from .forward_backward import Chain, Smoothed
from .log_space import log_filtered, log_smoothed
from .packing import Packing
from .paths import best_paths
from .segments import filtered, smoothed

__all__ = ["Evidence", "Inference"]


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Some sequences, packed.

    Args:
        x: Their elements as rows, ``(P, D)``.
        observed: The mask of what is known of them, or None.
        packing: Where the sequences are.
        last: The rows after which a sequence ends by itself, ``(P,)`` bool; None where the model has no end.
    """

    x: Tensor
    observed: Tensor | None
    packing: Packing
    last: Tensor | None

    def of(self, sequences: Tensor) -> Evidence:
        """Those of some sequences, ``(N,)`` bool."""
        rows = sequences[self.packing.sequence]
        lengths = self.packing.summed(rows.double()).long()
        cut = replace(self, x=self.x[rows], packing=Packing.of(lengths))
        seen = None if self.observed is None else self.observed[rows]
        return replace(cut, observed=seen, last=None if self.last is None else self.last[rows])


@final
@dataclass(frozen=True, eq=False)
class Inference:
    """Posteriors under fixed parameters.

    Args:
        chain: The states.
        exits: The probability of the end after each state, ``(K,)``.
        emission: What the states emit.
    """

    chain: Chain
    exits: Tensor
    emission: Emission

    def log_likelihood(self, evidence: Evidence) -> Tensor:
        """``log p(x_t | k)``, ``(P, K)``, the end after the last element included."""
        logs = self.emission.log_likelihood(evidence.x, evidence.observed)
        if evidence.last is not None:
            logs[evidence.last] += self.exits.log()
        return logs

    def _likelihood(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The same as numbers near one, and the logarithm of their scale, ``(P,)``."""
        if evidence.observed is not None:
            logs = self.log_likelihood(evidence)
            peak = scaled(logs, out=logs)
            return logs, peak
        b, peak = self.emission.likelihood(evidence.x)
        if evidence.last is not None:
            b[evidence.last] *= self.exits
        return b, peak

    def log_prob(self, evidence: Evidence) -> Tensor:
        """``log p(x)``, ``(N,)``; 0 for a sequence without elements."""
        b, peak = self._likelihood(evidence)
        found = filtered(self.chain, b, evidence.packing)
        log_prob = found.log_prob + evidence.packing.summed(peak)
        if bool(found.lost.any()):
            log_prob[found.lost] = self.smoothed(evidence.of(found.lost)).log_prob[found.lost]
        return log_prob

    def smoothed(self, evidence: Evidence) -> Smoothed:
        """The log-likelihoods, and the posteriors of states and transitions."""
        b, peak = self._likelihood(evidence)
        found = smoothed(self.chain, b, evidence.packing)
        log_prob = found.log_prob + evidence.packing.summed(peak)
        if bool(found.lost.any()):
            part = evidence.of(found.lost)
            exact = log_smoothed(self.chain, self.log_likelihood(part), part.packing)
            log_prob[found.lost] = exact.log_prob[found.lost]
            found.gamma[found.lost[evidence.packing.sequence]] = exact.gamma
            found.transitions.add_(exact.transitions)
        return replace(found, log_prob=log_prob)

    def filtered(self, evidence: Evidence) -> Tensor:
        """The states given the past and present, ``(P, K)``; zero for the impossible. The end is in the future."""
        logs = self.emission.log_likelihood(evidence.x, evidence.observed)
        log_alpha = log_filtered(self.chain, logs, evidence.packing)[1]
        return log_alpha.softmax(1).nan_to_num(0.0)

    def viterbi(self, evidence: Evidence) -> Tensor:
        """The likeliest paths, ``(P,)``."""
        return best_paths(self.chain, self.log_likelihood(evidence), evidence.packing)
