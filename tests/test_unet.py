"""The denoising networks: every shape, a start at zero, and nothing of a batch in its members."""

import copy

import pytest
import torch
from torch import nn

from pmodel.domain import Column, Discrete, Real, Table
from pmodel.explicit.approximate.diffusion.denoiser import Perceptron, denoiser
from pmodel.explicit.approximate.diffusion.unet import UNet
from pmodel.nn.conditioning import Conditioning, waves

SHAPES = [
    (1, 1, 1),
    (1, 2, 2),
    (2, 1, 9),
    (1, 7, 7),
    (1, 8, 8),
    (3, 15, 4),
    (1, 17, 3),
    (3, 25, 19),
    (1, 28, 28),
    (3, 32, 32),
]
FLAT = [(), (1,), (2,), (3, 4)]
LABELS = 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(shape, labels=LABELS, channels=16, layers=1, width=8, dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return denoiser(Real(shape), labels, channels=channels, layers=layers, width=width, dropout=dropout)


def awake(shape, **options):
    """A network whose weights are all drawn at random: at the start most of them do not reach the answer."""
    net = network(shape, **options)
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=seeded(number)))
    return net.eval()


def inputs(shape, n=4, dtype=torch.float32):
    x = torch.randn(n, *shape, generator=seeded(1), dtype=dtype)
    t = (torch.arange(n, dtype=dtype) + 1) / n
    return x, t, torch.arange(n) % LABELS


# --- what both networks keep --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES + FLAT, ids=str)
def test_the_answer_has_the_shape_of_the_datum_and_starts_at_zero(shape):
    x, t, given = inputs(shape)
    for told in (given, None):
        answer = network(shape)(x, t, told)
        assert answer.shape == x.shape
        assert torch.equal(answer, torch.zeros_like(x))


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        (Discrete((1, 8, 8), 17), UNet),
        (Discrete((2,), 2), Perceptron),
        (Discrete((), 6), Perceptron),
        (Real((3, 4, 4)), UNet),
        (Table((Column("a"), Column("b"))), Perceptron),
    ],
    ids=str,
)
def test_pictures_get_the_unet(domain, kind):
    assert isinstance(denoiser(domain, 0, channels=4, layers=1, width=4), kind)


@pytest.mark.parametrize("shape", [*SHAPES, (), (2,), (3, 4)], ids=str)
def test_every_parameter_has_a_gradient(shape):
    net = awake(shape)
    x, t, given = inputs(shape)
    net(x, t, given).square().sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert silent == []


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 25, 19), (2,)], ids=str)
def test_time_and_label_reach_the_answer_after_two_steps(shape):
    """One step moves the last layer off zero, the second all others."""
    net = network(shape)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    x, t, given = inputs(shape)
    for _ in range(2):
        optimiser.zero_grad()
        (net(x, t, given) - x).square().mean().backward()
        optimiser.step()
    answer = net(x, t, given)
    assert not torch.allclose(answer, net(x, t.flip(0), given))
    assert not torch.allclose(answer, net(x, t, (given + 1) % LABELS))
    assert not torch.allclose(answer, net(x, t, None))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 7, 3), (2,)], ids=str)
def test_a_datum_is_answered_alone(shape):
    """No answer depends on the rest of the batch, in training mode either."""
    net = awake(shape).double().train()
    x, t, given = inputs(shape, dtype=torch.float64)
    whole = net(x, t, given)
    for row in range(len(x)):
        part = slice(row, row + 1)
        assert torch.allclose(net(x[part], t[part], given[part]), whole[part], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 17, 9), (2,)], ids=str)
def test_single_precision_agrees_with_double(shape):
    net = awake(shape)
    x, t, given = inputs(shape)
    with torch.no_grad():
        expected, found = copy.deepcopy(net).double()(x.double(), t.double(), given), net(x, t, given)
    assert (expected.dtype, found.dtype) == (torch.float64, torch.float32)
    assert torch.allclose(found.double(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 17, 9), (2,)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@torch.no_grad()
def test_bfloat16_agrees_with_single_precision(shape, layout):
    net = awake(shape, channels=32, width=32)
    x, t, given = inputs(shape, n=16)
    expected = net(x, t, given)
    if len(shape) == 3:
        net.to(memory_format=layout)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x, t, given).float()
    assert float(nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0)) > 0.999


