"""RealNVP: it inverts, its log-determinant is the Jacobian's, its density integrates to one, and it learns the truth."""

import math
import os

import pytest
import torch
from sklearn.datasets import load_digits

from pmodel import fit, load_data
from pmodel.construction import make
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.errors import RangeError
from pmodel.explicit.tractable.flow.coupling import Coupling, alternating, bit_masks, checkerboard
from pmodel.explicit.tractable.flow.element import BOUND
from pmodel.explicit.tractable.flow.marginal import Marginal
from pmodel.explicit.tractable.flow.multiscale import Squeeze, masks_of, multiscale
from pmodel.explicit.tractable.flow.realnvp import RealNVP
from pmodel.explicit.tractable.flow.transform import Composition, Diagonal
from pmodel.learning import Batch
from pmodel.testing.fitting import learn

LABEL = Discrete((), 3)
NARROW = {"layers": 4, "width": 16, "channels": 8, "blocks": 1}

CASES = [
    pytest.param((1,), None, id="line"),
    pytest.param((2,), None, id="plane"),
    pytest.param((5,), LABEL, id="vector, given a label"),
    pytest.param((2, 3), None, id="matrix"),
    pytest.param((1, 4, 4), None, id="grey"),
    pytest.param((1, 8, 8), None, id="three scales"),
    pytest.param((3, 4, 4), LABEL, id="colour, given a label"),
    pytest.param((1, 3, 5), None, id="odd sides"),
    pytest.param((3, 1, 1), None, id="one pixel"),
    pytest.param((1, 1, 1), LABEL, id="one entry"),
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def shaken(model, by=0.05):
    """Every parameter moved at random: no coupling is the identity any more."""
    noise = seeded(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by * torch.randn(parameter.shape, generator=noise).to(parameter.dtype)
    return model


def built(shape, given=None, *, dtype=torch.float64, n=200, **options):
    """A model that has seen skewed data, with weights that are nowhere zero; and some of the data with labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RealNVP(Real(shape), given, **(NARROW | options)).to(dtype)
    x = torch.randn(n, *shape, generator=seeded(2), dtype=torch.float64).mul(0.7).add(0.5).sinh().to(dtype)
    labels = None if given is None else torch.arange(n) % given.levels
    model.prepare(x, labels, seeded())
    return shaken(model), x[:6], None if labels is None else labels[:6]


# --- the map -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize(("shape", "given"), CASES)
def test_decode_inverts_encode(shape, given, dtype, tolerance):
    model, x, labels = built(shape, given, dtype=dtype)
    z = model.encode(x, given=labels).mean
    assert z.shape == (6, math.prod(shape))
    back = model.decode(z, given=labels)
    assert torch.allclose(back.mean, x, atol=tolerance, rtol=tolerance)
    assert torch.equal(back.sample(seeded()), back.mean)
    again = model.encode(back.mean, given=labels).mean
    assert torch.allclose(again, z, atol=10 * tolerance)


@pytest.mark.parametrize(("shape", "given"), CASES)
def test_log_determinant_is_that_of_the_jacobian(shape, given):
    model, x, labels = built(shape, given)
    context = model._context(labels)

    def f(datum):
        return model.flow(model._entering(datum.unsqueeze(0)), None if context is None else context[:1])[0].squeeze(0)

    jacobian = torch.autograd.functional.jacobian(f, x[0]).reshape(x[0].numel(), -1)
    _, ladj = model.flow(model._entering(x), context)
    assert ladj[0].item() == pytest.approx(jacobian.slogdet().logabsdet.item(), abs=1e-9)
    assert abs(ladj[0].item()) > 1e-3


def test_untrained_couplings_are_the_identity():
    model = RealNVP(Real((3,)), quantiles=0)
    x = torch.randn(4, 3, generator=seeded())
    z, ladj = model.flow(x)
    assert torch.equal(z, x)
    assert torch.equal(ladj, torch.zeros(4))


def test_composition_adds_and_inverts_in_reverse():
    parts = [shaken(Diagonal((2,)).double(), by=0.5) for _ in range(2)]
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    flow = Composition(parts)
    middle, first = parts[0](x)
    z, second = parts[1](middle)
    found, ladj = flow(x)
    assert torch.equal(found, z)
    assert torch.allclose(ladj, first + second)
    assert torch.allclose(flow.inverse(z), x)
    identity, zero = Composition([])(x)
    assert torch.equal(identity, x)
    assert torch.equal(zero, torch.zeros(5).double())


class Told(torch.nn.Module):
    """A conditioner that answers with given numbers."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x, context):
        return self.answer.expand(len(x), -1)


def test_coupling_is_the_equation_of_the_paper():
    mask = torch.tensor([1.0, 0.0])
    raw = torch.tensor([7.0, 0.5, 7.0, -2.0])  # s and t; the first of each belongs to the kept entry
    coupling = Coupling(mask, Told(raw))
    x = torch.tensor([[0.3, 1.5]])
    z, ladj = coupling(x)
    s = 3 * math.tanh(0.5 / 3)
    assert torch.allclose(z, torch.tensor([[0.3, 1.5 * math.exp(s) - 2.0]]))
    assert ladj.item() == pytest.approx(s)


def test_scales_are_bounded_whatever_the_network_says():
    coupling = Coupling(torch.tensor([1.0, 0.0]), Told(torch.tensor([0.0, 1e9, 0.0, 0.0])))
    z, ladj = coupling(torch.tensor([[1.0, 1.0]]))
    assert ladj.item() == pytest.approx(3.0)
    assert torch.allclose(coupling.inverse(z), torch.ones(1, 2))


# --- masks and scales --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [2, 3, 7, 16])
def test_two_entries_are_apart_in_some_mask(entries):
    masks = torch.stack(list(bit_masks(entries)))
    apart = (masks[:, :, None] != masks[:, None, :]).any(0)
    assert torch.equal(apart, ~torch.eye(entries, dtype=torch.bool))


@pytest.mark.parametrize(
    ("shape", "squeezed"),
    [((4, 2, 2), True), ((12, 3, 3), True), ((24, 1, 1), True), ((1, 3, 5), False), ((3, 1, 1), False)],
)
def test_every_mask_keeps_some_and_moves_some_and_pairs_move_all(shape, squeezed):
    masks = alternating(masks_of(shape, squeezed=squeezed), 6)
    assert len(masks) == 6
    assert all(0 < mask.sum() < mask.numel() for mask in masks)
    assert all(torch.equal(a + b, torch.ones(shape)) for a, b in zip(masks[::2], masks[1::2], strict=True))


def test_one_entry_has_no_mask():
    assert list(bit_masks(1)) == []
    assert masks_of((1, 1, 1), squeezed=False) == []
    assert alternating([], 4) == []


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 12])
def test_first_mask_is_the_checkerboard_of_the_picture_before_the_squeeze(channels):
    before = checkerboard(4, 6).expand(1, channels, 4, 6)
    after, _ = Squeeze()(before)
    first, second, *_ = masks_of((4 * channels, 2, 3), squeezed=True)
    assert torch.equal(first, after[0])
    rows = Squeeze().inverse(second.unsqueeze(0))[0]
    assert torch.equal(rows, (torch.arange(4) % 2).float()[:, None].expand(channels, 4, 6))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 12])
