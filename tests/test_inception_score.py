"""The Inception Score: its bounds, torch-fidelity's splits, and what it refuses."""

import math

import numpy as np
import pytest
import torch

from fidelity_oracle import formulas
from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics.inception_score import inception_score_of


def logits(n, classes, seed=0):
    return 3 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def certain(n, classes):
    return torch.eye(classes, dtype=torch.float64)[torch.arange(n) % classes]


def by_definition(p, splits):
    """One split and one sample at a time."""
    n, scores = len(p), []
    for k in range(splits):
        part = p[k * n // splits : (k + 1) * n // splits].tolist()
        marginal = [math.fsum(column) / len(part) for column in zip(*part, strict=True)]
        kl = [a * math.log(a / b) for row in part for a, b in zip(row, marginal, strict=True) if a > 0]
        scores.append(math.exp(math.fsum(kl) / len(part)))
    return scores


@pytest.mark.parametrize(("n", "splits"), [(200, 10), (203, 7), (40, 1)])
def test_score_is_its_definition(n, splits):
    p = logits(n, 5).softmax(1)
    scores = torch.tensor(by_definition(p, splits), dtype=torch.float64)
    found = inception_score_of(p, splits=splits)
    assert found.value == pytest.approx(float(scores.mean()), rel=1e-12)
    assert found.spread == pytest.approx(float(scores.std(correction=0)), rel=1e-12, abs=1e-15)
    if splits > 1:
        assert found.stderr == pytest.approx(float(scores.std()) / splits**0.5, rel=1e-12)


@pytest.mark.parametrize("splits", [1, 10, 7])
def test_score_is_that_of_torch_fidelity(splits, monkeypatch):
    oracle = formulas("isc", monkeypatch)
    x = logits(205, 10)
    theirs = oracle.isc_features_to_metric(x, splits)
    order = np.random.RandomState(2020).permutation(205)  # the order that it shuffles to
    found = inception_score_of(x[order].softmax(1), splits=splits)
    assert found.value == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert found.spread == pytest.approx(theirs["inception_score_std"], rel=1e-9, abs=1e-12)


def test_even_and_certain_classes_get_their_number_and_doubt_gets_one():
    assert inception_score_of(certain(200, 4)).value == pytest.approx(4)
    assert inception_score_of(torch.full((200, 4), 0.25)).value == pytest.approx(1)
    assert inception_score_of(torch.ones(200, 1)).value == 1


def test_a_class_that_never_occurs_is_no_error():
    p = torch.cat([certain(300, 3), torch.zeros(300, 2)], 1)
    assert inception_score_of(p).value == pytest.approx(3, rel=0.01)


def test_the_standard_error_is_the_spread_over_repetitions():
    found = [inception_score_of(logits(600, 4, seed).softmax(1)) for seed in range(200)]
    spread = torch.tensor([score.value for score in found]).std()
    assert float(torch.tensor([score.stderr for score in found]).mean() / spread) == pytest.approx(1, abs=0.15)
    assert inception_score_of(logits(100, 4).softmax(1), splits=1).stderr is None


@pytest.mark.parametrize(
    ("n", "splits", "flagged"), [(400, 10, False), (399, 10, True), (40, 1, False), (20, 10, True)]
)
def test_few_samples_in_a_split_are_flagged(n, splits, flagged):
    flags = inception_score_of(logits(n, 4).softmax(1), splits=splits).flags
    assert len(flags) == flagged
    assert all(f"{n // splits} samples in a split are few for 4 classes" in flag for flag in flags)


def test_too_few_samples_for_the_splits_are_refused():
    with pytest.raises(BadInput, match=r"10 splits needs at least 2(.|\n)*19(.|\n)*at least 20 samples"):
        inception_score_of(certain(19, 3))
    with pytest.raises(BadInput, match=r"1 splits needs at least 2(.|\n)*1\b"):
        inception_score_of(certain(1, 3), splits=1)
    with pytest.raises(RangeError, match=r"at least one split(.|\n)*0"):
        inception_score_of(certain(90, 3), splits=0)


@pytest.mark.parametrize(
    ("probabilities", "error", "said"),
    [
        (torch.full((90,), 0.5), ShapeError, r"\(90,\)"),
        (torch.full((90, 2), 0.4), RangeError, r"add up to 1(.|\n)*0\.8"),
        (torch.tensor([[1.5, -0.5]]).expand(90, 2), RangeError, r"not negative(.|\n)*-0\.5"),
        (torch.full((90, 2), math.nan), RangeError, "180 that are not"),
        (logits(90, 2), RangeError, "not negative"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, error, said):
    with pytest.raises(error, match=said):
        inception_score_of(probabilities)
