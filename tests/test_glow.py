"""Glow: it inverts, its log-determinant is the Jacobian's, its parts are the paper's equations, and it learns the truth."""

import math
import os

import pytest
import torch
from sklearn.datasets import load_digits

from pmodel import load_data
from pmodel.construction import make
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.explicit.tractable.flow.coupling import Coupling, Halves
from pmodel.explicit.tractable.flow.element import BOUND
from pmodel.explicit.tractable.flow.glow import Glow
from pmodel.explicit.tractable.flow.mixing import Actnorm, Convolution1x1
from pmodel.explicit.tractable.flow.multiscale import MultiScale
from pmodel.learning import Batch
from pmodel.randomness import forked
from pmodel.testing.fitting import learn

LABEL = Discrete((), 3)
NARROW = Glow.sizes["tiny"]

CASES = [
    pytest.param((1, 2, 2), None, id="one square"),
    pytest.param((1, 8, 8), None, id="two scales"),
    pytest.param((3, 4, 4), LABEL, id="colour, given a label"),
    pytest.param((1, 5, 7), LABEL, id="odd sides, given a label"),
    pytest.param((1, 4, 6), None, id="sides that do not halve twice"),
    pytest.param((3, 3, 4), None, id="one odd side, in colour"),
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


def fresh(cls, *args, **kwargs):
    """A module with the weights of a seed."""
    with forked(0, "init"):
        return cls(*args, **kwargs)


def built(shape, given=None, *, dtype=torch.float64, n=200, **options):
    """A model that has seen skewed data, with weights that are nowhere zero; and some of the data with labels."""
    model = fresh(Glow, Real(shape), given, **(NARROW | options)).to(dtype)
    x = torch.randn(n, *shape, generator=seeded(2), dtype=torch.float64).mul(0.7).add(0.5).sinh().to(dtype)
    labels = None if given is None else torch.arange(n) % given.levels
    model.prepare(x, labels, seeded())
    return shaken(model), x[:6], None if labels is None else labels[:6]


def pictures(n=500, channels=4, sides=(3, 5)):
    """Correlated channels far from standard."""
    mixed = torch.randn(n, channels, *sides, generator=seeded(3), dtype=torch.float64).cumsum(1)
    scales = torch.tensor([0.1, 1.0, 7.0, 30.0], dtype=torch.float64).reshape(-1, 1, 1)
    return 5 + scales * mixed


# --- the map -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("far", [1.0, 100.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize(("shape", "given"), CASES)
def test_decode_inverts_encode(shape, given, dtype, tolerance, far):
    """Relative to how far out the data are."""
    model, x, labels = built(shape, given, dtype=dtype)
    x = far * x
    z = model.encode(x, given=labels).mean
    assert z.shape == (6, math.prod(shape))
    back = model.decode(z, given=labels).mean
    assert float((back - x).abs().max()) < tolerance * far
    assert torch.allclose(model.encode(back, given=labels).mean, z, atol=10 * tolerance * far)


@pytest.mark.parametrize(("shape", "given"), CASES)
def test_log_determinant_is_that_of_the_jacobian(shape, given):
    model, x, labels = built(shape, given)
    context = model._context(labels)

    def f(datum):
        return model.flow(datum.unsqueeze(0), None if context is None else context[:1])[0].squeeze(0)

    jacobian = torch.autograd.functional.jacobian(f, x[0]).reshape(x[0].numel(), -1)
    _, ladj = model.flow(x, context)
    assert ladj[0].item() == pytest.approx(jacobian.slogdet().logabsdet.item(), abs=1e-8)
    assert abs(ladj[0].item()) > 1e-3


@pytest.mark.parametrize(("shape", "given"), CASES)
@pytest.mark.parametrize("far", [100.0, 1e6])
def test_far_data_have_finite_scores_and_gradients(shape, given, far):
    model, _, labels = built(shape, given, dtype=torch.float32)
    x = (far * torch.randn(6, *shape, generator=seeded())).requires_grad_()
    (phase,) = model.phases()
    loss = phase.loss(Batch(x, labels), seeded()).total
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in (x, *model.parameters()))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 4), (1, 3, 5)])
def test_every_entry_is_moved_and_told_others(shape):
    model, x, _ = built(shape, quantiles=0)
    jacobian = torch.autograd.functional.jacobian(lambda d: model.flow(d.unsqueeze(0))[0].squeeze(0), x[0])
    depends = jacobian.reshape(len(jacobian), -1).abs() > 1e-12
    assert bool((depends.sum(1) > 1).all())


@pytest.mark.parametrize(
    ("shape", "left_out"),
    [
        ((1, 28, 28), [(2, 14, 14), (8, 7, 7)]),
        ((1, 8, 8), [(2, 4, 4), (8, 2, 2)]),
        ((3, 32, 32), [(6, 16, 16), (12, 8, 8), (24, 4, 4), (96, 2, 2)]),
        ((1, 5, 7), [(1, 5, 7)]),
        ((3, 2, 2), [(12, 1, 1)]),
    ],
)
def test_scales_of_a_picture(shape, left_out):
    _, scales, _ = Glow(Real(shape), layers=1, channels=2, blocks=0).flow
    assert isinstance(scales, MultiScale)
    assert list(scales.left_out) == left_out