def test_eight_layers_reach_the_checkerboard_of_the_squares(channels):
    squares = checkerboard(2, 3).expand(4 * channels, 2, 3)
    layers = alternating(masks_of((4 * channels, 2, 3), squeezed=True), 8)
    assert any(torch.equal(mask, squares) for mask in layers)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_any_two_entries_of_a_square_are_apart_in_some_mask(channels):
    masks = torch.stack([mask[:, 0, 0] for mask in masks_of((4 * channels, 2, 2), squeezed=True)])
    apart = (masks[:, :, None] != masks[:, None, :]).any(0)
    assert torch.equal(apart, ~torch.eye(4 * channels, dtype=torch.bool))


def test_a_grey_picture_is_split_by_the_binary_digits_of_its_channels():
    """Its channels are a power of two at every scale, and the figures in the docs were measured so."""
    for channels in (4, 8):
        *digits, squares = masks_of((channels, 2, 3), squeezed=True)
        expected = [digit[:, None, None].expand(channels, 2, 3) for digit in [*bit_masks(channels)][::-1]]
        assert torch.equal(torch.stack(digits), torch.stack(expected))
        assert torch.equal(squares, checkerboard(2, 3).expand(channels, 2, 3))


def test_squeeze_is_undone_and_sorts_the_checkerboard_by_channel():
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    squeeze = Squeeze()
    z, ladj = squeeze(x)
    assert z.shape == (2, 12, 2, 3)
    assert torch.equal(ladj, torch.zeros(2))
    assert torch.equal(squeeze.inverse(z), x)
    colours, _ = squeeze(checkerboard(4, 6).expand(1, 3, 4, 6))
    assert bool((colours[:, :6] == 0).all())
    assert bool((colours[:, 6:] == 1).all())


