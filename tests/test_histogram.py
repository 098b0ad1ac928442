"""Histograms: proportions, marginals and conditionals are sums over a table."""

import itertools
import math

import numpy as np
import pytest
import torch

from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.histogram import Histogram
from pmodel.learning import Batch

CELLS = torch.tensor(list(itertools.product(range(3), repeat=3)))


def fitted(domain, x, *, observed=None, **options):
    model = Histogram(domain, **options)
    batch = Batch(x, observed=observed)
    model.initialise(batch, torch.Generator())
    model.maximise(model.statistics(batch, torch.Generator()))
    return model


@pytest.fixture
def joint():
    generator = torch.Generator().manual_seed(0)
    x = CELLS[torch.randint(27, (500,), generator=generator) % 20]
    return fitted(Discrete((3,), 3), x), x


def test_proportions_are_exact():
    dice = torch.tensor([[0], [0], [1], [2], [2], [3], [4], [4], [4], [5]])
    model = fitted(Discrete((1,), 6), dice)
    assert model.probabilities.tolist() == [0.2, 0.1, 0.2, 0.1, 0.3, 0.1]


def test_a_small_table_is_joint(joint):
    model, x = joint
    counts = (x[:, None] == CELLS).all(2).sum(0).double()
    assert model.log_prob(CELLS).exp().tolist() == pytest.approx((counts / 500).tolist(), abs=1e-15)


def test_a_large_table_is_a_product():
    x = torch.tensor([[0, 1] * 32, [0, 0] * 32])
    model = fitted(Discrete((64,), 17), x)
    assert model.log_prob(x).tolist() == pytest.approx([-32 * math.log(2)] * 2)


def test_unseen_data_are_impossible_unless_smoothed():
    x, unseen = torch.tensor([[0], [1]]), torch.tensor([[2]])
    assert fitted(Discrete((1,), 4), x).log_prob(unseen).item() == -math.inf
    assert fitted(Discrete((1,), 4), x, smoothing=0.5).log_prob(unseen).exp().item() == pytest.approx(0.5 / 4)


@pytest.mark.parametrize("pattern", list(itertools.product([False, True], repeat=3)))
def test_marginals_are_sums_over_the_joint(joint, pattern):
    model, _ = joint
    mask = torch.tensor(pattern)
    agree = ((CELLS[:, None] == CELLS) | ~mask).all(2).double()
    expected = agree @ model.log_prob(CELLS).exp()
    assert torch.allclose(model.log_prob(CELLS, observed=mask).exp(), expected, atol=1e-12)


def test_completion_follows_the_conditional(joint):
    model, _ = joint
    known = torch.tensor([1, 0, 2]).expand(20_000, 3)
    drawn = model.complete(known, torch.tensor([True, False, False]), generator=0)
    assert (drawn[:, 0] == 1).all()
    table = model.probabilities[1].flatten()
    expected = table / table.sum() * 20_000
    seen = torch.bincount(drawn[:, 1] * 3 + drawn[:, 2], minlength=9)
    chi2 = ((seen - expected) ** 2 / expected).nan_to_num(0).sum()
    assert chi2 < 40  # eight degrees of freedom
    assert not seen[expected == 0].any()


def test_completion_of_the_impossible_falls_back_on_the_marginal():
    model = fitted(Discrete((2,), 2), torch.tensor([[0, 1], [0, 1]]))
    drawn = model.complete(torch.tensor([[1, 0]]), torch.tensor([True, False]), generator=0)
    assert drawn.tolist() == [[1, 1]]


@pytest.mark.parametrize("entries", [1, 2, 3])
def test_a_binned_density_agrees_with_numpy(entries):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(400, entries)))
    model = fitted(Real((entries,)), x, bins=7, margin=0.0, joint=True)
    density, _ = np.histogramdd(x.numpy(), bins=7, density=True)
    width = (model.high - model.low) / 7
    places = torch.tensor(list(itertools.product(range(7), repeat=entries)))
    found = model.log_prob(model.low + (places + 0.5) * width).exp()
    assert torch.allclose(found, torch.from_numpy(density.flatten()), atol=1e-12)


def test_the_last_edge_is_inside_and_beyond_is_impossible():
    model = fitted(Real((1,)), torch.tensor([[0.0], [1.0]]), bins=2, margin=0.0)
    assert model.log_prob([[1.0], [1.0001]]).tolist() == [0.0, -math.inf]


def test_samples_of_a_binned_density_fill_the_bins():
    model = fitted(Real((2,)), torch.rand(300, 2, generator=torch.Generator().manual_seed(0)), bins=4)
    again = fitted(Real((2,)), model.sample(50_000, generator=0), bins=4, margin=0.0)
    assert (model.table - again.table).abs().max() < 0.01


def test_statistics_add_up_over_batches(joint):
    model, x = joint
    whole = model.statistics(Batch(x), torch.Generator())["counts"]
    parts = [model.statistics(Batch(part), torch.Generator())["counts"] for part in torch.split(x, 77)]
    assert torch.equal(whole, sum(parts))


def test_an_entry_counts_only_where_it_is_observed():
    x = torch.tensor([[0.0, torch.nan], [1.0, 5.0], [1.0, 9.0]], dtype=torch.float64)
    model = fitted(Real((2,)), x, observed=~x.isnan(), joint=False, bins=2, margin=0.0)
    assert torch.allclose(model.probabilities, torch.tensor([[1 / 3, 2 / 3], [1 / 2, 1 / 2]], dtype=torch.float64))


@pytest.mark.parametrize("options", [{"bins": 0}, {"bins": 2.5}, {"smoothing": -1.0}, {"smoothing": math.nan}])
def test_refuses_a_number(options):
    with pytest.raises(RangeError, match=str(*options.values())):
        Histogram(Real((1,)), **options)


def test_refuses_a_table_beyond_memory():
    with pytest.raises(BadInput, match="784 entries"):
        Histogram(Discrete((1, 28, 28), 256), joint=True)