def test_scales_can_be_limited():
    _, scales, _ = Glow(Real((1, 8, 8)), scales=1, **NARROW).flow
    assert list(scales.left_out) == [(4, 4, 4)]


# --- actnorm -----------------------------------------------------------------------------------------------------------


def test_actnorm_gives_its_first_data_mean_zero_and_variance_one():
    x = pictures()
    z = Actnorm(4).double().prepare(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4).double())
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(4).double())


def test_actnorm_is_not_set_again_by_other_data():
    actnorm = Actnorm(4).double()
    actnorm.prepare(pictures())
    z, _ = actnorm(pictures() + 100)
    assert z.mean().item() > 3


def test_every_actnorm_of_the_model_normalises_what_reaches_it():
    model = fresh(Glow, Real((1, 8, 8)), **NARROW).double()
    model.prepare(torch.randn(300, 1, 8, 8, generator=seeded(), dtype=torch.float64).exp(), None, seeded())
    seen = []
    hooks = [
        part.register_forward_hook(lambda _, __, answer: seen.append(answer[0]))
        for part in model.modules()
        if isinstance(part, Actnorm)
    ]
    model.encode(torch.randn(300, 1, 8, 8, generator=seeded(), dtype=torch.float64).exp())
    assert len(seen) == len(hooks) == 4
    for z in seen:
        assert float(z.mean((0, 2, 3)).abs().max()) < 1e-9
        assert float((z.var((0, 2, 3), correction=0) - 1).abs().max()) < 1e-9


def test_a_constant_channel_stays_finite():
    z = Actnorm(2).prepare(torch.full((10, 2, 3, 3), 7.0))
    assert torch.equal(z, torch.zeros(10, 2, 3, 3))


