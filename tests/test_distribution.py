"""Distributions against closed forms, sums over all values, and SciPy."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad

from pmodel.distribution import Bernoulli, Categorical, DiscretisedLogistic, Normal, Transformed, kl
from pmodel.randomness import generator

G = torch.Generator


def normal(n=3, d=2, dtype=torch.float64):
    g = G().manual_seed(0)
    return Normal(torch.randn(n, d, generator=g, dtype=dtype), torch.rand(n, d, generator=g, dtype=dtype) + 0.3)


def test_normal_is_scipys_with_std_not_variance():
    p = normal()
    x = torch.randn(3, 2, generator=G().manual_seed(1), dtype=torch.float64)
    expected = scipy.stats.norm(p.mu.numpy(), p.std.numpy()).logpdf(x.numpy()).sum(1)
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-12)


def test_normal_samples_have_its_moments():
    p = Normal(torch.full((100_000, 1), 3.0), torch.tensor(0.5))
    x = p.sample(generator(0))
    assert abs(float(x.mean()) - 3) < 5 * 0.5 / 100_000**0.5
    assert abs(float(x.std()) - 0.5) < 5 * 0.5 / 200_000**0.5


def test_normal_draws_are_differentiable_in_both_parameters():
    mu, std = torch.zeros(4, 1, requires_grad=True), torch.ones(4, 1, requires_grad=True)
    x = Normal(mu, std).sample(generator(0))
    x.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(4, 1))
    torch.testing.assert_close(std.grad, x.detach() - mu.detach())


def test_kl_is_the_integral():
    q, p = (Normal(torch.tensor([[m]]).double(), torch.tensor([[s]]).double()) for m, s in ((0.3, 0.7), (-0.5, 1.4)))

    def integrand(x):
        at = torch.tensor([[x]], dtype=torch.float64)
        log_q = float(q.log_prob(at))
        return np.exp(log_q) * (log_q - float(p.log_prob(at)))

    assert float(kl(q, p)) == pytest.approx(quad(integrand, -12, 12)[0], abs=1e-9)


def test_kl_of_itself_is_zero_and_it_is_summed_over_entries():
    p = normal()
    torch.testing.assert_close(kl(p, p), torch.zeros(3, dtype=torch.float64))
    q = normal(d=2)
    parts = [
        kl(Normal(q.mu[:, i : i + 1], q.std[:, i : i + 1]), Normal(p.mu[:, i : i + 1], torch.ones(()))) for i in (0, 1)
    ]
    torch.testing.assert_close(kl(q, Normal(p.mu, torch.ones(()))), parts[0] + parts[1])


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("mu", [-3.0, -1.0, 0.1, 1.0, 2.5])
@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 0.0, 2.0])
def test_discretised_logistic_sums_to_one_and_is_the_difference_of_sigmoids(levels, mu, log_scale):
    p = DiscretisedLogistic(torch.full((levels, 1), mu, dtype=torch.float64), torch.tensor(log_scale).double(), levels)
    log_p = p.log_prob(torch.arange(levels).unsqueeze(1))
    assert bool(log_p.isfinite().all())
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-9)
    centres = np.linspace(-1, 1, levels)
    upper = np.append(centres[:-1] + 1 / (levels - 1), np.inf)
    lower = np.insert(centres[1:] - 1 / (levels - 1), 0, -np.inf)
    scale = np.exp(log_scale)
    direct = scipy.stats.logistic.cdf((upper - mu) / scale) - scipy.stats.logistic.cdf((lower - mu) / scale)
    np.testing.assert_allclose(log_p.exp(), direct, atol=1e-10)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize(("mu", "log_scale"), [(-3.0, 0.0), (0.1, -3.0), (1.0, -7.0)])
def test_quantile_of_a_discretised_logistic_is_where_its_masses_pass_the_uniform_number(levels, mu, log_scale):
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    p = DiscretisedLogistic(torch.full_like(u, mu), torch.tensor(log_scale).double(), levels)
    every = DiscretisedLogistic(torch.full((levels,), mu).double(), torch.tensor(log_scale).double(), levels)
    below = every.log_prob(torch.arange(levels)).exp().cumsum(0)
    found = p.quantile(u)
    assert found.dtype == torch.int64
    assert (u <= below[found] + 1e-9).all()
    assert (u >= (below[found] - below.diff(prepend=below.new_zeros(1))[found]) - 1e-9).all()


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("log_scale", [-7.0, -3.0, -1.0, 0.0, 2.0])
def test_mode_of_a_discretised_logistic_is_its_likeliest_level(levels, log_scale):
    mu = torch.linspace(-2.03, 2.04, 101, dtype=torch.float64)
    scale = torch.tensor(log_scale).double()
    every = DiscretisedLogistic(mu.expand(levels, 101).unsqueeze(2).reshape(-1, 1), scale, levels)
    masses = every.log_prob(torch.arange(levels).repeat_interleave(101).unsqueeze(1)).reshape(levels, 101)
    found = DiscretisedLogistic(mu, scale, levels).mode
    assert found.dtype == torch.int64
    torch.testing.assert_close(masses.gather(0, found.unsqueeze(0))[0], masses.max(0).values)


def test_discretised_logistic_has_finite_gradients_far_from_its_bin():
    mu = torch.tensor([[-1.0], [1.0], [0.0]], requires_grad=True)
    log_scale = torch.full((3, 1), -7.0, requires_grad=True)
    DiscretisedLogistic(mu, log_scale, 256).log_prob(torch.tensor([[255], [0], [7]])).sum().backward()
    assert bool(mu.grad.isfinite().all())
    assert bool(log_scale.grad.isfinite().all())


@pytest.mark.parametrize(
    "p",
    [
        Bernoulli(torch.full((60_000, 1), 0.7)),
        Categorical(torch.tensor([0.1, 1.0, -0.5, 0.3]).expand(60_000, 1, 4)),
        DiscretisedLogistic(torch.full((60_000, 1), 0.9), torch.tensor(-1.0), 5),
    ],
    ids=lambda p: type(p).__name__,
)
def test_discrete_samples_have_their_masses(p):
    x = p.sample(generator(0))
    assert x.dtype == torch.int64
    levels = int(x.max()) + 1
    counts = torch.bincount(x.flatten(), minlength=levels).numpy()
    mass = p.log_prob(torch.arange(levels).repeat(60_000 // levels + 1).unsqueeze(1)[:60_000]).exp()[:levels].double()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    assert scipy.stats.chisquare(counts, (mass / mass.sum() * 60_000).numpy()).pvalue > 1e-6
    exact_mean = not isinstance(p, DiscretisedLogistic)  # whose mean is documented as its location
    assert not exact_mean or float(p.mean[0]) == pytest.approx(float(x.float().mean()), abs=0.03)


def test_categorical_is_the_log_softmax_over_all_states():
    logits = torch.randn(1, 2, 3, generator=G().manual_seed(0)).double()
    states = torch.tensor(list(itertools.product(range(3), repeat=2)))
    p = Categorical(logits.expand(9, 2, 3))
    assert float(p.log_prob(states).exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(p.log_prob(torch.tensor([[2, 1]] * 9))[0]) == pytest.approx(
        float(logits.log_softmax(2)[0, 0, 2] + logits.log_softmax(2)[0, 1, 1])
    )


def test_bernoulli_survives_extreme_logits():
    p = Bernoulli(torch.tensor([[200.0], [-200.0], [200.0]]))
    torch.testing.assert_close(p.log_prob(torch.tensor([[1], [0], [0]])), torch.tensor([0.0, 0.0, -200.0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arithmetic_is_single_precision_or_better(dtype):
    x = torch.zeros(1, 1000)
    half = Normal(torch.full((1, 1000), 0.1, dtype=dtype), torch.ones((), dtype=dtype))
    exact = Normal(half.mu.double(), torch.ones((), dtype=torch.float64)).log_prob(x.double())
    assert half.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(half.log_prob(x).double(), exact, rtol=1e-5, atol=1e-3)
    assert half.sample(generator(0)).dtype == torch.float32


def test_transformed_is_the_change_of_variables():
    base = normal()
    scale, loc = torch.tensor([2.0, 5.0]).double(), 3.0
    image = Transformed(base, lambda y: y * scale + loc, lambda x: ((x - loc) / scale, -scale.log()))
    expected = Normal(base.mu * scale + loc, base.std * scale)
    x = torch.randn(3, 2, generator=G().manual_seed(2)).double()
    torch.testing.assert_close(image.log_prob(x), expected.log_prob(x))
    torch.testing.assert_close(image.mean, expected.mean)
    torch.testing.assert_close(image.sample(generator(1)), expected.sample(generator(1)))


def test_batch_of_none():
    assert normal(n=0).log_prob(torch.zeros(0, 2)).shape == (0,)
    assert Categorical(torch.zeros(0, 2, 3)).sample(generator(0)).shape == (0, 2)
