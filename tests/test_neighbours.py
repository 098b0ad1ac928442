"""Nearest neighbours and what they measure: exact where rounding would mislead, equal to prdc, right about their errors."""

import math

import pytest
import torch

from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics import nearest as search
from pmodel.metrics.nearest import nearest
from pmodel.metrics.neighbours import Neighbourhoods, Overlap, overlaps_of

NAMES = ("precision", "recall", "density", "coverage")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def around(features, seed=0, **how):
    return Neighbourhoods(features, torch.Generator().manual_seed(seed), **how)


def measured(real, samples, **how):
    found = overlaps_of(around(real), around(samples, 1), **how)
    return [getattr(found, name).value for name in NAMES]


def table(x, y):
    """All squared distances from differences."""
    return torch.stack([(row - y).square().sum(1) for row in x])


def radii(x, k):
    return torch.stack([torch.cat([row[:i], row[i + 1 :]]).sort().values[k - 1] for i, row in enumerate(table(x, x))])


def by_definition(real, samples, k=3, k_density=5):
    """The papers' definitions, with the whole table of distances."""
    apart = table(samples, real)
    dense = apart < radii(real, k_density)
    return [
        float((apart < radii(real, k)).any(1).double().mean()),
        float((apart < radii(samples, k)[:, None]).any(0).double().mean()),
        float(dense.double().sum(1).mean() / k_density),
        float(dense.any(0).double().mean()),
    ]


# Nearest neighbours


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize(("n", "m", "k"), [(30, 40, 3), (1, 5, 5), (200, 60, 1)])
def test_neighbours_are_those_of_the_whole_table(n, m, k, offset):
    x, y = noise(n, 6) + offset, noise(m, 6, seed=1) + offset
    expected = table(x, y).sort(1)
    values, positions = nearest(x, y, k)
    assert torch.equal(values, expected.values[:, :k])
    assert torch.equal(positions, expected.indices[:, :k])


def test_no_point_is_its_own_neighbour_even_among_its_copies():
    x = noise(4, 3).repeat(3, 1) + 1e9
    values, positions = nearest(x, x, 3, itself=True)
    assert (values[:, :2] == 0).all()
    assert (values[:, 2] > 0).all()
    assert (positions != torch.arange(12)[:, None]).all()
    assert ((positions[:, :2] - torch.arange(12)[:, None]) % 4 == 0).all()


def test_ties_beyond_the_candidates_are_resolved_by_exact_distances():
    grid = torch.cartesian_prod(torch.arange(12.0), torch.arange(12.0)).double() * 0.1 + 1e6
    values, _ = nearest(grid, grid, 4, itself=True)
    expected = table(grid, grid).fill_diagonal_(math.inf).sort(1).values[:, :4]
    assert torch.equal(values, expected)


def test_near_copies_far_from_the_centre_are_told_apart():
    x = torch.cat([noise(50, 4), 1e6 + 1e-6 * noise(50, 4, seed=1)])
    values, positions = nearest(x, x, 2, itself=True)
    expected = table(x, x).fill_diagonal_(math.inf).sort(1)
    assert torch.equal(values, expected.values[:, :2])
    assert torch.equal(positions, expected.indices[:, :2])


def test_chunks_do_not_matter(monkeypatch):
    x, y = noise(60, 5), noise(70, 5, seed=1) + 0.4
    expected = overlaps_of(around(x), around(y))
    monkeypatch.setattr("pmodel.metrics.nearest.CHUNK", 150)
    monkeypatch.setattr("pmodel.metrics.neighbours.CHUNK", 7)
    assert overlaps_of(around(x), around(y)) == expected


def test_memory_is_bounded_by_the_chunk(monkeypatch):
    sizes = []
    kept = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: sizes.append(len(a[1]) * a[2].shape[1]) or kept(*a, **k))
    monkeypatch.setattr(search, "CHUNK", 1000)
    overlaps_of(around(noise(300, 2)), around(noise(200, 2, seed=1)))
    assert max(sizes) <= 1000


@pytest.mark.parametrize(("n", "k", "itself"), [(3, 3, True), (2, 3, False), (5, 0, False)])
def test_too_few_points_are_refused(n, k, itself):
    with pytest.raises(BadInput, match=f"{k} nearest neighbours need at least {k + itself} points(.|\n)*{n}"):
        nearest(noise(9, 2), noise(n, 2), k, itself=itself)