# --- 1×1 convolution ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 12, 48])
def test_convolution_starts_as_a_rotation(channels):
    convolution = fresh(Convolution1x1, channels)
    torch.testing.assert_close(convolution.weight @ convolution.weight.T, torch.eye(channels), atol=1e-5, rtol=0)
    _, ladj = convolution(torch.zeros(2, channels, 3, 3))
    torch.testing.assert_close(ladj, torch.zeros(2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_convolution_has_the_determinant_of_its_matrix(channels):
    convolution = shaken(fresh(Convolution1x1, channels).double(), by=0.3)
    _, ladj = convolution(torch.zeros(2, channels, 3, 5, dtype=torch.float64))
    exact = 15 * torch.linalg.slogdet(convolution.weight).logabsdet
    torch.testing.assert_close(ladj, exact.expand(2), atol=1e-9, rtol=0)


def test_convolution_is_the_matrix_at_every_position():
    convolution = shaken(fresh(Convolution1x1, 4).double(), by=0.3)
    x = pictures()
    z, _ = convolution(x)
    torch.testing.assert_close(z, torch.einsum("ij,njhw->nihw", convolution.weight, x))
    torch.testing.assert_close(convolution.inverse(z), x)


def test_convolution_keeps_its_precision_under_autocast():
    convolution, x = fresh(Convolution1x1, 4), pictures().float()
    expected, _ = convolution(x)
    with torch.autocast("cpu", torch.bfloat16):
        z, ladj = convolution(x)
        back = convolution.inverse(z)
    assert z.dtype == ladj.dtype == torch.float32
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(back, x, atol=1e-4, rtol=1e-5)


# --- couplings ---------------------------------------------------------------------------------------------------------


class Told(torch.nn.Module):
    """A conditioner that answers with a function of what it is shown."""

    def forward(self, x, context):
        return torch.cat([2 * x, x - 1], 1)


def test_halves_are_the_masked_coupling():
    x = torch.randn(3, 4, 2, 2, generator=seeded())
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1).expand(4, 2, 2)

    class Whole(torch.nn.Module):
        def forward(self, kept, context):
            raw, t = Told()(kept[:, 2:], context).chunk(2, 1)
            nothing = torch.zeros_like(raw)
            return torch.cat([raw, nothing, t, nothing], 1)

    halves, masked = Halves(Told()), Coupling(mask, Whole())
    for found, expected in zip(halves(x), masked(x), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(halves.inverse(halves(x)[0]), x)


def test_scales_of_halves_are_bounded():
    class Wild(torch.nn.Module):
        def forward(self, x, context):
            return torch.cat([torch.full_like(x, 1e9), x], 1)

    _, ladj = Halves(Wild())(torch.ones(1, 2, 1, 1))
    assert ladj.item() == pytest.approx(BOUND)


def test_the_prior_of_a_split_is_normal_with_mean_and_scale_from_what_stays():
    """log p of the half that leaves, given what stays, is the last coupling's share of the density."""
    model, x, _ = built((1, 4, 4), layers=1)
    _, scales, _ = model.flow
    *steps, split = scales.scales[0]
    h = x
    for part in steps:
        h, _ = part(h)
    z, ladj = split(h)
    raw, t = split.conditioner(h[:, 2:], None).chunk(2, 1)
    sigma = (-(BOUND * (raw / BOUND).tanh())).exp()
    prior = torch.distributions.Normal(-t * sigma, sigma)
    found = torch.distributions.Normal(0.0, 1.0).log_prob(z[:, :2]).flatten(1).sum(1) + ladj
    torch.testing.assert_close(found, prior.log_prob(h[:, :2]).flatten(1).sum(1))


# --- pictures of the world ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_digits().images).to(torch.int64).unsqueeze(1)


@pytest.fixture(scope="module")
def trained(digits):
    return learn(make("glow", Discrete((1, 8, 8), 17), **NARROW), Batch(digits), steps=60)


def on_the_scale_of_the_flow(model, x):
    """The wrappers around the flow are not in between."""
    return model.model._centre(model._centre(x))


def test_digits_come_back_from_their_codes(trained, digits):
    flow, y = trained.model.model, on_the_scale_of_the_flow(trained, digits[:200])
    assert float((flow.decode(flow.encode(y).mean).mean - y).abs().max()) < 1e-4
    assert torch.equal(trained.decode(trained.encode(digits[:200]).mean).sample(seeded()), digits[:200])


def test_digits_come_back_in_double_precision_from_far_out_too(trained, digits):
    flow = make("glow", trained.domain, **NARROW).model.model
    flow.load_state_dict(trained.model.model.state_dict())
    flow.double()
    y = on_the_scale_of_the_flow(trained, digits[:50]).double()
    for x in (y, 100 * y):
        assert float((flow.decode(flow.encode(x).mean).mean - x).abs().max()) < 1e-9 * float(x.abs().max())


def test_a_hundred_standard_deviations_out_a_trained_flow_still_inverts(trained):
    flow = trained.model.model
    y = 100 * torch.randn(50, 1, 8, 8, generator=seeded())
    assert float((flow.decode(flow.encode(y).mean).mean - y).abs().max()) < 1e-4 * 100
    assert bool(flow.log_prob(y).isfinite().all())


@pytest.mark.skipif("PMODEL_DATA" not in os.environ, reason="needs MNIST in $PMODEL_DATA")
def test_mnist_comes_back_from_its_codes():
    data = load_data("mnist")
    model = learn(make("glow", data.domain, **NARROW), Batch(data.train.x[:2000]), steps=5)
    x = data.test.x[:100]
    flow, y = model.model.model, on_the_scale_of_the_flow(model, x)
    assert float((flow.decode(flow.encode(y).mean).mean - y).abs().max()) < 1e-4
    assert torch.equal(model.decode(model.encode(x).mean).sample(seeded()), x)


# --- learning ----------------------------------------------------------------------------------------------------------


def test_it_learns_how_neighbours_go_together():
    """Pairs of correlated pixels, whose density is known."""
    noise = torch.randn(3000, 1, 2, 2, generator=seeded())
    x = noise.clone()
    x[..., 1] = 0.9 * x[..., 0] + math.sqrt(1 - 0.81) * x[..., 1]
    pair = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    truth = pair.log_prob(x.squeeze(1)).sum(1).mean()
    model = learn(make("glow", Real((1, 2, 2)), **NARROW), Batch(x), steps=150)
    assert float(truth) - 0.2 < float(model.log_prob(x).mean()) < float(truth) + 0.05


def test_samples_are_the_images_of_normal_codes():
    model, _, _ = built((1, 2, 2), dtype=torch.float32)
    z = model.encode(model.sample(10_000, generator=0)).mean
    assert torch.allclose(z.mean(0), torch.zeros(4), atol=0.05)
    assert torch.allclose(z.T.cov(), torch.eye(4), atol=0.06)


# --- options and domains -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("layers", 0), ("layers", True), ("channels", 2.5), ("blocks", -1), ("scales", 0), ("quantiles", -3)],
)
def test_options_out_of_range_are_refused_by_value(option, value):
    with pytest.raises(RangeError, match=option) as refused:
        Glow(Real((1, 4, 4)), **{option: value})
    assert refused.value.got == repr(value)


@pytest.mark.parametrize("shape", [(4,), (1, 1, 8), (2, 4, 4), (3, 4, 1)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(NotSupported, match="2×2 pixels"):
        make("glow", Real(shape))
    with pytest.raises(BadInput, match="2×2 pixels"):
        Glow(Real(shape))


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_sizes_are_options(size):
    assert Glow(Real((1, 8, 8)), **Glow.sizes[size]).size < Glow(Real((1, 8, 8))).size
