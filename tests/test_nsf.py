"""NSF: both kinds invert near and far, their log-determinants are Jacobians', they start at normal marginals, they learn."""

import math
import os

import pytest
import torch
import zuko
from sklearn.datasets import load_digits, load_wine

from flow_laws import LABEL, built, gradients_are_finite, jacobian_error, mass, roundtrip_error, seeded, shaken
from pmodel import fit, load_data
from pmodel.construction import make
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.flow.element import Spline
from pmodel.explicit.tractable.flow.linear import Linear
from pmodel.explicit.tractable.flow.marginal import Marginal, quantiles
from pmodel.explicit.tractable.flow.nsf import NSF
from pmodel.explicit.tractable.flow.vector import Autoregressive, Elementwise, VectorCoupling, tellers
from pmodel.learning import Batch
from pmodel.testing.fitting import learn

KINDS = ["coupling", "autoregressive"]
CASES = [
    pytest.param((1,), None, id="line"),
    pytest.param((1,), LABEL, id="line, given a label"),
    pytest.param((2,), None, id="plane"),
    pytest.param((5,), LABEL, id="vector, given a label"),
    pytest.param((2, 3), None, id="matrix"),
]


@pytest.mark.parametrize("coupling", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize(("shape", "given"), CASES)
def test_decode_inverts_encode(shape, given, dtype, tolerance, coupling):
    model, x, labels = built(NSF, shape, given, dtype=dtype, coupling=coupling)
    z = model.encode(x, given=labels).mean
    assert z.shape == (6, math.prod(shape))
    assert roundtrip_error(model, x, labels) < tolerance


@pytest.mark.parametrize("coupling", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize("far", [100.0, 1e6])
def test_far_data_come_back_and_have_finite_scores_and_gradients(far, dtype, tolerance, coupling):
    model, _, _ = built(NSF, (3,), dtype=dtype, coupling=coupling)
    x = far * torch.tensor([[1.0, -1, 1], [0, 0, 1], [-1, 0.5, 0.01], [1, 1, 1]], dtype=dtype)
    assert roundtrip_error(model, x) < tolerance
    assert bool(model.log_prob(x).isfinite().all())
    assert gradients_are_finite(model, x)


@pytest.mark.parametrize("coupling", KINDS)
@pytest.mark.parametrize(("shape", "given"), CASES)
def test_log_determinant_is_that_of_the_jacobian(shape, given, coupling):
    model, x, labels = built(NSF, shape, given, coupling=coupling)
    far = torch.cat([x[:3], 100 * x[3:]])
    assert jacobian_error(model, far, labels) < 1e-8


@pytest.mark.parametrize("coupling", KINDS)
@pytest.mark.parametrize("given", [None, LABEL])
def test_density_integrates_to_one(given, coupling):
    model, _, _ = built(NSF, (2,), given, dtype=torch.float32, coupling=coupling, quantiles=0)
    assert mass(model, None if given is None else 2) == pytest.approx(1.0, abs=3e-3)


@pytest.mark.parametrize("coupling", KINDS)
def test_untrained_maps_are_the_identity(coupling):
    model = NSF(Real((3,)), coupling=coupling, quantiles=0)
    x = torch.randn(50, 3, generator=seeded())
    z, ladj = model.flow(x)
    assert torch.allclose(z, x, atol=1e-5)
    assert torch.allclose(ladj, torch.zeros(50), atol=1e-4)


def test_an_entry_is_told_by_those_before_it_alone():
    part = shaken(Autoregressive([2, 0, 1], Spline(6), 0, width=32, layers=2).double(), by=0.3)
    x = torch.randn(3, generator=seeded(), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda d: part(d.unsqueeze(0))[0].squeeze(0), x)
    ordered = jacobian[[2, 0, 1]][:, [2, 0, 1]]
    assert bool((ordered.triu(1) == 0).all())
    assert bool((ordered.tril().abs() > 1e-6).sum() == 6)


@pytest.mark.parametrize("part", ["autoregressive", "coupling"])
def test_the_inverse_is_the_sequential_solution(part):
    """By bisection of the forward map, entry after entry: nothing of the inverse's own code."""
    if part == "autoregressive":
        order = [1, 2, 0]
        flow = Autoregressive(order, Spline(5), 0, width=16, layers=2)
    else:
        order = [0, 2, 1]
        flow = VectorCoupling(3, [0, 2], Spline(5), 0, width=16, blocks=1, own=True)
    shaken(flow.double(), by=0.3)
    z = torch.randn(4, 3, generator=seeded(), dtype=torch.float64)
    x = torch.zeros_like(z)
    for entry in order:
        low, high = torch.full((4,), -50.0).double(), torch.full((4,), 50.0).double()
        for _ in range(60):
            x[:, entry] = (low + high) / 2
            above = flow(x)[0][:, entry] > z[:, entry]
            low, high = torch.where(above, low, x[:, entry]), torch.where(above, x[:, entry], high)
    with torch.no_grad():
        assert torch.allclose(flow.inverse(z), x, atol=1e-9)
    assert torch.allclose(flow.inverse(z), x, atol=1e-9)  # the way that gradients go


def test_it_is_zuko_s_flow_with_zuko_s_weights():
    """One autoregressive layer whose network has no hidden structure to differ in: its outputs are its biases."""
    torch.manual_seed(0)
    theirs = zuko.flows.NSF(2, transforms=1, bins=6, slope=1e-3)
    for parameter in theirs.parameters():
        torch.nn.init.zeros_(parameter)
    x = 2 * torch.randn(50, 2, generator=seeded())
    ours = NSF(Real((2,)), coupling="autoregressive", layers=1, bins=6, quantiles=0)
    assert torch.allclose(ours.log_prob(x).float(), theirs().log_prob(x), atol=1e-5)


def test_linear_maps_have_their_determinant_and_inverse():
    part = shaken(Linear(4).double(), by=0.5)
    x = torch.randn(9, 4, generator=seeded(), dtype=torch.float64)
    z, ladj = part(x)
    matrix = torch.autograd.functional.jacobian(lambda d: part(d.unsqueeze(0))[0][0], x[0])
    assert ladj[0].item() == pytest.approx(matrix.slogdet().logabsdet.item(), abs=1e-12)
    assert torch.allclose(part.inverse(z), x, atol=1e-12)
    assert bool((matrix.tril(-1) != 0).any())
    assert bool((matrix.triu(1) != 0).any())


def test_the_first_spline_makes_marginals_normal_and_inverts():
    u = torch.rand(20_000, generator=seeded(), dtype=torch.float64)
    modes = 0.1 * torch.randn(20_000, generator=seeded(1), dtype=torch.float64) + (torch.arange(20_000) % 5) / 2 - 1
    x = torch.stack([4 * u - 2, modes, -(u.log()) - 1], 1)
    first = Elementwise(3, 24).double()
    z = first.prepare(x)
    edges = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)
    found = (z.unsqueeze(2) < edges).double().mean(0)
    assert torch.allclose(found, torch.special.ndtr(edges).expand(3, -1), atol=0.04)
    assert torch.allclose(first.inverse(z), x, atol=1e-9)


def test_splines_start_at_the_points_of_the_lines():
    x = torch.randn(2000, 2, generator=seeded(), dtype=torch.float64).asinh()
    first, lines = Elementwise(2, 9).double(), Marginal((2,), 7, shared=False).double()
    first.prepare(x)
    zeta, points = quantiles(x, 8, 9)
    torch.testing.assert_close(first(points.T)[0], zeta.unsqueeze(1).expand(-1, 2))
    lines.prepare(x)
    torch.testing.assert_close(lines.knots, points, rtol=0, atol=0.05)


def test_the_box_is_as_wide_as_the_data():
    spline = Spline(4)
    spline.prepare(torch.tensor([[0.1, -9.0]]))
    assert spline.box.item() == pytest.approx(9.9)
    spline.prepare(torch.tensor([[1e5]]))
    assert spline.box.item() == 32.0


@pytest.mark.parametrize("entries", [2, 3, 7, 16])
def test_any_two_entries_are_apart_in_some_coupling(entries):
    sides = tellers(entries, 2 * (entries - 1).bit_length())
    apart = {(a, b) for side in sides for a in side for b in range(entries) if b not in side}
    assert len(apart) == entries * (entries - 1)
    assert tellers(1, 4) == []


def test_constant_data_have_a_density_all_the_same():
    x = torch.cat([torch.zeros(50, 1), torch.randn(50, 1, generator=seeded())], 1)
    model = NSF(Real((2,)), **NSF.sizes["tiny"])
    model.prepare(x, None, seeded())
    assert bool(model.log_prob(x).isfinite().all())
    assert roundtrip_error(model, x) < 1e-4


# --- data of the world -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_digits().images).to(torch.int64).unsqueeze(1)


@pytest.mark.parametrize("coupling", KINDS)
def test_digits_come_back_from_their_codes(digits, coupling):
    model = make("nsf", Discrete((1, 8, 8), 17), coupling=coupling, **NSF.sizes["tiny"])
    learn(model, Batch(digits), steps=20)
    flow, y = model.model.model, model.model._centre(model._centre(digits[:100]))
    assert roundtrip_error(flow, y) < 1e-4
    assert roundtrip_error(flow, 100 * y) < 1e-3  # linear maps add entries of 300 to entries of one
    assert roundtrip_error(flow.double(), y.double()) < 1e-9
    assert roundtrip_error(flow, 100 * y.double()) < 1e-9
    assert gradients_are_finite(flow, 100 * y.double())


@pytest.mark.parametrize("coupling", KINDS)
def test_wines_come_back_from_their_codes(coupling):
    x, labels = (torch.from_numpy(found) for found in load_wine(return_X_y=True))
    model = make("nsf", Real((13,)), Discrete((), 3), coupling=coupling, **NSF.sizes["tiny"])
    learn(model, Batch(x, labels), steps=60)
    flow, y = model.model, (x - x.mean(0)) / x.std(0)
    assert roundtrip_error(flow, y.float(), labels) < 1e-4
    assert roundtrip_error(flow, 100 * y.float(), labels) < 1e-4
    gaussian = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x).sum(1).mean()
    assert float(model.log_prob(x, given=labels).mean()) > float(gaussian) + 3


