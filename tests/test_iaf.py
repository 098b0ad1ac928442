"""IAF: samples in one pass, densities by inversion that gradients go through, and MAF read backwards."""

import pytest
import torch

from flow_laws import LABEL, built, gradients_are_finite, jacobian_error, mass, roundtrip_error, seeded, shaken
from pmodel.construction import make
from pmodel.domain import Real
from pmodel.errors import RangeError
from pmodel.explicit.tractable.flow.element import BOUND, Affine
from pmodel.explicit.tractable.flow.iaf import IAF
from pmodel.explicit.tractable.flow.transform import Inverted
from pmodel.explicit.tractable.flow.vector import Autoregressive
from pmodel.learning import Batch
from pmodel.testing.fitting import learn

CASES = [((1,), None), ((2,), None), ((5,), LABEL), ((2, 3), None)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize(("shape", "given"), CASES)
@pytest.mark.parametrize("far", [1.0, 100.0])
def test_decode_inverts_encode(shape, given, far, dtype, tolerance):
    model, x, labels = built(IAF, shape, given, dtype=dtype)
    assert roundtrip_error(model, far * x, labels) < tolerance


@pytest.mark.parametrize(("shape", "given"), CASES)
def test_log_determinant_is_that_of_the_jacobian(shape, given):
    model, x, labels = built(IAF, shape, given)
    assert jacobian_error(model, x, labels) < 1e-8


@pytest.mark.parametrize("given", [None, LABEL])
def test_density_integrates_to_one(given):
    model, _, _ = built(IAF, (2,), given, dtype=torch.float32, quantiles=0)
    assert mass(model, None if given is None else 2, width=0.1, low=-24.0) == pytest.approx(1.0, abs=3e-3)


def test_a_sample_is_the_equation_of_the_paper():
    part = shaken(Autoregressive([0, 1, 2], Affine(outward=True), 0, width=16, layers=2).double(), by=0.3)
    z = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    mu, alpha = part.network(z.asinh()).unbind(2)
    sigma = (BOUND * (alpha / BOUND).tanh()).exp()
    x, ladj = part(z)
    assert torch.allclose(x, mu + sigma * z, atol=1e-12)
    assert torch.allclose(ladj, sigma.log().sum(1), atol=1e-12)
    back, inverse_ladj = Inverted(part)(x)
    assert torch.allclose(back, z, atol=1e-12)
    assert torch.allclose(inverse_ladj, -ladj, atol=1e-12)


def test_gradients_go_through_the_inversion():
    """Those of the weights, against finite differences of the density."""
    model, x, _ = built(IAF, (3,), by=0.2)
    model._log_prob(x, None).sum().backward()
    weight = model.flow.parts[1].map.network.first.weight
    index = divmod(int(weight.grad.abs().argmax()), weight.shape[1])
    values = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            weight[index] += step
            values.append(float(model._log_prob(x, None).sum()))
    assert weight.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_far_data_have_finite_scores_and_gradients():
    model, x, _ = built(IAF, (3,), dtype=torch.float32)
    assert gradients_are_finite(model, 1e5 * x)


def test_it_learns_a_correlation():
    x = torch.randn(2000, 2, generator=seeded())
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    covariance = torch.tensor([[1.0, 0.9], [0.9, 0.9]])
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(x).mean()
    model = learn(make("iaf", Real((2,)), **IAF.sizes["tiny"]), Batch(x), steps=150)
    assert model.log_prob(x).float().mean() > truth - 0.1


@pytest.mark.parametrize(("option", "value"), [("layers", 0), ("width", 0), ("blocks", -1), ("quantiles", True)])
def test_options_out_of_range_are_refused_by_value(option, value):
    with pytest.raises(RangeError, match=option) as refused:
        IAF(Real((2,)), **{option: value})
    assert refused.value.got == repr(value)
