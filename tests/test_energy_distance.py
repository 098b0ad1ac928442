"""The energy distance against its definition and a closed form, and its standard error against repetition."""

import math

import pytest
import torch

from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics.energy_distance import pseudo_values


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_modulus(mean, std):
    """E|N(mean, std²)|."""
    return std * math.sqrt(2 / math.pi) * math.exp(-((mean / std) ** 2) / 2) + mean * math.erf(
        mean / std / math.sqrt(2)
    )


def between_normals(mean, std):
    """The energy distance between N(mean, std²) and N(0, 1)."""
    across = mean_modulus(mean, math.hypot(std, 1))
    return 2 * across - mean_modulus(0, math.sqrt(2) * std) - mean_modulus(0, math.sqrt(2))


def by_definition(x, y):
    """The U-statistic as a double loop."""
    n, total = len(x), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                pairs = ((x[i], y[j], 1), (x[j], y[i], 1), (x[i], x[j], -1), (y[i], y[j], -1))
                total += sum(sign * float((a - b).norm()) for a, b, sign in pairs)
    return total / (n * (n - 1))


def without(rows, i):
    return torch.cat([rows[:i], rows[i + 1 :]])


def test_pseudo_values_are_what_leaving_each_unit_out_says():
    x, y = normal(7, 3), 0.5 + normal(7, 3, seed=1)
    whole = by_definition(x, y)
    left_out = [7 * whole - 6 * by_definition(without(x, i), without(y, i)) for i in range(7)]
    found = pseudo_values(x, y)
    assert found.tolist() == pytest.approx(left_out)
    assert float(found.mean()) == pytest.approx(whole)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 1.0), (0.0, 2.0), (-0.5, 0.3)])
def test_it_is_unbiased_for_the_closed_form_between_normals(mean, std):
    drawn = normal(2000, 2, 12, 1, seed=3)
    values = torch.stack([pseudo_values(mean + std * x, y).mean() for x, y in drawn])
    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(between_normals(mean, std), abs=4 * error)


def test_it_approaches_the_closed_form():
    x, y = normal(2, 2000, 1, seed=4)
    assert float(pseudo_values(1 + 0.5 * x, y).mean()) == pytest.approx(between_normals(1, 0.5), rel=0.1)


def repeated(make, repeats=600):
    """The variance of an estimate over repetitions, and the mean of the squared errors that it states."""
    values = [make(seed) for seed in range(repeats)]
    variances = torch.stack([v.var() / len(v) for v in values])
    return float(torch.stack([v.mean() for v in values]).var()), float(variances.mean())


def test_the_standard_error_is_that_of_repetition_where_distributions_differ():
    found, stated = repeated(
        lambda seed: pseudo_values(0.8 + normal(100, 2, seed=2 * seed), normal(100, 2, seed=2 * seed + 1))
    )
    assert stated == pytest.approx(found, rel=0.2)


def test_the_standard_error_is_the_root_of_two_too_large_where_they_are_equal():
    found, stated = repeated(lambda seed: pseudo_values(normal(60, 2, seed=2 * seed), normal(60, 2, seed=2 * seed + 1)))
    assert stated == pytest.approx(2 * found, rel=0.25)


def test_the_error_of_a_difference_is_that_of_the_differences():
    """Two generators of one noise beside one set of data: their difference is known far better than either."""

    def both(seed):
        z, y = normal(2, 100, 2, seed=seed)
        return pseudo_values(0.8 + z, y), pseudo_values(0.9 + 1.05 * z, y)

    found, stated = repeated(lambda seed: torch.sub(*both(seed)))
    single, _ = repeated(lambda seed: both(seed)[0])
    assert stated == pytest.approx(found, rel=0.2)
    assert found < single / 10


def test_a_sample_may_depend_on_the_datum_beside_it():
    """Both have the label of their unit in common: the mean over all pairs would see samples nearer to data than they are."""
    found, all_pairs = [], []
    for seed in range(800):
        z = normal(2, 10, 1, seed=seed)
        labels = 4.0 * (normal(10, 1, seed=10_000 + seed) > 0)
        x, y = labels + z[0], labels + z[1]
        found.append(float(pseudo_values(x, y).mean()))
        within = (torch.cdist(x, x) + torch.cdist(y, y)).sum() / 90
        all_pairs.append(float(2 * torch.cdist(x, y).mean() - within))
    error = float(torch.tensor(found).std()) / math.sqrt(len(found))
    assert abs(sum(found) / len(found)) < 4 * error
    assert sum(all_pairs) / len(all_pairs) < -20 * error


@pytest.mark.parametrize(
    ("samples", "data", "error", "words"),
    [
        (torch.zeros(5, 2), torch.zeros(6, 2), BadInput, "5 samples and 6 data"),
        (torch.zeros(2, 2), torch.zeros(2, 2), BadInput, "at least 3"),
        (torch.zeros(5, 2), torch.zeros(5, 3), ShapeError, "same features"),
        (torch.zeros(5), torch.zeros(5, 1), ShapeError, "shape"),
        (torch.full((5, 2), math.nan), torch.zeros(5, 2), RangeError, "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(samples, data, error, words):
    with pytest.raises(error, match=words):
        pseudo_values(samples, data)