@pytest.mark.parametrize(
    ("shape", "left_out"),
    [
        ((1, 28, 28), [(2, 14, 14), (8, 7, 7)]),
        ((1, 8, 8), [(2, 4, 4), (8, 2, 2)]),
        ((3, 32, 32), [(6, 16, 16), (12, 8, 8), (24, 4, 4), (96, 2, 2)]),
        ((1, 2, 2), [(4, 1, 1)]),
        ((1, 7, 8), [(1, 7, 8)]),
        ((3, 1, 1), [(3, 1, 1)]),
    ],
)
def test_scales_of_a_picture(shape, left_out):
    flow = multiscale(shape, 0, layers=2, channels=2, blocks=0)
    assert list(flow.left_out) == left_out
    assert sum(math.prod(part) for part in left_out) == math.prod(shape)


def test_scales_can_be_limited():
    flow = multiscale((1, 8, 8), 0, layers=2, channels=2, blocks=0, scales=1)
    assert list(flow.left_out) == [(4, 4, 4)]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 4), (1, 3, 5)])
def test_every_entry_is_moved_and_told_others(shape):
    """No entry of z is an entry of x on its own scale, or one that depends on itself alone."""
    model, x, _ = built(shape, quantiles=0)
    jacobian = torch.autograd.functional.jacobian(lambda d: model.flow(d.unsqueeze(0))[0].squeeze(0), x[0])
    depends = jacobian.reshape(len(jacobian), -1).abs() > 1e-12
    assert bool((depends.sum(1) > 1).all())


# --- marginals ---------------------------------------------------------------------------------------------------------


def prepared_marginal(x, bins=24, *, shared=False):
    marginal = Marginal(x.shape[1:], bins, shared=shared).to(x.dtype)
    return marginal, marginal.prepare(x)


def test_marginals_become_normal():
    u = torch.rand(20_000, generator=seeded(), dtype=torch.float64)
    spike = torch.where(torch.rand(20_000, generator=seeded(1)) < 0.8, u - 0.5, 255 * u)
    x = torch.stack([u, spike, -(u.log())], 1)
    _, z = prepared_marginal(x)
    edges = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)
    found = (z.unsqueeze(2) < edges).double().mean(0)
    assert torch.allclose(found, torch.special.ndtr(edges).expand(3, -1), atol=0.005)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_marginals_keep_what_is_not_finite_and_spoil_nothing_else(value):
    x = torch.randn(500, 2, generator=seeded(), dtype=torch.float64)
    marginal, z = prepared_marginal(x)
    z = z[:3].clone()
    z[1, 0] = value
    expected = x[:3].clone()
    expected[1, 0] = value
    torch.testing.assert_close(marginal.inverse(z), expected, equal_nan=True)
    torch.testing.assert_close(marginal(expected)[0], z, equal_nan=True)


def test_marginals_are_affine_where_the_data_are_normal():
    x = 5 + 2 * torch.randn(20_000, 1, generator=seeded(), dtype=torch.float64)
    marginal, _ = prepared_marginal(x, bins=12)
    at = torch.linspace(1, 10, 50, dtype=torch.float64).unsqueeze(1)
    assert torch.allclose(marginal(at)[0], (at - 5) / 2, atol=0.1)


