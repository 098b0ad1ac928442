"""The Fréchet distance: closed forms, other people's formulas, every way to gather moments, words for what is singular."""

import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from fidelity_oracle import formulas
from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics.fid import Moments, fid_of, frechet_distance


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def mixed(n, dimensions, seed=0, shift=0.0):
    """Correlated features whose scales differ by four orders."""
    mixing = torch.linalg.qr(noise(dimensions, dimensions, seed=99)).Q * torch.logspace(1, -3, dimensions).double()
    return noise(n, dimensions, seed=seed) @ mixing + shift


def by_definition(x, y):
    """The definition, with 60 digits: rounding errors under a root are half as many digits."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        means, covariances = zip(*(moments(mpmath, features) for features in (x, y)), strict=True)
        roots = sum(mpmath.sqrt(abs(value)) for value in mpmath.eig(covariances[0] * covariances[1], right=False))
        shift = means[0] - means[1]
        traces = sum(s[k, k] for s in covariances for k in range(s.rows))
        return float((shift * shift.T)[0] + traces - 2 * roots)


def moments(mpmath, x):
    rows = mpmath.matrix(x.tolist())
    mean = mpmath.matrix([[mpmath.fsum(rows[:, k]) / len(x) for k in range(x.shape[1])]])
    centred = rows - mpmath.matrix([list(mean) for _ in range(len(x))])
    return mean, centred.T * centred / (len(x) - 1)


def distance(x, y):
    return frechet_distance(Moments.of(x), Moments.of(y))


# Values


@pytest.mark.parametrize("dimensions", [1, 7, 40])
def test_distance_of_commuting_gaussians_is_the_closed_form(dimensions):
    mu, s1, s2 = noise(dimensions), noise(dimensions, seed=1).exp(), noise(dimensions, seed=2).exp()
    q = torch.linalg.qr(noise(dimensions, dimensions, seed=3)).Q
    a, b = (Moments.known(1000, m, q @ torch.diag(s) @ q.T) for m, s in ((mu, s1), (mu + 0.5, s2)))
    expected = dimensions * 0.25 + float((s1.sqrt() - s2.sqrt()).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [4, 6, 7, 30])
@pytest.mark.parametrize("m", [4, 6, 7, 40])
def test_distance_is_the_definition_whichever_side_is_short_of_data(n, m):
    x, y = mixed(m, 6), mixed(n, 6, seed=1, shift=0.3)
    assert distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-9)


@pytest.mark.parametrize(("m", "n"), [(500, 400), (500, 20), (20, 500), (25, 30)])
def test_distance_is_that_of_torch_fidelity(m, n, monkeypatch):
    oracle = formulas("fid", monkeypatch)
    x, y = mixed(m, 64), mixed(n, 64, seed=1, shift=0.1)
    statistics = [oracle.fid_features_to_statistics(features) for features in (x, y)]
    expected = oracle.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert distance(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [4, 20, 50])
def test_few_data_take_another_way_to_the_same_value(n):
    x, y = mixed(100, 20), mixed(n, 20, seed=1)
    known = Moments.known(n, y.mean(0), torch.cov(y.T))
    assert distance(x, y) == pytest.approx(frechet_distance(Moments.of(x), known), rel=1e-9)


@pytest.mark.parametrize(("m", "n"), [(50, 60), (50, 4), (4, 50), (4, 3)])
def test_distance_is_symmetric_and_zero_to_itself(m, n):
    a, b = Moments.of(noise(m, 8)), Moments.of(noise(n, 8, seed=1) * 2)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_distance_to_constant_features_is_that_of_the_means_and_the_spread():
    x = noise(90, 6) + 2
    expected = float(x.mean(0).square().sum() + torch.cov(x.T).trace())
    assert distance(x, torch.zeros(40, 6)) == pytest.approx(expected, rel=1e-12)
    assert distance(x, torch.zeros(3, 6)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("m", "n"), [(40, 30), (20, 30), (20, 16), (17, 40), (16, 40), (9, 12), (12, 9), (30, 9)])
def test_eigenvalues_of_wide_features_give_what_singular_values_give(m, n, monkeypatch):
    x, y = noise(m, 16), noise(n, 16, seed=1) + 1
    expected = distance(x, y)
    monkeypatch.setattr("pmodel.metrics.fid.WIDE", 4)
    monkeypatch.setattr("pmodel.metrics.fid.BLOCK", 3)
    assert distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_wide_features_are_blocked_and_chunked_alike():
    x = noise(700, 600).float()
    moments = Moments.of(x)
    torch.testing.assert_close(moments.covariance, torch.cov(x.double().T), rtol=1e-9, atol=1e-12)
    assert torch.equal(moments.covariance, moments.covariance.T)
    torch.testing.assert_close(moments.factor.T @ moments.factor, moments.covariance, rtol=1e-9, atol=1e-12)
    assert distance(x, x + 1) == pytest.approx(600, rel=1e-6)


def test_whatever_makes_a_tensor_names_its_device():
    x, y = noise(30, 8), noise(5, 8, seed=1)
    expected = [distance(x, y), distance(y, x), distance(x, x + 1)]
    with torch.device("meta"):  # where a tensor lands that is made without a word on where
        assert [distance(x, y), distance(y, x), distance(x, x + 1)] == expected


# Gathering


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("dimensions", [6, 60, 150])
@pytest.mark.parametrize("sizes", [[100], [1, 99], [33, 33, 34], [0, 100], [10] * 10, [1] * 100])
def test_moments_do_not_depend_on_the_batches(sizes, dimensions, order):
    x = noise(100, dimensions) * 3 + 1e4
    total = Moments(dimensions)
    for part in x.split(sizes)[::order]:
        total = total + Moments.of(part)
    assert total.n == 100
    torch.testing.assert_close(total.mean, x.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(total.covariance, torch.cov(x.T), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(total.variances, torch.cov(x.T).diagonal(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("left", [3, 30])
@pytest.mark.parametrize("right", [4, 40])
def test_kept_data_and_scatters_add(left, right):
    x = noise(left + right, 10) + 5
    total = Moments.of(x[:left]) + Moments.of(x[left:])
    torch.testing.assert_close(total.covariance, torch.cov(x.T), rtol=1e-9, atol=1e-9)


def test_small_sets_hold_no_square_of_the_dimensions():
    moments = Moments.of(noise(10, 5)) + Moments.of(noise(8, 5))
    with pytest.raises(BadInput, match="18 data of 5 features"):
        _ = moments.centred
    few = Moments.of(noise(3, 5)) + Moments.of(noise(1, 5, seed=1))
    assert few.centred.shape == few.factor.shape == (4, 5)


def test_kept_data_do_not_change_with_the_callers():
    x = noise(3, 8)
    moments, before = Moments.of(x), noise(3, 8)
    x.zero_()
    torch.testing.assert_close(moments.covariance, torch.cov(before.T))


def test_moments_gathered_in_two_processes_are_those_of_one():
    sets = [noise(200, 7) + 10, noise(200, 300) + 10]  # one keeps scatters, the other data
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        gathered = list(pool.map(Moments.of, [half for x in sets for half in x.tensor_split(2)]))
    for x, first, second in zip(sets, gathered[::2], gathered[1::2], strict=True):
        together, alone = second + first, Moments.of(x)
        torch.testing.assert_close(together.covariance, alone.covariance, rtol=1e-9, atol=1e-9)
        reference = Moments.of(noise(400, x.shape[1], seed=1))
        assert frechet_distance(reference, together) == pytest.approx(frechet_distance(reference, alone), rel=1e-9)


# What is singular, and what is refused


@pytest.mark.parametrize(
    ("features", "rank", "said"),
    [
        (noise(5, 20), 4, "5 samples cannot span 20 features"),
        (noise(20, 20), 19, "20 samples cannot span 20 features"),
        (torch.ones(90, 3), 0, "3 of 3 features do not vary among the samples"),
        (torch.cat([noise(90, 2), torch.full((90, 1), 0.1)], 1), 2, "1 of 3 features do not vary among the samples"),
        (noise(90, 2) @ noise(2, 5, seed=1), 2, "depend on each other and span only 2 of 5 dimensions"),
    ],
)
def test_singular_covariances_are_flagged_and_give_a_finite_distance(features, rank, said):
    found = fid_of(Moments.of(noise(99, features.shape[1], seed=3)), features, random())
    assert found.rank == rank
    assert len(found.flags) == 1
    assert said in found.flags[0]
    assert math.isfinite(found.value)
    assert Moments.of(features).deficient


def test_a_singular_reference_is_flagged_too():
    found = fid_of(Moments.of(noise(5, 8)), noise(90, 8), random())
    assert found.flags == ("5 real data cannot span 8 features: the distance is too large by that",)


def test_what_is_not_singular_is_not_flagged():
    found = fid_of(Moments.of(noise(90, 8)), noise(90, 8, seed=1), random())
    assert found.flags == ()
    assert found.rank == 8
    assert found.value == pytest.approx(distance(noise(90, 8), noise(90, 8, seed=1)))


def test_moments_refuse_what_is_no_matrix_of_finite_features():
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        Moments.of(torch.ones(3))
    with pytest.raises(RangeError, match="1 that are not, of 2"):
        Moments.of(torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        Moments.of(noise(9, 2)) + Moments.of(noise(9, 3))
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        Moments.known(9, noise(3), noise(2, 3))


def test_distance_refuses_one_datum_and_other_features():
    with pytest.raises(BadInput, match=r"at least two(.|\n)*1\b"):
        distance(noise(9, 2), noise(1, 2))
    with pytest.raises(BadInput, match=r"at least two(.|\n)*1\b"):
        distance(noise(1, 2), noise(9, 2))
    with pytest.raises(BadInput, match=r"at least 2 rows(.|\n)*1\b"):
        fid_of(Moments.of(noise(9, 2)), noise(1, 2), random())
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        distance(noise(9, 2), noise(9, 3))


# Its standard error


def ratio_of_error_to_spread(n, dimensions, shift, times):
    reference = Moments.of(noise(5000, dimensions))
    found = [fid_of(reference, noise(n, dimensions, seed=seed) + shift, random()) for seed in range(1, times + 1)]
    errors = torch.tensor([fid.stderr for fid in found]).square().mean().sqrt()
    return float(errors / torch.tensor([fid.value for fid in found]).std())


@pytest.mark.parametrize(("n", "dimensions", "shift"), [(200, 3, 0.5), (200, 12, 0.5), (20, 30, 2.0)])
def test_the_standard_error_is_the_spread_over_repetitions(n, dimensions, shift):
    assert ratio_of_error_to_spread(n, dimensions, shift, 100) == pytest.approx(1, abs=0.25)


def test_at_the_floor_the_standard_error_is_at_most_twice_the_spread():
    assert 0.9 < ratio_of_error_to_spread(100, 16, 0.0, 60) < 2


def test_few_samples_have_no_standard_error():
    assert fid_of(Moments.of(noise(90, 3)), noise(4, 3), random()).stderr is None
