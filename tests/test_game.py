"""The game of adversarial pairs: losses against formulas and their optima, penalties, changes of pictures, packing."""

import math

import pytest
import torch

from pmodel.errors import BadInput
from pmodel.implicit.game.augmentation import CHANGES, changed
from pmodel.implicit.game.game import Game, packed
from pmodel.implicit.game.losses import LOSSES
from pmodel.implicit.game.penalties import PENALISED, between, slope_penalty, squared_slopes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sp(logit):
    """softplus, by its definition."""
    return math.log1p(math.exp(logit))


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        ("minimax", (sp(-2) + sp(0) + sp(-1) + sp(1)) / 2, -(sp(-1) + sp(1)) / 2),
        ("nonsaturating", (sp(-2) + sp(0) + sp(-1) + sp(1)) / 2, (sp(1) + sp(-1)) / 2),
        ("hinge", (0 + 1 + 0 + 2) / 2, 0.0),
        ("relativistic", (sp(-3) + sp(1)) / 2, (sp(3) + sp(-1)) / 2),
        ("wasserstein", -1.0, 0.0),
        ("squares", 1.0, 1.0),
    ],
)
def test_losses_are_their_formulas(loss, discriminator, generator):
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    assert LOSSES[loss].discriminator(real, fake).item() == pytest.approx(discriminator, abs=1e-6)
    assert LOSSES[loss].generator(real, fake).item() == pytest.approx(generator, abs=1e-6)


def test_minimax_loss_is_minus_the_value_of_the_game():
    """At logits l, -L_D = E log sigma(D(x)) + E log(1 - sigma(D(G(z)))), and the generator minimises its second term."""
    real, fake = torch.randn(2, 50, generator=seeded(), dtype=torch.float64)
    second = (1 - fake.sigmoid()).log().mean()
    value = real.sigmoid().log().mean() + second
    assert torch.allclose(LOSSES["minimax"].discriminator(real, fake), -value)
    assert torch.allclose(LOSSES["minimax"].generator(real, fake), second)


def test_minimax_gradient_vanishes_where_the_discriminator_is_sure():
    slopes = {}
    for name in ("minimax", "nonsaturating"):
        fake = torch.tensor([-12.0], requires_grad=True)
        LOSSES[name].generator(torch.zeros(1), fake).backward()
        slopes[name] = abs(fake.grad.item())
    assert slopes["minimax"] < 1e-4
    assert slopes["nonsaturating"] > 0.99


def test_squared_slopes_of_a_quadratic():
    """D(x) = x^T A x / 2 has gradient A x: the penalty is E |A x|^2, and its derivative in A is known."""
    a = torch.randn(3, 3, generator=seeded(), dtype=torch.float64)
    a = (a + a.T).requires_grad_()
    x = torch.randn(7, 3, generator=seeded(1), dtype=torch.float32).requires_grad_()
    (slopes,) = squared_slopes(0.5 * torch.einsum("ni,ij,nj->n", x.double(), a, x.double()), x)
    penalty = slopes.mean()
    symmetric = 0.5 * (a + a.T)
    assert torch.allclose(penalty.double(), (x.double() @ symmetric).square().sum(1).mean(), rtol=1e-5)
    (gradient,) = torch.autograd.grad(penalty, a)
    second_moment = (x.double().T @ x.double() / 7).detach()
    product = (symmetric @ second_moment).detach()
    assert torch.allclose(gradient, product + product.T, rtol=1e-4, atol=1e-5)


def sure(x, _=None):
    """A critic of slope 3 along the first entry and 4 along the second."""
    return 3 * x[:, 0] + 4 * x[:, 1]


def test_slopes_other_than_one_are_penalised_between_data_and_samples():
    x = torch.randn(6, 2, generator=seeded()).requires_grad_()
    assert slope_penalty(sure(x), x).item() == pytest.approx((5 - 1) ** 2, rel=1e-5)
    assert slope_penalty(sure(x) / 5, x).item() == pytest.approx(0, abs=1e-6)


