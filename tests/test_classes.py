"""Classes of samples: counts, divergences without bias, agreement with what was asked for."""

import math

import pytest
import torch

from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics.classes import class_agreement, class_shares, clear_share, mode_count

EVEN = torch.full((10,), 0.1).double()
SKEWED = torch.tensor([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05]).double()
OTHER = torch.tensor([0.1, 0.3, 0.1, 0.1, 0.2, 0.1, 0.1]).double()


def sure(labels, classes, confidence=1.0):
    """Probabilities of a judge that gives each label so much confidence."""
    rest = (1 - confidence) / (classes - 1)
    return torch.full((len(labels), classes), rest).double().scatter_(1, torch.as_tensor(labels)[:, None], confidence)


def drawn(shares, n, seed):
    labels = torch.multinomial(shares, n, replacement=True, generator=torch.Generator().manual_seed(seed))
    return sure(labels, len(shares))


def test_clear_data_are_counted_by_class():
    probabilities = torch.cat([sure([0, 0, 2], 3, 0.95), sure([1], 3, 0.8), sure([1], 3, 0.9)])
    found = clear_share(probabilities)
    assert found.value == pytest.approx(0.8)
    assert found.counts == (2, 1, 1)
    assert found.n == 5
    assert found.stderr == pytest.approx(math.sqrt(5 / 7 * 2 / 7 / 5))
    assert clear_share(sure([0, 1], 3, 0.5)).value == 0


def test_the_expected_number_of_classes_is_that_of_perfect_samples():
    shares = torch.tensor([0.6, 0.3, 0.08, 0.015, 0.005], dtype=torch.float64)
    real = sure(torch.repeat_interleave(torch.arange(5), (shares * 200).round().long()), 5)
    found = [mode_count(drawn(shares, 40, seed), real) for seed in range(1000)]
    exact = float((1 - (1 - shares) ** 40).sum())
    values = torch.tensor([one.value for one in found]).double()
    assert found[0].expected == pytest.approx(exact, rel=1e-9)
    assert float(values.mean()) == pytest.approx(exact, abs=5 * float(values.std()) / 1000**0.5)
    assert float(values.std()) <= found[0].stderr * 1.05
    assert found[0].due == (0, 1)


def test_a_class_is_missing_only_where_it_was_due():
    real = sure([0] * 50 + [1] * 45 + [2] * 5, 4)
    found = mode_count(sure([0] * 100, 4), real)
    assert (found.value, found.due, found.missing) == (1, (0, 1), (1,))
    assert found.classes == 4
    unclear = mode_count(sure([0] * 50 + [1] * 50, 4, 0.7), real)
    assert (unclear.value, unclear.missing) == (0, (0, 1))
    few = mode_count(sure([0, 1, 2], 4), real)
    assert few.missing == ()
    assert few.flags == ("3 samples are too few to expect 10 of any class: none can be called missing",)


def test_a_class_that_all_data_are_of_is_seen_for_sure():
    found = mode_count(sure([0] * 20, 2), sure([0] * 20, 2))
    assert (found.expected, found.stderr) == (1, 0)


@pytest.mark.parametrize(("n", "m"), [(500, 500), (200, 2000), (2000, 200)])
@pytest.mark.parametrize(("q", "p"), [(EVEN, EVEN), (SKEWED, SKEWED), (OTHER, SKEWED)])
def test_the_divergence_is_unbiased_and_its_error_the_spread(q, p, n, m):
    found = [class_shares(drawn(q, n, 2 * seed), drawn(p, m, 2 * seed + 1)) for seed in range(600)]
    values = torch.tensor([one.value for one in found])
    exact = float((q * (q / p).log()).sum())
    bias = (len(q) - 1) / 2 * (1 / n + 1 / m)
    assert float(values.mean()) == pytest.approx(exact, abs=5 * float(values.std()) / 600**0.5 + 0.03 * bias)
    assert 5 * float(values.std()) / 600**0.5 < bias  # so that what is corrected would have been seen
    errors = torch.tensor([one.stderr for one in found])
    assert 0.85 < float(errors.square().mean().sqrt() / values.std()) < 1.3


def test_missing_classes_and_classes_that_data_lack_give_finite_divergences():
    one = class_shares(sure([0] * 1000, 10), drawn(EVEN, 100_000, 0))
    assert one.value == pytest.approx(math.log(10), abs=0.02)
    strange = class_shares(sure([1] * 1000, 2), sure([0] * 1000, 2))
    assert strange.value == pytest.approx(math.log(2002), abs=0.1)
    assert strange.shares == (0, 1)
    assert class_shares(sure([0], 3), sure([0] * 50, 3)).flags


def test_agreement_is_the_share_that_is_what_was_asked_for():
    found = class_agreement(sure([0, 1, 1, 2], 4, 0.6), torch.tensor([0, 1, 2, 2]))
    assert found.value == 0.75
    assert found.by_class == (1, 1, 0.5, None)
    assert found.stderr == pytest.approx(math.sqrt(4 / 6 * 2 / 6 / 4))
    assert found.flags == ("1 of 4 classes were not asked for",)


def test_what_are_no_probabilities_is_refused_in_words():
    fine = sure([0], 3)
    for function in (clear_share, lambda p: mode_count(p, fine), lambda p: class_shares(fine, p)):
        with pytest.raises(RangeError, match=r"\[0.5, 0.6"):
            function(torch.tensor([[0.5, 0.6, 0.1]]))
        with pytest.raises(RangeError, match="nan"):
            function(torch.tensor([[math.nan, 0.5, 0.5]]))
        with pytest.raises(ShapeError, match=r"\(3,\)"):
            function(torch.ones(3))
        with pytest.raises(BadInput, match="at least one"):
            function(torch.ones(0, 3))
    with pytest.raises(ShapeError, match=r"\(3, 4\)"):
        class_shares(fine, sure([0], 4))
    with pytest.raises(ShapeError, match="one label for each"):
        class_agreement(fine, torch.tensor([0, 1]))
    with pytest.raises(RangeError, match=r"\[3\]"):
        class_agreement(fine, torch.tensor([3]))
