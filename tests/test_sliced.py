"""The sliced Wasserstein distance: equal to closed forms and to optimal assignments."""

import math

import pytest
import torch

from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics import sliced
from pmodel.metrics.sliced import sliced_wasserstein


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def standardised(x):
    return (x - x.mean(0)) / x.std(0, correction=0)


@pytest.mark.parametrize("columns", [1, 2, 5, 130])
def test_a_shift_is_a_distance_of_its_length_in_standard_deviations(columns):
    x = noise(50, columns) * torch.arange(1, columns + 1) + 7
    shift = noise(columns, seed=1)
    expected = float((shift / x.std(0, correction=0)).square().mean().sqrt())
    assert sliced_wasserstein(x + shift, x).value == pytest.approx(expected, rel=1e-12)
    assert sliced_wasserstein(x + x.std(0, correction=0), x).value == pytest.approx(1, rel=1e-12)


def test_the_distance_to_itself_is_zero_in_any_order():
    x = noise(64, 3)
    assert sliced_wasserstein(x.flip(0), x).value == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(torch.cat([x, x]), x).value == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(x, torch.cat([x, x, x])).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(4, 6), (6, 4), (5, 5), (1, 7), (9, 2), (7, 12)])
def test_one_column_of_unequal_sizes_is_the_optimal_assignment_of_copies(n, m):
    optimize = pytest.importorskip("scipy.optimize")
    x, y = noise(n, 1) * 2 + 1, standardised(noise(m, 1, seed=1))
    copies = math.lcm(n, m)
    many = [rows.repeat_interleave(copies // len(rows), 0) for rows in (x, y)]
    cost = (many[0] - many[1].T).square().numpy()
    expected = cost[optimize.linear_sum_assignment(cost)].mean() ** 0.5
    found = sliced_wasserstein(x, y)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.directions == 1


def test_gaussians_give_the_closed_form_of_their_projections():
    """E over θ of |m·θ|² + (1 - std along θ)², for a standard normal reference."""
    n, mean, stds = 10_000, torch.tensor([0.5, 0.0, -0.3]).double(), torch.tensor([0.5, 1.0, 2.0]).double()
    theta = noise(200_000, 3, seed=9)
    theta = theta / theta.norm(dim=1, keepdim=True)
    along = (theta.square() @ stds.square()).sqrt()
    expected = float(((theta @ mean).square() + (1 - along).square()).mean().sqrt())
    found = sliced_wasserstein(mean + stds * noise(n, 3), noise(n, 3, seed=1), directions=300)
    assert found.value == pytest.approx(expected, rel=0.03)


def test_unequal_sizes_of_one_distribution_converge_to_zero():
    values = [sliced_wasserstein(noise(n, 2), noise(3 * n + 1, 2, seed=1)).value for n in (50, 500, 5000)]
    assert values[0] > 1.5 * values[1] > 2.25 * values[2]


@pytest.mark.parametrize(
    ("columns", "shift", "low", "high"), [(2, 0.5, 0.7, 1.4), (2, 0.0, 0.9, 2.0), (300, 0.1, 0.6, 1.6)]
)
def test_the_standard_error_is_the_spread_over_repetitions(columns, shift, low, high):
    """The bootstrap's, and of many columns the jackknife's; at the floor it is too large, and bounded."""
    reference = noise(2000, columns)
    found = [sliced_wasserstein(noise(200, columns, seed=k) + shift, reference, directions=16) for k in range(1, 41)]
    spread = float(torch.tensor([one.value for one in found]).std())
    assert low < sum(one.stderr for one in found) / 40 / spread < high


def test_very_many_samples_take_fewer_draws(monkeypatch):
    calls = []
    monkeypatch.setattr(sliced, "stderr_of", lambda *args, draws: calls.append(draws))
    for n in (20, 2000, 10_000, 70_000):
        sliced_wasserstein(noise(n, 2), noise(5, 2, seed=1))
    assert calls == [200, 200, 104, 20]


def test_directions_are_whole_orthonormal_bases_and_the_seeds():
    thetas = sliced._directions(5, 128, 0)
    assert thetas.shape == (130, 5)
    torch.testing.assert_close(thetas[5:10] @ thetas[5:10].T, torch.eye(5).double())
    torch.testing.assert_close(thetas, sliced._directions(5, 128, 0))
    assert (thetas - sliced._directions(5, 128, 1)).abs().max() > 0.1
    many = sliced._directions(600, 128, 0)
    assert many.shape == (256, 600)
    torch.testing.assert_close(many @ many.T, torch.eye(256).double())


def test_parts_of_the_directions_give_what_all_of_them_give(monkeypatch):
    x, y = noise(40, 4) + 0.2, noise(90, 4, seed=1)
    whole = sliced_wasserstein(x, y)
    monkeypatch.setattr(sliced, "CHUNK", 270)  # three directions at a time
    parts = sliced_wasserstein(x, y)
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    assert parts.stderr == pytest.approx(whole.stderr, rel=1e-12)


def test_one_sample_and_constant_columns_are_told_in_words():
    one = sliced_wasserstein(noise(1, 2), noise(50, 2, seed=1))
    assert math.isfinite(one.value)
    assert one.stderr is None
    assert one.flags == ("1 sample: too few for a standard error",)
    x = torch.cat([noise(50, 1), torch.full((50, 1), 5.0).double()], 1)
    constant = sliced_wasserstein(x + torch.tensor([0.0, 3.0]), x)
    assert constant.value == pytest.approx(3 / 2**0.5)
    assert constant.flags == ("1 of 2 columns are constant in the reference: these count in their own units",)


def test_what_is_no_pair_of_finite_matrices_is_refused():
    with pytest.raises(ShapeError, match=r"\(5,\)"):
        sliced_wasserstein(noise(5), noise(5, 1))
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        sliced_wasserstein(noise(5, 2), noise(5, 3))
    with pytest.raises(RangeError, match="1 that are not, of 2"):
        sliced_wasserstein(noise(5, 1), torch.tensor([[1.0], [math.nan]]))
    with pytest.raises(BadInput, match="Samples: at least 1"):
        sliced_wasserstein(noise(0, 2), noise(5, 2))
    with pytest.raises(BadInput, match="Real data: at least 2"):
        sliced_wasserstein(noise(5, 2), noise(1, 2))
