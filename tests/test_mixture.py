"""Mixtures: against scikit-learn, against enumeration, and on data that break careless code."""

import itertools
import math

import numpy as np
import pytest
import torch

from pmodel import make
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.gaussian_kernels import DiagonalKernel, MonomialKernel, SquaresKernel, WhiteningKernel
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import Batch

NAMES = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
COVARIANCES = [*NAMES, "lowrank"]


def clusters(n=2000, entries=4, seed=0):
    g = np.random.default_rng(seed)
    centres = g.normal(size=(3, entries)) * 3
    noise = g.normal(size=(n, entries)) @ (g.normal(size=(entries, entries)) * 0.6)
    return torch.from_numpy(centres[g.integers(3, size=n)] + noise + 50)


def iterate(model, x, iterations, observed=None):
    """Log-likelihoods before each of the iterations."""
    values = []
    for _ in range(iterations):
        sums = model.statistics(Batch(x, observed=observed), torch.Generator())
        values.append(sums["log_prob"].item() / len(x))
        model.maximise(sums)
    return values


def started(x, seed=0, **options):
    model = Mixture(Real(x.shape[1:]), **options)
    model.initialise(Batch(x), torch.Generator().manual_seed(seed))
    return model


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance", NAMES)
def test_equals_scikit_learn_from_the_same_start(covariance):
    from sklearn.mixture import GaussianMixture

    x, D = clusters(), 4
    model = Mixture(Real((D,)), components=3, covariance=covariance, shrinkage=0.0, floor=1e-6)
    model.parts.anchor(x)
    model.parts.means.copy_(x[:3])  # the covariances start as identities
    identity = {"full": np.tile(np.eye(D), (3, 1, 1)), "tied": np.eye(D), "diagonal": np.ones((3, D))}
    oracle = GaussianMixture(
        3,
        covariance_type=NAMES[covariance],
        means_init=x[:3].numpy(),
        weights_init=np.full(3, 1 / 3),
        precisions_init=identity.get(covariance, np.ones(3)),
        reg_covar=1e-6,
        max_iter=25,
        tol=0,
    ).fit(x.numpy())
    iterate(model, x, 25)
    assert model.log_prob(x).mean().item() == pytest.approx(oracle.score(x.numpy()), abs=1e-8)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_likelihood_never_falls(covariance):
    x = clusters()
    model = started(x, components=5, covariance=covariance, shrinkage=0.0, rank=2, floor=1e-9)
    values = iterate(model, x, 30)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))
    assert values[-1] > values[0] + 1e-3


def parameters(entries, seed=0):
    g = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(4, entries, generator=g, dtype=torch.float64)
    root = torch.randn(4, entries, 2 * entries, generator=g, dtype=torch.float64)
    return means, torch.linalg.cholesky(root @ root.mT / entries)


