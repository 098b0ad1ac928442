"""Markov kernels against closed forms: moments, detailed balance, the bias of what is not adjusted, effective sample sizes."""

import math

import pytest
import torch

from pmodel.errors import BadInput, RangeError
from pmodel.explicit.approximate.energy.mcmc import (
    AdjustedLangevin,
    Gibbs,
    Hamiltonian,
    Langevin,
    adapted,
    effective_sample_size,
    leapfrog,
    potential,
    run,
)

SIGMA = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
PRECISION = torch.linalg.inv(SIGMA)
BEND, WIDTH = 0.7, 0.5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(x):
    return 0.5 * ((x @ PRECISION) * x).sum(1)


def banana(x):
    """The first entry is standard normal, the second normal around a parabola of it."""
    return 0.5 * x[:, 0].square() + 0.5 * ((x[:, 1] - BEND * (x[:, 0].square() - 1)) / WIDTH).square()


def gaussian_samples(n, generator):
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return noise @ torch.linalg.cholesky(SIGMA).T


def banana_samples(n, generator):
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return torch.stack([noise[:, 0], BEND * (noise[:, 0].square() - 1) + WIDTH * noise[:, 1]], 1)


TARGETS = {"gaussian": (gaussian, gaussian_samples), "banana": (banana, banana_samples)}
ADJUSTED = {
    "mala": lambda energy: AdjustedLangevin(energy, 0.6),
    "hmc": lambda energy: Hamiltonian(energy, 0.3, steps=5),
}


def features(x):
    """Odd and even functions of a point, ``(N, F)``."""
    a, b = x.unbind(1)
    return torch.stack([a, b, a * a, a * b, b * b, a.sin(), (2 * b).cos(), (a - b).tanh(), (a * a * b).tanh()], 1)


def asymmetry(kernel, x, generator):
    """The largest deviation of E[f(x) g(x') - g(x) f(x')] from zero, in standard errors, over pairs of features."""
    ahead, _ = kernel.step(x, generator)
    here, there = features(x), features(ahead)
    cross = here.unsqueeze(2) * there.unsqueeze(1)
    odd = cross - cross.transpose(1, 2)
    z = odd.mean(0) / (odd.std(0) / math.sqrt(len(x)) + 1e-12)
    return float(z.abs().max())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ADJUSTED)
def test_adjusted_kernels_are_in_detailed_balance(name, target):
    energy, samples = TARGETS[target]
    kernel = ADJUSTED[name](energy)
    assert asymmetry(kernel, samples(100_000, seeded()), seeded(1)) < 4.5


@pytest.mark.parametrize("target", TARGETS)
def test_the_unadjusted_one_is_not(target):
    energy, samples = TARGETS[target]
    assert asymmetry(Langevin(energy, 0.6), samples(100_000, seeded()), seeded(1)) > 8


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ADJUSTED)
def test_adjusted_kernels_keep_samples_of_the_target(name, target):
    """One step from exact samples: no moment moves."""
    energy, samples = TARGETS[target]
    x, fresh = samples(100_000, seeded()), samples(100_000, seeded(7))
    noise = seeded(1)
    for _ in range(3):
        x, _ = ADJUSTED[name](energy).step(x, noise)
    z = (features(x).mean(0) - features(fresh).mean(0)) / (2 * features(fresh).var(0) / len(x)).sqrt()
    assert float(z.abs().max()) < 4.5


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ADJUSTED)
def test_adjusted_kernels_find_the_moments(name, target):
    """From a square around the target, within errors by their own effective sample size."""
    energy, samples = TARGETS[target]
    kernel = ADJUSTED[name](energy)
    start = 4 * torch.rand(300, 2, generator=seeded(), dtype=torch.float64) - 2
    chains = run(kernel, start, 400, seeded(), discard=100)
    exact = features(samples(400_000, seeded(1)))
    found = features(chains.x.flatten(0, 1)).reshape(*chains.x.shape[:2], -1)
    stderr = (exact.var(0) / effective_sample_size(found)).sqrt()
    assert float(((found.flatten(0, 1).mean(0) - exact.mean(0)) / stderr).abs().max()) < 4.5
    assert 0.3 < float(chains.acceptance.mean()) < 1


@pytest.mark.parametrize("size", [0.3, 1.0])
def test_unadjusted_langevin_has_the_variance_of_theory(size):
    std = torch.tensor([0.8, 1.0, 3.0], dtype=torch.float64)
    kernel = Langevin(lambda x: 0.5 * (x / std).square().sum(1), size)
    noise = seeded(1)
    x = std * torch.randn(30_000, 3, generator=noise, dtype=torch.float64)
    for _ in range(120):
        x, _ = kernel.step(x, noise)
    expected = std.square() / (1 - size**2 / (4 * std.square()))
    decay = (1 - size**2 / (2 * std.square())) ** (2 * 120)  # of the variance that the chains start with
    expected = expected + (std.square() - expected) * decay
    z = (x.var(0) / expected - 1) / math.sqrt(2 / len(x))
    assert float(z.abs().max()) < 4.5


def test_unadjusted_langevin_diverges_from_twice_the_std_on():
    noise = seeded()
    x = torch.ones(10, 1, dtype=torch.float64)
    for _ in range(200):
        x, _ = Langevin(lambda x: 0.5 * x.square().sum(1), 2.1).step(x, noise)
    assert float(x.abs().max()) > 1e3


def test_a_colder_chain_is_narrower():
    noise = seeded()
    x = torch.zeros(5_000, 1, dtype=torch.float64)
    for _ in range(100):
        x, _ = Langevin(lambda x: 0.5 * x.square().sum(1), 0.5, noise=0.05).step(x, noise)
    assert float(x.std()) == pytest.approx(0.1 / math.sqrt(1 - 0.0625), rel=0.05)