# Precision, recall, density, coverage


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.3), (0.0, 3.0), (9.0, 1.0)])
@pytest.mark.parametrize(("m", "n"), [(80, 80), (40, 120)])
def test_measures_are_the_papers_definitions(m, n, shift, scale):
    real, samples = noise(m, 4), noise(n, 4, seed=1) * scale + shift
    assert measured(real, samples) == pytest.approx(by_definition(real, samples), rel=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_measures_are_those_of_prdc(k):
    prdc = pytest.importorskip("prdc")
    real, samples = noise(90, 8) + 3, noise(70, 8, seed=1) * 0.8 + 3.1
    theirs = prdc.compute_prdc(real.numpy(), samples.numpy(), nearest_k=k)
    assert measured(real, samples, k=k, k_density=k) == pytest.approx([theirs[name] for name in NAMES], rel=1e-9)


def test_a_copy_is_on_the_border_of_no_neighbourhood_but_its_own():
    real = noise(60, 3) + 1e7  # a copy of a neighbour is exactly as far as the radius, and the ball is open
    assert measured(real, real) == pytest.approx(by_definition(real, real), rel=1e-12)
    assert measured(real, real)[0] == measured(real, real)[3] == 1


def test_whole_numbers_with_many_ties_are_measured_exactly():
    real, samples = (torch.randint(0, 6, (80, 3), generator=torch.Generator().manual_seed(s)).double() for s in (0, 1))
    assert measured(real, samples) == pytest.approx(by_definition(real, samples), rel=1e-12)
    assert measured(real + 0.1, samples + 0.1) == pytest.approx(by_definition(real + 0.1, samples + 0.1), rel=1e-12)


def test_narrow_samples_lose_recall_and_outliers_lose_precision():
    precision, recall, density, coverage = measured(noise(300, 2), 0.1 * noise(300, 2, seed=1))
    assert precision > 0.97
    assert max(recall, coverage) < 0.3
    assert density > 1
    precision, _, density, coverage = measured(noise(300, 2), torch.cat([noise(150, 2, seed=1), 9 + noise(150, 2)]))
    assert precision == pytest.approx(0.5, abs=0.03)
    assert density == pytest.approx(0.5, abs=0.1)
    assert coverage > 0.7


def test_one_outlier_among_the_data_raises_precision_but_hardly_density():
    real, samples = noise(200, 2), noise(200, 2, seed=1) + 20
    lone = torch.cat([real, torch.full((1, 2), 20.0)])
    assert measured(real, samples)[0] == 0
    assert measured(lone, samples)[0] == 1
    assert measured(lone, samples)[2] == pytest.approx(0.2)


def test_whatever_makes_a_tensor_names_its_device():
    x, y = noise(30, 8), noise(25, 8, seed=1)
    expected = overlaps_of(around(x), around(y))
    first, second = (torch.Generator().manual_seed(0) for _ in range(2))
    with torch.device("meta"):  # where a tensor lands that is made without a word on where
        assert overlaps_of(Neighbourhoods(x, first), Neighbourhoods(y, second)) == expected


# Errors


@pytest.mark.parametrize(
    ("n", "m", "dimensions", "shift", "scale"),
    [(200, 200, 4, 0.7, 1.0), (200, 300, 8, 0.3, 1.2), (300, 200, 3, 0, 0.5)],
)
def test_standard_errors_are_the_spread_over_repetitions(n, m, dimensions, shift, scale):
    found = [
        overlaps_of(
            around(noise(m, dimensions, seed=2 * t)), around(noise(n, dimensions, seed=2 * t + 1) * scale + shift)
        )
        for t in range(60)
    ]
    for name in NAMES:
        values, errors = (
            torch.tensor([getattr(getattr(f, name), part) for f in found]) for part in ("value", "stderr")
        )
        assert float(errors.square().mean().sqrt() / values.std()) == pytest.approx(1, abs=0.35)


def test_a_binomial_error_would_be_far_too_small():
    found = overlaps_of(around(noise(300, 4)), around(noise(300, 4, seed=1) + 0.7)).precision
    assert found.stderr > 1.5 * (found.value * (1 - found.value) / 300) ** 0.5


def test_errors_do_not_vanish_where_all_or_none_are_found():
    found = overlaps_of(around(noise(50, 2)), around(noise(50, 2, seed=1) + 99))
    assert [getattr(found, name).value for name in NAMES] == [0, 0, 0, 0]
    assert all(getattr(found, name).stderr > 0 for name in ("precision", "recall", "coverage"))


def test_few_data_have_no_standard_error():
    found = overlaps_of(around(noise(11, 2)), around(noise(50, 2)))
    assert found.precision == Overlap(found.precision.value, None)
    assert overlaps_of(around(noise(12, 2)), around(noise(50, 2))).precision.stderr > 0


# Edges


def test_copies_and_constant_features_are_flagged():
    twice = noise(10, 2).repeat(6, 1)
    found = overlaps_of(around(noise(50, 2, seed=1)), around(twice))
    assert found.recall.flags == (
        "60 of 60 samples have 3 others just where they are: such neighbourhoods hold nothing",
    )
    assert found.recall.value == 0
    assert found.precision.flags == found.density.flags == ()
    found = overlaps_of(around(torch.ones(50, 2)), around(torch.ones(50, 2)))
    assert found.coverage.flags == ("all 50 real data have the same features",)
    assert [getattr(found, name).value for name in NAMES] == [0, 0, 0, 0]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(BadInput, match=r"5 nearest neighbours need at least 6 points(.|\n)*1\b"):
        around(noise(1, 2))
    with pytest.raises(BadInput, match=r"5 nearest neighbours need at least 6 points(.|\n)*5"):
        around(noise(5, 2))
    assert len(around(noise(5, 2), most=3)) == 5
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        overlaps_of(around(noise(9, 2)), around(noise(9, 3)))
    with pytest.raises(ShapeError, match=r"\(9,\)"):
        around(noise(9))
    with pytest.raises(RangeError, match="1 that are not, of 9"):
        around(torch.cat([noise(8, 1), torch.full((1, 1), math.nan)]))
