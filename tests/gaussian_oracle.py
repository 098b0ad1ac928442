"""Gaussian data and the best possible network for them, whose guess E[x_0 | x_t] is linear."""

import torch
from torch import nn

from pmodel.domain import Real
from pmodel.explicit.approximate.diffusion.ddpm import DDPM

MU = torch.tensor([0.6, -0.3], dtype=torch.float64)
SIGMA = torch.tensor([[0.5, 0.24], [0.24, 0.4]], dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)
DATA = torch.distributions.MultivariateNormal(MU, SIGMA)


class Oracle(nn.Module):
    """The best possible network for a model of N(MU, SIGMA): what it answers follows from E[x_0 | x_t]."""

    def __init__(self, model):
        super().__init__()
        self.dtype = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.chain, self.prediction = model.levels, model.prediction

    def forward(self, x_t, t, given=None):
        alpha, sigma = (table.unsqueeze(1) for table in self.at(t.double()))
        x_0 = best_guess(x_t, alpha, sigma)
        return self.prediction.target(x_0, (x_t - alpha * x_0) / sigma, alpha, sigma)

    def at(self, t):
        """Alpha and sigma at times, also between the levels."""
        times, path = self.chain.times, self.chain.positions
        above = torch.searchsorted(times, t).clamp(1, len(self.chain))
        part = (t - times[above - 1]) / (times[above] - times[above - 1])
        found = torch.lerp(path[above - 1], path[above], part)
        return (1 - found, found) if self.chain.straight else (found.cos(), found.sin())


def gain(alpha, sigma):
    """The matrix K of E[x_0 | x_t] = MU + (x_t - alpha MU) K, for each level."""
    alpha, sigma = alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)
    return torch.linalg.solve(alpha**2 * SIGMA + sigma**2 * EYE, alpha * SIGMA)


def best_guess(x_t, alpha, sigma):
    return MU + torch.einsum("nd,nde->ne", x_t - alpha * MU, gain(alpha, sigma))


def with_oracle(**options):
    model = DDPM(Real((2,)), **options)
    model.net = Oracle(model)
    return model