def test_a_table_is_dequantised():
    domain = Table((Column("length"), Column("colour", "category", categories=("red", "green"))))
    x = torch.stack([torch.randn(200, generator=seeded()), (torch.arange(200) % 2).float()], 1).double()
    model = learn(make("nsf", domain, **NSF.sizes["tiny"]), Batch(x), steps=30)
    assert bool(model.score(x[:5]).values.isfinite().all())
    assert set(model.sample(50, generator=0)[:, 1].unique().tolist()) <= {0.0, 1.0}


# --- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", KINDS)
def test_it_learns_a_correlation(coupling):
    x = torch.randn(2000, 2, generator=seeded())
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    covariance = torch.tensor([[1.0, 0.9], [0.9, 0.9]])
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(x).mean()
    model = learn(make("nsf", Real((2,)), coupling=coupling, **NSF.sizes["tiny"]), Batch(x), steps=150)
    assert model.log_prob(x).float().mean() > truth - 0.2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gap"), [("moons", 0.04), ("ring", 0.04), ("checkerboard", 0.1)])
def test_it_comes_close_to_the_truth(name, gap):
    data = load_data(name)
    model = fit("nsf", data, steps=3000, seed=0)
    x = data.truth.sample(20_000, seeded(3))
    lost = data.truth.log_prob(x) - model.log_prob(x)
    assert -0.01 < float(lost.mean()) < gap


@pytest.mark.slow
@pytest.mark.skipif("PMODEL_DATA" not in os.environ, reason="needs MNIST in $PMODEL_DATA")
def test_mnist_comes_back_from_its_codes():
    data = load_data("mnist")
    model = learn(make("nsf", data.domain, **NSF.sizes["tiny"]), Batch(data.train.x[:1000]), steps=5)
    x = data.test.x[:50]
    assert torch.equal(model.decode(model.encode(x).mean).sample(seeded()), x)


# --- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("layers", 0), ("layers", 2.5), ("width", 0), ("blocks", -1), ("bins", 1), ("bins", 600), ("quantiles", -3)],
)
def test_options_out_of_range_are_refused_by_value(option, value):
    with pytest.raises(RangeError, match=option) as refused:
        NSF(Real((2,)), **{option: value})
    assert refused.value.got == repr(value)


def test_an_unknown_coupling_is_refused_by_name():
    with pytest.raises(BadInput, match="autoregressive") as refused:
        NSF(Real((2,)), coupling="circular")
    assert refused.value.got == "circular"


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_sizes_are_options(size):
    assert NSF(Real((4,)), **NSF.sizes[size]).size < NSF(Real((4,))).size
