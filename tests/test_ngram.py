"""N-grams: the counts and their sketch, smoothing against the formulas written out, that all sums to one, and completion."""

import itertools
from collections import Counter, defaultdict

import pytest
import torch

import pmodel
from pmodel.domain import Discrete, Sequences
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.autoregressive.tokens.ngram import NGram
from pmodel.explicit.tractable.autoregressive.tokens.ngram_sketch import Sketch
from pmodel.explicit.tractable.autoregressive.tokens.ngram_tables import FALLBACK, _discounts
from pmodel.learning import Batch
from pmodel.testing.fitting import learn

SMOOTHINGS = ("kneser-ney", "witten-bell")
START = "^"
END = "$"
WORDS = ["abdacadabdac", "badada", "cab", "bacca", "", "abba", "dada", "a", "acdcacdc"]
LETTERS = "abcd"
STRINGS = Sequences(Discrete((), 4), 12, ends=True)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def encoded(words):
    return [torch.tensor([LETTERS.index(letter) for letter in word], dtype=torch.int64) for word in words]


def fitted(words=WORDS, domain=STRINGS, **options):
    return learn(NGram(domain, **options), Batch(domain.check(encoded(words))))


# The sketch


@pytest.mark.parametrize("rows", [0, 1, 500, 5000])
def test_sketch_gives_rows_and_counts_back(rows):
    grams = torch.unique(torch.randint(0, 1000, (rows, 4), generator=noise()), dim=0)
    counts = torch.randint(1, 10**6, (len(grams),), generator=noise(1)).double()
    sketch = Sketch(5000, 4)
    found, found_counts = sketch.rows(sketch.table(grams, counts))
    order = torch.arange(len(found)) if rows == 0 else torch.unique(found, dim=0, return_inverse=True)[1]
    assert torch.equal(torch.zeros_like(grams).index_copy(0, order, found), grams)
    assert torch.equal(torch.zeros_like(counts).index_copy(0, order, found_counts), counts)


def test_sums_of_sketches_are_sketches_of_sums():
    sketch, rows = Sketch(300, 2), torch.cartesian_prod(torch.arange(15), torch.arange(15))
    counts = torch.randint(1, 9, (2, 225), generator=noise()).double()
    both = sketch.table(rows, counts[0]) + sketch.table(rows[100:], counts[1, 100:])
    expected = counts[0] + torch.where(torch.arange(225) < 100, 0, counts[1])
    assert torch.equal(both, sketch.table(rows, expected))


def test_sketch_notices_that_it_holds_too_much():
    rows = torch.randint(0, 1000, (2000, 3), generator=noise())
    sketch = Sketch(500, 3)
    assert sketch.rows(sketch.table(rows, torch.ones(2000))) is None


def test_too_many_ngrams_are_refused():
    with pytest.raises(BadInput, match="more than 64 different 5-grams"):
        fitted([*map("".join, itertools.product(LETTERS, repeat=6))], capacity=64)


@pytest.mark.parametrize("order", [1, 3, 5])
def test_counts_are_those_of_the_strings(order):
    model = fitted(order=order)
    expected = Counter()
    for word in WORDS:
        padded = START * (order - 1) + word + END * (len(word) < STRINGS.longest)
        expected.update(padded[i : i + order] for i in range(len(padded) - order + 1))
    symbols = LETTERS + END + START
    there = model.counts > 0
    found = {
        "".join(symbols[s] for s in gram): count
        for gram, count in zip(model.keys[there].tolist(), model.counts[there].tolist(), strict=True)
    }
    assert found == dict(expected)
    assert model.size == len(expected)


# Smoothing


