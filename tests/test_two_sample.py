"""The classifier two-sample test: finds differences of every kind, and is at chance where there are none."""

import math

import pytest
import torch

from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics import two_sample as module
from pmodel.metrics.two_sample import two_sample


def generator(seed):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def ring(n, modes, seed):
    angles = 2 * math.pi * torch.randint(modes, (n,), generator=generator(seed)) / 8
    return 2 * torch.stack([angles.cos(), angles.sin()], 1) + 0.1 * noise(n, 2, seed=seed + 1)


def shifted(x):
    return x + torch.eye(x.shape[1])[0] * 0.5


def widened(x):
    return x * (1 + 0.6 * torch.eye(x.shape[1])[0])


def correlated(x):
    return torch.cat([x[:, :1], 0.7 * x[:, :1] + math.sqrt(0.51) * x[:, 1:2], x[:, 2:]], 1)


def best(shift=0.0, scale=1.0):
    """The accuracy of the best classifier of N(0, 1) against N(shift, scale²): (1 + total variation) / 2."""
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    log_p, log_q = -x.square() / 2, -((x - shift) / scale).square() / 2 - math.log(scale)
    return 0.5 + float((log_p.exp() - log_q.exp()).abs().sum()) * 0.0012 / math.sqrt(2 * math.pi) / 4


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        (shifted, 2),
        (shifted, 64),
        (shifted, 150),
        (widened, 2),
        (widened, 64),
        (widened, 150),
        (correlated, 2),
        (correlated, 64),
    ],
)
def test_a_difference_in_one_or_two_of_many_columns_is_found(change, columns):
    found = two_sample(change(noise(2000, columns)), noise(2000, columns, seed=1))
    assert found.value > 0.55
    assert found.p_value < 1e-4
    assert found.n == 2000
    assert found.stderr == pytest.approx(math.sqrt(found.value * (1 - found.value) / 2000), rel=1e-3)


@pytest.mark.parametrize("columns", [1, 20])
@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1.0), (2.0, 1.0), (0.0, 2.0), (8.0, 1.0)])
def test_the_accuracy_is_nearly_that_of_the_best_classifier(shift, scale, columns):
    change = torch.eye(columns)[0].double()
    samples = noise(3000, columns) * (1 + (scale - 1) * change) + shift * change
    found = two_sample(samples, noise(3000, columns, seed=1))
    assert found.value == pytest.approx(best(shift, scale), abs=0.03)


@pytest.mark.parametrize("columns", [150, 600])
def test_many_columns_that_hang_together_are_told_from_independent_ones(columns):
    """Beyond 64 columns, correlations are looked for among principal components, with more columns than rows or fewer."""
    together = 0.8 * noise(400, columns) + 0.6 * noise(400, 1, seed=3)
    assert two_sample(together, noise(400, columns, seed=1)).value > 0.8


def test_a_missing_mode_is_found_and_equal_modes_are_not():
    assert two_sample(ring(2000, 7, 0), ring(2000, 8, 10)).p_value < 0.01
    assert two_sample(ring(2000, 4, 0), ring(2000, 8, 10)).value == pytest.approx(0.75, abs=0.03)
    assert two_sample(ring(2000, 8, 0), ring(2000, 8, 10)).p_value > 0.01


@pytest.mark.parametrize("columns", [1, 8, 64])
def test_equal_distributions_are_at_chance_over_seeds(columns):
    found = [two_sample(noise(300, columns, seed=s), noise(300, columns, seed=s + 99), seed=s) for s in range(30)]
    accuracy = torch.tensor([one.value for one in found])
    assert float(accuracy.mean()) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(30 * 300))
    assert sum(one.p_value < 0.05 for one in found) <= 6
    assert min(one.p_value for one in found) > 1e-4


def test_the_result_is_the_seeds_and_does_not_touch_the_global_generator():
    a, b = noise(200, 3), noise(200, 3, seed=1)
    torch.manual_seed(1)
    first = two_sample(a, b)
    torch.manual_seed(2)
    assert two_sample(a, b) == first
    assert two_sample(a, b, seed=1) != first


def test_the_units_of_columns_do_not_matter():
    a, b = shifted(noise(500, 3)), noise(500, 3, seed=1)
    units = torch.tensor([1e6, 1e-6, 3.0]).double()
    assert two_sample(a * units + 7 * units, b * units + 7 * units) == two_sample(a, b)


def test_constant_columns_outliers_and_rows_that_are_all_equal_are_no_trouble():
    constant = torch.cat([noise(300, 1), torch.full((300, 1), 5.0).double()], 1)
    other = torch.cat([noise(300, 1, seed=1), torch.full((300, 1), 5.0).double()], 1)
    assert two_sample(constant, other).p_value > 1e-3
    assert two_sample(constant + torch.tensor([0.0, 1e-3]), other).value == 1
    outlier = constant.clone()
    outlier[0] = 1e300
    assert two_sample(outlier, other).p_value > 1e-3
    same = two_sample(torch.ones(40, 2), torch.ones(40, 2))
    assert (same.value, same.n) == (0.5, 40)
    assert same.flags == ("only 40 held-out rows: a small difference would not be seen",)


def test_classes_are_balanced_whatever_the_sizes():
    found = two_sample(noise(101, 2), noise(5000, 2, seed=1))
    assert found.n == 102
    assert found.value < 0.75


@pytest.mark.parametrize(("right", "n"), [(0, 10), (5, 10), (10, 10), (1100, 2000), (1500, 2000)])
def test_the_p_value_is_the_exact_binomial_tail(right, n):
    exact = sum(math.comb(n, k) for k in range(right, n + 1)) / 2**n
    assert module._tail(right, n) == pytest.approx(exact, rel=1e-9)


def test_what_cannot_be_tested_is_refused_in_words():
    with pytest.raises(BadInput, match=r"Samples: at least 20 rows(.|\n)*19"):
        two_sample(noise(19, 2), noise(50, 2))
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        two_sample(noise(50, 2), noise(50, 3))
    with pytest.raises(RangeError, match="1 that are not"):
        two_sample(torch.tensor([[math.nan]]).double(), noise(50, 1))
