"""MAF: masked in both orders, inverts near and far, log-determinants are Jacobians', and one layer is a chain of normals."""

import pytest
import torch
from sklearn.datasets import load_digits

from flow_laws import LABEL, built, gradients_are_finite, jacobian_error, mass, roundtrip_error, seeded, shaken
from pmodel.construction import make
from pmodel.domain import Discrete, Real
from pmodel.errors import RangeError
from pmodel.explicit.tractable.flow.element import BOUND, Affine
from pmodel.explicit.tractable.flow.maf import MAF
from pmodel.explicit.tractable.flow.vector import Autoregressive, orders
from pmodel.learning import Batch
from pmodel.nn.masked import MaskedNetwork
from pmodel.testing.fitting import learn

CASES = [((1,), None), ((2,), None), ((5,), LABEL), ((2, 3), None)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize(("shape", "given"), CASES)
@pytest.mark.parametrize("far", [1.0, 100.0])
def test_decode_inverts_encode(shape, given, far, dtype, tolerance):
    model, x, labels = built(MAF, shape, given, dtype=dtype)
    assert roundtrip_error(model, far * x, labels) < tolerance


@pytest.mark.parametrize(("shape", "given"), CASES)
def test_log_determinant_is_that_of_the_jacobian(shape, given):
    model, x, labels = built(MAF, shape, given)
    assert jacobian_error(model, torch.cat([x[:3], 100 * x[3:]]), labels) < 1e-8


@pytest.mark.parametrize("given", [None, LABEL])
def test_density_integrates_to_one(given):
    model, _, _ = built(MAF, (2,), given, dtype=torch.float32, quantiles=0)
    assert mass(model, None if given is None else 2) == pytest.approx(1.0, abs=3e-3)


def test_orders_are_each_the_reverse_of_the_one_before():
    assert [list(order) for order in orders(3, 3)] == [[0, 1, 2], [2, 1, 0], [0, 1, 2]]
    assert orders(1, 3) == []


def test_one_layer_is_the_product_of_the_conditionals_of_the_paper():
    """p(x) = prod_i N(x_i; mu_i, exp(2 alpha_i)), with mu and alpha read from the network for each entry."""
    part = shaken(Autoregressive([0, 1, 2], Affine(), 0, width=16, layers=2).double(), by=0.3)
    x = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    z, ladj = part(x)
    mu, alpha = part.network(x.asinh()).unbind(2)
    alpha = BOUND * (alpha / BOUND).tanh()
    expected = torch.distributions.Normal(mu, alpha.exp()).log_prob(x).sum(1)
    found = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + ladj
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("graded", [False, True])
def test_the_inverse_knows_direct_connections(graded):
    part = Autoregressive([2, 0, 1], Affine(), 0, width=16, layers=2)
    part.network = MaskedNetwork(3, 2, width=16, layers=2, orders=torch.tensor([2, 0, 1]), residual=True, direct=True)
    shaken(part.double(), by=0.3)
    x = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    with torch.set_grad_enabled(graded):
        torch.testing.assert_close(part.inverse(part(x)[0]), x)


def test_the_inverse_is_the_sequential_solution():
    part = shaken(Autoregressive([2, 0, 1], Affine(), 0, width=16, layers=2).double(), by=0.3)
    z = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    x = torch.zeros_like(z)
    for entry in (2, 0, 1):
        mu, alpha = part.network(x.asinh())[:, entry].unbind(1)
        x[:, entry] = mu + (BOUND * (alpha / BOUND).tanh()).exp() * z[:, entry]
    with torch.no_grad():
        assert torch.allclose(part.inverse(z), x, atol=1e-12)


def test_far_data_have_finite_scores_and_gradients():
    model, x, _ = built(MAF, (3,), dtype=torch.float32)
    assert gradients_are_finite(model, 1e5 * x)


def test_digits_come_back_from_their_codes():
    digits = torch.from_numpy(load_digits().images).to(torch.int64).unsqueeze(1)
    model = learn(make("maf", Discrete((1, 8, 8), 17), **MAF.sizes["tiny"]), Batch(digits), steps=20)
    flow, y = model.model.model, model.model._centre(model._centre(digits[:100]))
    assert roundtrip_error(flow, y) < 1e-4
    assert roundtrip_error(flow.double(), y.double()) < 1e-9


def test_it_learns_a_correlation():
    x = torch.randn(2000, 2, generator=seeded())
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    covariance = torch.tensor([[1.0, 0.9], [0.9, 0.9]])
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(x).mean()
    model = learn(make("maf", Real((2,)), **MAF.sizes["tiny"]), Batch(x), steps=150)
    assert model.log_prob(x).float().mean() > truth - 0.1


@pytest.mark.parametrize(("option", "value"), [("layers", 0), ("width", 0), ("blocks", -1), ("quantiles", True)])
def test_options_out_of_range_are_refused_by_value(option, value):
    with pytest.raises(RangeError, match=option) as refused:
        MAF(Real((2,)), **{option: value})
    assert refused.value.got == repr(value)
