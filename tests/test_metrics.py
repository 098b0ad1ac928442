"""Metrics: equal to closed forms and to references, and honest about what follows from them."""

import math

import pytest
import torch

from pmodel.domain import Alphabet, Column, Discrete, Real, Sequences, Table
from pmodel.errors import BadInput
from pmodel.likelihood import Likelihood
from pmodel.metrics import (
    Candidate,
    Measure,
    bits_json,
    compare_likelihoods,
    costs,
    likelihood_json,
    same_measure,
)
from pmodel.metrics.features import Columns
from pmodel.metrics.likelihood import places, seeds_half, student
from pmodel.metrics.measure import choose, named

MEASURE = Measure(data="abc", split="test", probability="mass")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def candidate(name, values, kind="exact", measure=MEASURE):
    runs = values if isinstance(values, list) else [values]
    return Candidate(name, measure, tuple(Likelihood(v, kind, kind) for v in runs))


# Features


def test_columns_are_standardised_categories_are_indicators_and_gaps_are_shown():
    table = Table((Column("height"), Column("kind", "category", categories=("a", "b")), Column("age", missing=True)))
    rows = torch.tensor([[1.0, 0, 10], [3, 1, math.nan], [5, 1, 30]], dtype=torch.float64)
    features = Columns(table, rows)(rows)
    assert features.shape == (3, 5)
    torch.testing.assert_close(features[:, 0], torch.tensor([-1.5, 0, 1.5], dtype=torch.float64).div(1.5).mul(1.5**0.5))
    torch.testing.assert_close(features[:, 1], -features[:, 2])
    assert features[1, 3] == 0
    assert features[:, 4].tolist() == [0, 1, 0]


