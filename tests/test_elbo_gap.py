"""The gap of the evidence lower bound by the family of q: an identity to 1e-6, and closed forms."""

import math

import pytest
import torch

import elbo_gap
from elbo_gap import integral, standard
from example_page import tells


@pytest.fixture(scope="module")
def found():
    return elbo_gap.measured()


def gap(found, *key):
    return found[key][1].divergence


def test_the_integral_is_exact_where_it_is_known():
    assert integral(lambda z: standard(z).exp()) == pytest.approx(1, abs=1e-10)
    assert integral(lambda z: standard(z).exp() * z[:, 0].square() * z[:, 1] ** 4) == pytest.approx(3, abs=1e-9)
    peak = 1e-3 * math.sqrt(2 * math.pi)
    assert integral(lambda z: (-0.5 * ((z[:, 0] - 0.3) / 1e-3) ** 2).exp() * standard(z).exp()) == pytest.approx(
        peak * math.exp(-0.045) / math.sqrt(2 * math.pi), rel=1e-4
    )


@pytest.mark.parametrize("problem", [elbo_gap.correlated(), elbo_gap.bimodal()], ids=["correlated", "bimodal"])
def test_the_evidence_is_the_integral_of_the_joint(problem):
    assert math.log(integral(lambda z: problem.log_joint(z).exp())) == pytest.approx(problem.log_evidence, abs=1e-9)


def test_bound_and_divergence_add_up_to_the_evidence(found):
    for problem, row in found.values():
        assert row.bound + row.divergence == pytest.approx(problem.log_evidence, abs=1e-6)


def test_every_q_is_a_density(found):
    for _, row in found.values():
        with torch.no_grad():
            assert integral(lambda z, q=row.q: q.log_prob(z).exp()) == pytest.approx(1, abs=1e-6)


def test_independent_normals_lose_what_the_correlation_says(found):
    r = elbo_gap.correlation()
    assert r == pytest.approx(-0.9)
    assert gap(found, "correlated", "independent") == pytest.approx(-0.5 * math.log(1 - r**2), abs=1e-6)


def test_a_gaussian_posterior_is_found_exactly(found):
    assert gap(found, "correlated", "Gaussian") == pytest.approx(0, abs=1e-6)


def test_the_second_mode_is_worth_log_two(found):
    """The modes are mirror images and far apart: a mixture is the Gaussian twice, and gains just that."""
    gained = gap(found, "bimodal", "Gaussian") - gap(found, "bimodal", "mixture of two")
    assert gained == pytest.approx(math.log(2), abs=1e-4)
    assert found["bimodal", "mixture of two"][1].q.logits.softmax(0).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


def test_richer_families_lose_less(found):
    gaps = [gap(found, "bimodal", family) for family in ("independent", "Gaussian", "mixture of two", "flow")]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > math.log(2) + 0.2
    assert 0 < gaps[-1] < 0.05


def test_a_flow_s_inverse_is_its_inverse(found):
    flow = found["bimodal", "flow"][1].q
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        z, ladj = flow.map(noise)
        assert torch.allclose(flow.log_prob(z), standard(noise) - ladj, atol=1e-6)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda e: flow.map(e[None])[0][0]))(noise[:5])
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], ladj[:5], atol=1e-8)


@pytest.mark.slow
def test_a_flow_that_is_not_led_ends_at_one_mode():
    problem = elbo_gap.bimodal()
    row = elbo_gap.judged(elbo_gap.trained(elbo_gap.fresh_flow(), problem, flattened=1.0), problem)
    assert row.divergence == pytest.approx(math.log(2), abs=0.05)


def test_the_page_tells_these_numbers_and_it_draws(found, tmp_path):
    assert tells("elbo_gap", elbo_gap.told(found))
    elbo_gap.drawn(found).savefig(tmp_path / "picture.png")
