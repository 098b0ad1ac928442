"""Standard errors by resampling: equal to closed forms, and to the spread over repetitions."""

import math

import pytest
import torch

from pmodel.errors import RangeError
from pmodel.metrics.fid import Moments
from pmodel.metrics.resampling import (
    DRAWS,
    GROUPS,
    LEAST,
    MOST_BOOTSTRAP,
    binomial_stderr,
    bootstrap,
    jackknife,
    stderr_of,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def mean(rows):
    return float(rows.mean())


def correlation(rows):
    return float(torch.corrcoef(rows.T)[0, 1])


def correlated(n, rho, seed):
    x = noise(n, 2, seed=seed)
    return torch.stack([x[:, 0], rho * x[:, 0] + math.sqrt(1 - rho**2) * x[:, 1]], 1)


def jackknifed(statistic, rows, seed=0, groups=GROUPS):
    return jackknife(lambda kept: statistic(kept.rows), rows, generator(seed), gather=Rows, groups=groups)


class Rows:
    def __init__(self, rows):
        self.rows = rows

    def __add__(self, other):
        return Rows(torch.cat([self.rows, other.rows]))


@pytest.mark.parametrize("n", [10, 57, 400])
def test_the_jackknife_of_a_mean_with_a_row_a_group_is_the_textbook_error(n):
    x = noise(n, 1).exp()
    assert jackknifed(mean, x, groups=n) == pytest.approx(float(x.std()) / n**0.5, rel=1e-12)


def test_equal_groups_give_the_short_formula_and_the_permutation_is_the_seeds():
    x = noise(60, 1)
    groups = torch.randperm(60, generator=generator(5)).view(20, 3)
    left = torch.stack([x[groups[[k for k in range(20) if k != j]].flatten()].mean() for j in range(20)])
    expected = float((19 / 20 * (left - left.mean()).square().sum()).sqrt())
    assert jackknifed(mean, x, seed=5) == pytest.approx(expected, rel=1e-12)
    assert jackknifed(mean, x, seed=6) != pytest.approx(expected, rel=1e-3)


def test_rows_that_are_sorted_do_not_matter():
    """Consecutive groups of sorted rows would take the spread of the data for the error of the mean."""
    x = noise(2000, 1).sort(0).values
    assert jackknifed(mean, x) == pytest.approx(1 / 2000**0.5, rel=0.5)


@pytest.mark.parametrize("n", [25, 47, 400])
@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
def test_the_error_of_a_mean_is_the_known_one_on_average(method, n):
    found = []
    for seed in range(100):
        x = noise(n, 1, seed=seed) * 3
        found.append(
            bootstrap(mean, x, generator(seed), draws=50) if method == "bootstrap" else jackknifed(mean, x, seed)
        )
    squares = torch.tensor(found).square()
    bias = (n - 1) / n if method == "bootstrap" else 1.0  # of the plug-in variance
    expected = bias * 9 / n
    assert float(squares.mean()) == pytest.approx(expected, abs=5 * float(squares.std()) / 10)
    assert float(squares.std()) / 10 < 0.06 * expected


@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
def test_the_error_of_a_correlation_is_fishers(method):
    """(1 - rho²) / sqrt(n): a statistic that is no mean."""
    n, rho = 400, 0.6
    rows = [correlated(n, rho, seed) for seed in range(60)]
    if method == "bootstrap":
        found = [bootstrap(correlation, x, generator(1), draws=60) for x in rows]
    else:
        found = [jackknifed(correlation, x) for x in rows]
    assert float(torch.tensor(found).mean()) == pytest.approx((1 - rho**2) / n**0.5, rel=0.08)


def test_what_adds_is_gathered_once_for_each_group_and_gives_the_same():
    rows = noise(300, 5) @ noise(5, 5, seed=1)
    gathered = []

    def gather(part):
        gathered.append(len(part))
        return Moments.of(part)

    def spread(moments):
        return float(moments.covariance.logdet())

    quick = jackknife(spread, rows, generator(3), gather=gather)
    assert sorted(gathered) == [15] * GROUPS
    assert quick == pytest.approx(jackknifed(lambda part: spread(Moments.of(part)), rows, seed=3), rel=1e-9)


def test_the_rule_takes_the_bootstrap_for_few_dimensions_and_the_jackknife_for_many():
    sizes = []

    def statistic(part):
        sizes.append(len(part))
        return float(part[:, 0].mean())

    few, many = noise(100, MOST_BOOTSTRAP), noise(100, MOST_BOOTSTRAP + 1)
    stderr_of(statistic, few, generator())
    assert sizes == [100] * DRAWS
    sizes.clear()
    stderr_of(statistic, few, generator(), draws=7)
    assert sizes == [100] * 7
    sizes.clear()
    stderr_of(statistic, many, generator())
    assert sorted(sizes) == [95] * GROUPS + [100]


def test_both_methods_agree_where_the_rule_changes():
    for columns in (MOST_BOOTSTRAP, MOST_BOOTSTRAP + 1):
        error = stderr_of(lambda x: float(x[:, 0].mean()), noise(2000, columns), generator())
        assert error == pytest.approx(2000**-0.5, rel=0.4)


def test_the_same_seed_gives_the_same_error_and_another_seed_another():
    x = noise(50, 2)
    first, again, other = (stderr_of(correlation, x, generator(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("dimensions", [1, MOST_BOOTSTRAP + 1])
def test_too_few_rows_or_a_statistic_that_is_not_finite_have_no_error(dimensions):
    assert stderr_of(mean, noise(LEAST - 1, dimensions), generator()) is None
    assert stderr_of(mean, noise(LEAST, dimensions), generator()) is not None
    assert stderr_of(lambda rows: math.inf, noise(50, dimensions), generator()) is None
    assert stderr_of(mean, torch.ones(50, dimensions).double(), generator()) == 0


def test_settings_out_of_range_are_refused_in_words():
    with pytest.raises(RangeError, match="two draws"):
        bootstrap(mean, noise(50, 1), generator(), draws=1)
    with pytest.raises(RangeError, match="two groups"):
        jackknifed(mean, noise(50, 1), groups=1)


def test_the_error_of_a_share_is_binomial_and_never_zero():
    assert binomial_stderr(500, 1000) == pytest.approx(0.5 / 1000**0.5, rel=1e-6)
    assert binomial_stderr(0, 100) == pytest.approx(math.sqrt(1 / 102 * 101 / 102 / 100))
    assert binomial_stderr(100, 100) == pytest.approx(binomial_stderr(0, 100))
    assert binomial_stderr(0, 0) is None