def test_columns_keep_a_constant_column_and_average_images():
    constant = Columns(Real((2,)), torch.tensor([[1.0, 5], [2, 5]]))(torch.tensor([[1.0, 7]]))
    assert constant[0, 1] == 2
    images = torch.randint(0, 256, (20, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert Columns(Discrete((3, 32, 16), 256), images)(images).shape == (20, 3 * 8 * 8)


def test_small_discrete_data_become_indicators():
    dice = torch.arange(6)[:, None]
    features = Columns(Discrete((1,), 6), dice)(dice)
    assert features.shape == (6, 6)
    assert (features > 0).sum() == 6


# Measures


def test_numbers_of_two_measures_do_not_compare():
    other = Measure(data="abc", split="valid", probability="mass")
    with pytest.raises(BadInput, match=r"split differs(.|\n)*'test' and 'valid'"):
        same_measure([MEASURE, other])
    with pytest.raises(BadInput, match="split differs"):
        compare_likelihoods(candidate("a", noise(9)), candidate("b", noise(9), measure=other))


def test_a_choice_is_named_by_what_was_chosen():
    rows = choose(1000, 100, 0, "score")
    assert rows.unique().numel() == 100
    assert named(rows, 1000).startswith("100 of 1000, sha256:")
    assert named(rows, 1000) != named(choose(1000, 100, 1, "score"), 1000)
    assert named(rows.flip(0), 1000) == named(rows, 1000)
    assert named(choose(50, 100, 0, "score"), 50) == "all"


# Likelihoods


def test_a_likelihood_says_everything_about_itself():
    written = likelihood_json(Likelihood(torch.tensor([-1.0, -3.0]).double(), "lower_bound", "16 draws"), MEASURE)
    assert written == {
        "value": -2.0,
        "kind": "lower_bound",
        "unit": "nats",
        "stderr": pytest.approx(1.0),
        "n": 2,
        "measure": {"data": "abc", "split": "test", "which": "all", "probability": "mass"},
        "estimator": "16 draws",
        "impossible": 0,
    }
    bits = bits_json(written, torch.tensor([-1.0, -3.0]), torch.tensor([8, 8]), "bits/dim")
    assert bits["unit"] == "bits/dim"
    assert bits["value"] == pytest.approx(2 / (8 * math.log(2)))
    assert bits["stderr"] == pytest.approx(1 / (8 * math.log(2)))


def test_bits_over_data_of_different_sizes_are_a_ratio_of_sums():
    values, sizes = torch.tensor([-1.0, -3.0, -2.0]).double(), torch.tensor([2, 5, 5])
    written = likelihood_json(Likelihood(values, "exact", "exact"), MEASURE)
    bits = bits_json(written, values, sizes, "bits/character")
    assert bits["value"] == pytest.approx(6 / (12 * math.log(2)))
    residuals = -values / math.log(2) - bits["value"] * sizes
    assert bits["stderr"] == pytest.approx(float(residuals.std()) / math.sqrt(3) / 4)
    assert bits_json(written, values, torch.zeros(3), "bits/character")["value"] is None


def test_the_error_that_all_values_of_an_estimate_share_is_in_that_of_the_mean():
    """A partition function that is off by so much moves every value: more data do not help."""
    values, error = torch.linspace(-2, 0, 400).double(), torch.full((400,), 0.3).double()
    estimate, bound = Likelihood(values, "estimate", "", error), Likelihood(values, "lower_bound", "", error)
    data = float(values.std()) / 20
    assert bound.stderr == pytest.approx(data)
    assert estimate.stderr == pytest.approx(math.hypot(data, 0.3))
    written = Candidate("a", MEASURE, (estimate,)).to_json()
    assert written["stderr"] == pytest.approx(estimate.stderr)
    sizes = torch.full((400,), 8.0)
    bits = bits_json(written, values, sizes, "bits/dim", estimate.common_stderr)
    assert bits["stderr"] == pytest.approx(estimate.stderr / (8 * math.log(2)))


def test_the_standard_error_of_bits_is_that_of_many_draws():
    """Against the spread of the ratio over draws of new data."""
    noise = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 20, (500, 400), generator=noise)
    values = -2.0 * sizes + torch.randn(500, 400, generator=noise).double() * sizes.double().sqrt()
    found = []
    for v, s in zip(values, sizes, strict=True):
        found.append(bits_json(likelihood_json(Likelihood(v, "exact", "exact"), MEASURE), v, s, "bits/dim"))
    spread = torch.tensor([bits["value"] for bits in found]).std()
    assert float(spread) == pytest.approx(sum(bits["stderr"] for bits in found) / 500, rel=0.1)


def test_unknown_characters_are_paid_for():
    alphabet = Alphabet(("\ufffd", "a", "bc"), "word")
    domain = Sequences(Discrete((), 3), 3, ends=True, alphabet=alphabet)
    x = domain.check([[1, 2], [0]])
    values = torch.tensor([-2.0, -1.0]).double()
    written = likelihood_json(Likelihood(values, "exact", "exact"), MEASURE)
    found = costs(written, values, x, domain)
    assert found["bits_per_dim"]["value"] == pytest.approx(3 / 3 / math.log(2))
    assert found["bits_per_character"]["value"] == pytest.approx((3 / math.log(2) + math.log2(1_112_064)) / 4)
    assert costs(written, values, x.double(), Sequences(Real((1,)), 3)) == {}


def test_impossible_data_make_the_value_null():
    written = likelihood_json(Likelihood(torch.tensor([-1.0, -math.inf]).double(), "exact", "exact"), MEASURE)
    assert (written["value"], written["stderr"], written["impossible"]) == (None, None, 1)
    assert bits_json(written, torch.tensor([-1.0, -math.inf]), torch.tensor([8, 8]), "bits/dim")["value"] is None
    assert likelihood_json(Likelihood(torch.ones(1), "exact", "exact"), MEASURE)["stderr"] is None


X = noise(500) * 30
CLOSE = X + 0.5 + noise(500, seed=1) * 0.1


@pytest.mark.parametrize(
    ("first", "second", "outcome", "why"),
    [
        (("exact", X), ("exact", CLOSE), "second", "excludes zero"),
        (("exact", X), ("exact", X + noise(500, seed=2)), "undecided", "holds zero"),
        (("lower_bound", CLOSE), ("exact", X), "first", "even its lower bound"),
        (("exact", X), ("lower_bound", CLOSE), "second", "even its lower bound"),
        (("lower_bound", X), ("exact", CLOSE), "undecided", "says nothing"),
        (("lower_bound", X), ("exact", X + noise(500, seed=2)), "undecided", "not significantly"),
        (("lower_bound", X), ("lower_bound", X + 100), "undecided", "do not order"),
        (("estimate", X + 1000), ("exact", X), "undecided", "never ranked"),
        (("exact", X), ("estimate", X - 1000), "undecided", "never ranked"),
    ],
)
def test_only_what_follows_is_ranked(first, second, outcome, why):
    verdict = compare_likelihoods(candidate("a", first[1], first[0]), candidate("b", second[1], second[0]))
    assert verdict.outcome == outcome
    assert why in verdict.why


def test_pairing_decides_what_the_separate_errors_cannot():
    alone = likelihood_json(Likelihood(X, "exact", "exact"), MEASURE)["stderr"]
    verdict = compare_likelihoods(candidate("a", X), candidate("b", CLOSE))
    assert verdict.difference == pytest.approx(-0.5, abs=0.02)
    assert verdict.interval[1] - verdict.interval[0] < alone / 10


@pytest.mark.parametrize(
    ("kinds", "impossible", "outcome"),
    [
        (("exact", "exact"), (True, False), "second"),
        (("exact", "exact"), (False, True), "first"),
        (("exact", "lower_bound"), (True, False), "second"),
        (("lower_bound", "exact"), (True, False), "undecided"),
        (("exact", "exact"), (True, True), "undecided"),
    ],
)
def test_an_exact_model_that_rules_data_out_is_below_one_that_does_not(kinds, impossible, outcome):
    values = [
        X.clone() if fine else torch.cat([X[1:], torch.tensor([-math.inf])]) for fine in (not i for i in impossible)
    ]
    pair = [candidate(str(k), v, kind) for k, (v, kind) in enumerate(zip(values, kinds, strict=True))]
    assert compare_likelihoods(*pair).outcome == outcome


def test_seeds_that_disagree_widen_the_interval():
    one = compare_likelihoods(candidate("a", X + 1), candidate("b", X + noise(500, seed=2) * 0.1))
    two = compare_likelihoods(candidate("a", [X + 0.4, X + 1.6]), candidate("b", X + noise(500, seed=2) * 0.1))
    assert (one.outcome, two.outcome) == ("first", "undecided")
    assert two.difference == pytest.approx(one.difference)


def test_the_interval_from_seeds_is_that_of_welchs_test():
    stats = pytest.importorskip("scipy.stats")
    a, b = [1.0, 1.4, 1.1, 1.3], [0.2, 0.5, 0.9, 0.1]
    errors = [(float(torch.tensor(v).double().std()) / 2, 4) for v in (a, b)]
    variance = sum(e**2 for e, _ in errors)
    freedom = int(variance**2 / sum(e**4 / 3 for e, _ in errors))
    assert stats.ttest_ind(a, b, equal_var=False).df >= freedom
    assert seeds_half(errors) == pytest.approx(float(stats.t.ppf(0.995, freedom)) * variance**0.5, rel=0.01)
    assert seeds_half([(0.0, 3), (0.5, 1)]) == 0


def test_candidates_pair_datum_by_datum():
    with pytest.raises(BadInput, match="500 and 9"):
        compare_likelihoods(candidate("a", X), candidate("b", X[:9]))
    with pytest.raises(BadInput, match="one kind on the same data"):
        Candidate("a", MEASURE, (Likelihood(X, "exact", ""), Likelihood(X[:9], "exact", "")))
    single = compare_likelihoods(candidate("a", X[:1]), candidate("b", X[:1] + 9))
    assert single.outcome == "undecided"


def test_places_are_intervals_where_the_order_is_not_decided():
    a, b, c = candidate("a", X), candidate("b", CLOSE), candidate("c", X + noise(500, seed=2) * 40, "lower_bound")
    verdicts = [compare_likelihoods(*pair) for pair in ((a, b), (a, c), (b, c))]
    assert places(verdicts, ["a", "b", "c"]) == {"a": (2, 3), "b": (1, 2), "c": (1, 3)}


@pytest.mark.parametrize("freedom", [1, 2, 5, 10, 11, 30, 100, 10_000])
def test_the_quantiles_are_those_of_students_t(freedom):
    stats = pytest.importorskip("scipy.stats")
    assert student(freedom) == pytest.approx(float(stats.t.ppf(0.995, freedom)), rel=0.01)
