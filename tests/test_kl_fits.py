"""Forward and reverse fits of a Gaussian to a mixture, against closed forms."""

import math

import pytest
import torch

import kl_fits
from example_page import tells

EDGES = torch.linspace(-40, 40, 80_001, dtype=torch.float64)


@pytest.fixture(scope="module")
def found():
    return kl_fits.measured()


def normal(x, mu, std):
    return -0.5 * ((x - mu) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)


def by_sums(log_a, log_b):
    """KL(a‖b) over a plain grid on x, which knows nothing of the example's way."""
    a = log_a.exp()
    return float(torch.where(a > 0, a * (log_a - log_b), 0).sum() * (EDGES[1] - EDGES[0]))


def test_both_divergences_agree_with_plain_sums():
    p, q = kl_fits.target(3.0), normal(EDGES, 0.7, 2.1)
    fit = kl_fits.fitted(p, 0.7, 2.1)
    assert fit.reverse == pytest.approx(by_sums(q, p.log_prob(EDGES)), abs=1e-9)
    assert fit.forward == pytest.approx(by_sums(p.log_prob(EDGES), q), abs=1e-9)


def test_of_one_gaussian_both_are_the_closed_form():
    p = kl_fits.Mixture(*torch.tensor([[1.0], [2.0], [3.0]]).double())
    fit = kl_fits.fitted(p, 0.5, 1.25)
    ratio, shift = 1.25 / 3, 1.5
    assert fit.reverse == pytest.approx(0.5 * (ratio**2 + (shift / 3) ** 2 - 1) - math.log(ratio), abs=1e-12)
    assert fit.forward == pytest.approx(0.5 * (ratio**-2 + (shift / 1.25) ** 2 - 1) + math.log(ratio), abs=1e-12)


def test_the_forward_fit_has_the_moments_and_no_neighbour_is_better(found):
    p, best = kl_fits.target(), found.forward
    density = p.log_prob(EDGES).exp() * (EDGES[1] - EDGES[0])
    mean = float(density @ EDGES)
    assert best.mu == pytest.approx(mean, abs=1e-9)
    assert best.std == pytest.approx(float(density @ (EDGES - mean) ** 2) ** 0.5, abs=1e-9)
    around = [(best.mu + a, best.std * b) for a in (-0.1, 0, 0.1) for b in (0.95, 1, 1.05) if (a, b) != (0, 1)]
    assert min(kl_fits.forward(p, *place) for place in around) > best.forward


@pytest.mark.parametrize("gap", kl_fits.GAPS)
def test_what_is_called_a_minimum_is_one(found, gap):
    p = kl_fits.target(gap)
    for fit in filter(None, found.nearer[gap]):
        slope, curvature = kl_fits.slope_and_curvature(p, fit)
        assert slope < 1e-6
        assert curvature > 0.1


@pytest.mark.parametrize("gap", kl_fits.GAPS)
def test_a_minimum_costs_at_most_minus_log_weight(found, gap):
    for fit, weight in zip(found.nearer[gap], (0.3, 0.7), strict=True):
        assert fit is None or fit.reverse <= -math.log(weight) + 1e-9


def test_far_apart_it_costs_just_that_and_so_the_heavier_is_better_and_not_the_higher(found):
    light, heavy = found.nearer[8.0]
    assert light.reverse == pytest.approx(-math.log(0.3), abs=1e-5)
    assert heavy.reverse == pytest.approx(-math.log(0.7), abs=3e-5)
    p = kl_fits.target()
    heights = p.log_prob(p.means).exp()
    assert heights.tolist() == pytest.approx([0.5984, 0.1862], abs=1e-4)
    assert heights[0] > 3 * heights[1]
    assert light.reverse > heavy.reverse + 0.8


def test_too_near_a_light_component_has_no_minimum_of_its_own(found):
    assert found.nearer[2.0][0] is None
    assert all(fit is not None for gap, fits in found.nearer.items() if gap > 2 for fit in fits)


def test_the_start_decides(found):
    owners = {mu: kl_fits.owner(kl_fits.target(), fit) for mu, fit in found.starts.items()}
    assert [mu for mu, k in owners.items() if k == 0] == [-5.0, -4.0, -3.0]


def test_a_narrow_q_prefers_the_higher_peak_and_a_wide_one_the_heavier():
    p = kl_fits.target(20.0)
    equal = kl_fits.crossing(p)
    costs = kl_fits.at_fixed_width(p, torch.tensor([0.9 * equal, equal, 1.1 * equal]).double())
    assert costs[0, 0] < costs[0, 1]
    assert float(costs[1, 0]) == pytest.approx(float(costs[1, 1]), abs=1e-6)
    assert costs[2, 0] > costs[2, 1]
    for std, row in zip((0.9 * equal, 1.1 * equal), costs[::2], strict=True):
        by_quadrature = kl_fits.reverse(p, p.means, torch.full((2,), math.log(std)).double())
        assert by_quadrature.tolist() == pytest.approx(row.tolist(), abs=1e-6)  # the other component is too far to add


def test_in_the_limit_of_no_width_only_heights_count():
    p = kl_fits.target()
    cost = kl_fits.at_fixed_width(p, torch.tensor([1e-3]).double())[0]
    heights = p.log_prob(p.means)
    assert float(cost[1] - cost[0]) == pytest.approx(float(heights[0] - heights[1]), abs=1e-4)


def test_the_page_tells_these_numbers_and_it_draws(found, tmp_path):
    assert tells("kl_fits", kl_fits.told(found))
    kl_fits.drawn(found).savefig(tmp_path / "picture.png")