def reference(words, order, smoothing):
    """p(symbol | context), by the formulas of the docstring, one string at a time."""
    counts = [Counter() for _ in range(order + 1)]
    before = defaultdict(set)
    for word in words:
        padded = START * (order - 1) + word + END * (len(word) < STRINGS.longest)
        for last, k in itertools.product(range(order - 1, len(padded)), range(1, order + 1)):
            gram = padded[last - k + 1 : last + 1]
            counts[k][gram] += 1
            if k < order:
                before[gram].add(padded[last - k])
    if smoothing == "kneser-ney":
        for k in range(1, order):
            for gram in counts[k]:
                counts[k][gram] = counts[k][gram] if gram.startswith(START) else len(before[gram])
    discounts = [_discounts(torch.tensor(list(c.values()), dtype=torch.float64)) for c in counts]

    def p(symbol, context, k):
        if k == 0:
            return 1 / 5
        lower, tail = p(symbol, context, k - 1), context[len(context) - k + 1 :] if k > 1 else ""
        after = {gram[-1]: c for gram, c in counts[k].items() if gram[:-1] == tail}
        total = sum(after.values())
        if not after:
            return lower
        if smoothing == "witten-bell":
            return (after.get(symbol, 0) + len(after) * lower) / (total + len(after))
        taken = {s: discounts[k][min(c, 3) - 1] for s, c in after.items()}
        own = (after[symbol] - taken[symbol]) / total if symbol in after else 0
        return own + sum(taken.values()) / total * lower

    return p


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_conditionals_are_those_of_the_formulas(order, smoothing):
    model, p = fitted(order=order, smoothing=smoothing), reference(WORDS, order, smoothing)
    contexts = [START * (order - 1), *("".join(c) for c in itertools.product("ab" + START, repeat=order - 1))]
    symbols = LETTERS + END + START
    rows = torch.tensor([[symbols.index(s) for s in context] for context in contexts], dtype=torch.int64)
    found = model.tables.next(rows.reshape(len(contexts), order - 1))
    expected = [[p(symbol, context, order) for symbol in LETTERS + END] for context in contexts]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_one_symbol_is_looked_up_as_all_are(smoothing):
    model = fitted(order=4, smoothing=smoothing)
    windows = torch.cartesian_prod(*[torch.arange(6)] * 3, torch.arange(5))
    torch.testing.assert_close(
        model.tables.look_up(windows), model.tables.next(windows[:, :3]).gather(1, windows[:, 3:]).squeeze(1)
    )


def test_discounts_of_a_geometric_text():
    counts = torch.tensor([1.0] * 800 + [2.0] * 300 + [3.0] * 150 + [4.0] * 80)
    y = 800 / 1400
    assert _discounts(counts) == pytest.approx((1 - 2 * y * 3 / 8, 2 - 3 * y / 2, 3 - 4 * y * 8 / 15))
    assert _discounts(torch.tensor([50.0, 60.0])) == FALLBACK


