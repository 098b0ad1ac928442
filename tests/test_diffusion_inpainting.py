"""RePaint on Gaussian data, whose conditional distribution is known."""

import pytest
import torch

from gaussian_oracle import MU, SIGMA, with_oracle
from pmodel.construction import make
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.errors import BadInput, UnknownName
from pmodel.explicit.approximate.diffusion.inpainting import repaint
from pmodel.explicit.approximate.diffusion.sampler import Guess
from pmodel.explicit.approximate.diffusion.schedule import levels

KNOWN = torch.tensor([True, False])
AT = 1.4
"""The observed entry: well off its mean, so that the other must follow."""


@pytest.fixture(scope="module")
def oracle():
    return with_oracle(timesteps=200)


def completed(model, rounds, n=3000):
    x = torch.tensor([[AT, 77.0]], dtype=torch.float64).expand(n, 2)
    return model.complete(x, KNOWN, generator=0, steps=20, rounds=rounds)


def test_completions_are_near_the_conditional_with_enough_rounds(oracle):
    mean = float(MU[1] + SIGMA[1, 0] / SIGMA[0, 0] * (AT - MU[0]))
    std = float(SIGMA[1, 1] - SIGMA[1, 0] ** 2 / SIGMA[0, 0]) ** 0.5
    found = {rounds: completed(oracle, rounds)[:, 1] for rounds in (1, 10)}
    errors = {rounds: abs(float(x.mean()) - mean) for rounds, x in found.items()}
    assert errors[10] < 0.5 * errors[1]
    assert errors[10] < 0.1 * std + 5 * std / 3000**0.5
    assert 0.7 * std < float(found[10].std()) < 1.1 * std  # the steps' variance is that of data that are points


def test_what_is_observed_stays_and_nothing_is_exact(oracle):
    x = completed(oracle, 2, n=5)
    assert bool((x[:, 0] == AT).all())
    assert oracle.exact_completions(x, KNOWN).tolist() == [False] * 5
    assert oracle.exact_completions(x, torch.tensor([True, True])).tolist() == [True] * 5


@pytest.mark.parametrize(("rounds", "calls"), [(1, 4), (3, 10)])
def test_every_step_but_the_last_is_taken_so_often(rounds, calls):
    seen = []

    def denoise(x_t, t):
        seen.append(t)
        return Guess(torch.zeros_like(x_t))

    grid = levels("cosine", 100).respaced(4)
    repaint(denoise, grid, torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), rounds, torch.Generator())
    assert len(seen) == calls
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    "domain",
    [Discrete((1, 4, 5), 4), Real((3,)), Table((Column("a"), Column("b", "stepped", step=0.5), Column("c")))],
)
def test_any_part_of_any_datum_can_be_missing(domain):
    model = make("ddpm", domain, timesteps=10, channels=8, width=16, rounds=2)
    x = model.sample(6, generator=0)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    filled = model.complete(x, mask, generator=2)
    assert torch.equal(filled[mask], x[mask])
    assert torch.equal(domain.check(filled), filled)


@pytest.mark.parametrize("domain", [Discrete((6,), 4), Real((6,))])  # bare, and standardised by a wrapper
@pytest.mark.parametrize("setting", [{"sampler": "heun"}, {"eta": 0.0}, {"variance": "beta"}])
def test_settings_of_new_data_only_are_refused(setting, domain):
    model = make("ddpm", domain, timesteps=10, width=16, rounds=2)
    x, mask = model.sample(4, generator=0), torch.arange(6) < 3
    for verb in (model.complete, model.exact_completions):
        with pytest.raises(
            BadInput, match=r"Of the settings steps, clip, guidance, rounds act on a completion, and no others\."
        ) as no:
            verb(x, mask, **setting)
        assert next(iter(setting)) in no.value.got
        with pytest.raises(UnknownName, match="timesteps"):
            verb(x, mask, timesteps=5)


def test_the_settings_that_are_taken_act():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make("ddpm", Discrete((6,), 4), Discrete((), 2), timesteps=10, width=16, rounds=2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(1))
    x, mask = torch.randint(4, (200, 6), generator=torch.Generator().manual_seed(2)), torch.arange(6) < 3
    given = torch.arange(200) % 2
    usual = model.complete(x, mask, given=given, generator=0)
    for setting in ({"steps": 5}, {"rounds": 1}, {"clip": False}, {"guidance": 3.0}):
        assert not torch.equal(usual, model.complete(x, mask, given=given, generator=0, **setting))