def test_a_flat_discriminator_has_finite_gradients_under_every_penalty():
    weight = torch.zeros(2, requires_grad=True)
    for where in PENALISED:
        game = Game("relativistic", 1.0, where)
        real, fake = torch.randn(2, 4, 2, generator=seeded())
        loss = game.discriminator(lambda x, _: x @ weight, real, fake, None, seeded())
        (gradient,) = torch.autograd.grad(loss.total, weight)
        assert bool(gradient.isfinite().all())


def test_points_between_lie_evenly_on_the_line():
    real, fake = torch.tensor([[1.0, 5.0]]).expand(20_000, 2), torch.tensor([[0.0, 1.0]]).expand(20_000, 2)
    x = between(real, fake, seeded())
    u = x[:, 0]
    assert torch.allclose(x[:, 1], 1 + 4 * u, atol=1e-5)
    assert 0 <= float(u.min()) < 1e-3
    assert 1 - 1e-3 < float(u.max()) <= 1
    assert float(u.mean()) == pytest.approx(0.5, abs=5 * (1 / 12 / 20_000) ** 0.5)
    assert float(u.var()) == pytest.approx(1 / 12, rel=0.03)


@pytest.mark.parametrize(
    ("where", "weight"),
    [("both", {"r1": 1.5, "r2": 1.5}), ("data", {"r1": 1.5}), ("samples", {"r2": 1.5}), ("between", {"slope": 3.0})],
)
def test_the_discriminator_minimises_the_game_and_its_penalties(where, weight):
    real, fake = torch.randn(2, 5, 2, generator=seeded())
    loss = Game("hinge", 3.0, where).discriminator(lambda x, _: x.square().sum(1), real, fake, None, seeded())
    assert {name for name in loss.parts if name not in ("loss", "real", "fake")} == set(weight)
    expected = loss.parts["loss"] + sum(gamma * loss.parts[name] for name, gamma in weight.items())
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    if "r1" in weight:
        assert loss.parts["r1"].item() == pytest.approx((4 * real.square().sum(1)).mean().item(), rel=1e-5)
    if "r2" in weight:
        assert loss.parts["r2"].item() == pytest.approx((4 * fake.square().sum(1)).mean().item(), rel=1e-5)


@pytest.mark.parametrize("where", ["both", "data", "samples"])
def test_penalties_in_parts_of_a_batch_are_on_average_those_in_the_whole(where):
    real, fake = torch.randn(2, 6, 2, generator=seeded(3))
    weight = torch.tensor([0.5, -1.0], requires_grad=True)

    def slopes(part, start=0):
        x, y = (torch.roll(side, -start, 0) for side in (real, fake))
        game = Game("relativistic", 1.0, where, penalised_part=part)
        loss = game.discriminator(lambda x, _: (x * weight).sum(1).square(), x, y, None, seeded())
        return torch.autograd.grad(loss.total, weight)[0], loss.total.detach()

    parts = [slopes(1 / 3, start) for start in (0, 2, 4)]
    for part, whole in zip(zip(*parts, strict=True), slopes(1.0), strict=True):
        assert torch.allclose(torch.stack(part).mean(0), whole, rtol=1e-5)
        assert not torch.allclose(part[0], whole, rtol=1e-2)


def test_data_and_samples_are_one_batch_or_two():
    real, fake, labels, seen = torch.zeros(3, 2), torch.ones(3, 2), torch.arange(3), []

    def by_its_batch(x, given):
        seen.append((len(x), given.tolist()))
        return x[:, 0] - x[:, 0].mean()

    for apart, logits in ((False, (-0.5, 0.5)), (True, (0.0, 0.0))):
        parts = Game("hinge", 0.0).discriminator(by_its_batch, real, fake, labels, seeded(), apart=apart).parts
        assert (float(parts["real"]), float(parts["fake"])) == logits
    assert seen == [(6, [0, 1, 2, 0, 1, 2]), (3, [0, 1, 2]), (3, [0, 1, 2])]


