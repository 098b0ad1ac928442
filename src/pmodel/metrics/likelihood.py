r"""Likelihoods as JSON, and which of two models is the better one, if that follows from the numbers.

With per-datum values :math:`a_i, b_i` of two models on the *same* data, the standard error of the mean difference is that
of :math:`d_i = a_i - b_i`. It is far smaller than either model's own, because easy data are easy for both. From the
interval of the mean difference follows

================  ================================================================================
exact, exact      the one above, if the interval excludes zero
bound, exact      the bound's model, if the interval lies above zero; a bound *below* says nothing
bound, bound      nothing: the gaps are unknown
estimate, any     nothing: an estimate may err to either side
================  ================================================================================

and everything else is undecided. Draws of a stochastic bound are part of :math:`d_i`, and so of its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from ..domain import Domain, Sequences
from ..domain.alphabet import CODE_POINTS
from ..errors import BadInput
from ..likelihood import Kind, Likelihood
from .measure import Measure, same_measure

__all__ = [
    "Candidate",
    "Verdict",
    "bits_json",
    "compare_likelihoods",
    "costs",
    "likelihood_json",
    "places",
    "seeds_half",
    "student",
]

STUDENT_99 = (63.66, 9.92, 5.84, 4.60, 4.03, 3.71, 3.50, 3.36, 3.25, 3.17)
"""Two-sided 99 % quantiles of Student's t for 1 … 10 degrees of freedom. 99 %, because a comparison makes many pairs."""
NORMAL_99 = 2.576


def student(freedom: int) -> float:
    """The half-width of a 99 % interval in standard errors, for an error with so many degrees of freedom.

    Beyond the table by Cornish and Fisher's expansion of the quantile in 1 / freedom.
    """
    if freedom <= len(STUDENT_99):
        return STUDENT_99[freedom - 1]
    z = NORMAL_99
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def seeds_half(errors: Iterable[tuple[float, int]]) -> float:
    """Half of the 99 % interval of a difference that comes from training seeds, by Welch's t with Satterthwaite's freedom.

    Args:
        errors: The standard error of each mean over seeds, and the number of its seeds; one seed has no error to tell.
    """
    known = [(stderr, seeds) for stderr, seeds in errors if seeds > 1 and stderr > 0]
    if not known:
        return 0.0
    variance = sum(stderr**2 for stderr, _ in known)
    freedom = variance**2 / sum(stderr**4 / (seeds - 1) for stderr, seeds in known)
    return student(max(1, int(freedom + 1e-9))) * math.sqrt(variance)


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """A model's likelihoods on one measure, one for each training seed.

    Args:
        name: Of the model and its options, for the verdict's words.
        measure: What was scored.
        runs: One likelihood for each seed, on the same data in the same order.
    """

    name: str
    measure: Measure
    runs: tuple[Likelihood, ...]

    def __post_init__(self) -> None:
        if not self.runs or any(run.n != self.runs[0].n or run.kind != self.runs[0].kind for run in self.runs):
            raise BadInput(
                "A candidate needs likelihoods of one kind on the same data, one for each seed.",
                got=[(run.kind, run.n) for run in self.runs],
            )

    @property
    def kind(self) -> Kind:
        """Exact, a lower bound or an estimate."""
        return self.runs[0].kind

    @property
    def values(self) -> Tensor:
        """Per-datum values, averaged over the seeds, ``(N,)``."""
        return torch.stack([run.values.double().cpu() for run in self.runs]).mean(0)

    @property
    def seed_stderr(self) -> float:
        """The standard error of the mean that comes from the training seed; 0 where there is one seed only."""
        if len(self.runs) < 2:
            return 0.0
        means = torch.tensor([run.mean for run in self.runs], dtype=torch.float64)
        return float(means.std()) / math.sqrt(len(self.runs))

    @property
    def common_stderr(self) -> float:
        """The standard error of the mean that does not come from the data: of the seeds, or of what one seed's values share."""
        return self.seed_stderr if len(self.runs) > 1 else self.runs[0].common_stderr

    @property
    def impossible(self) -> int:
        """Data that at least one seed's model holds for impossible."""
        return int(torch.isneginf(self.values).sum())

    def to_json(self) -> dict[str, Any]:
        """The likelihood of all seeds together: the mean, and an error that covers data and seeds."""
        result = likelihood_json(Likelihood(self.values, self.kind, self.runs[0].estimator), self.measure)
        if result["stderr"] is not None:
            result["stderr"] = math.hypot(result["stderr"], self.common_stderr)
        return result


