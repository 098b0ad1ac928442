"""Estimates of a gradient: unbiased where they say so, with the variances that closed forms and enumeration give."""

import math

import pytest
import torch

import gradients
from example_page import tells
from gradients import BITS, DIMENSIONS, TEMPERATURES


@pytest.fixture(scope="module")
def found():
    return gradients.measured()


def noise(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shift", [0.0, 1.0, -2.0])
def test_both_estimates_have_the_exact_gradient_as_their_mean(shift):
    mu, e = torch.full((3,), shift, dtype=torch.float64), noise(200_000, 3)
    for estimate in (
        gradients.pathwise(gradients.half_square, mu, e),
        gradients.score_function(gradients.half_square, mu, e),
        gradients.score_function(gradients.half_square, mu, e, 7.0),
    ):
        stderr = estimate.std(0) / len(e) ** 0.5
        assert bool(((estimate.mean(0) - shift).abs() < 4.5 * stderr).all())


@pytest.mark.parametrize("shift", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("d", [1, 3])
def test_closed_forms_are_gaussian_integrals(d, shift):
    """By Gauss and Hermite, which is exact for polynomials."""
    nodes, weights = (torch.from_numpy(part) for part in gauss(12))
    e = torch.cartesian_prod(*[nodes] * d).reshape(-1, d)
    w = torch.cartesian_prod(*[weights] * d).reshape(-1, d).prod(1)
    f = 0.5 * (e + shift).square().sum(1)
    baseline = float(w @ (f * e[:, 0] ** 2))
    assert gradients.best_baseline(d, shift) == pytest.approx(baseline, rel=1e-10)
    exact = gradients.variances(d, shift)
    for name, b in (("score function", 0.0), ("with baseline", baseline)):
        each = (f - b) * e[:, 0]
        assert float(w @ each) == pytest.approx(shift, abs=1e-10)
        assert exact[name] == pytest.approx(float(w @ each**2) - shift**2, rel=1e-9)
    around = [float(w @ (((f - baseline - step) * e[:, 0]) ** 2)) - shift**2 for step in (-0.1, 0.1)]
    assert min(around) > exact["with baseline"]


def gauss(n):
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


@pytest.mark.parametrize("d", DIMENSIONS)
def test_measured_variances_are_those(found, d):
    for name, exact in gradients.variances(d).items():
        assert found.measured[d][name] == pytest.approx(exact, rel=0.15)


def test_they_grow_as_the_table_says():
    few, many = gradients.variances(1000), gradients.variances(2000)
    grown = {name: math.log2(many[name] / few[name]) for name in few}
    assert grown == pytest.approx({"pathwise": 0, "score function": 2, "with baseline": 1}, abs=0.02)


@pytest.mark.parametrize("k", [0.2, 1.0, 3.0])
def test_of_a_sine(k):
    e = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    w = (-0.5 * e.square()).softmax(0)
    gradient = k * math.exp(-(k**2) / 2)
    exact = gradients.variances_of_sine(torch.tensor(k, dtype=torch.float64))
    for name, each in (("pathwise", k * (k * e).cos()), ("score function", (k * e).sin() * e)):
        assert float(w @ each) == pytest.approx(gradient, abs=1e-12)
        assert float(exact[name]) == pytest.approx(float(w @ each**2) - gradient**2, abs=1e-12)


def test_pathwise_is_not_always_better():
    at = gradients.sine_crossing()
    before, equal, after = (
        gradients.variances_of_sine(torch.tensor(at * s, dtype=torch.float64)) for s in (0.9, 1, 1.1)
    )
    assert before["pathwise"] < before["score function"]
    assert float(equal["pathwise"]) == pytest.approx(float(equal["score function"]), rel=1e-9)
    assert after["pathwise"] > after["score function"]


@pytest.mark.parametrize("d", BITS)
def test_the_score_function_of_bits_has_the_gradient_as_its_mean(found, d):
    logits = torch.full((d,), gradients.LOGIT, dtype=torch.float64, requires_grad=True)
    bits, _ = gradients.words(d)
    weights = torch.distributions.Bernoulli(logits=logits).log_prob(bits).sum(1).exp()
    assert float(weights.detach().sum()) == pytest.approx(1, abs=1e-12)
    (exact,) = torch.autograd.grad(weights @ gradients.of_bits(bits), logits)
    raw, better = found.bits[d]
    assert raw.mean == pytest.approx(float(exact[0]), rel=1e-10)
    assert better.mean == pytest.approx(float(exact[0]), rel=1e-10)
    assert better.variance < raw.variance


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_relaxation_s_moments_are_those_of_draws_through_autograd(temperature):
    d, n = 4, 400_000
    u = torch.rand(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = torch.full((n, d), gradients.LOGIT, dtype=torch.float64, requires_grad=True)
    y = ((logits + u.logit()) / temperature).sigmoid()
    (each,) = torch.autograd.grad(gradients.of_bits(y).sum(), logits)
    exact = gradients.relaxed(d, temperature)
    stderr = float(each[:, 0].std()) / n**0.5
    assert abs(float(each[:, 0].mean()) - exact.mean) < 4 * stderr
    assert float(each[:, 0].var()) == pytest.approx(exact.variance, rel=0.02)


@pytest.mark.parametrize("d", BITS)
def test_the_relaxation_s_bias_falls_with_the_temperature_and_its_variance_grows(found, d):
    rows = [found.relaxed[d][t] for t in TEMPERATURES]
    bias = [abs(row.mean - found.bits[d][0].mean) for row in rows]
    spread = [row.variance for row in rows]
    assert bias[0] > 0.01
    assert bias[-1] < 0.05 * bias[0]
    assert spread == sorted(spread)
    assert spread[-1] / spread[-2] == pytest.approx(TEMPERATURES[-2] / TEMPERATURES[-1], rel=0.25)


def test_at_last_the_bias_is_proportional_to_the_temperature():
    exact = gradients.reinforced(1, baseline=False).mean
    few, half = (gradients.relaxed(1, t).mean - exact for t in (0.01, 0.005))
    assert few / half == pytest.approx(2, rel=0.02)


def test_for_many_bits_the_relaxation_varies_less_at_a_temperature_of_small_bias(found):
    raw, better = found.bits[12]
    half = found.relaxed[12][0.5]
    assert abs(half.mean - raw.mean) < 0.2 * raw.mean
    assert half.variance < 0.1 * better.variance < 0.1 * raw.variance


def test_the_page_tells_these_numbers_and_it_draws(found, tmp_path):
    assert tells("gradients", gradients.told(found))
    gradients.drawn(found).savefig(tmp_path / "picture.png")
