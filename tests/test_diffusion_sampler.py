"""Samplers on Gaussian data, where the best guess is linear: means and covariances pass through each step exactly."""

import functools
import itertools
import math

import pytest
import torch

from pmodel.explicit.approximate.diffusion.prediction import Parametrisation
from pmodel.explicit.approximate.diffusion.sampler import (
    Guess,
    ancestral,
    averaged,
    ddim,
    extrapolated,
    posterior_mean,
    reverse,
    solver,
)
from pmodel.explicit.approximate.diffusion.schedule import SCHEDULES, Levels, levels

MU = torch.tensor([0.6, -0.3], dtype=torch.float64)
SIGMA = torch.tensor([[0.5, 0.24], [0.24, 0.4]], dtype=torch.float64)
MOVES = {
    "ddim": functools.partial(ddim, eta=0.0),
    "ddim half way": functools.partial(ddim, eta=0.5),
    "posterior": functools.partial(ancestral, variance="posterior"),
    "beta": functools.partial(ancestral, variance="beta"),
}
every_move = pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best_guess(x_t, alpha, sigma):
    """E[x_0 | x_t] for x_0 from N(MU, SIGMA)."""
    marginal = alpha**2 * SIGMA + sigma**2 * torch.eye(2).double()
    return MU + (x_t - alpha * MU) @ torch.linalg.solve(marginal, alpha * SIGMA)


def moments(move, grid):
    """Mean and covariance of what a sampler makes of standard normal noise: its steps are affine in x_t and in the noise."""
    mean, covariance, eye = torch.zeros(2).double(), torch.eye(2).double(), torch.eye(2).double()
    for t in range(len(grid), 0, -1):
        step = grid.step(t)

        def after(x_t, z, step=step):
            return move(step, x_t, Guess(best_guess(x_t, step.alpha_t, step.sigma_t)), z)

        zero = torch.zeros(1, 2).double()
        offset = after(zero, zero)
        linear, spread = after(eye, zero) - offset, after(zero, eye) - offset  # rows: the images of the axes
        mean = mean @ linear + offset[0]
        covariance = linear.T @ covariance @ linear + spread.T @ spread
    return mean, covariance


@every_move
@pytest.mark.parametrize("name", SCHEDULES)
def test_samplers_approach_the_data_at_first_order(move, name):
    chain = levels(name, 2**12)
    errors = []
    for steps in (128, 256, 512):
        mean, covariance = moments(move, chain.respaced(steps))
        errors.append(float(torch.linalg.vector_norm(covariance - SIGMA)))
        assert torch.allclose(mean, MU, atol=20 / steps)
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert errors[-1] < 0.02
    assert orders[-1] == pytest.approx(1, abs=0.15)


def test_with_few_steps_beta_leaves_noise_behind_and_the_posterior_takes_too_much():
    grid = levels("cosine", 1000).respaced(10)
    spread = {name: float(moments(move, grid)[1].trace() / SIGMA.trace()) for name, move in MOVES.items()}
    assert spread["posterior"] < 1 < spread["beta"]
    assert abs(spread["ddim"] - 1) < abs(spread["posterior"] - 1)


@pytest.mark.parametrize("steps", [5, 100])
@pytest.mark.parametrize("clipped", [False, True])
def test_ddim_with_full_noise_is_ancestral(steps, clipped):
    grid = levels("cosine", 100).respaced(steps)
    x = y = noise(7, 2)
    for t in range(steps, 0, -1):
        step, z = grid.step(t), noise(7, 2, seed=t)
        guesses = [best_guess(v, step.alpha_t, step.sigma_t) for v in (x, y)]
        guesses = [guess.clamp(-0.5, 0.5) if clipped else guess for guess in guesses]
        x = ddim(step, x, Guess(guesses[0]), z, eta=1.0)
        y = ancestral(step, y, Guess(guesses[1]), z, variance="posterior")
    assert torch.allclose(x, y, rtol=0, atol=1e-12)


@every_move
@pytest.mark.parametrize("steps", [1, 10])
def test_the_last_step_returns_the_guess_without_noise(move, steps):
    step = levels("linear", 10).respaced(steps).step(1)
    guess = noise(5, 2, seed=1)
    assert torch.allclose(move(step, noise(5, 2), Guess(guess), noise(5, 2, seed=2)), guess, rtol=0, atol=1e-14)


def test_ancestral_is_the_papers_algorithm():
    """Algorithm 2 of Ho et al., in their symbols."""
    chain, t = levels("linear", 1000), 400
    beta, abar = chain.betas[t - 1], chain.alpha[t].square()
    x_t, eps, z = noise(5, 2), noise(5, 2, seed=1), noise(5, 2, seed=2)
    expected = (x_t - beta / (1 - abar).sqrt() * eps) / (1 - beta).sqrt() + beta.sqrt() * z
    x_0 = Parametrisation("eps").clean(eps, x_t, chain.alpha[t], chain.sigma[t])
    assert torch.allclose(ancestral(chain.step(t), x_t, Guess(x_0), z, variance="beta"), expected, atol=1e-12)


def test_noise_of_the_wrong_size_explodes():
    """On standard normal data the best guess is alpha x_t. The chain ends at 1; one that adds (1 - beta) z does not."""
    chain = levels("linear", 1000)
    one, nothing = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    right = wrong = 1.0
    for t in range(1000, 0, -1):
        step = chain.step(t)
        shrink = float(ancestral(step, one, Guess(step.alpha_t * one), nothing, variance="beta"))
        spread = float(ancestral(step, nothing, Guess(nothing), one, variance="beta"))
        right = shrink**2 * right + spread**2
        wrong = shrink**2 * wrong + (float(1 - step.beta) ** 2 if t > 1 else 0)
    assert right**0.5 == pytest.approx(1, abs=1e-3)
    assert wrong**0.5 == pytest.approx(16.5, abs=0.1)


