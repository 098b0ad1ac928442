"""The pair of transformers: growth against formulas, what depends on what, gradients against finite ones, the paper's size."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.implicit.game.penalties import squared_slopes
from pmodel.implicit.transgan import TransGAN, averaged, interpolated, shuffled, squares
from pmodel.learning import Batch

PICTURE = Discrete((1, 8, 8), 17)
LABEL = Discrete((), 3)
SMALL = {"latent": 4, "width": 16, "discriminator_width": 8, "heads": 2}
PAPER = {"latent": 512, "width": 1024, "depths": (5, 4), "heads": 4, "window": 16, "patch": 4}
PAPER |= {"discriminator_width": 384, "discriminator_depths": (3, 3, 4)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(domain=PICTURE, given=None, n=6):
    x = torch.randint(0, domain.levels, (n, *domain.shape), generator=seeded())
    return Batch(x, None if given is None else torch.arange(n) % given.levels)


def stages(player):
    return [(stage.grid, stage.window, stage.features, len(stage.blocks)) for stage in player.stages]


def test_growth_by_shuffling_is_its_formula():
    h = torch.arange(2 * 2 * 3 * 8).reshape(2, 2, 3, 8)
    grown = shuffled(h)
    assert grown.shape == (2, 4, 6, 2)
    for r in range(4):
        for c in range(6):
            for f in range(2):
                assert torch.equal(grown[:, r, c, f], h[:, r // 2, c // 2, 4 * f + 2 * (r % 2) + c % 2])
    assert torch.equal(grown, F.pixel_shuffle(h.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1))


def test_doubling_is_cubic_convolution():
    """Of four neighbours each way (Keys 1981, with a = -3/4): a new token lies a quarter of a step beside the next old one."""

    def weight(t, a=-0.75):
        return (a + 2) * t**3 - (a + 3) * t**2 + 1 if t < 1 else a * (t**3 - 5 * t**2 + 8 * t - 4)

    h = torch.randn(1, 8, 8, 2, generator=seeded())
    columns = sum(weight(abs(k - 0.25)) * h[0, :, 4 + k] for k in range(-1, 3))
    expected = sum(weight(abs(k - 0.75)) * columns[2 + k] for k in range(-1, 3))
    assert interpolated(h).shape == (1, 16, 16, 2)
    assert torch.allclose(interpolated(h)[0, 6, 9], expected, atol=1e-5)


def test_halving_takes_means_of_four_and_undoes_even_growth():
    h = torch.randn(2, 4, 6, 3, generator=seeded())
    assert torch.allclose(averaged(h)[:, 1, 2], h[:, 2:4, 4:6].mean((1, 2)))
    few = torch.randn(2, 2, 3, 3, generator=seeded(1))
    assert torch.allclose(averaged(shuffled(few.repeat_interleave(4, -1))), few, atol=1e-6)


@pytest.mark.parametrize(("side", "margin"), [(1, 1), (2, 1), (4, 2)])
def test_squares_hold_the_pixels_they_cover_and_a_margin(side, margin):
    x = torch.arange(2.0 * 3 * 8 * 12).reshape(2, 3, 8, 12) + 1
    seen, wide = squares(x, side), side + 2 * margin
    assert seen.shape == (2, 8 // side, 12 // side, 3 * wide**2)
    around = torch.zeros(3, 8 + 2 * margin, 12 + 2 * margin)
    around[:, margin:-margin, margin:-margin] = x[1]
    for row, column in ((0, 0), (1, 2)):
        expected = around[:, row * side : row * side + wide, column * side : column * side + wide]
        assert torch.equal(seen[1, row, column], expected.flatten())


def test_scales_of_both_players():
    model = TransGAN(Discrete((1, 28, 28), 256), width=128, depths=(2, 1), discriminator_width=64, heads=2)
    assert stages(model.generator) == [
        ((7, 7), (7, 7), 128, 2),
        ((14, 14), (7, 7), 32, 1),
        ((28, 28), (7, 7), 8, 1),
    ]
    assert stages(model.discriminator) == [((14, 14), (7, 7), 32, 1), ((7, 7), (7, 7), 64, 1)]
    assert [view.in_features for view in model.discriminator.views] == [16, 64]


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_the_logit_depends_on_every_pixel_through_every_scale(fresh, patch):
    model = TransGAN(Discrete((2, 9, 14), 256), **SMALL, patch=patch, discriminator_depths=(1, 0, 1))
    x = torch.randn(1, 2, 9, 14, generator=seeded()).requires_grad_()
    discriminator = model.discriminator
    for muted in (None, *range(len(discriminator.views))):
        player = copy.deepcopy(discriminator)
        for scale, view in enumerate(player.views):
            if muted is not None and scale != muted:
                torch.nn.init.zeros_(view.weight)
        (gradient,) = torch.autograd.grad(player(x, None).sum(), x)
        assert bool((gradient != 0).all())


def test_a_picture_is_seen_at_its_place(fresh):
    """Moved so that no square's content changes, the picture is another one by the vectors of places, and by nothing else."""
    model = TransGAN(PICTURE, **SMALL, discriminator_depths=(1,))
    (stage,) = model.discriminator.stages
    x = torch.randn(4, 1, 8, 8, generator=seeded())
    x[..., [0, 3, 4, 7]] = 0  # where the halves change places, squares and their margins see zeros

    def same():
        return torch.allclose(model.discriminator(x, None), model.discriminator(x.roll(4, 3), None), atol=1e-6)

    with torch.no_grad():
        stage.places.zero_()
        assert same()
        stage.places.normal_(generator=seeded())
        assert not same()