@pytest.mark.parametrize("tied", [False, True])
def test_monomials_agree_with_whitening(tied):
    means, factors = parameters(6)
    factors = factors[:1] if tied else factors
    x = clusters(300, 6) - 50
    one, two = MonomialKernel(means, factors, x.mean(0)), WhiteningKernel(means, factors)
    weights = torch.rand(4, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(one.log_prob(one.features(x)), two.log_prob(two.features(x)), atol=1e-9)
    found = one.finish(one.sums(one.features(x), weights))
    for name, expected in two.finish(two.sums(two.features(x), weights)).items():
        assert torch.allclose(found[name], expected, rtol=1e-9, atol=1e-9), name


def test_squares_agree_with_the_entries_one_by_one():
    x, (means, factors) = clusters(300, 6) - 50, parameters(6)
    variances = factors.square().sum(2)
    one, two = SquaresKernel(means, variances, x.mean(0)), DiagonalKernel(means, variances)
    weights = torch.rand(4, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(one.log_prob(one.features(x)), two.log_prob(two.features(x)), atol=1e-9)
    found = one.finish(one.sums(one.features(x), weights))
    for name, expected in two.finish(two.sums(two.features(x), weights)).items():
        assert torch.allclose(found[name], expected, rtol=1e-9, atol=1e-9), name


def test_monomials_are_left_where_they_would_cancel():
    narrow = started(torch.cat([clusters(200), clusters(200) + 1e8]), components=2, shrinkage=0.0)
    assert isinstance(narrow.parts.kernel(), WhiteningKernel)
    assert isinstance(started(clusters(200), components=2).parts.kernel(), MonomialKernel)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_marginal_integrates_the_joint(covariance):
    model = started(clusters(entries=2), components=3, covariance=covariance, rank=1)
    grid = torch.linspace(-150, 250, 40_001, dtype=torch.float64)
    x = torch.stack([torch.full_like(grid, 49.0), grid], 1)
    integral = model.log_prob(x).exp().sum() * (grid[1] - grid[0])
    marginal = model.log_prob(x[:1], observed=torch.tensor([True, False])).exp()
    assert marginal.item() == pytest.approx(integral.item(), rel=1e-6)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_completion_keeps_what_is_known_and_follows_the_conditional(covariance):
    model = started(clusters(entries=2), components=3, covariance=covariance, rank=1)
    known = torch.tensor([49.0, 0.0], dtype=torch.float64).expand(20_000, 2)
    drawn = model.complete(known, torch.tensor([True, False]), generator=0)
    assert (drawn[:, 0] == 49.0).all()
    grid = torch.linspace(-150, 250, 40_001, dtype=torch.float64)
    density = model.log_prob(torch.stack([torch.full_like(grid, 49.0), grid], 1)).exp()
    density /= density.sum()
    for moment in (torch.tanh, torch.cos):
        values = moment((grid - 50) / 3)
        mean = density @ values
        std = (density @ (values - mean).square()).sqrt()
        assert abs(moment((drawn[:, 1] - 50) / 3).mean() - mean) < 5 * std / 20_000**0.5


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_samples_have_the_moments_of_the_mixture(covariance):
    model = started(clusters(), components=3, covariance=covariance, rank=2)
    x = model.sample(60_000, generator=0)
    mean = model.weights @ model.means
    second = sum(
        w * (model.parts.covariance(k) + torch.outer(m, m))
        for k, (w, m) in enumerate(zip(model.weights, model.means, strict=True))
    )
    covariance_of = second - torch.outer(mean, mean)
    scale = covariance_of.diagonal().sqrt()
    assert ((x.mean(0) - mean).abs() < 5 * scale / 60_000**0.5).all()
    assert ((torch.cov(x.T) - covariance_of).abs() < 0.04 * torch.outer(scale, scale)).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_passes_out_of_core_give_the_same_answer(covariance):
    x = clusters()
    model = started(x, components=3, covariance=covariance, rank=2)
    whole = model.statistics(Batch(x), torch.Generator())
    parts = [model.statistics(Batch(part), torch.Generator()) for part in torch.split(x, 333)]
    for name, value in whole.items():
        assert torch.allclose(value, sum(part[name] for part in parts), rtol=1e-9, atol=1e-7), name


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_missing_values_in_training(covariance):
    x = clusters(600)
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.25
    holes = torch.where(observed, x, torch.nan)
    model = Mixture(Real((4,)), components=3, covariance=covariance, shrinkage=0.0, rank=2)
    model.initialise(Batch(holes, observed=observed), torch.Generator().manual_seed(0))
    values = iterate(model, holes, 15, observed)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))
    assert model.log_prob(x).isfinite().all()


def test_expected_sums_without_holes_are_the_sums():
    x = clusters(100)
    model = started(x, components=3)
    weights = torch.rand(3, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = model.parts.kernel()
    plain = kernel.finish(kernel.sums(kernel.features(x), weights))
    for name, value in model.parts.expected_sums(x, torch.ones_like(x, dtype=torch.bool), weights).items():
        assert torch.allclose(value, plain[name], atol=1e-8), name


AWKWARD = {
    "one datum": torch.zeros(1, 3),
    "fewer data than components": torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]]),
    "duplicates": torch.tensor([[1.0, 2.0, 3.0]]).expand(50, 3),
    "two points": torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]).repeat(50, 1),
    "a constant column": torch.cat([clusters(100, 2).float(), torch.full((100, 1), 7.0)], 1),
    "a duplicated column": clusters(100, 2).float()[:, [0, 1, 1]],
    "tiny": 1e-12 * clusters(100, 3).float(),
    "huge": 1e12 * clusters(100, 3).float(),
}


@pytest.mark.parametrize("shrinkage", [0.0, None])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_data_stay_finite(name, covariance, shrinkage):
    x = AWKWARD[name]
    model = started(x, components=4, covariance=covariance, shrinkage=shrinkage, rank=2)
    values = iterate(model, x, 10)
    assert all(math.isfinite(value) for value in values)
    assert all(buffer.isfinite().all() for buffer in model.buffers())
    assert model.weights.sum().item() == pytest.approx(1)
    assert (model.weights > 0).all()
    assert model.sample(5, generator=0).isfinite().all()


def test_a_component_that_lost_its_data_is_put_to_use():
    x = clusters()
    model = started(x, components=3)
    model.parts.means[2] = 1e6
    values = iterate(model, x, 30)
    assert values[-1] == pytest.approx(iterate(started(x, components=3), x, 30)[-1], abs=0.1)
    assert (model.weights > 0.05).all()


