"""Divergences from known densities: equal to closed forms, honest about bounds and about infinity."""

import copy
import math

import pytest
import torch

from pmodel.data.density import Blobs
from pmodel.data.toy import TOYS
from pmodel.errors import BadInput, ShapeError
from pmodel.likelihood import Likelihood
from pmodel.metrics.truth import BATCH, kl_by_quadrature, kl_data_model, kl_model_data
from pmodel.randomness import generator

TRUTH = Blobs([(0.5, -1.0)], [(1.0, 0.0), (0.6, 0.8)])
OTHER = Blobs([(0.0, -0.7)], [(1.2, 0.0), (0.1, 0.9)])


def closed_form(p, q):
    """KL of Gaussians: half of tr S2⁻¹S1 + (m2 - m1)ᵀS2⁻¹(m2 - m1) - 2 + log det S2 / det S1."""
    one, two = p.factor @ p.factor.T, q.factor @ q.factor.T
    shift, inverse = (q.means - p.means)[0], torch.linalg.inv(two)
    return float((inverse @ one).trace() + shift @ inverse @ shift - 2 + two.logdet() - one.logdet()) / 2


def scored(density, x, kind="exact", slack=0.0):
    return Likelihood(density.log_prob(x) - slack, kind, kind)


def test_sums_over_the_grid_are_the_closed_forms_of_gaussians():
    forward, backward = kl_by_quadrature(TRUTH, OTHER.log_prob)
    assert forward.value == pytest.approx(closed_form(TRUTH, OTHER), abs=1e-9)
    assert backward.value == pytest.approx(closed_form(OTHER, TRUTH), abs=1e-6)
    assert (forward.kind, forward.outside, forward.flags) == ("exact", 0, ())
    assert max(forward.stderr, backward.stderr) < 1e-6
    assert forward.value != pytest.approx(backward.value, rel=0.05)


def test_sums_over_a_grid_that_is_too_coarse_for_the_model_say_so():
    """At the edges of a box the sum depends on where the grid lies; the standard error covers that and is no excuse."""

    def boxed(x):
        inside = ((x + 0.21).abs() < 1.23).all(1)
        return (0.99 * OTHER.log_prob(x).exp() + 0.01 * inside / 2.46**2).log()

    fine = copy.copy(TRUTH)
    fine.spacing = TRUTH.spacing / 8
    for coarse, right in zip(kl_by_quadrature(TRUTH, boxed), kl_by_quadrature(fine, boxed), strict=True):
        assert coarse.value != pytest.approx(right.value, abs=1e-5)
        assert coarse.value == pytest.approx(right.value, abs=4 * coarse.stderr)
        assert 1e-5 < coarse.stderr < 0.05


def test_the_grid_is_asked_for_in_parts_and_the_truth_on_it_once():
    truth, sizes, asked = Blobs([(0.0, 0.0)], [(1.0, 0.0), (0.0, 1.0)]), [], []
    exact = truth._log_prob
    truth._log_prob = lambda x: asked.append(len(x)) or exact(x)
    for _ in range(2):
        found, _ = kl_by_quadrature(truth, lambda x: sizes.append(len(x)) or OTHER.log_prob(x))
    assert max(sizes) <= BATCH
    assert sum(sizes) == 2 * found.n == 2 * sum(asked)


def test_means_over_points_are_the_closed_forms_of_gaussians():
    x, y = (density.sample(20_000, generator(k)) for k, density in enumerate((TRUTH, OTHER)))
    forward = kl_data_model(TRUTH.log_prob(x), scored(OTHER, x))
    backward = kl_model_data(TRUTH.log_prob(y), scored(OTHER, y))
    assert forward.value == pytest.approx(closed_form(TRUTH, OTHER), abs=5 * forward.stderr)
    assert backward.value == pytest.approx(closed_form(OTHER, TRUTH), abs=5 * backward.stderr)
    assert 5 * max(forward.stderr, backward.stderr) < 0.2 * forward.value
    assert forward.kind == backward.kind == "exact"


@pytest.mark.parametrize("name", TOYS)
def test_the_truth_has_no_divergence_from_itself(name):
    truth = TOYS[name].make()
    for found in kl_by_quadrature(truth, truth.log_prob):
        assert found.value == 0
    x = truth.sample(500, generator(0))
    assert kl_data_model(truth.log_prob(x), scored(truth, x)).value == 0


def test_the_data_direction_is_the_gap_to_the_entropy():
    truth, wide = TOYS["moons"].make(), Blobs([(0.5, 0.25)], [(1.0, 0.0), (0.0, 0.6)])
    x = truth.sample(20_000, generator(0))
    exact, _ = kl_by_quadrature(truth, wide.log_prob)
    sampled = kl_data_model(truth.log_prob(x), scored(wide, x))
    assert sampled.value == pytest.approx(exact.value, abs=5 * sampled.stderr)
    cross = -float(wide.log_prob(x).mean())
    assert cross - truth.entropy == pytest.approx(exact.value, abs=0.05)