@pytest.mark.parametrize("given", [None, LABEL])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_phase_moves_its_own_player_and_nothing_else(fresh, given, player):
    model = TransGAN(PICTURE, given, **SMALL).train()
    phase = next(phase for phase in model.phases() if phase.name == player)
    optimiser = torch.optim.Adam(phase.parameters, lr=1e-2)
    before = copy.deepcopy(model.state_dict())
    for step in range(2):
        optimiser.zero_grad()
        phase.loss(batch(given=given), seeded(step)).total.backward(inputs=list(phase.parameters))
        optimiser.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith(player + ".")}


def test_slopes_of_the_discriminator_are_those_of_finite_differences(fresh):
    model = TransGAN(PICTURE, **SMALL).double()
    x = torch.rand(1, 1, 8, 8, generator=seeded(), dtype=torch.float64) * 2 - 1
    eye = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8) * 1e-6
    with torch.no_grad():
        logits = [_exact(model, x + sign * eye) for sign in (1, -1)]
    x.requires_grad_()
    penalty = squared_slopes(_exact(model, x), x)[0].mean()
    assert penalty.item() == pytest.approx(((logits[0] - logits[1]) / 2e-6).square().sum().item(), rel=1e-5)


def test_the_penaltys_gradient_is_that_of_finite_differences(fresh):
    """Differentiated twice, through attention, norms and squares of both scales: along a random direction of all parameters."""
    model = TransGAN(PICTURE, **SMALL).double()
    x = torch.randn(3, 1, 8, 8, generator=seeded(), dtype=torch.float64)
    parameters = list(model.discriminator.parameters())
    directions = [torch.randn(p.shape, generator=seeded(n), dtype=torch.float64) for n, p in enumerate(parameters)]

    def penalty():
        """As ``squared_slopes``, but not rounded: the steps are too short to cross a bend, where slopes jump."""
        y = x.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(_exact(model, y).sum(), y, create_graph=True)
        return slopes.square().flatten(1).sum(1).mean()

    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    values = []
    for step in (1e-7, -2e-7):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(step * d)
        values.append(penalty().item())
    assert (values[0] - values[1]) / 2e-7 == pytest.approx(float(slope), rel=1e-5)


def _exact(model, x):
    """The logits before they are rounded."""
    kept = []
    handle = model.discriminator.verdict.head.register_forward_hook(lambda _, __, answer: kept.append(answer))
    model.discriminator(x, None)
    handle.remove()
    return kept[0].squeeze(1)


SIZES = [Discrete((1, 28, 28), 256), Discrete((3, 9, 14), 256), Discrete((1, 2, 3), 2), Discrete((1, 1, 1), 2)]


@pytest.mark.parametrize("domain", [*SIZES, Discrete((3, 33, 5), 256)])
@pytest.mark.parametrize("given", [None, LABEL])
def test_pictures_of_any_size_colours_and_levels(fresh, domain, given):
    model = TransGAN(domain, given, **SMALL)
    x = model.sample(5, generator=0)
    assert x.shape == (5, *domain.shape)
    domain.check(x)
    for phase in model.phases():
        phase.loss(batch(domain, given), seeded()).total.backward(inputs=list(phase.parameters))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_label_reaches_both_players(fresh):
    model = TransGAN(PICTURE, LABEL, **SMALL)
    assert not torch.equal(model.sample(4, given=0, generator=0), model.sample(4, given=1, generator=0))
    x = model._seen(batch().x)
    with torch.no_grad():
        logits = [model.discriminator(x, torch.full((6,), label)) for label in range(2)]
    assert not torch.equal(*logits)