def test_marginals_reach_beyond_the_data_with_the_slope_of_all_entries():
    always_black = torch.rand(1000, 1, 1, 1, generator=seeded(), dtype=torch.float64) - 0.5
    grey = 255 * torch.rand(1000, 1, 1, 3, generator=seeded(1), dtype=torch.float64)
    x = torch.cat([always_black, grey], 3)
    marginal, _ = prepared_marginal(x, shared=True)
    unit = x.var(0, correction=0).mean().sqrt()
    far = torch.full((1, 1, 1, 4), 1e4, dtype=torch.float64)
    _, ladj = marginal(far)
    assert ladj.item() == pytest.approx(-4 * unit.log().item())
    assert float(marginal(far)[0].max()) < 3 + 1e4 / float(unit)


def test_constant_data_have_a_density_all_the_same():
    x = torch.cat([torch.zeros(50, 1), torch.randn(50, 1, generator=seeded())], 1)
    model = RealNVP(Real((2,)), **NARROW)
    model.prepare(x, None, seeded())
    assert bool(model.log_prob(x).isfinite().all())
    assert torch.allclose(model.decode(model.encode(x).mean).mean, x, atol=1e-4)


# --- the density -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, LABEL])
def test_density_integrates_to_one(given):
    """One uniform point in every cell of a grid: without bias, though the density has steps at the quantiles."""
    model, _, _ = built((2,), given, dtype=torch.float32, quantiles=6)
    width, low, cells = 0.05, -15.0, 800
    corners = torch.cartesian_prod(*[low + width * torch.arange(cells, dtype=torch.float64)] * 2)
    points = corners + width * torch.rand(corners.shape, generator=seeded(), dtype=torch.float64)
    for label in (None,) if given is None else (0, 2):
        mass = model.log_prob(points, given=label).exp().sum() * width**2
        assert mass.item() == pytest.approx(1.0, abs=3e-3)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4), (3, 2, 2)])
def test_density_is_that_of_the_code_times_the_volume(shape):
    """The volume is that of the Jacobian of the public map, whatever the flow says of it."""
    model, x, _ = built(shape)
    shaken(model, by=0.3)
    found = model.log_prob(x)
    for i, datum in enumerate(x):
        jacobian = torch.autograd.functional.jacobian(lambda d: model._encode(d.unsqueeze(0), None).mean[0], datum)
        z = model.encode(datum.unsqueeze(0)).mean
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
        volume = jacobian.reshape(len(z[0]), -1).slogdet().logabsdet
        assert found[i].item() == pytest.approx((normal + volume).item(), abs=1e-8)


def test_samples_are_the_images_of_normal_codes():
    model, _, _ = built((3,), dtype=torch.float32)
    x = model.sample(20_000, generator=0)
    z = model.encode(x).mean
    assert torch.allclose(z.mean(0), torch.zeros(3), atol=0.04)
    assert torch.allclose(z.T.cov(), torch.eye(3), atol=0.05)


def test_without_quantiles_one_entry_is_a_normal_variable():
    x = 3 + 2 * torch.randn(5000, 1, generator=seeded())
    model = RealNVP(Real((1,)), quantiles=0)
    model.prepare(x, None, seeded())
    normal = torch.distributions.Normal(x.mean(), x.std(correction=0))
    assert torch.allclose(model.log_prob(x[:9]).float(), normal.log_prob(x[:9, 0]), atol=1e-4)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
@pytest.mark.parametrize("far", [100.0, 1e6])
def test_far_data_have_finite_scores_and_gradients(shape, far):
    model, _, _ = built(shape, dtype=torch.float32)
    x = (far * torch.randn(8, *shape, generator=seeded())).requires_grad_()
    (phase,) = model.phases()
    loss = phase.loss(Batch(x), seeded()).total
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in (x, *model.parameters()))


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)])
def test_log_determinants_keep_their_precision_under_autocast(shape):
    """Networks answer in bfloat16; what is made of their answers is as exact as in float64."""
    model, x, _ = built(shape, dtype=torch.float32, quantiles=0)
    shaken(model, by=0.3)
    couplings, answers = [part for part in model.modules() if isinstance(part, Coupling)], []
    for coupling in couplings:
        coupling.conditioner.register_forward_hook(lambda _, __, answer: answers.append(answer))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        z, ladj = model.flow(model._entering(x))
    assert z.dtype == ladj.dtype == torch.float32
    assert {answer.dtype for answer in answers} == {torch.bfloat16}
    exact = -sum(part.log_sigma.detach().double().sum() for part in model.modules() if isinstance(part, Diagonal))
    for coupling, answer in zip(couplings, answers, strict=True):
        raw, _ = answer.double().chunk(2, 1)
        exact = exact + ((1 - coupling.mask) * BOUND * (raw / BOUND).tanh()).flatten(1).sum(1)
    torch.testing.assert_close(ladj.double(), exact, rtol=0, atol=1e-4)


