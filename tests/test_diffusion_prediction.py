"""What the network answers: one guess in three units, and what its error weighs in each."""

import pytest
import torch

from pmodel.explicit.approximate.diffusion.prediction import GAMMA, PREDICTIONS, WEIGHTINGS, Parametrisation
from pmodel.explicit.approximate.diffusion.schedule import SCHEDULES, levels

every_prediction = pytest.mark.parametrize("name", PREDICTIONS)
every_path = pytest.mark.parametrize("schedule", SCHEDULES)
every_time = pytest.mark.parametrize("t", [1, 50, 99])


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def setting(schedule, t):
    chain = levels(schedule, 100)
    return chain, chain.alpha[t], chain.sigma[t]


@every_prediction
@every_path
@every_time
def test_predictions_say_the_same(name, schedule, t):
    chain, alpha, sigma = setting(schedule, t)
    units = Parametrisation(name, chain.straight)
    x_0, eps = noise(4, 3), noise(4, 3, seed=1)
    x_t = alpha * x_0 + sigma * eps
    found = units.clean(units.target(x_0, eps, alpha, sigma), x_t, alpha, sigma)
    assert torch.allclose(found, x_0, atol=1e-10)
    assert torch.allclose((x_t - alpha * found) / sigma, eps, atol=1e-10)


@every_path
@every_time
def test_the_velocity_is_the_derivative_along_the_path(schedule, t):
    """By differences of x_t at fixed x_0 and noise: flow matching on the line, the angle's derivative on the circle."""
    chain, alpha, sigma = setting(schedule, t)
    x_0, eps = noise(4, 3), noise(4, 3, seed=1)
    units, h = Parametrisation("v", chain.straight), 1e-6
    at = chain.positions[t]
    if chain.straight:
        ahead, behind = ((1 - u) * x_0 + u * eps for u in (at + h, at - h))
    else:
        ahead, behind = (torch.cos(u) * x_0 + torch.sin(u) * eps for u in (at + h, at - h))
    expected = (ahead - behind) / (2 * h)
    assert torch.allclose(units.target(x_0, eps, alpha, sigma), expected, atol=1e-8)
    assert torch.allclose(units.velocity(x_0, alpha * x_0 + sigma * eps, alpha, sigma), expected, atol=1e-8)


@every_prediction
@every_path
@every_time
def test_an_error_of_the_answer_is_one_of_the_datum_times_the_ratio(name, schedule, t):
    chain, alpha, sigma = setting(schedule, t)
    units = Parametrisation(name, chain.straight)
    x_t, answer, error = (noise(4, 3, seed=seed) for seed in range(3))
    moved = units.clean(answer + error, x_t, alpha, sigma) - units.clean(answer, x_t, alpha, sigma)
    assert torch.allclose(moved.abs(), units.ratio(alpha, sigma) * error.abs(), atol=1e-9)


@every_prediction
@every_path
@every_time
def test_min_snr_weighs_the_datum_alike_in_all_units(name, schedule, t):
    chain, alpha, sigma = setting(schedule, t)
    units = Parametrisation(name, chain.straight)
    weight = units.weight("min-snr", alpha, sigma) / units.ratio(alpha, sigma).square()
    assert float(weight) == pytest.approx(float(chain.snr[t].clamp(max=GAMMA)))
    assert float(units.weight("plain", alpha, sigma)) == 1


def test_min_snr_is_the_papers():
    """Their weights for the noise and for the velocity, where the variance is kept."""
    chain = levels("cosine", 100)
    snr, alpha, sigma = chain.snr[1:], chain.alpha[1:], chain.sigma[1:]
    capped = snr.clamp(max=GAMMA)
    assert torch.allclose(Parametrisation("eps").weight("min-snr", alpha, sigma), capped / snr)
    assert torch.allclose(Parametrisation("v").weight("min-snr", alpha, sigma), capped / (snr + 1))
    assert torch.allclose(Parametrisation("x0").weight("min-snr", alpha, sigma), capped)
    assert WEIGHTINGS == ("plain", "min-snr")
