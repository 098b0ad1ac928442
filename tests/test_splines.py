"""Rational-quadratic splines: zuko's values, their own inverse, monotone, the identity at zero and outside the box."""

import math

import pytest
import torch
import zuko

from flow_laws import seeded
from pmodel.explicit.tractable.flow import splines
from pmodel.explicit.tractable.flow.splines import FLOOR

BOX = 5.0


def drawn(bins=8, n=400, *, scale=1.0, dtype=torch.float64):
    """Points inside and outside of the box, and the numbers of a spline for each."""
    x = 3 * torch.randn(n, generator=seeded(), dtype=dtype)
    raw = scale * torch.randn(splines.count(bins), n, generator=seeded(1), dtype=dtype)
    return x, raw, torch.tensor(BOX, dtype=dtype)


def theirs(raw):
    """zuko's spline through the same knots with the same slopes."""
    bins, n = (len(raw) + 1) // 3, raw.shape[1]
    none = torch.zeros(n, bins)
    found = zuko.transforms.MonotonicRQSTransform(none, none, none[:, 1:], bound=BOX)
    widths, heights, log_slopes = raw.split([bins, bins, bins - 1])

    def edges(logits):
        shares = FLOOR + (1 - bins * FLOOR) * logits.softmax(0)
        return (BOX * (2 * torch.cat([torch.zeros(1, n), shares.cumsum(0)]) - 1)).T

    found.horizontal, found.vertical = edges(widths), edges(heights)
    slopes = (log_slopes / (1 + log_slopes.abs() / -math.log(FLOOR))).exp()
    found.derivatives = torch.cat([torch.ones(1, n), slopes, torch.ones(1, n)]).T
    return found


@pytest.mark.parametrize("bins", [2, 3, 8, 32])
def test_values_and_slopes_are_zuko_s(bins):
    x, raw, box = drawn(bins)
    y, ladj = splines.forward(x, raw, box)
    expected, expected_ladj = theirs(raw).call_and_ladj(x)
    assert torch.allclose(y, expected, atol=1e-10, rtol=0)
    assert torch.allclose(ladj, expected_ladj, atol=1e-10, rtol=0)
    assert torch.allclose(splines.inverse(y, raw, box), theirs(raw).inv(y), atol=1e-9, rtol=0)


def test_gradients_are_those_of_zuko_through_autograd():
    """The chain rule is written out by hand: here it is held against the one that nobody wrote."""
    x, raw, box = drawn()
    found, expected = [], []
    for spline, gradients in ((lambda x, raw: splines.forward(x, raw, box), found), (None, expected)):
        at, numbers = x.clone().requires_grad_(), raw.clone().requires_grad_()
        y, ladj = theirs(numbers).call_and_ladj(at) if spline is None else spline(at, numbers)
        (y.square().sum() + ladj.sin().sum()).backward()
        gradients += [at.grad, numbers.grad]
    for ours, autograd in zip(found, expected, strict=True):
        assert torch.allclose(ours, autograd, atol=1e-9, rtol=1e-9)


def test_gradients_are_those_of_finite_differences():
    x, raw, box = drawn(5, 12)
    x = x.clamp(-4.9, 4.9)
    assert torch.autograd.gradcheck(
        lambda x, raw: splines.forward(x, raw, box), (x.requires_grad_(), raw.requires_grad_())
    )
    y = splines.forward(x, raw, box)[0].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda y, raw: splines.inverse(y, raw, box), (y, raw))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize("bins", [2, 8, 32])
def test_inverse_comes_back(bins, dtype, tolerance):
    x, raw, box = drawn(bins, scale=0.5, dtype=dtype)
    y, _ = splines.forward(x, raw, box)
    assert torch.allclose(splines.inverse(y, raw, box), x, atol=tolerance, rtol=0)


def test_log_slope_is_that_of_autograd():
    x, raw, box = drawn()
    x.requires_grad_()
    y, ladj = splines.forward(x, raw, box)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(ladj, slope.log(), atol=1e-10)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_splines_rise(scale):
    raw = scale * torch.randn(splines.count(16), 1, generator=seeded(), dtype=torch.float64)
    x = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    y, ladj = splines.forward(x, raw.expand(-1, len(x)), torch.tensor(BOX, dtype=torch.float64))
    assert bool((y.diff() > 0).all())
    assert bool(ladj.isfinite().all())


def test_zero_is_the_identity():
    x = 4 * torch.randn(500, generator=seeded(), dtype=torch.float64)
    y, ladj = splines.forward(x, torch.zeros(splines.count(8), 500, dtype=torch.float64), torch.tensor(BOX).double())
    assert torch.allclose(y, x, atol=1e-13)
    assert float(ladj.abs().max()) < 1e-13


@pytest.mark.parametrize("far", [5.0, 5.0001, 500.0, 1e6])
def test_outside_the_box_it_is_the_identity_to_the_bit_with_finite_gradients(far):
    raw = 3 * torch.randn(splines.count(8), 2, generator=seeded())
    x, raw = torch.tensor([far, -far]).requires_grad_(), raw.requires_grad_()
    y, ladj = splines.forward(x, raw, torch.tensor(BOX))
    back = splines.inverse(y, raw, torch.tensor(BOX))
    (y.sum() + ladj.sum() + back.sum()).backward()
    assert bool(x.grad.isfinite().all())
    assert bool(raw.grad.isfinite().all())
    if far > BOX:
        assert torch.equal(y, x)
        assert torch.equal(back, x)
        assert torch.equal(ladj, torch.zeros(2))
        assert not bool(raw.grad.any())


def test_the_map_is_smooth_at_the_edge_of_the_box():
    _, raw, box = drawn(8, 1)
    x = torch.tensor([BOX - 1e-9, BOX + 1e-9], dtype=torch.float64)
    y, ladj = splines.forward(x, raw.expand(-1, 2), box)
    assert torch.allclose(y, x, atol=1e-7)
    assert torch.allclose(ladj, torch.zeros(2).double(), atol=1e-5)


def test_what_is_not_a_number_stays_so_and_spoils_nothing_else():
    x, raw, box = drawn(8, 3)
    clean, _ = splines.forward(x, raw, box)
    x[1] = math.nan
    y, ladj = splines.forward(x, raw, box)
    assert bool(y[1].isnan())
    assert torch.equal(y[[0, 2]], clean[[0, 2]])
    assert bool(ladj[[0, 2]].isfinite().all())
    assert bool(splines.inverse(y, raw, box)[1].isnan())


def test_through_goes_through_the_knots():
    x = torch.tensor([[-2.0], [0.5], [0.75], [3.0]], dtype=torch.float64)
    y = torch.tensor([[-1.0], [-0.9], [2.0], [2.5]], dtype=torch.float64)
    box = torch.tensor(BOX, dtype=torch.float64)
    raw = splines.through(x, y, box)
    found, ladj = splines.forward(x.T.contiguous(), raw.unsqueeze(2).expand(-1, -1, 4), box)
    assert torch.allclose(found, y.T, atol=1e-9)
    ends = box.reshape(1, 1)
    rises, runs = (torch.cat([-ends, knots, ends]).diff(dim=0) for knots in (y, x))
    assert torch.allclose(ladj[0], (rises / runs).log().unfold(0, 2, 1).mean(2)[:, 0], atol=1e-9)