# --- pictures of the world ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_digits().images).to(torch.int64).unsqueeze(1)


def trained(domain, x, *, steps=30, **options):
    model = make("realnvp", domain, **options)
    return learn(model, Batch(x), steps=steps)


def roundtrip_error(model, x):
    """How far decode(encode(x)) is from x on the scale of the flow; the wrappers around it are not in between."""
    flow = model.model.model
    y = model.model._centre(model._centre(x))
    return float((flow.decode(flow.encode(y).mean).mean - y).abs().max())


@pytest.mark.parametrize("steps", [0, 30])
def test_digits_come_back_from_their_codes(digits, steps):
    model = trained(Discrete((1, 8, 8), 17), digits, steps=steps, **NARROW)
    assert roundtrip_error(model, digits[:200]) < 1e-4
    z = model.encode(digits[:200]).mean
    assert torch.equal(model.decode(z).sample(seeded()), digits[:200])


def test_digits_in_double_precision(digits):
    flow = trained(Discrete((1, 8, 8), 17), digits, steps=5, **NARROW).model.model.double()
    x = shaken(flow).encode((digits[:50].double() - 5) / 6)
    assert torch.allclose(flow.decode(x.mean).mean, (digits[:50].double() - 5) / 6, atol=1e-9)


@pytest.mark.skipif("PMODEL_DATA" not in os.environ, reason="needs MNIST in $PMODEL_DATA")
def test_mnist_comes_back_from_its_codes():
    data = load_data("mnist")
    model = trained(data.domain, data.train.x[:2000], steps=5, **NARROW)
    x = data.test.x[:100]
    assert roundtrip_error(model, x) < 1e-4
    assert torch.equal(model.decode(model.encode(x).mean).sample(seeded()), x)


def test_a_table_is_dequantised():
    domain = Table((Column("length"), Column("colour", "category", categories=("red", "green"))))
    x = torch.stack([torch.randn(200, generator=seeded()), (torch.arange(200) % 2).float()], 1).double()
    model = trained(domain, x, **NARROW)
    assert bool(model.score(x[:5]).values.isfinite().all())
    assert set(model.sample(50, generator=0)[:, 1].unique().tolist()) <= {0.0, 1.0}


# --- learning ----------------------------------------------------------------------------------------------------------


def test_it_learns_a_correlation():
    x = torch.randn(2000, 2, generator=seeded())
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    covariance = torch.tensor([[1.0, 0.9], [0.9, 0.9]])
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(x).mean()
    model = trained(Real((2,)), x, steps=150, **NARROW)
    assert model.log_prob(x).float().mean() > truth - 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gap"), [("moons", 0.15), ("ring", 0.6), ("checkerboard", 0.4)])
def test_it_comes_close_to_the_truth(name, gap):
    data = load_data(name)
    model = fit("realnvp", data, steps=2000, seed=0)
    lost = data.truth.log_prob(data.test.x) - model.log_prob(data.test.x)
    assert -0.05 < float(lost.mean()) < gap


# --- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("layers", 1), ("layers", 2.5), ("width", 0), ("channels", 0), ("blocks", -1), ("scales", 0), ("quantiles", -3)],
)
def test_options_out_of_range_are_refused_by_value(option, value):
    with pytest.raises(RangeError, match=option) as refused:
        RealNVP(Real((2,)), **{option: value})
    assert refused.value.got == repr(value)


def test_booleans_are_no_numbers():
    with pytest.raises(RangeError, match="layers"):
        RealNVP(Real((2,)), layers=True)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_sizes_are_options(size):
    model = RealNVP(Real((1, 8, 8)), **RealNVP.sizes[size])
    assert model.size < RealNVP(Real((1, 8, 8))).size