@pytest.mark.parametrize("levels", [2, 3, 40])
def test_categorical_mass_sums_to_one(levels):
    x = torch.randint(levels, (200, 2), generator=torch.Generator().manual_seed(0))
    model = Mixture(Discrete((2,), levels), components=3)
    model.initialise(Batch(x), torch.Generator().manual_seed(0))
    values = iterate(model, x, 5)
    everything = torch.tensor(list(itertools.product(range(levels), repeat=2)))
    mass = model.log_prob(everything).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-12)
    first = (everything[:, 0] == 1).double()
    marginal = model.log_prob(torch.tensor([[1, 0]]), observed=torch.tensor([True, False])).exp()
    assert marginal.item() == pytest.approx((first @ mass).item(), abs=1e-12)
    assert math.isfinite(values[-1])


@pytest.mark.parametrize("levels", [2, 17, 40])
def test_categorical_likelihood_never_falls(levels):
    g = torch.Generator().manual_seed(0)
    centres = torch.rand(3, 12, generator=g)
    x = torch.binomial(torch.full((400, 12), levels - 1.0), centres[torch.randint(3, (400,), generator=g)], generator=g)
    model = Mixture(Discrete((12,), levels), components=4, shrinkage=0.0)
    model.initialise(Batch(x.long()), torch.Generator().manual_seed(0))
    values = iterate(model, x.long(), 20)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))
    drawn = model.sample(20_000, generator=0).double()
    assert torch.allclose(drawn.mean(0), model.weights @ model.means, atol=0.05 * levels)


def test_categorical_training_with_missing_values():
    x = torch.randint(3, (300, 5), generator=torch.Generator().manual_seed(0))
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    model = Mixture(Discrete((5,), 3), components=2, shrinkage=0.0)
    model.initialise(Batch(x, observed=observed), torch.Generator().manual_seed(0))
    values = iterate(model, x, 20, observed)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))


@pytest.mark.parametrize(
    ("domain", "options", "kind"),
    [
        (Discrete((1, 8, 8), 17), {}, "Mixture"),
        (Discrete((1, 28, 28), 256), {}, "Dequantised"),
        (Discrete((1, 28, 28), 256), {"emission": "categorical"}, "Mixture"),
        (Discrete((1, 8, 8), 17), {"emission": "gaussian"}, "Dequantised"),
        (Discrete((1, 8, 8), 17), {"covariance": "tied"}, "Dequantised"),
        (Real((3,)), {}, "Standardised"),
    ],
)
def test_the_kind_of_components_follows_the_domain_and_the_options(domain, options, kind):
    assert make("mixture", domain, **options).spec()["model"] == kind


@pytest.mark.parametrize(
    ("domain", "options", "error"),
    [
        (Real((2,)), {"components": 0}, RangeError),
        (Real((2,)), {"components": 1.5}, RangeError),
        (Real((2,)), {"restarts": 0}, RangeError),
        (Real((2,)), {"shrinkage": math.nan}, RangeError),
        (Real((2,)), {"emission": "categorical"}, BadInput),
        (Real((2,)), {"emission": "poisson"}, BadInput),
        (Discrete((2,), 3), {"covariance": "full"}, BadInput),
    ],
)
def test_refuses_an_option(domain, options, error):
    with pytest.raises(error):
        Mixture(domain, **options)


def test_refuses_to_start_from_nothing():
    with pytest.raises(BadInput, match="no data"):
        started(torch.zeros(0, 2))


def test_threads_change_neither_the_answer_nor_the_setting():
    x = clusters(40_000)
    model = started(x[:500], components=3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = model.statistics(Batch(x), torch.Generator())
        torch.set_num_threads(2)
        together = model.statistics(Batch(x), torch.Generator())
        again = model.statistics(Batch(x), torch.Generator())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    for name, value in alone.items():
        assert torch.allclose(value, together[name], rtol=1e-10, atol=1e-7), name
        assert torch.equal(together[name], again[name]), name


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("entries", [1, 4, 40])
def test_a_lost_component_comes_back_half_a_standard_deviation_from_the_heaviest(covariance, entries):
    model = started(clusters(entries=entries), components=3, covariance=covariance, rank=2)
    sums = model.statistics(Batch(clusters(entries=entries)), torch.Generator())
    model.maximise(sums)
    model.parts.split(0, 2)
    between = model.parts.means[2] - model.parts.means[0]
    distance = between @ torch.linalg.solve(model.parts.covariance(0), between)
    assert distance.sqrt().item() == pytest.approx(0.5, rel=1e-6)
    assert model.weights.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_weights_still_sum_to_one_when_a_component_has_lost_its_data():
    x = clusters()
    model = started(x, components=3, covariance="diagonal")
    sums = model.statistics(Batch(x), torch.Generator())
    sums["count"][1] = 9e-4
    model.maximise(sums)
    assert model.weights.sum().item() == pytest.approx(1.0, abs=1e-12)