@final
@dataclass(frozen=True)
class Verdict:
    """Which of two models is better, if that follows.

    Args:
        first: A candidate's name.
        second: The other's.
        outcome: ``first``, ``second`` or ``undecided``.
        difference: Mean of first minus second in nats per datum; None where it is not finite.
        interval: 99 % interval of the difference, or None.
        why: In words.
    """

    first: str
    second: str
    outcome: Literal["first", "second", "undecided"]
    difference: float | None
    interval: tuple[float, float] | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {**self.__dict__, "interval": None if self.interval is None else list(self.interval)}


def compare_likelihoods(a: Candidate, b: Candidate) -> Verdict:
    """Whether a model's likelihood is above another's, by the rules of this module.

    Raises:
        BadInput: if they were not measured on the same data in the same measure.
    """
    same_measure([a.measure, b.measure])
    if len(a.values) != len(b.values):
        raise BadInput("Likelihoods are compared datum by datum.", got=f"{len(a.values)} and {len(b.values)} values")
    if "estimate" in (a.kind, b.kind):
        return Verdict(a.name, b.name, "undecided", None, None, "estimates are shown, never ranked")
    if a.impossible or b.impossible:
        return _with_impossible(a, b)
    difference, half = _paired(a, b)
    interval = (difference - half, difference + half)
    if math.isnan(half):
        return Verdict(a.name, b.name, "undecided", difference, None, "one datum has no standard error")
    if interval[0] > 0 and b.kind == "exact":
        return Verdict(a.name, b.name, "first", difference, interval, _above(a))
    if interval[1] < 0 and a.kind == "exact":
        return Verdict(a.name, b.name, "second", difference, interval, _above(b))
    return Verdict(a.name, b.name, "undecided", difference, interval, _why_undecided(a, b, interval))


def _paired(a: Candidate, b: Candidate) -> tuple[float, float]:
    """The mean difference and the half-width of its interval, from the data and, with several seeds, from the seeds."""
    d = a.values - b.values
    parts = [student(max(len(d) - 1, 1)) * float(d.std()) / len(d) ** 0.5 if len(d) > 1 else math.nan]
    return float(d.mean()), math.hypot(*parts, seeds_half((c.seed_stderr, len(c.runs)) for c in (a, b)))


def _with_impossible(a: Candidate, b: Candidate) -> Verdict:
    """A mean of minus infinity is below every finite one, if it is exact: a bound of minus infinity says nothing."""
    for low, high, outcome in ((a, b, "second"), (b, a, "first")):
        if low.impossible and low.kind == "exact" and not high.impossible:
            why = f"{low.name} holds {low.impossible} of {len(low.values)} data for impossible"
            return Verdict(a.name, b.name, outcome, None, None, why)  # type: ignore[arg-type]
    both = a.impossible and b.impossible
    why = "both hold some data for impossible" if both else "a bound of minus infinity says nothing"
    return Verdict(a.name, b.name, "undecided", None, None, why)


def _above(winner: Candidate) -> str:
    if winner.kind == "exact":
        return "the interval of the paired difference excludes zero"
    return "even its lower bound is above the other's exact value"


