"""The kernel distance: equal to its definition, zero on average where it should be, and right about its own error."""

import math

import pytest
import torch

from fidelity_oracle import formulas
from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics.kid import KernelSet, Kid, kid_of, kid_over_subsets


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(x, y):
    """Pair by pair."""

    def k(a, b):
        return float(a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = math.fsum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = math.fsum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * math.fsum(k(a, b) for a in x for b in y) / (n * m)


def repeated(n, m, shift, times, dimensions=3):
    """Values and standard errors of independent repetitions."""
    found = [
        kid_of(KernelSet(noise(m, dimensions, seed=2 * t)), noise(n, dimensions, seed=2 * t + 1) + shift)
        for t in range(times)
    ]
    return (torch.tensor([getattr(kid, name) for kid in found]) for name in ("value", "stderr"))


# Values


@pytest.mark.parametrize(("n", "m"), [(2, 2), (7, 12), (20, 5)])
def test_distance_is_its_definition_pair_by_pair(n, m):
    x, y = noise(n, 4) + 0.3, noise(m, 4, seed=1)
    assert kid_of(KernelSet(y), x).value == pytest.approx(by_definition(x, y), rel=1e-10)


def test_distance_is_that_of_torch_fidelity_with_one_full_subset(monkeypatch):
    oracle = formulas("kid", monkeypatch)
    x, y = noise(90, 16) * 1.2 + 0.1, noise(90, 16, seed=1)
    theirs = oracle.kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=90, verbose=False)
    expected = theirs["kernel_inception_distance_mean"]
    assert kid_of(KernelSet(y), x).value == pytest.approx(expected, rel=1e-9)
    random = torch.Generator().manual_seed(0)
    assert kid_over_subsets(y, x, random, subsets=1, size=90).value == pytest.approx(expected, rel=1e-9)


def test_tiles_do_not_matter(monkeypatch):
    x, y = noise(50, 4) + 0.3, noise(37, 4, seed=1)
    expected = kid_of(KernelSet(y), x)
    monkeypatch.setattr("pmodel.metrics.kid.TILE", 7)
    found = kid_of(KernelSet(y), x)
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-9)


def test_distance_does_not_depend_on_the_order_or_the_side():
    x, y = noise(50, 4) + 0.3, noise(37, 4, seed=1)
    expected = kid_of(KernelSet(y), x)
    for found in (kid_of(KernelSet(y.flip(0)), x.flip(0)), kid_of(KernelSet(x), y)):
        assert found.value == pytest.approx(expected.value, rel=1e-9)
        assert found.stderr == pytest.approx(expected.stderr, rel=1e-9)


def test_subsets_average_to_the_whole():
    x, y = noise(100, 4) + 0.3, noise(100, 4, seed=1)
    found = kid_over_subsets(y, x, torch.Generator().manual_seed(0), subsets=400, size=40)
    assert found.value == pytest.approx(kid_of(KernelSet(y), x).value, rel=0.1)
    assert found.stderr is None


def test_whatever_makes_a_tensor_names_its_device():
    x, y = noise(30, 8), noise(25, 8, seed=1)
    expected = kid_of(KernelSet(y), x)
    with torch.device("meta"):  # where a tensor lands that is made without a word on where
        assert kid_of(KernelSet(y), x) == expected


# Bias and error


def test_equal_distributions_average_to_zero_and_others_do_not():
    values, errors = repeated(100, 150, 0.0, 200)
    assert abs(values.mean()) < 5 * errors.mean() / 200**0.5
    assert (values.abs() < 5 * errors).all()
    assert (values < 0).any()
    shifted, errors = repeated(100, 150, 1.0, 20)
    assert shifted.mean() > 5 * errors.mean() / 20**0.5
    assert (shifted > 2 * errors).all()


@pytest.mark.parametrize(("shift", "most"), [(0.0, 1.3), (0.3, 1.15), (1.0, 1.15)])  # the first order is never negative
@pytest.mark.parametrize(("n", "m"), [(60, 60), (30, 150)])
def test_the_standard_error_is_the_spread_over_repetitions(n, m, shift, most):
    values, errors = repeated(n, m, shift, 400)
    assert 0.9 < float(errors.square().mean().sqrt() / values.std()) < most


def test_the_first_order_alone_would_miss_the_error_of_equal_distributions():
    values, errors = repeated(100, 100, 0.0, 100)
    first = []
    for t in range(100):
        y, x = noise(100, 3, seed=2 * t), noise(100, 3, seed=2 * t + 1)
        first.append(plug_in_first_order(x, y))
    assert values.std() < 1.3 * errors.mean()
    assert torch.tensor(first).mean() > 1.2 * values.std()  # taken by itself it counts the noise of the witness twice


def plug_in_first_order(x, y):
    def k(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def witness(a, b):
        return (k(a, a).sum(1) - k(a, a).diagonal()) / (len(a) - 1) - k(a, b).mean(1)

    return float((4 * witness(x, y).var() / len(x) + 4 * witness(y, x).var() / len(y)).sqrt())


# Edges


def test_constant_features_are_flagged_and_finite():
    found = kid_of(KernelSet(torch.ones(9, 3)), torch.zeros(8, 3))
    assert found.flags == ("all 8 samples have the same features", "all 9 real data have the same features")
    assert found.value == pytest.approx(8 + 1 - 2)
    assert found.stderr == pytest.approx(0, abs=1e-6)
    assert kid_of(KernelSet(noise(9, 3)), noise(8, 3)).flags == ()


def test_too_few_data_have_no_standard_error():
    assert kid_of(KernelSet(noise(3, 2)), noise(30, 2)).stderr is None
    assert kid_of(KernelSet(noise(4, 2)), noise(4, 2, seed=1)).stderr > 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(BadInput, match=r"at least 2 rows(.|\n)*1\b"):
        KernelSet(noise(1, 2))
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        kid_of(KernelSet(noise(9, 2)), noise(9, 3))
    with pytest.raises(ShapeError, match=r"\(9,\)"):
        kid_of(KernelSet(noise(9, 2)), noise(9))
    with pytest.raises(RangeError, match="1 that are not, of 2"):
        KernelSet(torch.tensor([[1.0], [math.inf]]))


@pytest.mark.parametrize(("subsets", "size"), [(0, 5), (1, 10), (1, 1)])
def test_impossible_subsets_are_refused(subsets, size):
    with pytest.raises(BadInput, match=f"{subsets} subsets of {size} out of 9 real data and 12 samples"):
        kid_over_subsets(noise(9, 2), noise(12, 2), torch.Generator(), subsets=subsets, size=size)


def test_a_result_says_what_it_is():
    assert Kid(0.5, None) == Kid(value=0.5, stderr=None, flags=())