def test_posterior_mean_is_between_the_two():
    step = levels("cosine", 100).step(60)
    same = noise(3, 2)
    on_the_way = posterior_mean(step, step.alpha_t * same, same)
    assert torch.allclose(on_the_way, step.alpha_s * same, atol=1e-12)  # noiseless data stay noiseless


def test_reverse_calls_the_network_once_a_step_from_noise_to_data():
    calls = []

    def denoise(x_t, t):
        calls.append(t)
        return Guess(torch.full_like(x_t, 0.25))

    x = reverse(denoise, levels("linear", 10).respaced(4), MOVES["posterior"], noise(3, 2), torch.Generator())
    assert calls == [4, 3, 2, 1]
    assert torch.allclose(x, torch.full_like(x, 0.25), atol=1e-14)


# --- second order -------------------------------------------------------------------------------------------------------


def between_two_levels(name):
    """The chain from a level with a fifth of a radian of noise to one that has nearly no signal."""
    chain = levels(name, 2**12)
    low, high = (0.2, 0.9) if chain.straight else (0.2, 1.4)
    kept = [0, *range(int((chain.positions < low).sum()), int((chain.positions < high).sum()))]
    return Levels(chain.times[kept], chain.alpha[kept], chain.sigma[kept], chain.straight)


def marginal(chain, level):
    alpha, sigma = chain.alpha[level], chain.sigma[level]
    return alpha * MU, alpha**2 * SIGMA + sigma**2 * torch.eye(2).double()


def error_of(name, chain):
    """How far a deterministic sampler is from the marginal of level 1, started from that of the last level."""

    def denoise(x_t, t):
        return Guess(best_guess(x_t, chain.alpha[t], chain.sigma[t]))

    mean, covariance = marginal(chain, len(chain))
    x = mean + torch.cat([torch.zeros(1, 2).double(), torch.linalg.cholesky(covariance).T])
    guess, move = solver(name, denoise, chain, eta=0.0, variance="posterior")
    for t in range(len(chain), 1, -1):
        x = move(chain.step(t), x, guess(x, t), torch.zeros_like(x))
    mean, covariance = marginal(chain, 1)
    linear = x[1:] - x[0]
    return float(torch.linalg.vector_norm(x[0] - mean) + torch.linalg.matrix_norm(linear.T @ linear - covariance))


@pytest.mark.parametrize(("solver_name", "order"), [("ddim", 1), ("dpm", 2), ("heun", 2)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_deterministic_samplers_have_their_order(solver_name, order, name):
    """Between two fixed levels: at the datum itself a step of the logarithm of the noise has no end."""
    chain = between_two_levels(name)
    errors = [error_of(solver_name, chain.between(steps)) for steps in (32, 64, 128)]
    assert math.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.2)
    assert errors[2] < (1e-2 if order == 1 else 2e-4)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_extrapolation_pays_with_few_steps(eta, name):
    """Moments of what ten steps make of noise: DPM-Solver++(2M) is nearer than DDIM, with noise and without."""
    grid = levels(name, 1000).respaced(10)
    found = {}
    for kind in ("ddim", "dpm"):
        guess, move = solver(
            kind,
            lambda x, t: Guess(best_guess(x, grid.alpha[t], grid.sigma[t])),
            grid,
            eta=eta,
            variance="posterior",
        )
        # all sources of noise at once: rows 0 … 2 carry the start, and each step adds two rows of its own
        rows = torch.zeros(3 + 2 * len(grid), 2).double()
        rows[1:3] = torch.eye(2)
        for number, t in enumerate(range(len(grid), 0, -1)):
            z = torch.zeros_like(rows)
            z[3 + 2 * number : 5 + 2 * number] = torch.eye(2)
            rows = move(grid.step(t), rows, guess(rows, t), z)
        linear = rows[1:] - rows[0]
        found[kind] = float(torch.linalg.matrix_norm(linear.T @ linear - SIGMA))
    assert found["dpm"] < 0.5 * found["ddim"]


def test_the_first_and_the_last_guess_are_not_extrapolated():
    grid = levels("straight", 100).respaced(4)
    raw = [noise(3, 2, seed=t) for t in range(5)]
    guess = extrapolated(lambda x_t, t: Guess(raw[t]), grid)
    found = {t: guess(raw[0], t).x_0 for t in (4, 3, 2, 1)}
    assert torch.equal(found[4], raw[4])
    assert torch.equal(found[3], raw[3])  # a step from no signal at all is infinitely long, and tells nothing of slopes
    log_snr = (grid.alpha / grid.sigma).log()
    slope = (log_snr[1] - log_snr[2]) / (2 * (log_snr[2] - log_snr[3]))
    assert torch.allclose(found[2], raw[2] + slope * (raw[2] - raw[3]))
    assert torch.equal(found[1], raw[1])


def test_heun_calls_twice_but_for_the_last_step():
    grid, calls = levels("cosine", 100).respaced(3), []

    def denoise(x_t, t):
        calls.append(t)
        return Guess(torch.full_like(x_t, float(t)))

    guess = averaged(denoise, grid)
    assert [float(guess(noise(1, 2), t).x_0[0, 0]) for t in (3, 2, 1)] == [2.5, 1.5, 1]
    assert calls == [3, 2, 2, 1, 1]
