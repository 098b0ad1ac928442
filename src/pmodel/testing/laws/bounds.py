"""Laws for models whose likelihood is a bound, and for models with a latent code."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...domain import Discrete
from ...learning import Phase
from ...randomness import forked, generator
from ...wrappers import Dequantised
from ..check import require
from ..law import Law, can, learns
from ..measure import Z, states_of
from ..subject import Subject

__all__ = ["LAWS"]

DRAWS = 32
ERRORS = 3.0
"""By what factor a claimed Monte Carlo error may differ from the scatter of 16 scores."""
CELLS = 4096
"""Midpoints in the unit cell of a state: enough that a density may have steps."""


def bounds_combine_their_draws(subject: Subject) -> None:
    """The bound is the mean of its draws, the score the logarithm of their mean weight; its groups lie below the whole."""
    model, data = subject.fitted, subject.held_out
    x, given = data.x[:16], None if data.given is None else data.given[:16]
    noise = generator(0, "draws")
    draws = torch.stack([model.score(x, given=given, effort=1, generator=noise).values for _ in range(DRAWS)])
    elbo = model.elbo(x, given=given, effort=DRAWS, generator=generator(0, "draws"))
    _close(elbo.values, draws.mean(0), "The evidence lower bound is not the mean of its draws.")
    _close(elbo.mc_stderr, draws.std(0) / DRAWS**0.5, "The bound's error is not that of a mean of its draws.")
    score = model.score(x, given=given, effort=DRAWS, generator=generator(0, "draws"))
    _close(score.values, _log_mean_exp(draws), "The score is not the logarithm of the mean weight of its draws.")
    for groups in (8, 2):  # disjoint groups of the same draws
        noise = generator(0, "draws")
        parts = [model.score(x, given=given, effort=DRAWS // groups, generator=noise).values for _ in range(groups)]
        lower = torch.stack(parts).mean(0)
        gap = torch.nan_to_num(lower - score.values)  # NaN where both are -inf
        rises = bool((gap <= 1e-6 * (1 + torch.nan_to_num(score.values.abs(), posinf=0.0))).all())
        require(rises, f"The mean over {groups} groups of draws lies above the score of all of them.")


def bounds_are_means_of_their_draws(subject: Subject) -> None:
    """Where draws are no weights, score and bound are one number; fewer draws have no bias, and errors are the scatter."""
    model, data = subject.fitted, subject.held_out
    x, given = data.x[:16], None if data.given is None else data.given[:16]
    score = model.score(x, given=given, effort=DRAWS, generator=0)
    elbo = model.elbo(x, given=given, effort=DRAWS, generator=0)
    require(bool(torch.equal(score.values, elbo.values)), "The score is not the evidence lower bound.")
    noise = generator(1, "draws")
    if not bool(score.mc_stderr.any()):  # nothing is drawn: one draw says it all
        one = model.score(x, given=given, effort=1, generator=noise)
        _close(one.values, score.values, "The bound depends on the number of draws.")
        return
    draws = torch.stack([model.score(x, given=given, effort=1, generator=noise).values for _ in range(16 * DRAWS)])
    scores = [model.score(x, given=given, effort=DRAWS, generator=noise) for _ in range(16)]
    many = torch.stack([score.values for score in scores])
    stderr = (draws.var(0) / len(draws) + many.var(0) / len(many)).sqrt()
    gap = (draws.mean(0) - many.mean(0)).abs() - (Z + 1) * stderr - 1e-4
    require(bool((gap <= 0).all()), "The bound depends on the number of draws.", got=f"{float(gap.max()):.3g} too far")
    claimed = torch.stack([torch.as_tensor(score.mc_stderr) for score in scores]).square().mean(0).sqrt()
    ratio = float(((claimed + 1e-6) / (many.std(0) + 1e-6)).median())
    right = 1 / ERRORS < ratio < ERRORS
    require(right, "The Monte Carlo error of a score is not how much it scatters.", got=f"{ratio:.2f} times as large")


def reported_bounds_are_those_that_are_scored(subject: Subject) -> None:
    """What a loss reports as the bound is, at the end of learning, the evidence lower bound of the model on average."""
    model, data = subject.copied(), subject.held_out
    model.advance(1.0)
    elbo = model.elbo(data.x, given=data.given, effort=DRAWS)
    stderr = float(torch.linalg.vector_norm(elbo.mc_stderr)) / elbo.n
    learned = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def reported(phase: Phase) -> Iterator[Tensor]:
        for number in range(DRAWS):
            model.load_state_dict(learned)  # a loss may move averages
            parts = phase.loss(data, generator(0, "bounds", number)).parts
            if "bound" not in parts:  # nor will it be in the others
                return
            yield parts["bound"]

    for phase in model.phases():
        with torch.no_grad(), forked(0, "layers"):
            losses = list(reported(phase))
        if not losses:
            continue
        draws = torch.stack(losses).double()
        gap = abs(float(draws.mean()) - elbo.mean)
        error = (float(draws.var()) / len(draws) + stderr**2) ** 0.5
        require(gap < (Z + 1) * error + 1e-4, f"Phase {phase.name!r} reports another bound.", got=f"{gap:.3g} nats off")


def bounds_lie_below_the_frequencies(subject: Subject) -> None:
    """Where draws are no weights, the exponential of the bound is at most the frequency of each datum among samples."""
    for label in subject.labels:
        masses, x = subject.masses(label), subject.sample(label)
        domain = subject.domain
        p = torch.bincount(states_of(x, masses, domain), minlength=len(masses.p)).double() / len(x)
        scatter = masses.p.clamp_min(1 / len(x)) / len(x)  # of a frequency that is the bound
        error = (scatter + masses.stderr.square()).sqrt()
        worst = float(((masses.p - p) / error).max())
        require(worst < Z, "The bound lies above the frequency of a datum.", got=f"{worst:.1f} errors above")


def bounds_are_below_the_mass(subject: Subject) -> None:
    """A dequantised bound lies below the exact mass, the integral over the cell, and rises to it with more draws."""
    model = subject.fitted
    states = torch.cartesian_prod(*[torch.arange(subject.domain.levels)] * subject.domain.entries)  # type: ignore[attr-defined]
    x = states.reshape(-1, *subject.domain.shape)
    for label in subject.labels:
        exact = _cells(model, x, label)
        elbo = model.elbo(x, given=label, effort=256)
        highest = exact + (Z + 1) * torch.nan_to_num(elbo.mc_stderr) + 1e-4
        below = bool((elbo.values <= highest).all())
        excess = float((elbo.values - exact).max())
        require(below, "The evidence lower bound lies above the exact log-mass.", got=excess)
        p, stderr = subject.weigh(x, label, 4096)
        gap = (p - exact.exp()).abs() - (Z + 1) * stderr - 1e-3 * exact.exp()
        require(bool((gap <= 0).all()), "The mean weight is not the exact mass.", got=float(gap.max()))


def _cells(model: Dequantised, x: Tensor, label: int | None) -> Tensor:
    """Log of the integral of the inner density over the unit cell of each state, by the midpoint rule."""
    cells = round(CELLS ** (1 / model.domain.entries))
    points = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells - 0.5
    shifts = torch.cartesian_prod(*[points] * model.domain.entries).reshape(-1, 1, *model.domain.shape)
    y = (x.double() + shifts).flatten(0, 1)
    return _log_mean_exp(model.model.log_prob(y, given=label).reshape(len(shifts), len(x)))


def codes_and_data_have_their_shapes(subject: Subject) -> None:
    """Encoding answers with a distribution of codes, decoding with one of data, a row for each datum."""
    model, data = subject.fitted, subject.held_out
    for n in (0, 1, 5):
        x, given = data.x[:n], None if data.given is None else data.given[:n]
        q = model.encode(x, given=given)
        z = q.sample(generator(0, "codes"))
        require(z.shape == q.mean.shape and len(z) == n, "Codes and their mean differ in shape.", got=tuple(z.shape))
        require(tuple(q.log_prob(z).shape) == (n,), "A code's log-probability is not one number a datum.")
        p = model.decode(z, given=given)
        mean, x_new = p.mean, p.sample(generator(1, "codes"))
        require(
            tuple(mean.shape) == (n, *subject.domain.shape), "The decoded mean has the wrong shape.", got=mean.shape
        )
        checked = subject.domain.check(x_new)
        require(
            bool(torch.equal(checked, x_new)) and checked.dtype == x_new.dtype, "A decoded datum is not of the domain."
        )
        require(tuple(p.log_prob(x).shape) == (n,), "A decoded log-probability is not one number a datum.")
        require(not z.requires_grad and not mean.requires_grad, "Codes or decoded data carry a gradient.")


def codes_tell_the_data_apart(subject: Subject) -> None:
    """Different data have different codes, and the code is each datum's own."""
    data = subject.held_out
    x, given = data.x[:8], None if data.given is None else data.given[:8]
    codes = subject.fitted.encode(x, given=given).mean.double()
    require(bool((codes.std(0) > 0).any()), "All data have one code.", got=codes)
    alone = [
        subject.fitted.encode(x[i : i + 1], given=None if given is None else given[i : i + 1]).mean for i in range(8)
    ]
    _close(torch.cat(alone).double(), codes, "A datum's code depends on the batch.", tolerance=1e-4)