def test_a_drift_holds_the_logits_of_data_near_zero():
    real, fake = torch.randn(2, 5, 2, generator=seeded())
    loss = Game("wasserstein", 0.0, drift=0.5).discriminator(sure, real, fake, None, seeded())
    expected = (sure(fake) - sure(real)).mean() + 0.5 * sure(real).square().mean()
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)


def solved(game, p, q, steps=4000):
    """The logits of two points at which the discriminator of a game on two points is at its best, by gradient descent.

    Data are the first point with probability p, samples with q; the four pairs of a datum and a sample have their weights.
    """
    logits = torch.tensor([0.8, -1.3], dtype=torch.float64, requires_grad=True)  # at 0 some have already arrived
    optimiser = torch.optim.LBFGS([logits], max_iter=steps, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        total = sum(
            a * b * LOSSES[game].discriminator(logits[i : i + 1], logits[j : j + 1])
            for i, a in enumerate((p, 1 - p))
            for j, b in enumerate((q, 1 - q))
        )
        total.backward()
        return total

    optimiser.step(closure)
    return logits.detach(), float(closure().detach())


def entropy(*ps):
    return -sum(p * math.log(p) for p in ps if p > 0)


@pytest.mark.parametrize("game", ["minimax", "nonsaturating"])
def test_the_best_logistic_discriminator_is_the_log_ratio_and_its_value_the_jensen_shannon_divergence(game):
    """D* = p / (p + q) (Goodfellow et al. 2014, proposition 1), and -L_D = 2 JS - log 4."""
    p, q = 0.7, 0.2
    logits, loss = solved(game, p, q)
    assert torch.allclose(logits, torch.tensor([p / q, (1 - p) / (1 - q)], dtype=torch.float64).log(), atol=1e-4)
    m = (p + q) / 2
    js = entropy(m, 1 - m) - (entropy(p, 1 - p) + entropy(q, 1 - q)) / 2
    assert -loss == pytest.approx(2 * js - math.log(4), abs=1e-6)


@pytest.mark.parametrize("game", ["minimax", "nonsaturating", "relativistic"])
def test_logistic_games_end_where_the_discriminator_cannot_tell(game):
    """At q = p: D = 1/2 everywhere, and no move of the generator's mass changes its loss."""
    logits, loss = solved(game, 0.3, 0.3)
    assert float((logits[0] - logits[1]).abs()) < 1e-4
    assert loss == pytest.approx(math.log(2) if game == "relativistic" else math.log(4), abs=1e-6)
    real, fake = logits[:1], logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        0.3 * LOSSES[game].generator(real, fake[:1]) + 0.7 * LOSSES[game].generator(real, fake[1:]), fake
    )
    assert slope[0].item() / 0.3 == pytest.approx(slope[1].item() / 0.7, rel=1e-3)


def test_the_best_relativistic_discriminator_separates_by_the_log_odds_ratio():
    """Pairs of unlike points decide: p(1-q) of a datum above, q(1-p) below, so the difference is log p(1-q) / q(1-p)."""
    p, q = 0.7, 0.2
    logits, _ = solved("relativistic", p, q)
    assert float(logits[0] - logits[1]) == pytest.approx(math.log(p * (1 - q) / (q * (1 - p))), abs=1e-4)


def test_the_best_hinge_discriminator_is_the_sign_and_its_loss_twice_what_both_share():
    """L* = 2 sum min(p, q) = 2 (1 - TV) (Lim and Ye 2017)."""
    p, q = 0.7, 0.2
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)
    first = p * torch.relu(1 - grid) + q * torch.relu(1 + grid)
    second = (1 - p) * torch.relu(1 - grid) + (1 - q) * torch.relu(1 + grid)
    assert float(grid[first.argmin()]) == pytest.approx(1)
    assert float(grid[second.argmin()]) == pytest.approx(-1)
    assert float(first.min() + second.min()) == pytest.approx(2 * (min(p, q) + min(1 - p, 1 - q)))
    total = sum(
        w * LOSSES["hinge"].discriminator(torch.tensor([d]), torch.tensor([f])).item()
        for w, d, f in (
            (p * q, 1.0, 1.0),
            (p * (1 - q), 1.0, -1.0),
            ((1 - p) * q, -1.0, 1.0),
            ((1 - p) * (1 - q), -1.0, -1.0),
        )
    )
    assert total == pytest.approx(float(first.min() + second.min()))


