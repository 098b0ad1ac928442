"""What vanishes and what turns: gradients against factors of logits, and a game of two numbers against its linear map."""

import math

import pytest
import torch

import two_players
from example_page import tells
from two_players import GAMMA, MOMENTUM, SHORT, SMALLEST


@pytest.fixture(scope="module")
def found():
    return two_players.measured()


def at_samples(n):
    """A pair, noises, and the logits of what it makes of them."""
    pair, _ = two_players.untrained()
    z = torch.randn(n, pair.latent, generator=torch.Generator().manual_seed(1))
    return pair, z, pair.discriminator(pair.generator(z, None), None).detach()


def test_gradients_are_those_of_the_logits_times_known_factors():
    """-σ(a) and -(1 - σ(a)) of each sample, over their number."""
    pair, z, a = at_samples(16)
    shift = torch.linspace(-6, 2, 16)  # a discriminator that is surer of some than of others
    by_loss = two_players.generator_gradients(
        pair,
        z,
        {name: lambda y, f=f: f(y + shift) for name, f in two_players.losses("minimax", "nonsaturating").items()},
    )
    sigma = (a + shift).sigmoid()
    factors = {"minimax": -sigma / 16, "nonsaturating": (sigma - 1) / 16}
    known = two_players.generator_gradients(pair, z, {name: lambda y, w=w: w @ y for name, w in factors.items()})
    for name, gradient in by_loss.items():
        assert torch.allclose(gradient, known[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shift", [0.0, -3.0, -12.0])
def test_at_one_sample_the_gradients_have_one_direction_and_lengths_of_ratio_exp_a(shift):
    pair, z, a = at_samples(1)
    functions = two_players.losses("minimax", "nonsaturating")
    gradients = two_players.generator_gradients(pair, z, {n: lambda y, f=f: f(y + shift) for n, f in functions.items()})
    first, second = gradients["minimax"], gradients["nonsaturating"]
    assert float(first.norm() / second.norm()) == pytest.approx(math.exp(float(a) + shift), rel=1e-4)
    assert float(torch.cosine_similarity(first, second, 0)) == pytest.approx(1, abs=1e-5)


def test_the_surer_the_discriminator_the_less_the_minimax_generator_learns(found):
    first, last = found.alone[0], found.alone[-1]
    assert last.loss < 1e-3 < first.loss
    assert last.norms["minimax"] < 0.02 * first.norms["minimax"]
    assert last.norms["nonsaturating"] > first.norms["nonsaturating"]
    ratio = last.norms["minimax"] / last.norms["nonsaturating"]
    assert 0.3 < ratio / math.exp(last.logit) < 3


@pytest.mark.parametrize("name", SMALLEST)
def test_a_step_is_the_linear_map_near_the_equilibrium(name):
    """Two steps, since PyTorch's first momentum is the whole gradient."""
    loss, gamma, momentum = SMALLEST[name]
    start = (1e-4, -2e-4)
    path = two_players.orbit(loss, gamma, momentum, start, 2)
    gradient = torch.tensor([2 * gamma * start[0] + start[1] / 2, 0.0], dtype=torch.float64)
    psi = start[0] - SHORT * gradient[0]
    gradient[1] = -psi / 2
    state = torch.tensor([psi, start[1] - SHORT * gradient[1], *gradient], dtype=torch.float64)
    assert torch.allclose(path[1], state[:2], rtol=1e-4)
    known = two_players.update(SHORT, gamma, momentum) @ state
    assert torch.allclose(path[2], known[:2], rtol=1e-4)


def test_without_momentum_and_penalty_it_turns_with_the_period_of_theory():
    assert two_players.stretch(SHORT, 0.0, 0.0) == pytest.approx(1, abs=1e-12)
    theta = two_players.orbit("minimax", 0.0, 0.0, (1e-3, 0.0), 1000)[:, 1]
    up = ((theta[:-1] < 0) & (theta[1:] >= 0)).nonzero()[:, 0].double()
    period = float((up[-1] - up[0]) / (len(up) - 1))
    assert period == pytest.approx(2 * math.pi / math.acos(1 - SHORT**2 / 8), rel=0.01)


def test_momentum_leads_away_and_penalties_lead_home(found):
    for name, (theory, played) in found.stretches.items():
        assert played == pytest.approx(theory, abs=1e-4), name
    theory = {name: stretch for name, (stretch, _) in found.stretches.items()}
    assert theory["penalties"] == pytest.approx(math.sqrt(1 - 2 * SHORT * GAMMA), abs=1e-12)
    assert theory["minimax, momentum"] > theory["penalties, momentum"] > 1
    assert two_players.stretch(SHORT, 0.5, MOMENTUM) < 1  # a penalty that is large enough holds momentum too


def test_the_page_tells_these_numbers_and_it_draws(found, tmp_path):
    assert tells("two_players", two_players.told(found), rel=0.2)
    two_players.drawn(found).savefig(tmp_path / "picture.png")