@pytest.mark.parametrize(
    ("kind", "of_data", "of_model"),
    [
        ("exact", "exact", "exact"),
        ("lower_bound", "upper_bound", "lower_bound"),
        ("estimate", "estimate", "estimate"),
    ],
)
def test_a_bound_on_the_likelihood_bounds_the_divergence_from_the_right_side(kind, of_data, of_model):
    x, y = TRUTH.sample(1000, generator(0)), OTHER.sample(1000, generator(1))
    slack = 0.0 if kind == "exact" else 0.3
    forward = kl_data_model(TRUTH.log_prob(x), scored(OTHER, x, kind, slack))
    backward = kl_model_data(TRUTH.log_prob(y), scored(OTHER, y, kind, slack))
    assert (forward.kind, backward.kind) == (of_data, of_model)
    assert forward.value == pytest.approx(kl_data_model(TRUTH.log_prob(x), scored(OTHER, x)).value + slack)
    assert backward.value == pytest.approx(kl_model_data(TRUTH.log_prob(y), scored(OTHER, y)).value - slack)


def test_samples_outside_the_support_are_counted_not_averaged():
    truth = TOYS["checkerboard"].make()
    wide = Blobs([(0.0, 0.0)], [(2.0, 0.0), (0.0, 2.0)])
    y = wide.sample(2000, generator(0))
    found = kl_model_data(truth.log_prob(y), scored(wide, y))
    assert found.value is None
    assert found.stderr is None
    assert found.outside == int(torch.isneginf(truth.log_prob(y)).sum()) > 900
    assert found.outside_share == pytest.approx(found.outside / 2000)
    assert found.flags == (f"infinite: {found.outside} of 2000 samples lie where the truth has no mass",)
    forward, backward = kl_by_quadrature(truth, wide.log_prob)
    assert math.isfinite(forward.value)
    assert backward.value is None
    assert backward.outside_share == pytest.approx(0.5 * math.erf(2**0.5) ** 2, abs=0.01)


def test_data_that_the_model_rules_out_are_counted_not_averaged():
    board = TOYS["checkerboard"].make()
    x = TRUTH.sample(1000, generator(0))
    found = kl_data_model(TRUTH.log_prob(x), scored(board, x))
    assert found.value is None
    assert found.outside == int(torch.isneginf(board.log_prob(x)).sum()) > 0
    assert "data are impossible under the model" in found.flags[0]
    bound = kl_data_model(TRUTH.log_prob(x), scored(board, x, "lower_bound"))
    assert (bound.value, bound.outside) == (None, 0)
    assert "no finite lower bound" in bound.flags[0]
    assert kl_model_data(TRUTH.log_prob(x), scored(board, x, "lower_bound")).flags == bound.flags


@pytest.mark.parametrize("std", [0.001, 20.0])
def test_a_model_that_the_grid_does_not_hold_has_no_exact_divergence(std):
    """Narrower than the spacing with its peak on a point, or wider than the window."""
    grid = TRUTH.grid()
    centre = grid[(grid - TRUTH.means).square().sum(1).argmin()]
    model = Blobs([tuple(centre.tolist())], [(std, 0.0), (0.0, std)])
    forward, backward = kl_by_quadrature(TRUTH, model.log_prob)
    assert backward.value is None
    assert (forward.value is None) == (std < 1)
    assert all("the model's mass on the grid is" in found.flags[-1] for found in (forward, backward))


def test_one_point_has_no_standard_error():
    x = TRUTH.sample(1, generator(0))
    found = kl_data_model(TRUTH.log_prob(x), scored(OTHER, x))
    assert found.stderr is None
    assert found.flags == ("one point has no standard error",)


def test_scores_that_are_no_scores_are_refused_in_words():
    x = TRUTH.sample(5, generator(0))
    log_p = TRUTH.log_prob(x)
    with pytest.raises(ShapeError, match=r"\(5,\), \(4,\)"):
        kl_data_model(log_p, scored(OTHER, x[:4]))
    with pytest.raises(BadInput, match=r"model must be numbers(.|\n)*5 that are not"):
        kl_data_model(log_p, Likelihood(log_p * math.nan, "exact", ""))
    with pytest.raises(BadInput, match="5 of 5 data have density 0"):
        kl_data_model(log_p - math.inf, scored(OTHER, x))
    with pytest.raises(BadInput, match="5 of 5 samples"):
        kl_model_data(log_p, scored(OTHER, x, slack=math.inf))
    with pytest.raises(BadInput, match="needs points"):
        kl_data_model(log_p[:0], scored(OTHER, x[:0]))
