"""Mixtures of finitely many components against the integral, with closed forms of a straight line."""

import math

import pytest
import torch

import infinite_mixture
from example_page import tells
from infinite_mixture import Plane, dense, far, legendre, placed


@pytest.fixture(scope="module")
def found():
    return infinite_mixture.measured()


def line(z):
    return torch.stack([2 * z, torch.zeros_like(z)], -1)


def test_of_a_line_the_integral_is_in_closed_form():
    """Uniform on (-2, 2) plus noise across, and noise alone up."""
    plane, s = Plane(0.5, line), 0.5
    x, y = plane.x.T
    across = (torch.special.ndtr((x + 2) / s) - torch.special.ndtr((x - 2) / s)) / 4
    wanted = across.clamp_min(1e-300).log() - 0.5 * (y / s) ** 2 - 0.5 * math.log(2 * math.pi * s**2)
    near = wanted > -20  # differences of distribution functions cancel in the tails
    assert torch.allclose(plane.log_prob[near], wanted[near], atol=1e-6)


def test_one_component_and_a_line_of_no_length_are_the_same_gaussian():
    plane = Plane(0.5, lambda z: torch.zeros(*z.shape, 2, dtype=z.dtype))
    assert far(plane, placed(1)) == pytest.approx((0, 0), abs=1e-12)
    assert plane.information == pytest.approx(0, abs=1e-9)
    assert plane.spread == pytest.approx(0, abs=1e-4)


def test_divergences_of_two_gaussians_are_the_closed_form():
    plane = Plane(0.5, lambda z: torch.stack([0 * z, 0 * z], -1))
    shifted = Plane(0.5, lambda z: torch.stack([0 * z + 0.8, 0 * z], -1)).log_prob
    kl, tv = plane.divergence(shifted)
    assert kl == pytest.approx(0.5 * (0.8 / 0.5) ** 2, abs=1e-7)
    assert tv == pytest.approx(math.erf(0.8 / (2 * math.sqrt(2) * 0.5)), abs=5e-3)  # |p - q| has a kink on the grid


@pytest.mark.parametrize("std", infinite_mixture.NOISES)
def test_the_dense_sum_is_the_integral(std):
    plane = Plane(std)
    assert float(plane.log_prob.exp().sum()) * plane.area == pytest.approx(1, abs=1e-9)
    assert far(plane, legendre(600)) == pytest.approx((0, 0), abs=1e-12)
    assert float(dense().weights.sum()) == pytest.approx(1, abs=1e-12)


def test_information_is_the_expected_ratio_of_densities():
    plane, noise = Plane(0.8), torch.Generator().manual_seed(0)
    z = 2 * torch.rand(4000, generator=noise, dtype=torch.float64) - 1
    x = infinite_mixture.curve(z) + 0.8 * torch.randn(4000, 2, generator=noise, dtype=torch.float64)
    at = torch.cdist(x, infinite_mixture.curve(dense().z)).square() / -(2 * 0.8**2)
    own = (x - infinite_mixture.curve(z)).square().sum(1) / -(2 * 0.8**2)
    ratio = (own - torch.logsumexp(at + dense().weights.log(), 1)).exp()
    assert abs(float(ratio.mean()) - 1 - plane.information) < 4 * float(ratio.std()) / 4000**0.5


def test_drawn_components_come_near_as_theory_says(found):
    kl, tv = found.ways["drawn"][-1]
    K = infinite_mixture.COUNTS[-1]
    assert kl == pytest.approx(found.information / (2 * K), rel=0.2)
    assert tv == pytest.approx(found.spread / math.sqrt(2 * math.pi * K), rel=0.1)
    assert found.ways["drawn"][-2][1] / tv == pytest.approx(math.sqrt(2), rel=0.15)


def test_placed_ones_as_the_midpoint_rule_and_legendre_beyond_any_power(found):
    (kl, tv), (kl_twice, tv_twice) = found.ways["placed"][-2:]
    assert math.log2(tv / tv_twice) == pytest.approx(2, abs=0.1)
    assert math.log2(kl / kl_twice) == pytest.approx(4, abs=0.2)
    at = infinite_mixture.COUNTS.index(64)
    assert found.ways["legendre"][at][0] < 1e-4 * found.ways["placed"][at][0]


def test_less_noise_needs_more_components(found):
    needs = [found.enough[std] for std in infinite_mixture.NOISES]
    assert needs[0]["I"] > needs[1]["I"] > needs[2]["I"]
    assert all(row["drawn"] > 8 * row["placed"] for row in needs)


def test_the_page_tells_these_numbers_and_it_draws(found, tmp_path):
    assert tells("infinite_mixture", infinite_mixture.told(found))
    infinite_mixture.drawn(found).savefig(tmp_path / "picture.png")
