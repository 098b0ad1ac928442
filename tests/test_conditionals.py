"""Marginals and conditionals through every wrapper: closed forms (Schur complements, cell integrals) and enumeration."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from pmodel import Column, Discrete, Real, Table, make
from pmodel.learning import Batch
from pmodel.tasks import conditional
from pmodel.testing.fitting import learn

KNOWN = torch.tensor([True, False, True])
DRAWS = 20_000


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n=600, seed=0):
    """Two correlated clusters far from the origin, in units of very different size."""
    mix = torch.tensor([[1.0, 0.4, -0.3], [0, 1.5, 0.8], [0, 0, 0.5]], dtype=torch.float64)
    x = torch.randn(n, 3, generator=noise(seed), dtype=torch.float64) @ mix
    return (x + 3.0 * (torch.arange(n) % 2)[:, None]) * torch.tensor([1.0, 10.0, 100.0]) + 50


def gaussians(model):
    """The weights, means and covariances of a standardised mixture in the units of the data."""
    inner, scale = model.model, model.scale
    covariances = [inner.parts.covariance(k) * torch.outer(scale, scale) for k in range(len(inner.weights))]
    return inner.weights, inner.means * scale + model.loc, torch.stack(covariances)


def schur(model, x):
    """Weights, means and variances of x_2 given x_1 and x_3, for every datum ``(N, K)``."""
    weights, means, covariances = gaussians(model)
    parts = []
    for w, mu, sigma in zip(weights, means, covariances, strict=True):
        known = sigma[KNOWN][:, KNOWN]
        gain = torch.linalg.solve(known, sigma[KNOWN, 1])
        marginal = MultivariateNormal(mu[KNOWN], known).log_prob(x[:, KNOWN])
        parts.append(
            (w.log() + marginal, mu[1] + (x[:, KNOWN] - mu[KNOWN]) @ gain, sigma[1, 1] - gain @ sigma[KNOWN, 1])
        )
    log_w, mean, variance = zip(*parts, strict=True)
    return torch.stack(log_w, 1), torch.stack(mean, 1), torch.stack(variance).expand(len(x), -1)


CASES = [("gaussian", {}), ("gaussian", {"covariance": "lowrank", "rank": 1})] + [
    ("mixture", {"components": 2, "covariance": kind, "rank": 1})
    for kind in ("full", "tied", "diagonal", "spherical", "lowrank")
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_conditional_densities_are_schur_complements(name, options):
    x = points()
    model = learn(make(name, Real((3,)), **options), Batch(x))
    log_w, mean, variance = schur(model, x)
    torch.testing.assert_close(model.log_prob(x, observed=KNOWN), log_w.logsumexp(1))
    terms = log_w.log_softmax(1) + Normal(mean, variance.sqrt()).log_prob(x[:, 1:2])
    torch.testing.assert_close(conditional(model, x, ~KNOWN, KNOWN).values, terms.logsumexp(1))


@pytest.mark.parametrize(("name", "options"), CASES[1:4])
def test_completions_are_drawn_from_them(name, options):
    x = points()
    model = learn(make(name, Real((3,)), **options), Batch(x))
    log_w, mean, variance = (part[0] for part in schur(model, x[:1]))
    drawn = model.complete(x[:1].expand(DRAWS, 3), KNOWN, generator=0)
    assert torch.equal(drawn[:, KNOWN], x[:1, KNOWN].expand(DRAWS, 2))
    below = Normal(mean, variance.sqrt()).cdf(drawn[:, 1:2]) @ log_w.softmax(0)  # uniform, if the conditional is right
    ranks = below.sort().values - (torch.arange(DRAWS) + 0.5) / DRAWS
    assert ranks.abs().max() * math.sqrt(DRAWS) < 2.0  # Kolmogorov and Smirnov: 1.95 at one in a thousand


def test_a_table_marginalises_its_missing_values():
    table = Table(tuple(Column(name, missing=True) for name in "abc"))
    x = points()
    model = learn(make("gaussian", table), Batch(x, observed=torch.ones_like(x, dtype=torch.bool)))
    gaps = torch.where(KNOWN, x, torch.nan)
    assert model.kind == "exact"
    torch.testing.assert_close(model.log_prob(gaps), model.log_prob(x, observed=KNOWN))
    inner = model.model if hasattr(model.model, "loc") else model
    log_w, _, _ = schur(inner, x)
    torch.testing.assert_close(model.log_prob(gaps), log_w.logsumexp(1))
    filled = model.complete(gaps, torch.ones(3, dtype=torch.bool), generator=0)
    assert torch.equal(filled[:, KNOWN], x[:, KNOWN])
    assert bool(filled.isfinite().all())


def test_classes_keep_conditionals_each_its_own():
    x, y = points(), torch.arange(600) % 2
    model = learn(make("gaussian", Real((3,)), Discrete((), 2)), Batch(x, y))
    for label in (0, 1):
        _, mean, variance = (part[0] for part in schur(model.models[label], x[:1]))
        drawn = model.complete(x[:1].expand(DRAWS, 3), KNOWN, given=label, generator=0)[:, 1]
        assert abs(drawn.mean() - mean[0]) < 5 * (variance[0] / DRAWS).sqrt()
        assert abs(drawn.var() / variance[0] - 1) < 5 * math.sqrt(2 / DRAWS)
    joint = [model.models[k].log_prob(x, observed=KNOWN) + math.log(0.5) for k in (0, 1)]
    torch.testing.assert_close(model.log_prob(x, observed=KNOWN), torch.stack(joint).logsumexp(0))


def test_a_dequantised_marginal_is_a_bound_of_the_cells_that_noise_approaches():
    mix = torch.tensor([[1.5, 1.0], [0, 1.0]])
    x = (torch.randn(800, 2, generator=noise()) @ mix + 5).round().clamp(0, 10).long()
    model = learn(make("gaussian", Discrete((2,), 11)), Batch(x))
    first = torch.tensor([True, False])
    standardised = model.model
    mu = standardised.model.mu[0] * standardised.scale[0] + standardised.loc[0]
    std = standardised.model.sigma[0, 0].sqrt() * standardised.scale[0]
    levels = torch.arange(11)[:, None].expand(11, 2)
    cells = (Normal(mu, std).cdf(levels[:, 0].double() + 0.5) - Normal(mu, std).cdf(levels[:, 0].double() - 0.5)).log()
    few, many = (model.score(levels, observed=first, effort=effort) for effort in (1, 256))
    assert (few.kind, many.kind) == ("lower_bound", "lower_bound")
    torch.testing.assert_close(many.values, cells, atol=0.1, rtol=0)
    assert model.elbo(levels, effort=256).values.mean() < model.score(levels, effort=256).values.mean()
    assert not model.can("log_prob")


def test_dequantised_completions_are_near_the_conditional_and_on_the_levels():
    mix = torch.tensor([[1.5, 1.0], [0, 1.0]])
    x = (torch.randn(800, 2, generator=noise()) @ mix + 5).round().clamp(0, 10).long()
    model = learn(make("gaussian", Discrete((2,), 11)), Batch(x))
    drawn = model.complete(torch.tensor([7, 0]).expand(DRAWS, 2), torch.tensor([True, False]), generator=0)
    assert bool((drawn[:, 0] == 7).all())
    near = x[x[:, 0] == 7, 1].double()
    assert abs(drawn[:, 1].double().mean() - near.mean()) < 4 * near.std() / math.sqrt(len(near)) + 0.1
    assert drawn.min() >= 0
    assert drawn.max() <= 10


@pytest.mark.parametrize("mask", list(itertools.product([False, True], repeat=3)))
def test_the_box_factorises(mask):
    x, seen = points(), torch.tensor(mask)
    model = learn(make("uniform", Real((3,))), Batch(x))
    sides = (model.high - model.low).log()
    torch.testing.assert_close(model.log_prob(x, observed=seen), -sides[seen].sum().expand(600))
    torch.testing.assert_close(conditional(model, x, ~seen, seen).values, -sides[~seen].sum().expand(600))
    drawn = model.complete(x, seen, generator=0)
    assert torch.equal(drawn[:, seen], x[:, seen])
    assert bool(((drawn >= model.low) & (drawn <= model.high)).all())
