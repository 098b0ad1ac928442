"""Classifier-free guidance, and labels that training leaves out."""

import pytest
import torch

from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput
from pmodel.explicit.approximate.diffusion.ddpm import DDPM
from pmodel.nn.conditioning import NONE, left_out

LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    """A network with something to say, trained or not."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DDPM(Real((2,)), LABEL, timesteps=50, width=16, layers=1)
        torch.nn.init.normal_(model.net.last.weight, std=0.3)
        return model.eval()


def guess(model, given, **settings):
    x_t = torch.randn(6, 2, generator=seeded(1))
    with torch.no_grad():
        return model.guesser(x_t, model.levels, torch.full((6,), 30), given, **settings).x_0


def test_guidance_one_is_the_conditional_model_bit_for_bit(model):
    calls = []
    model.net.register_forward_hook(lambda module, inputs, output: calls.append(inputs[2]))
    plain = model.sample(20, given=1, generator=0, steps=10)
    assert torch.equal(model.sample(20, given=1, generator=0, steps=10, guidance=1.0), plain)
    assert all(bool((given == 1).all()) for given in calls)
    assert len(calls) == 20


def test_guidance_zero_is_the_unconditional_model(model):
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    free = guess(model, torch.full((6,), NONE))
    assert torch.allclose(guess(model, labels, guidance=0.0), free, atol=1e-6)
    assert torch.equal(guess(model, None), free)  # no label at all is the same as none


@pytest.mark.parametrize("w", [0.5, 2.0, 7.5])
def test_guidance_extrapolates_the_noise(model, w):
    """The paper's formula, in noise; the network answers velocities."""
    labels, level = torch.tensor([0, 1, 2, 0, 1, 2]), 30
    alpha, sigma = model.alpha[level], model.sigma[level]
    x_t = torch.randn(6, 2, generator=seeded(1))
    c, u = ((x_t - alpha * guess(model, y)) / sigma for y in (labels, torch.full((6,), NONE)))
    expected = (x_t - sigma * (u + w * (c - u))) / alpha
    assert torch.allclose(guess(model, labels, guidance=w), expected, atol=1e-5)


def test_labels_are_left_out_at_random():
    given = torch.arange(30_000) % 3
    found = left_out(given, 0.1, seeded())
    assert float((found == NONE).double().mean()) == pytest.approx(0.1, abs=0.01)
    kept = found != NONE
    assert torch.equal(found[kept], given[kept])
    assert left_out(given, 0.0, seeded()) is given
    assert left_out(None, 0.1, seeded()) is None


def test_scores_know_nothing_of_guidance(model):
    x = torch.zeros(4, 2)
    scores = model.score(x, given=1).values
    with model.adjusted(guidance=3.0):
        assert torch.equal(model.score(x, given=1).values, scores)


def test_guidance_needs_a_network_that_knows_no_label():
    without = DDPM(Real((2,)), LABEL, timesteps=10, unlabelled=0.0, width=8, layers=1)
    with pytest.raises(BadInput, match="unlabelled"):
        without.sample(2, given=0, guidance=2.0)
    assert without.sample(2, given=0, guidance=1.0).shape == (2, 2)