def _close(found: Tensor, expected: Tensor, problem: str, *, tolerance: float = 1e-6) -> None:
    same = torch.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    require(same, problem, got=f"{float((found - expected).abs().max()):.3g} apart")


def _log_mean_exp(draws: Tensor) -> Tensor:
    return torch.logsumexp(draws, 0) - torch.tensor(float(len(draws)), dtype=draws.dtype).log()


def _integrable(subject: Subject) -> bool:
    """Whether the exact mass behind a dequantised bound is an integral over at most two entries."""
    model = subject.blank
    return (
        isinstance(model, Dequantised)
        and isinstance(subject.domain, Discrete)
        and subject.domain.entries <= 2
        and bool(model.model.can("log_prob"))
    )


def _weights(subject: Subject) -> bool:
    return can("elbo")(subject) and subject.weighted


def _no_weights(subject: Subject) -> bool:
    return can("elbo")(subject) and not subject.weighted


def _learns_its_own_bound(subject: Subject) -> bool:
    """By gradients and without wrappers, whose scale the inner loss does not know."""
    return can("elbo")(subject) and learns("phases")(subject) and subject.blank.nested[-1] is subject.blank


LAWS = (
    Law(bounds_combine_their_draws, _weights),
    Law(bounds_are_means_of_their_draws, _no_weights),
    Law(reported_bounds_are_those_that_are_scored, _learns_its_own_bound),
    Law(bounds_lie_below_the_frequencies, lambda subject: _no_weights(subject) and subject.summable),
    Law(bounds_are_below_the_mass, _integrable),
    Law(codes_and_data_have_their_shapes, can("encode")),
    Law(codes_tell_the_data_apart, can("encode")),
)