@pytest.mark.parametrize("shape", [(1, 28, 28), (2,)], ids=str)
def test_the_same_bits_again(shape):
    net, (x, t, given) = awake(shape), inputs(shape)
    assert torch.equal(net(x, t, given), net(x, t, given))


@pytest.mark.parametrize("shape", [(1, 8, 8), (2,)], ids=str)
def test_dropout_is_for_training(shape):
    net, (x, t, given) = awake(shape, dropout=0.5), inputs(shape)
    assert torch.equal(net(x, t, given), awake(shape)(x, t, given))
    assert not torch.equal(net.train()(x, t, given), net(x, t, given))


# --- the U-Net ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "widths"),
    [
        (1, [16]),
        (7, [16]),
        (8, [16, 32]),
        (16, [16, 32, 32]),
        (17, [8, 16, 32]),
        (28, [8, 16, 32]),
        (29, [8, 16, 32, 32]),
        (64, [8, 16, 32, 32, 32]),
    ],
)
def test_pictures_are_halved_until_seven_pixels_are_left(side, widths):
    net = network((1, side, 5))
    found = [level.widen.in_channels for level in net.levels] + [net.middle[0].inward.in_channels]
    assert found == widths


def test_the_start_is_the_identity_of_every_block():
    net = network((1, 8, 8))
    h, told = torch.randn(4, 32, 4, 4, generator=seeded()), torch.randn(4, 8, generator=seeded(1))
    assert torch.equal(net.middle[0](h, told), h)


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 3)], ids=str)
def test_halving_averages_the_pixels_that_are_there(size):
    """A constant picture stays constant, at odd edges too."""
    level = network((1, 8, 8)).levels[0]
    level.widen = level.narrow = level.across = nn.Identity()
    h = torch.full((1, 16, *size), 0.5)
    low = level.below(h)
    assert low.shape[2:] == (-(-size[0] // 2), -(-size[1] // 2))
    assert torch.equal(low, torch.full_like(low, 0.5))
    assert torch.equal(level.above(low, h), 2 * h)


@pytest.mark.parametrize("side", [8, 12, 28, 32])
def test_a_pixel_sees_the_whole_picture(side):
    """The answer in one corner depends on the opposite corner, by convolutions alone: norms are taken out."""
    net = awake((1, side, side)).double()
    for block in [m for m in net.modules() if hasattr(m, "before")]:
        block.before = block.between = nn.Identity()
    net.norm = nn.Identity()
    x, t, given = inputs((1, side, side), n=1, dtype=torch.float64)
    x.requires_grad_(True)
    net(x, t, given)[0, 0, 0, 0].backward()
    assert float(x.grad[0, 0, -1, -1].abs()) > 0


def test_norms_have_as_many_channels_in_a_group_as_the_fast_kernel_wants():
    norms = [m for m in network((1, 28, 28), channels=64).modules() if isinstance(m, nn.GroupNorm)]
    assert norms
    assert all(m.num_channels // m.num_groups >= 16 for m in norms)


@pytest.mark.parametrize("channels", [1, 3, 16, 20, 48])
def test_any_number_of_channels(channels):
    shape = (1, 12, 12)
    x, t, given = inputs(shape)
    assert network(shape, channels=channels)(x, t, given).shape == x.shape


# --- what they are told --------------------------------------------------------------------------------------------------


def test_waves_tell_all_times_apart():
    steps = 1000
    found = waves((torch.arange(steps) + 1) / steps)
    assert float(found.abs().max()) <= 1
    assert float(torch.cdist(found, found).fill_diagonal_(torch.inf).min()) > 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_waves_are_cosines_and_sines(dtype):
    t = torch.tensor([0.25, 1.0], dtype=dtype)
    found = waves(t)
    half = found.shape[1] // 2
    assert found.dtype == dtype
    assert torch.allclose(
        found[:, :half].square() + found[:, half:].square(), torch.ones(2, half, dtype=dtype), atol=1e-4
    )
    assert torch.allclose(found[:, 0], t.cos())
    assert torch.allclose(found[:, -1], (1000 * t).sin(), atol=1e-3)


def test_a_network_without_labels_has_none_to_learn():
    assert Conditioning(0, 8).label is None
    names = {name.split(".")[-2] for name, _ in Conditioning(LABELS, 8).named_parameters()}
    assert names == {"inward", "outward", "label"}
