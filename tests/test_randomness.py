"""Draws without replacement."""

import pytest
import torch

from pmodel import randomness
from pmodel.data.dataset import _order, set_apart
from pmodel.randomness import distinct, generator, some


def test_few_of_few_are_the_first_of_a_permutation():
    order = torch.randperm(1000, generator=generator(0, "order"))
    assert torch.equal(some(1000, 10, generator(0, "order")), order[:10])
    assert torch.equal(some(1000, 5000, generator(0, "order")), order)


def test_few_of_many_are_different_and_take_the_memory_of_the_few():
    drawn = some(10**12, 1000, generator(0, "many"))  # a permutation would take 8 TB
    assert len(drawn.unique()) == 1000
    assert drawn.untyped_storage().nbytes() <= 16 * 1000
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < 10**12
    assert torch.equal(drawn, some(10**12, 1000, generator(0, "many")))


def test_repeats_are_drawn_anew_and_the_order_stays():
    draws = iter([torch.tensor([3, 1, 3]), torch.tensor([1, 1, 1]), torch.tensor([0, 3, 2])])
    assert distinct(lambda: next(draws), 3).tolist() == [3, 1, 0]


def test_every_number_is_as_likely_at_every_place(monkeypatch):
    monkeypatch.setattr(randomness, "few", lambda count, n: True)
    noise = generator(0, "uniform")
    counts = torch.zeros(2, 8)
    for _ in range(4000):
        counts[[0, 1], some(8, 2, noise)] += 1
    expected = 4000 / 8
    assert float((counts - expected).square().sum() / expected) < 2 * 7 + 5 * (2 * 2 * 7) ** 0.5


def test_a_tenth_of_many_data_is_set_apart_as_of_few():
    n = 5_000_000
    valid, test = set_apart(n, 0)
    assert torch.equal(torch.cat([valid, test]).sort().values, _order(n, 0, "split")[-n // 5 :].sort().values)


@pytest.mark.parametrize("n", [10**12, 5_000_000])
def test_many_data_are_set_apart_in_memory_of_the_few(n):
    valid, test = set_apart(n, 0, 100)
    assert len(valid) == len(test) == 100
    assert len(torch.cat([valid, test]).unique()) == 200
    assert all(torch.equal(rows, rows.sort().values) for rows in (valid, test))
    assert all(torch.equal(*pair) for pair in zip((valid, test), set_apart(n, 0, 100), strict=True))
