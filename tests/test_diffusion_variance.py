"""Learned variances (Nichol & Dhariwal 2021): where the best are known, the bound is tight."""

import math

import pytest
import torch
from torch import nn

from pmodel.domain import Discrete, Real
from pmodel.explicit.approximate.diffusion.bound import discretised_normal
from pmodel.explicit.approximate.diffusion.ddpm import DDPM
from pmodel.explicit.approximate.diffusion.sampler import Guess, ancestral, between
from pmodel.explicit.approximate.diffusion.schedule import levels
from pmodel.learning import Batch
from pmodel.testing.fitting import learn

MU = torch.tensor([0.3, -0.2], dtype=torch.float64)
S = torch.tensor([0.5, 0.1], dtype=torch.float64)
"""Variances of independent entries."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Oracle(nn.Module):
    """The best guess, and the fraction of the variance of x_s given x_t for which the reverse chain is exact."""

    def __init__(self, model):
        super().__init__()
        self.dtype = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.chain, self.learned = model.levels, model.learned

    def forward(self, x_t, t, given=None):
        level = (t * len(self.chain)).round().long()
        step = self.chain.step(level, 1)
        alpha, sigma = step.alpha_t, step.sigma_t
        spread = S * sigma**2 / (alpha**2 * S + sigma**2)  # of x_0 given x_t
        x_0 = MU + alpha * S / (alpha**2 * S + sigma**2) * (x_t - alpha * MU)
        v = (alpha * x_t - x_0) / sigma
        if not self.learned:
            return v
        first = level.unsqueeze(1) == 1
        best = torch.where(first, spread, step.posterior + step.weight_of_clean**2 * spread)
        low = torch.where(first, self.chain.step(2).posterior, step.posterior).log()
        high = torch.where(first, sigma**2, step.beta).log()
        return torch.cat([v, 2 * (best.log() - low) / (high - low) - 1], 1)


def with_oracle(timesteps, variance):
    model = DDPM(Real((2,)), timesteps=timesteps, variance=variance)
    model.net = Oracle(model)
    return model


@pytest.mark.parametrize("timesteps", [3, 10, 100])
def test_the_best_variance_makes_the_bound_tight_on_gaussian_data(timesteps):
    """The true reverse steps are Gaussian with these variances: even a chain of three steps is the density itself."""
    x = MU + torch.tensor([[0.0, 0.0], [1.0, -0.3]], dtype=torch.float64)
    exact = torch.distributions.Normal(MU, S.sqrt()).log_prob(x).sum(1)
    bounds = {}
    for variance in ("learned", "posterior"):
        values = with_oracle(timesteps, variance).elbo(x.repeat(4000, 1), effort=4).values.reshape(-1, 2)
        bounds[variance] = values.mean(0), values.std(0) / len(values) ** 0.5
    mean, error = bounds["learned"]
    assert bool(((mean - exact).abs() < 5 * error + 2e-3).all())
    fixed, error_of_fixed = bounds["posterior"]
    assert bool((fixed <= mean + 5 * (error + error_of_fixed)).all())
    if timesteps <= 10:
        assert bool((fixed < mean - 0.1).all())


def test_variances_lie_between_the_two_in_logarithms():
    step = levels("cosine", 20).step(7)
    low, high = step.posterior, step.beta
    assert float(between(low, high, 0.0)) == float(low)
    assert float(between(low, high, 1.0)) == float(high)
    assert float(between(low, high, torch.tensor(0.5))) == pytest.approx(math.sqrt(float(low * high)))


def test_ancestral_steps_take_the_variance_that_is_said():
    step, zero = levels("cosine", 20).step(7), torch.zeros(4, 2)
    fraction = torch.linspace(-0.2, 1.2, 8).reshape(4, 2)
    found = ancestral(step, zero, Guess(zero, fraction), torch.ones(4, 2), variance="learned")
    assert torch.allclose(found.square(), between(step.posterior, step.beta, fraction), rtol=1e-5)
    last = levels("cosine", 20).step(1)
    assert torch.equal(ancestral(last, zero, Guess(zero, fraction), torch.ones(4, 2), variance="learned"), zero)


def test_the_bound_teaches_variances_and_nothing_else():
    """The squared error does not reach them, and the bound does not reach the guess."""
    model = DDPM(Discrete((3,), 5), timesteps=20, variance="learned", width=8, layers=1)
    batch = Batch(torch.randint(5, (32, 3), generator=seeded()))
    (phase,) = model.phases()
    loss = phase.loss(batch, seeded())
    weight = model.net.last.weight
    (of_bound,) = torch.autograd.grad(loss.parts["bound"], weight, retain_graph=True)
    (of_error,) = torch.autograd.grad(loss.total - 1e-3 * loss.parts["bound"], weight)
    assert bool((of_bound[:3] == 0).all() & of_bound[3:].isfinite().all())
    assert float(of_error[3:].abs().max()) < 1e-6
    assert set(loss.parts) == {"noise", "bound"}


def test_learned_variances_tighten_the_bound_of_a_small_chain():
    """Four steps for a die: what the variance must be is far from either of the two."""
    x = torch.multinomial(torch.tensor([1.0, 4, 2, 8, 1, 4]), 512, replacement=True, generator=seeded(3)).unsqueeze(1)
    bounds = {}
    for variance in ("posterior", "learned"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = DDPM(Discrete((1,), 6), timesteps=4, variance=variance, width=16, layers=1)
            learn(model, Batch(x), steps=150)
        bounds[variance] = float(model.elbo(x.repeat(8, 1), effort=16).values.mean())
        total = model.score(torch.arange(6).unsqueeze(1).repeat(500, 1), effort=16).values
        assert float(total.reshape(500, 6).mean(0).exp().sum()) < 1.01
    assert bounds["learned"] > bounds["posterior"]


def test_decoder_with_a_variance_for_each_entry_is_a_product():
    x, mu = torch.tensor([[-1.0, 0.5]]), torch.tensor([[-0.9, 0.2]])
    std = torch.tensor([[0.1, 0.4]], dtype=torch.float64)
    parts = [discretised_normal(x[:, i : i + 1], mu[:, i : i + 1], std[:, i : i + 1], 5) for i in (0, 1)]
    assert torch.allclose(discretised_normal(x, mu, std, 5), parts[0] + parts[1])