def _why_undecided(a: Candidate, b: Candidate, interval: tuple[float, float]) -> str:
    if a.kind == b.kind == "exact":
        return "the interval of the paired difference holds zero"
    if a.kind == b.kind:
        return "two lower bounds do not order what they bound"
    if interval[0] <= 0 <= interval[1]:
        return "the bound is not significantly above the exact value"
    return "a lower bound that lies below an exact value says nothing"


def places(verdicts: Sequence[Verdict], names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The best and the worst place that each name can have, given what was decided; equal where its place is certain."""
    above = dict.fromkeys(names, 0)
    below = dict.fromkeys(names, 0)
    for verdict in verdicts:
        if verdict.outcome != "undecided":
            pair = (verdict.first, verdict.second)
            winner, loser = pair if verdict.outcome == "first" else pair[::-1]
            above[loser] += 1
            below[winner] += 1
    return {name: (1 + above[name], len(names) - below[name]) for name in names}


def likelihood_json(likelihood: Likelihood, measure: Measure) -> dict[str, Any]:
    """A likelihood as every command writes it: the mean in nats per datum, or null where data are impossible."""
    impossible = likelihood.impossible
    return {
        "value": None if impossible else likelihood.mean,
        "kind": likelihood.kind,
        "unit": "nats",
        "stderr": None if impossible or math.isnan(likelihood.stderr) else likelihood.stderr,
        "n": likelihood.n,
        "measure": measure.to_json(),
        "estimator": likelihood.estimator,
        "impossible": impossible,
    }


def bits_json(nats: Mapping[str, Any], values: Tensor, sizes: Tensor, unit: str, common: float = 0.0) -> dict[str, Any]:
    r"""The same likelihood as a cost c in bits per unit, :math:`-\sum_i \log p(x_i) / (\log 2 \sum_i D_i)` over all data.

    Where all data are of one size, that is the mean cost over it; else it is a ratio of means, whose standard error is that of
    the mean of :math:`-\log p(x_i) / \log 2 - c D_i`, over the mean size. ``kind`` stays that of the likelihood: where that is
    a lower bound, the cost is an upper one.

    Args:
        nats: The likelihood as JSON.
        values: Nats of each datum, ``(N,)``.
        sizes: The units :math:`D_i` of each datum, ``(N,)``.
        unit: What they are called: ``bits/dim`` or ``bits/character``.
        common: The standard error of the mean in nats that does not come from the data.
    """
    mean_size = float(sizes.double().mean())
    if nats["value"] is None or mean_size == 0:
        return {**nats, "unit": unit, "value": None, "stderr": None}
    bits, sizes = -values.double().cpu() / math.log(2), sizes.double().cpu()
    cost = float(bits.mean()) / mean_size
    stderr = None
    if nats["stderr"] is not None:
        own = float((bits - cost * sizes).std()) / math.sqrt(len(bits))
        stderr = math.hypot(own, common / math.log(2)) / mean_size
    return {**nats, "unit": unit, "value": cost, "stderr": stderr}


def costs(
    nats: Mapping[str, Any], values: Tensor, x: Tensor, domain: Domain, common: float = 0.0
) -> dict[str, dict[str, Any]]:
    """A likelihood in the other units that it has, by the names of ``report.json``: for masses, bits per entry that is there.

    And for texts bits per character, the one unit in which alphabets compare. A character that is not in the alphabet costs as
    much as it takes to say which of all that Unicode has room for it is, so that no alphabet gains by knowing few.

    Args:
        nats: The likelihood as JSON.
        values: Nats of each datum, ``(N,)``.
        x: The data.
        domain: Theirs.
        common: As in ``bits_json``.
    """
    if domain.measure != "mass":
        return {}
    found = {"bits_per_dim": bits_json(nats, values, domain.sizes(x), "bits/dim", common)}
    if isinstance(domain, Sequences) and domain.alphabet is not None:
        spelt = values.cpu() - domain.alphabet.unknown(x).cpu() * math.log(CODE_POINTS)
        characters = domain.characters(x)
        found["bits_per_character"] = bits_json(nats, spelt, characters, "bits/character", common)
    return found
