"""The noising chain against its closed form, and the levels' identities, all in float64."""

import itertools
import math

import pytest
import torch

from pmodel.explicit.approximate.diffusion.schedule import LARGEST_BETA, SCHEDULES, levels

every_schedule = pytest.mark.parametrize("name", SCHEDULES)


@every_schedule
@pytest.mark.parametrize("timesteps", [1, 2, 20, 1000])
def test_single_steps_compose_to_the_closed_form(name, timesteps):
    chain = levels(name, timesteps)
    mean, variance = 1.0, 0.0
    for t in range(1, timesteps + 1):
        step = chain.step(t)
        mean = float(step.alpha) * mean
        variance = float(step.alpha) ** 2 * variance + float(step.beta)
        assert mean == pytest.approx(float(chain.alpha[t]), rel=1e-10)
        assert variance == pytest.approx(float(chain.sigma[t]) ** 2, rel=1e-10)
    assert len(chain) == timesteps
    assert chain.times.dtype == chain.alpha.dtype == chain.sigma.dtype == torch.float64


@every_schedule
def test_the_last_level_is_standard_normal(name):
    chain = levels(name, 1000)
    assert float(chain.alpha[-1]) < 0.01
    assert float(chain.sigma[-1]) == pytest.approx(1, abs=1e-4)
    assert (float(chain.alpha[0]), float(chain.sigma[0])) == (1, 0)


@every_schedule
@pytest.mark.parametrize("timesteps", [2, 20, 1000])
def test_signal_falls_against_noise(name, timesteps):
    chain = levels(name, timesteps)
    assert bool((chain.snr.diff() < 0).all())
    assert float(chain.betas.min()) > 0
    if chain.straight:
        assert torch.allclose(chain.alpha + chain.sigma, torch.ones(timesteps + 1).double(), atol=1e-14)
    else:
        circle = chain.alpha.square() + chain.sigma.square()
        assert torch.allclose(circle, torch.ones(timesteps + 1).double(), atol=1e-14)
        assert float(chain.betas.max()) <= LARGEST_BETA + 1e-12


def test_linear_is_the_papers():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    chain = levels("linear", 1000)
    assert torch.allclose(chain.betas, betas, atol=1e-14)
    assert torch.allclose(chain.alpha.square()[1:], torch.cumprod(1 - betas, 0), rtol=1e-10)


def test_cosine_is_the_papers():
    chain = levels("cosine", 1000)
    f = torch.cos((torch.arange(1001).double() / 1000 + 0.008) / 1.008 * math.pi / 2).square()
    assert torch.allclose(chain.alpha.square()[:-1], (f / f[0])[:-1], rtol=1e-9)
    assert float(chain.betas[-1]) == pytest.approx(0.999)  # the formula has no signal left at t = 1


@every_schedule
@pytest.mark.parametrize("t", [1, 2, 10, 20])
def test_posterior_is_bayes(name, t):
    """q(x_s | x_t, x_0) by conditioning the joint Gaussian of x_s and x_t given x_0."""
    chain, x_0, x_t = levels(name, 20), 0.7, -1.3
    step = chain.step(t)
    mean_s, variance_s = float(step.alpha_s) * x_0, float(step.sigma_s) ** 2
    gain = float(step.alpha) * variance_s / float(step.sigma_t) ** 2
    mean = mean_s + gain * (x_t - float(step.alpha_t) * x_0)
    found = step.weight_of_noisy * x_t + step.weight_of_clean * x_0
    assert float(found) == pytest.approx(mean, rel=1e-12)
    assert float(step.posterior) == pytest.approx(variance_s - gain * float(step.alpha) * variance_s, abs=1e-14)
    if t > 1:
        precision = 1 / variance_s + float(step.alpha) ** 2 / float(step.beta)
        assert 1 / float(step.posterior) == pytest.approx(precision, rel=1e-10)


@every_schedule
@pytest.mark.parametrize("steps", [1, 3, 7, 50, 99, 100])
def test_a_respaced_grid_has_the_noise_of_its_own_steps(name, steps):
    chain = levels(name, 100)
    grid = chain.respaced(steps)
    assert len(grid) == steps
    assert float(grid.times[-1]) == 1
    kept = [round(float(time) * 100) for time in grid.times]
    assert kept[0] == 0
    assert len(set(kept)) == steps + 1
    for i, (s, t) in enumerate(itertools.pairwise(kept)):
        variance = 0.0  # of single steps, one after the other
        for between in range(s + 1, t + 1):
            variance = float(chain.step(between).alpha) ** 2 * variance + float(chain.step(between).beta)
        assert float(grid.betas[i]) == pytest.approx(variance, rel=1e-9)
        assert float(grid.step(i + 1).beta) == pytest.approx(float(grid.betas[i]))


def test_steps_of_a_batch_broadcast_against_data():
    chain = levels("cosine", 10)
    step = chain.step(torch.tensor([1, 5, 10]), 2)
    assert step.alpha_t.shape == (3, 1, 1)
    assert float(step.beta[1, 0, 0]) == float(chain.step(5).beta)
    x = torch.zeros(3, 4, 4)
    alpha, sigma = chain.signal_and_noise(torch.tensor([1, 5, 10]), x)
    assert alpha.shape == sigma.shape == (3, 1, 1)
    assert alpha.dtype == x.dtype


@every_schedule
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_steps_are_closer_together_where_noise_is(name, steps):
    chain = levels(name, 1000)
    coarsest = float(chain.positions.diff().max())
    bend = 1 if name == "straight" else 1.5
    wanted = chain.positions[-1] * (1 - (1 - torch.arange(steps + 1) / steps) ** bend)
    assert float((chain.respaced(steps).positions - wanted).abs().max()) <= coarsest / 2 + 1e-6
    assert torch.equal(chain.respaced(1000).times, chain.times)
    assert float(chain.between(steps).positions[1:].diff().std(correction=0)) < 1e-12


@every_schedule
def test_levels_between_levels_are_on_the_path(name):
    chain, fine = levels(name, 100), levels(name, 100).between(99)
    assert torch.allclose(fine.alpha[[0, 1, -1]], chain.alpha[[0, 1, -1]])
    assert torch.allclose(fine.times[[0, 1, -1]], chain.times[[0, 1, -1]])
    assert bool((fine.times.diff() > 0).all())
    again = fine.sigma + fine.alpha if fine.straight else fine.sigma.square() + fine.alpha.square()
    assert torch.allclose(again, torch.ones(101).double())
