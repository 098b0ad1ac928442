"""The probability flow's likelihood against closed forms, and flow matching."""

import pytest
import torch

from gaussian_oracle import DATA, MU, SIGMA, with_oracle
from pmodel.construction import make
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.errors import BadInput, NotSupported
from pmodel.explicit.approximate.diffusion.ddpm import DDPM
from pmodel.explicit.approximate.diffusion.flow import EXACT, divergence, signs
from pmodel.learning import Batch
from pmodel.testing.fitting import learn


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(n):
    return MU + torch.randn(n, 2, generator=seeded(), dtype=torch.float64) @ torch.linalg.cholesky(SIGMA).T


@pytest.mark.parametrize("schedule", ["cosine", "straight"])
def test_flow_likelihood_of_gaussian_data_is_theirs(schedule):
    model = with_oracle(likelihood="flow", schedule=schedule)
    x = gaussian(500)
    found = model.score(x, effort=1)
    assert found.kind == "estimate"
    assert found.estimator == "probability flow in 25 steps, 1 draw"
    assert abs(found.mean - float(DATA.log_prob(x).mean())) < 1e-3
    assert torch.allclose(found.values, DATA.log_prob(x), atol=5e-3)


def test_flow_likelihood_with_a_short_linear_chain_is_that_of_its_own_end():
    """The linear schedule stops at alpha = 0.006 and sampling starts from N(0, I) all the same: a difference of 0.01 nats."""
    x = gaussian(500)
    found = with_oracle(likelihood="flow", schedule="linear").score(x, effort=1)
    assert abs(found.mean - float(DATA.log_prob(x).mean())) < 0.01


def field(x, t):
    """A vector field with a known Jacobian: sin(A x) + x."""
    a = torch.arange(1.0, x.shape[1] ** 2 + 1, dtype=x.dtype).reshape(x.shape[1], -1) / x.shape[1] ** 2
    return torch.sin(x @ a) + x


@pytest.mark.parametrize("entries", [1, 3, EXACT])
def test_divergence_is_the_trace_of_the_jacobian(entries):
    x = torch.randn(4, entries, generator=seeded(), dtype=torch.float64)
    assert signs(x, seeded()) is None
    v, found = divergence(field, x, 1, None)
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda r: field(r[None], 1)[0], row) for row in x])
    assert torch.allclose(found, jacobians.diagonal(dim1=1, dim2=2).sum(1))
    assert torch.equal(v, field(x, 1))
    assert not v.requires_grad


def test_hutchinsons_estimate_has_the_divergence_for_its_mean():
    x = torch.randn(1, EXACT + 1, generator=seeded(), dtype=torch.float64).expand(4000, -1)
    probe = signs(x, seeded(1))
    assert bool((probe.abs() == 1).all())
    _, found = divergence(field, x, 1, probe)
    _, exact = divergence(field, x[:1], 1, None)
    assert abs(float(found.mean() - exact)) < 5 * float(found.std()) / 4000**0.5


def test_the_learned_flow_is_a_density():
    """It integrates to one, whatever the network has learned: the flow is one to one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DDPM(Real((1,)), likelihood="flow", timesteps=200, width=16, layers=1)
        x = torch.cat(
            [torch.randn(300, 1, generator=seeded()) / 4 - 1, torch.randn(300, 1, generator=seeded()) / 2 + 1]
        )
        learn(model, Batch(x), steps=60)
    grid = torch.linspace(-8, 8, 401).unsqueeze(1)
    density = model.score(grid, effort=1).values.exp()
    assert float(torch.trapezoid(density, dx=0.04)) == pytest.approx(1, abs=1e-2)


def test_many_entries_are_scored_by_random_signs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DDPM(Real((EXACT + 1,)), likelihood="flow", timesteps=50, width=16, layers=1)
        torch.nn.init.normal_(model.net.last.weight, std=0.2)
    found = model.score(torch.randn(5, EXACT + 1, generator=seeded()), effort=4)
    assert bool((found.mc_stderr > 0).all())


def test_the_flow_has_no_bound():
    model = with_oracle(likelihood="flow")
    assert not model.can("elbo")
    with pytest.raises(NotSupported, match="elbo"):
        model.elbo(gaussian(3))


def test_discrete_data_are_dequantised_for_the_flow():
    with pytest.raises(BadInput, match="density"):
        DDPM(Discrete((2,), 4), likelihood="flow", width=8, layers=1)
    for domain in (Discrete((2,), 4), Table((Column("a"), Column("b", "stepped", step=0.5)))):
        model = make("ddpm", domain, likelihood="flow", timesteps=20, width=8, layers=1)
        x = model.sample(5, generator=0)
        assert model.score(x, effort=2).kind == "estimate"
        assert not model.can("elbo")


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_flow_matching_learns_two_clusters(prediction):
    """The straight path: the regression of Lipman et al., and of the datum on the same path."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        centres = torch.tensor([[-1.0, 0.5], [1.0, -0.5]])[torch.randint(2, (512,), generator=seeded())]
        x = centres + 0.1 * torch.randn(512, 2, generator=seeded(1))
        model = DDPM(Real((2,)), schedule="straight", prediction=prediction, timesteps=100, width=32, layers=1)
        learn(model, Batch(x), steps=300)
    drawn = model.sample(500, generator=0, steps=20)
    near = torch.cdist(drawn, torch.tensor([[-1.0, 0.5], [1.0, -0.5]])).min(1)
    assert float((near.values < 0.5).double().mean()) > 0.9
    assert 0.35 < float(near.indices.double().mean()) < 0.65