def test_a_sample_does_not_depend_on_the_others_in_its_batch(fresh):
    generator, z = TransGAN(PICTURE, **SMALL).generator.train(), torch.randn(8, 4, generator=seeded())
    with torch.no_grad():
        all_of_them = generator(z, None)
        assert torch.allclose(all_of_them[:2], generator(z[:2], None), atol=1e-5)
        assert torch.allclose(all_of_them, generator.eval()(z, None), atol=1e-5)


def test_windows_change_what_is_seen_and_not_the_rest(fresh):
    """Parts have the same shapes but for the biases of attention; with the same weights the two differ, and one holds fewer."""
    domain = Discrete((1, 32, 32), 256)
    windows, full = (TransGAN(domain, **SMALL, window=window) for window in (8, 32))
    shared = {name: part for name, part in windows.state_dict().items() if not name.endswith("attention.bias")}
    missing, unexpected = full.load_state_dict(shared, strict=False)
    assert all(name.endswith("attention.bias") for name in missing)
    assert not unexpected
    assert not torch.equal(windows.sample(4, generator=0), full.sample(4, generator=0))
    held, all_held = windows.attention_entries
    assert full.attention_entries == (all_held, all_held)
    assert held == sum(2 * side**2 * 64 for side in (8, 16, 32, 16, 8))
    assert all_held == sum(2 * side**4 for side in (8, 16, 32, 16, 8))


@pytest.fixture(scope="module")
def large():
    with torch.device("meta"):
        return TransGAN(Discrete((3, 256, 256), 256), **PAPER)


def test_the_papers_sizes_for_256_pixels(large):
    """Those of the authors' program, but for windows in both players wherever a grid is larger than 16, and squares of 4×4.

    The generator's grid is doubled five times, twice of them bicubically; windows are of 16.
    """
    found = [((8 * 2**s,) * 2, (min(16, 8 * 2**s),) * 2) for s in range(6)]
    features = [1024, 1024, 1024, 256, 64, 16]
    expected = [(*sizes, f, depth) for sizes, f, depth in zip(found, features, (5, 4, 4, 4, 4, 4), strict=True)]
    assert stages(large.generator) == expected
    assert stages(large.discriminator) == [
        ((side, side), (16, 16), 24 * 256 // side, 3 + (side == 16)) for side in (64, 32, 16)
    ]
    held, full = large.attention_entries
    assert full / held > 50


def test_a_picture_of_256_pixels_goes_through_both_without_memory(large):
    z = torch.empty(2, 512, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        x = large.generator(z, None)
        logits = large.discriminator(x, None)
    assert (x.shape, logits.shape) == ((2, 3, 256, 256), (2,))
    assert counted.get_total_flops() > 1e11


@pytest.mark.parametrize(
    ("domain", "options", "error", "named"),
    [
        (Discrete((3,), 2), {}, BadInput, "levels=2"),
        (Real((1, 8, 8)), {}, BadInput, "Real"),
        (PICTURE, {"latent": 0}, RangeError, "latent"),
        (PICTURE, {"width": 2.5}, RangeError, "2.5"),
        (PICTURE, {"width": 130}, BadInput, "130"),
        (PICTURE, {"heads": 3}, BadInput, "3 heads"),
        (PICTURE, {"discriminator_width": 15}, BadInput, "15"),
        (PICTURE, {"depths": ()}, BadInput, "depths"),
        (PICTURE, {"depths": (1, -1)}, RangeError, "-1"),
        (PICTURE, {"depths": 2}, BadInput, "for each scale"),
        (PICTURE, {"discriminator_depths": []}, BadInput, "discriminator_depths"),
        (PICTURE, {"patch": 3}, BadInput, "3"),
        (PICTURE, {"window": 1}, BadInput, "window=1"),
        (PICTURE, {"repeats": True}, RangeError, "True"),
        (PICTURE, {"loss": "earth"}, BadInput, "earth"),
        (PICTURE, {"changes": ["size"]}, BadInput, "size"),
        (PICTURE, {"penalty": math.inf}, RangeError, "inf"),
    ],
)
def test_bad_input_is_refused(domain, options, error, named):
    with pytest.raises(error, match=named):
        TransGAN(domain, **options)