def test_the_wasserstein_critic_of_slope_one_measures_the_distance_that_mass_is_moved():
    """On points 0 and 1, |D(1) - D(0)| <= 1 and the value is |p - q|."""
    p, q = 0.7, 0.2
    loss = sum(
        w * LOSSES["wasserstein"].discriminator(torch.tensor([d]), torch.tensor([f])).item()
        for w, d, f in (
            (p * q, 1.0, 1.0),
            (p * (1 - q), 1.0, 0.0),
            ((1 - p) * q, 0.0, 1.0),
            ((1 - p) * (1 - q), 0.0, 0.0),
        )
    )
    assert -loss == pytest.approx(abs(p - q))


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_gradients_of_losses_by_finite_differences(loss, player):
    real, fake = (torch.randn(2, 5, generator=seeded(), dtype=torch.float64) * 0.4).unbind()
    function = getattr(LOSSES[loss], player)
    assert torch.autograd.gradcheck(function, (real.requires_grad_(), fake.requires_grad_()))


@pytest.mark.parametrize("name", list(CHANGES))
def test_changes_are_differentiable_keep_shape_and_follow_the_generator(name):
    x = torch.rand(3, 2, 9, 12, generator=seeded(), dtype=torch.float64).mul(2).sub(1).requires_grad_()
    y = changed(x, [name], seeded(1))
    assert y.shape == x.shape
    assert not torch.equal(y, x)
    assert torch.equal(y, changed(x, [name], seeded(1)))
    assert not torch.equal(y, changed(x, [name], seeded(2)))
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert bool(slope.isfinite().all())
    assert float(slope.abs().sum()) > 0


def test_a_translation_moves_pixels_by_whole_steps_and_fills_with_black():
    x = torch.arange(1.0, 1 + 8 * 8).reshape(1, 1, 8, 8).expand(64, 1, 8, 8)
    y = changed(x, ["translation"], seeded())
    known = {
        tuple(torch.roll(x[0, 0], (a, b), (0, 1))[2:6, 2:6].flatten().tolist()) for a in (-1, 0, 1) for b in (-1, 0, 1)
    }
    found = {tuple(picture[0, 2:6, 2:6].flatten().tolist()) for picture in y}
    assert found == known
    assert set(y.flatten().tolist()) <= {-1.0, *x[0].flatten().tolist()}
    assert -1.0 in y


@pytest.mark.parametrize(("side", "hole"), [(8, 4), (7, 3), (28, 14), (1, 1)])
def test_a_hole_is_half_as_wide_as_the_picture(side, hole):
    y = changed(torch.ones(400, 1, side, side), ["hole"], seeded())
    hidden = (y == 0).sum((1, 2, 3))
    assert int(hidden.min()) > 0
    assert int(hidden.max()) == hole**2


def test_a_pack_holds_data_side_by_side_as_channels():
    x = torch.arange(7 * 2 * 3).reshape(7, 2, 3, 1)
    assert torch.equal(packed(x, 3)[0], x[:3].reshape(6, 3, 1))
    assert packed(x, 3).shape == (2, 6, 3, 1)
    assert torch.equal(packed(torch.arange(8).reshape(4, 2), 2), torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]]))
    assert packed(x, 1) is x
    with pytest.raises(BadInput, match="pack of 8"):
        packed(x, 8)


def test_a_name_that_is_not_known_is_refused():
    with pytest.raises(BadInput, match="colour, translation, hole"):
        Game(changes=("size",))
