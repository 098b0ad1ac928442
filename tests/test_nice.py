"""NICE: couplings keep volumes, it inverts near and far, and its noise is logistic or normal."""

import pytest
import torch

from flow_laws import LABEL, built, gradients_are_finite, jacobian_error, mass, roundtrip_error, seeded, shaken
from pmodel.construction import make
from pmodel.domain import Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.flow.element import Shift
from pmodel.explicit.tractable.flow.nice import NICE
from pmodel.explicit.tractable.flow.vector import VectorCoupling
from pmodel.learning import Batch
from pmodel.testing.fitting import learn

CASES = [((1,), None), ((2,), None), ((5,), LABEL), ((2, 3), None)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize(("shape", "given"), CASES)
@pytest.mark.parametrize("far", [1.0, 100.0])
def test_decode_inverts_encode(shape, given, far, dtype, tolerance):
    model, x, labels = built(NICE, shape, given, dtype=dtype)
    assert roundtrip_error(model, far * x, labels) < tolerance


@pytest.mark.parametrize(("shape", "given"), CASES)
def test_log_determinant_is_that_of_the_jacobian(shape, given):
    model, x, labels = built(NICE, shape, given)
    assert jacobian_error(model, x, labels) < 1e-8


def test_a_coupling_is_the_equation_of_the_paper_and_keeps_volumes():
    part = shaken(VectorCoupling(3, [1], Shift(), 0, width=8, blocks=1).double(), by=0.5)
    x = torch.randn(6, 3, generator=seeded(), dtype=torch.float64)
    z, ladj = part(x)
    assert torch.equal(ladj, torch.zeros(6, dtype=torch.float64))
    assert torch.equal(z[:, 1], x[:, 1])
    assert torch.allclose(z[:, [0, 2]], x[:, [0, 2]] + part.conditioner(x[:, 1:2], None))
    assert float((z - x).detach().abs().max()) > 0.01


def test_the_volume_is_the_same_everywhere():
    model, x, _ = built(NICE, (3,), quantiles=0, by=0.5)
    _, ladj = model.flow(x)
    assert torch.allclose(ladj, ladj[0].expand(6), atol=1e-12)


@pytest.mark.parametrize("noise", ["logistic", "normal"])
@pytest.mark.parametrize("given", [None, LABEL])
def test_density_integrates_to_one(given, noise):
    model, _, _ = built(NICE, (2,), given, dtype=torch.float32, noise=noise, quantiles=0)
    total = mass(model, None if given is None else 2, width=0.1, low=-24.0)
    assert total == pytest.approx(1.0, abs=3e-3)


def test_noise_is_that_of_the_density():
    z = NICE(Real((2,)), noise="logistic")._noise(100_000, seeded())
    u = z.sigmoid()
    assert torch.allclose(u.mean(0), torch.full((2,), 0.5), atol=0.005)
    assert torch.allclose(u.var(0), torch.full((2,), 1 / 12), atol=0.002)
    points = torch.tensor([[0.3, -1.2]])
    logistic = torch.distributions.TransformedDistribution(
        torch.distributions.Uniform(torch.zeros(2), torch.ones(2)), torch.distributions.SigmoidTransform().inv
    )
    assert torch.allclose(NICE(Real((2,)))._prior_log_prob(points), logistic.log_prob(points).sum(1))


def test_far_data_have_finite_scores_and_gradients():
    model, x, _ = built(NICE, (3,), dtype=torch.float32)
    assert gradients_are_finite(model, 1e5 * x)


def test_it_learns_a_correlation():
    x = torch.randn(2000, 2, generator=seeded())
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    covariance = torch.tensor([[1.0, 0.9], [0.9, 0.9]])
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(x).mean()
    model = learn(make("nice", Real((2,)), noise="normal", **NICE.sizes["tiny"]), Batch(x), steps=200)
    assert model.log_prob(x).float().mean() > truth - 0.15


@pytest.mark.parametrize(("option", "value"), [("layers", 1), ("width", 0), ("blocks", -1), ("quantiles", 2.5)])
def test_options_out_of_range_are_refused_by_value(option, value):
    with pytest.raises(RangeError, match=option) as refused:
        NICE(Real((2,)), **{option: value})
    assert refused.value.got == repr(value)


def test_unknown_noise_is_refused_by_name():
    with pytest.raises(BadInput, match="logistic"):
        NICE(Real((2,)), noise="uniform")