# That it is a distribution


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("words", [WORDS, [""], ["ab"]])
def test_strings_that_end_sum_to_one(words, smoothing):
    domain = Sequences(Discrete((), 4), 5, ends=True)
    model = fitted([word[:5] for word in words], domain, order=3, smoothing=smoothing)
    every = ["".join(s) for n in range(6) for s in itertools.product(LETTERS, repeat=n)]
    assert float(model.log_prob(encoded(every)).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_sequences_that_do_not_end_sum_to_one_for_each_length():
    domain = Sequences(Discrete((), 4), 12)
    model = fitted([word for word in WORDS if word], domain, order=3)
    for length in (1, 2, 4):
        every = ["".join(s) for s in itertools.product(LETTERS, repeat=length)]
        assert float(model.log_prob(encoded(every)).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_before_any_data_all_symbols_are_alike():
    model = NGram(STRINGS)
    assert model.log_prob(encoded(["abc"])).exp().tolist() == pytest.approx([5**-4])
    assert model.sample(3, generator=0).shape == (3, 12)


def test_a_longer_order_fits_the_training_text_better_and_not_other_texts():
    text, other = ["abcdabcdabcd"] * 3 + ["dcba"] * 2, ["bbdd", "ac"]
    fits = [float(fitted(text, order=order).log_prob(encoded(text)).mean()) for order in (1, 2, 3)]
    assert fits[0] < fits[1] < fits[2]
    assert all(torch.isfinite(fitted(text, order=order).log_prob(encoded(other))).all() for order in (1, 2, 5))


def test_start_of_a_string_is_known():
    model = fitted(["ab", "ab", "ab", "abb"], order=2)
    first = model.tables.next(torch.tensor([[5]]))[0]
    assert float(first[0]) > 0.7
    assert float(first[4]) < 0.1


# Learning, drawing, keeping


@pytest.mark.parametrize("order", [2, 5])
def test_samples_follow_the_probabilities(order):
    domain = Sequences(Discrete((), 4), 3, ends=True)
    model = fitted([word[:3] for word in WORDS], domain, order=order)
    every = domain.check(encoded(["".join(s) for n in range(4) for s in itertools.product(LETTERS, repeat=n)]))
    drawn = model.sample(40_000, generator=1)
    counts = (drawn.unsqueeze(1) == every).all(2).double().sum(0)
    expected = 40_000 * model.log_prob(every).exp()
    assert float(((counts - expected) / (expected + 1).sqrt()).abs().max()) < 5


def test_beginning_is_continued():
    model = fitted(["abcd"] * 30 + ["dcba"] * 30, order=3)
    x = STRINGS.check(encoded(["ab", "dc"]))
    observed = torch.tensor([True, True] + [False] * 10)
    drawn = model.complete(x.repeat(200, 1), observed, generator=1)
    expected = STRINGS.check(encoded(["abcd", "dcba"]))
    for row in range(2):
        assert float((drawn[row::2] == expected[row]).all(1).double().mean()) > 0.8


def test_saved_model_scores_the_same(tmp_path):
    model = fitted(order=3)
    pmodel.storage.save(model, tmp_path / "run")
    again = pmodel.load(tmp_path / "run")
    x = encoded(WORDS)
    assert torch.equal(again.log_prob(x), model.log_prob(x))
    assert again.size == model.size


def test_other_counts_make_other_tables():
    model, other = fitted(order=3), fitted(["dddd"] * 5, order=3)
    x = encoded(WORDS)
    before = model.log_prob(x)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model.log_prob(x), other.log_prob(x))
    assert not torch.equal(model.log_prob(x), before)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"order": 0}, RangeError, "order must be"),
        ({"order": 1.5}, RangeError, "order must be"),
        ({"capacity": 0}, RangeError, "capacity must be"),
        ({"smoothing": "none"}, BadInput, "kneser-ney or witten-bell"),
    ],
)
def test_bad_options_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        NGram(STRINGS, **options)


@pytest.mark.parametrize("domain", [Discrete((4,), 3), Sequences(Discrete((2,), 3), 4)])
def test_other_data_are_refused(domain):
    with pytest.raises(BadInput, match="sequences of single symbols"):
        NGram(domain)


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_observed_further_on_is_reached(ends):
    """Four missing symbols have more joint states than are listed: particles, whose means are the posterior's."""
    domain = Sequences(Discrete((), 4), 7, ends=ends)
    model = fitted([word[:7] for word in WORDS if word or ends], domain, order=3, particles=64)
    x = domain.check(encoded(["aaaaab"]))
    observed = torch.tensor([True] + [False] * 4 + [True, not ends])
    drawn = model.complete(x.repeat(1000, 1), observed, generator=1)
    assert (drawn[:, [0, 5]] == x[:, [0, 5]]).all()
    every = torch.cartesian_prod(*[torch.arange(4)] * 4)
    last = [[], *([[symbol] for symbol in range(4)] if ends else [])]
    strings = [[0, *middle, 1, *end] for middle in every.tolist() for end in last]
    p = model.log_prob([torch.tensor(string) for string in strings]).softmax(0)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for string, weight in zip(strings, p, strict=True):
        expected[range(4), string[1:5]] += weight
    found = torch.nn.functional.one_hot(drawn[:, 1:5], 4).double().mean(0)
    assert float((found - expected).abs().max()) < 0.06