def test_leapfrog_is_reversible_and_keeps_volume():
    x, v = banana_samples(1, seeded()), torch.randn(1, 2, generator=seeded(1), dtype=torch.float64)
    ahead, u = leapfrog(banana, x, v, 0.3, 7)
    back, w = leapfrog(banana, ahead, -u, 0.3, 7)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(-w, v, rtol=0, atol=1e-12)
    point, step = torch.cat([x, v], 1), 1e-6

    def mapped(p):
        return torch.cat(leapfrog(banana, p[:, :2], p[:, 2:], 0.3, 7), 1)

    columns = [(mapped(point + step * e) - mapped(point - step * e)) / (2 * step) for e in torch.eye(4).double()]
    assert float(torch.linalg.det(torch.cat(columns))) == pytest.approx(1, abs=1e-6)


def test_leapfrog_keeps_the_hamiltonian_to_second_order():
    x, v = banana_samples(500, seeded()), torch.randn(500, 2, generator=seeded(1), dtype=torch.float64)

    def error(steps):
        ahead, u = leapfrog(banana, x, v, 1 / steps, steps)
        change = banana(ahead) + 0.5 * u.square().sum(1) - banana(x) - 0.5 * v.square().sum(1)
        return float(change.abs().median())

    assert error(20) / error(40) == pytest.approx(4, rel=0.1)


def test_gibbs_draws_each_block_given_the_others():
    """The conditionals of a correlated normal leave it as it is; blocks in turn are no reversible chain, palindromes are."""

    def block(entry):
        slope = SIGMA[0, 1] / SIGMA[1 - entry, 1 - entry]
        std = (SIGMA[entry, entry] - slope * SIGMA[0, 1]).sqrt()

        def draw(x, generator):
            noise = torch.randn(len(x), generator=generator, dtype=x.dtype)
            x = x.clone()
            x[:, entry] = slope * x[:, 1 - entry] + std * noise
            return x

        return draw

    x = gaussian_samples(100_000, seeded())
    ahead, accepted = Gibbs((block(0), block(1))).step(x, seeded(1))
    torch.testing.assert_close(torch.cov(ahead.T), SIGMA, rtol=0, atol=0.01)
    assert bool((accepted == 1).all())
    assert asymmetry(Gibbs((block(0), block(1), block(0))), x, seeded(1)) < 4.5
    assert asymmetry(Gibbs((block(0), block(1))), x, seeded(1)) > 8


@pytest.mark.parametrize("kernel", [AdjustedLangevin(banana, 5.0), Hamiltonian(banana, 0.02)], ids=["mala", "hmc"])
def test_step_sizes_are_adapted_to_the_acceptance_that_is_asked_for(kernel):
    x = banana_samples(200, seeded())
    found = adapted(kernel, x, 200, seeded(1), target=0.7)
    acceptance = run(found, x, 50, seeded(2)).acceptance
    assert float(acceptance.mean()) == pytest.approx(0.7, abs=0.05)
    with pytest.raises(RangeError, match="between 0 and 1"):
        adapted(kernel, x, 10, seeded(), target=1.0)


def test_a_proposal_that_is_not_finite_is_refused():
    def wall(x):
        return torch.where(x[:, 0] > 0, x[:, 0], torch.nan * x[:, 0])

    x = torch.full((1000, 1), 0.01, dtype=torch.float64)
    chains = run(AdjustedLangevin(wall, 0.5), x, 20, seeded())
    assert bool((chains.x > 0).all())


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
def test_effective_sample_size_is_that_of_an_autoregression(phi):
    steps, chains, generator = 2000, 20, seeded(11)
    x = torch.empty(steps, chains, 1, dtype=torch.float64)
    state = torch.randn(chains, 1, generator=generator, dtype=torch.float64)
    for number in range(steps):
        noise = torch.randn(chains, 1, generator=generator, dtype=torch.float64)
        state = phi * state + math.sqrt(1 - phi**2) * noise
        x[number] = state
    expected = steps * chains * (1 - phi) / (1 + phi)
    assert float(effective_sample_size(x)) == pytest.approx(expected, rel=0.15)


def test_chains_that_have_not_mixed_are_worth_little():
    x = torch.randn(500, 4, 1, generator=seeded(), dtype=torch.float64)
    apart = x + 10 * torch.arange(4).reshape(4, 1)
    assert float(effective_sample_size(apart)) < 10
    assert float(effective_sample_size(torch.ones(10, 2, 1))) == 0
    with pytest.raises(BadInput, match="at least four"):
        effective_sample_size(x[:3])


def test_runs_keep_what_they_are_asked_to():
    kernel = Langevin(gaussian, 0.5)
    x = torch.zeros(3, 2, dtype=torch.float64)
    every = run(kernel, x, 10, seeded())
    some = run(kernel, x, 10, seeded(), discard=4, every=3)
    assert every.x.shape == (10, 3, 2)
    assert torch.equal(some.x, every.x[[6, 9]])
    assert every.effective.shape == (2,)
    with pytest.raises(BadInput, match="No state"):
        run(kernel, x, 10, seeded(), discard=10)


def test_potential_is_energy_and_gradient():
    x = gaussian_samples(5, seeded())
    with torch.no_grad():
        energy, gradient = potential(gaussian, x)
    torch.testing.assert_close(energy, gaussian(x))
    torch.testing.assert_close(gradient, x @ PRECISION)
    assert not energy.requires_grad
