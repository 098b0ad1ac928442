"""Monte Carlo estimates of p(x) of probabilistic PCA, against Gaussian integrals."""

import math

import pytest
import torch

import evidence
from example_page import tells


@pytest.fixture(scope="module")
def rows():
    return {(row.d, row.way): row for row in evidence.measured()}


def on_grid(pca, q):
    """log p(x) and log(1 + ρ) of a model with two latents, by sums over a plain grid."""
    line = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    joint = pca.log_likelihood(z) + pca.prior.log_prob(z)
    area = 2 * math.log(float(line[1] - line[0]))
    evidence_ = float(torch.logsumexp(joint, 0)) + area
    return evidence_, float(torch.logsumexp(2 * joint - q.log_prob(z), 0)) + area - 2 * evidence_


@pytest.mark.parametrize("way", evidence.WAYS)
def test_the_evidence_and_the_variance_are_the_integrals(way):
    pca = evidence.model(2)
    q = pca.ways()[way]
    log_evidence, moment = on_grid(pca, q)
    assert pca.log_evidence == pytest.approx(log_evidence, abs=1e-9)
    assert pca.log_relative_second_moment(q) == pytest.approx(moment, abs=1e-8)


@pytest.mark.parametrize("way", evidence.WAYS)
def test_samples_and_densities_of_a_gaussian_belong_together(way):
    q = evidence.model(5).ways()[way]
    z = q.sample(40_000, torch.Generator().manual_seed(1))
    covariance = torch.linalg.inv(q.precision)
    assert torch.allclose(z.mean(0), q.mean, atol=0.03)
    assert torch.allclose(z.T.cov(), covariance, atol=0.03)
    reference = torch.distributions.MultivariateNormal(q.mean, precision_matrix=q.precision)
    assert torch.allclose(q.log_prob(z), reference.log_prob(z))


@pytest.mark.parametrize("d", evidence.DIMENSIONS)
def test_the_posterior_weighs_every_draw_alike(d):
    pca = evidence.model(d)
    weights = pca.log_weights(pca.posterior, 50, torch.Generator().manual_seed(0))
    assert torch.allclose(weights, torch.full_like(weights, pca.log_evidence), rtol=0, atol=1e-9)
    assert pca.log_relative_second_moment(pca.posterior) == pytest.approx(0, abs=1e-9)


def test_the_factorised_posterior_is_the_best_of_its_kind():
    pca = evidence.model(5)
    exact = torch.distributions.MultivariateNormal(pca.posterior.mean, precision_matrix=pca.posterior.precision)

    def divergence(mean, precisions):
        q = torch.distributions.MultivariateNormal(mean, precision_matrix=precisions.diag())
        return float(torch.distributions.kl_divergence(q, exact))

    best = pca.factorised()
    precisions = best.precision.diagonal()
    least = divergence(best.mean, precisions)
    for k in range(5):
        for sign in (-1, 1):
            step = torch.zeros(5, dtype=torch.float64)
            step[k] = 0.05 * sign
            assert divergence(best.mean, precisions * (1 + step)) > least
            assert divergence(best.mean + step, precisions) > least


@pytest.mark.parametrize(("d", "way"), [(2, "prior"), (2, "wider"), (5, "prior"), (5, "wider"), (10, "wider")])
def test_errors_and_biases_are_those_of_theory(rows, d, way):
    row = rows[d, way]
    n, repeats = row.counts[-1], evidence.REPEATS
    rho = math.expm1(row.log_moment)
    assert row.errors[-1] == pytest.approx(math.sqrt(rho / n), rel=0.3)
    assert row.bias[-1] == pytest.approx(-rho / (2 * n), abs=4 * math.sqrt(rho / n / repeats))


def test_the_estimate_itself_is_unbiased():
    pca = evidence.model(2)
    q = pca.ways()["prior"]
    n = 200_000
    ratio = (pca.log_weights(q, n, torch.Generator().manual_seed(3)) - pca.log_evidence).exp()
    stderr = math.sqrt(math.expm1(pca.log_relative_second_moment(q)) / n)
    assert abs(float(ratio.mean()) - 1) < 4 * stderr
    assert float(ratio.std()) / math.sqrt(n) == pytest.approx(stderr, rel=0.1)


def test_the_prior_is_hopeless_in_twenty_dimensions_and_wider_is_not(rows):
    assert rows[20, "prior"].bias[-1] < -50
    assert rows[20, "wider"].errors[-1] < 1
    assert rows[20, "prior"].needed > 1e12 * rows[20, "wider"].needed


@pytest.mark.parametrize("d", [5, 10, 20])
def test_a_narrow_guess_has_no_variance_and_its_errors_fall_slowly(rows, d):
    row = rows[d, "factorised"]
    assert row.log_moment == math.inf
    assert row.needed == math.inf
    if d > 5:  # n grows 256-fold: a finite variance would divide the error by 16
        assert row.errors[row.counts.index(16)] < 6 * row.errors[-1]


def test_the_page_tells_these_numbers_and_it_draws(rows, tmp_path):
    found = evidence.measured()
    assert tells("evidence", evidence.told(found))
    evidence.drawn(found).savefig(tmp_path / "picture.png")
