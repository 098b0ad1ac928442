"""One Gaussian: maximum likelihood, exact marginals and conditionals, missing values, rank deficiency."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from pmodel.domain import Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.gaussian import Gaussian
from pmodel.learning import Batch

PATTERNS = list(itertools.product([False, True], repeat=3))


def correlated(n, entries=3, seed=0):
    g = np.random.default_rng(seed)
    return torch.from_numpy(
        g.normal(size=(n, entries)) @ g.normal(size=(entries, entries)) + g.normal(size=entries) * 9
    )


def fitted(x, *, observed=None, passes=1, **options):
    model, batch, generator = Gaussian(Real(x.shape[1:]), **options), Batch(x, observed=observed), torch.Generator()
    model.initialise(Batch(x[:7], observed=None if observed is None else observed[:7]), generator)
    for _ in range(passes):
        model.maximise(model.statistics(batch, generator))
    return model


def test_one_pass_is_maximum_likelihood():
    x = correlated(200)
    model = fitted(x, floor=1e-12)
    assert torch.allclose(model.mu, x.mean(0))
    assert torch.allclose(model.sigma, torch.from_numpy(np.cov(x.T, bias=True)))
    oracle = stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x)
    assert torch.allclose(model.log_prob(x), torch.from_numpy(oracle))


def test_dividing_by_n_minus_one_is_less_likely():
    x = correlated(12, 2)
    unbiased = stats.multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(x).sum()
    assert fitted(x, floor=1e-12).log_prob(x).sum() > unbiased


def test_far_from_zero_the_covariance_keeps_its_digits():
    x = correlated(500)
    near, far = fitted(x, floor=1e-12), fitted(x + 1e7, floor=1e-12)
    assert torch.allclose(near.sigma, far.sigma, rtol=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_marginals_are_those_of_the_part(pattern):
    x, mask = correlated(50), torch.tensor(pattern)
    model = fitted(x)
    part = mask.numpy()
    oracle = np.zeros(50)
    if part.any():
        oracle = stats.multivariate_normal(model.mu[part], model.sigma[part][:, part]).logpdf(x[:, part])
    assert torch.allclose(model.log_prob(x, observed=mask), torch.as_tensor(oracle))


@pytest.mark.parametrize("pattern", PATTERNS[:-1])
@pytest.mark.parametrize("covariance", ["full", "diagonal", "spherical", "lowrank"])
def test_completions_have_the_conditional_moments(covariance, pattern):
    model = fitted(correlated(300), passes=3, covariance=covariance, rank=1)
    seen = torch.tensor(pattern)
    x = model.mu + torch.tensor([1.0, -2.0, 0.5])
    drawn = model.complete(x.expand(40_000, 3), seen, generator=0)
    assert (drawn[:, seen] == x[seen]).all()
    gain = model.sigma[~seen][:, seen] @ torch.linalg.inv(model.sigma[seen][:, seen])
    mean = model.mu[~seen] + gain @ (x - model.mu)[seen]
    left = model.sigma[~seen][:, ~seen] - gain @ model.sigma[seen][:, ~seen]
    scale = left.diagonal().sqrt()
    rest = drawn[:, ~seen]
    assert ((rest.mean(0) - mean).abs() < 5 * scale / 200).all()
    error = (torch.cov(rest.T).reshape(left.shape) - left).abs() / torch.outer(scale, scale)
    assert (error < 5 * 2**0.5 / 200).all()


def test_statistics_add_up_over_batches():
    x = correlated(1000)
    model, generator = fitted(x), torch.Generator()
    whole = model.statistics(Batch(x), generator)
    parts = [model.statistics(Batch(part), generator) for part in torch.split(x, 77)]
    for name, value in whole.items():
        assert torch.allclose(value, sum(part[name] for part in parts), atol=1e-9), name


def test_missing_values_are_estimated_by_expectation_maximisation():
    x = correlated(4000)
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    holes = torch.where(observed, x, torch.nan)
    model, generator, values = fitted(holes, observed=observed), torch.Generator(), []
    for _ in range(30):
        sums = model.statistics(Batch(holes, observed=observed), generator)
        values.append(sums["log_prob"].item())
        model.maximise(sums)
    assert all(after >= before - 1e-8 for before, after in itertools.pairwise(values))
    scale = torch.from_numpy(np.cov(x.T)).diagonal().sqrt()
    assert ((model.mu - x.mean(0)).abs() < 0.05 * scale).all()
    assert ((model.sigma - torch.from_numpy(np.cov(x.T))).abs() < 0.1 * torch.outer(scale, scale)).all()


def test_fewer_data_than_entries_give_finite_scores():
    x = correlated(20, 50)
    x[:, 3] = 1.0
    model = fitted(x)
    held_out = correlated(20, 50)
    assert model.log_prob(held_out).isfinite().all()
    assert model.sample(5, generator=0).isfinite().all()


def test_shrinkage_is_a_prior_worth_so_many_data():
    x = correlated(100)
    free, shrunk = fitted(x, floor=1e-12), fitted(x, floor=1e-12, shrinkage=100.0)
    off = ~torch.eye(3, dtype=torch.bool)
    assert torch.allclose(shrunk.sigma[off], free.sigma[off] / 2)


def test_isotropic_low_rank_is_probabilistic_pca():
    x = correlated(2000, 8)
    model = fitted(x, covariance="lowrank", rank=3, isotropic=True, floor=1e-12)
    values = torch.linalg.eigvalsh(torch.from_numpy(np.cov(x.T, bias=True))).flip(0)
    noise = values[3:].mean()
    expected = -0.5 * (8 * np.log(2 * np.pi) + values[:3].log().sum() + 5 * noise.log() + 8)  # Tipping and Bishop, (8)
    assert model.log_prob(x).mean().item() == pytest.approx(expected.item(), abs=1e-9)


def test_low_rank_is_factor_analysis():
    from sklearn.decomposition import FactorAnalysis

    g = np.random.default_rng(0)
    x = g.normal(size=(1500, 2)) @ g.normal(size=(2, 6)) + g.normal(size=(1500, 6)) * np.linspace(0.3, 1.5, 6)
    model = fitted(torch.from_numpy(x), covariance="lowrank", rank=2, passes=300)
    oracle = FactorAnalysis(2, tol=1e-10, max_iter=5000, svd_method="lapack").fit(x).score(x)
    assert model.log_prob(x).mean().item() == pytest.approx(oracle, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"shrinkage": -1.0}, RangeError),
        ({"floor": 0.0}, RangeError),
        ({"rank": 0}, RangeError),
        ({"covariance": "fulll"}, BadInput),
    ],
)
def test_refuses_an_option(options, error):
    with pytest.raises(error, match=str(*options.values())):
        Gaussian(Real((2,)), **options)


def test_refuses_covariances_beyond_memory():
    with pytest.raises(BadInput, match="covariance=diagonal"):
        Gaussian(Real((3, 256, 256)))
