"""Sequences: what is a batch of them, what is refused, what their lengths do in the verbs."""

import math

import numpy as np
import pytest
import torch

from pmodel import Discrete, Real, Sequences, Table, make
from pmodel.capability import Completes, Marginalises, Samples
from pmodel.domain import domain_from_json
from pmodel.errors import BadInput, DtypeError, NotSupported, RangeError, ShapeError
from pmodel.randomness import generator

NAN = float("nan")
WORDS = Sequences(Discrete((), 3), 4)
TEXT = Sequences(Discrete((), 3), 4, ends=True)
CURVES = Sequences(Real((2,)), 3)
GAPPY = Sequences(Real((2,)), 3, missing=True)
PAIRS = Sequences(Discrete((2,), 5), 3)


class Symbols(Samples, Completes, Marginalises):
    """Independent symbols, each with its own probability, and the end is one of them where sequences end."""

    natives = (Sequences,)
    P = (0.5, 0.2, 0.2, 0.1)

    def _entries(self, x):
        p = torch.tensor(self.P if self.domain.ends else (0.5, 0.3, 0.2), dtype=torch.float64)
        return p.log()[x.clamp(max=len(p) - 1)]

    def _scored(self, x):
        there = self.domain.present(x)
        if not self.domain.ends:
            return there
        return there | (there.sum(1, keepdim=True) == torch.arange(x.shape[1]))

    def _log_prob(self, x, given):
        return self._log_marginal(x, torch.ones_like(x, dtype=torch.bool), given)

    def _log_marginal(self, x, observed, given):
        return torch.where(self._scored(x) & observed, self._entries(x), 0).sum(1)

    def _sample(self, n, given, generator):
        x = torch.multinomial(
            self._entries(torch.arange(4)).exp()[: 3 + self.domain.ends], n * 4, True, generator=generator
        )
        x = x.reshape(n, 4)
        return self.domain.cut(x, (x == 3).long().argmax(1).where((x == 3).any(1), 4)) if self.domain.ends else x

    def _complete(self, x, observed, given, generator):
        return self._sample(len(x), given, generator)


# the domain


@pytest.mark.parametrize(
    "x",
    [
        [[0, 1, 2], [1]],
        [torch.tensor([0, 1, 2]), np.array([1], dtype=np.uint8)],
        np.array([np.array([0, 1, 2]), np.array([1])], dtype=object),
        torch.tensor([[0, 1, 2], [1, 3, 3]]),
        torch.tensor([[0, 1, 2, 3], [1, 3, 3, 3]], dtype=torch.uint8),
        np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 3.0]]),
    ],
)
@pytest.mark.parametrize("domain", [WORDS, TEXT])
def test_lists_and_padded_arrays_are_one_tensor(domain, x):
    checked = domain.check(x)
    assert checked.dtype == torch.int64
    assert checked.tolist() == [[0, 1, 2, 3], [1, 3, 3, 3]]
    assert domain.lengths(checked).tolist() == [3, 1]
    assert domain.present(checked).tolist() == [[True] * 3 + [False], [True] + [False] * 3]
    assert [part.tolist() for part in domain.listed(checked)] == [[0, 1, 2], [1]]
    assert torch.equal(domain.check(checked), checked)


def test_real_elements_are_vectors_and_end_with_infinity():
    x = CURVES.check([[[1, 2], [3, 4]], np.zeros((1, 2))])
    assert x.dtype == torch.float64
    assert x[1].tolist() == [[0, 0], [math.inf] * 2, [math.inf] * 2]
    assert CURVES.sizes(x).tolist() == [4, 2]
    assert CURVES.check([torch.zeros(1, 2)]).dtype == torch.float32
    assert CURVES.check([[[1, 2]]]).dtype == torch.float32
    assert CURVES.observed(x) is None


def test_bytes_have_room_for_the_end():
    full = Sequences(Discrete((), 256), 3)
    assert full.check(np.array([[0, 255]], dtype=np.uint8)).tolist() == [[0, 255, 256]]
    assert (full.storage, WORDS.storage) == (torch.int64, torch.uint8)


def test_missing_values_are_missing_and_the_end_is_known():
    x = GAPPY.check([[[NAN, 2], [3, 4]], [[NAN, NAN]]])
    assert GAPPY.lengths(x).tolist() == [2, 1]
    assert GAPPY.observed(x)[:, :, 0].tolist() == [[False, True, True], [False, True, True]]


def test_what_follows_a_known_end_is_known():
    x = TEXT.check([[0, 1], [0, 1]])
    asked = torch.tensor([[True, False, True, False], [True, True, False, False]])
    assert TEXT.observed(x, asked).tolist() == [[True, False, True, True], [True, True, False, False]]
    assert WORDS.observed(x, asked)[1].tolist() == [True, True, True, True]


@pytest.mark.parametrize("domain", [WORDS, TEXT, CURVES, PAIRS])
def test_no_sequences_are_data(domain):
    assert domain.check([]).shape == (0, *domain.shape)
    assert domain.check(torch.zeros(0, *domain.shape)).shape == (0, *domain.shape)


def test_a_text_may_be_empty_and_a_sequence_may_not():
    assert TEXT.check([[], [1]]).tolist() == [[3, 3, 3, 3], [1, 3, 3, 3]]
    with pytest.raises(RangeError, match="length 0") as caught:
        WORDS.check([[1], []])
    assert caught.value.got == "sequence 1 is empty"


REFUSED = [
    (WORDS, [[0, 4]], RangeError, "4", "from 0 to 2"),
    (WORDS, [[0, -1]], RangeError, "-1", "from 0 to 2"),
    (WORDS, [[0, 0.5]], RangeError, "0.5", "whole numbers"),
    (WORDS, [[0, NAN]], RangeError, "nan at position 1 of sequence 0", "missing"),
    (WORDS, [[0, 1], [0, 3, 1]], RangeError, "position 1 of sequence 1", "after the end"),
    (WORDS, torch.tensor([[3, 3]]), RangeError, "sequence 0 is empty", "length 0"),
    (WORDS, [[0, 1, 2, 0, 1]], ShapeError, "5", "longer than 4"),
    (WORDS, [[[0], [1]]], ShapeError, "(2, 1)", "x[0]"),
    (WORDS, torch.tensor([0, 1]), ShapeError, "(2,)", "shape"),
    (WORDS, [["a"]], DtypeError, "str", "numeric"),
    (WORDS, ["abc"], DtypeError, "str", "numeric"),
    (CURVES, [np.zeros((1, 2)), np.zeros((2, 3))], ShapeError, "(2, 3)", "x[1]"),
    (CURVES, torch.zeros(2, 3, 3), ShapeError, "(2, 3, 3)", "shape"),
    (CURVES, [[[0.0, NAN]]], RangeError, "nan at position 0 of sequence 0", "missing"),
    (CURVES, [[[0.0, -math.inf]]], RangeError, "-inf", "finite"),
    (CURVES, [[[0.0, 1.0], [0.0, math.inf]]], RangeError, "inf at position 1 of sequence 0", "part of an element"),
    (CURVES, [np.zeros((0, 2))], RangeError, "sequence 0 is empty", "length 0"),
    (PAIRS, torch.tensor([[[0, 1], [5, 4]]]), RangeError, "5 at position 1", "part of an element"),
]


@pytest.mark.parametrize(("domain", "x", "error", "value", "words"), REFUSED)
def test_refusal_names_value_and_rule(domain, x, error, value, words):
    with pytest.raises(error) as caught:
        domain.check(x)
    assert value in caught.value.got
    assert words in caught.value.problem


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequences(Table(()), 3),
        lambda: Sequences(TEXT, 3),
        lambda: Sequences(Real(()), 0),
        lambda: Sequences(Real(()), 2.5),
        lambda: Sequences(Real((2**20,)), 2**20),
        lambda: Sequences(Real(()), 3, ends=True),
        lambda: Sequences(Discrete((2,), 3), 3, ends=True),
        lambda: Sequences(Discrete((), 3), 3, missing=True),
        lambda: Sequences(Discrete((), 3), 3, ends=1),
        lambda: domain_from_json({"kind": "sequences", "longest": 3}),
        lambda: domain_from_json({"kind": "sequences", "element": {"kind": "text"}, "longest": 3}),
        lambda: domain_from_json({"kind": "sequences", "element": {"kind": "real"}, "longest": 3}),
    ],
)
def test_absurd_domains_are_refused(make):
    with pytest.raises(BadInput):
        make()


def test_what_a_sequence_is():
    assert (CURVES.shape, CURVES.entries, CURVES.image, CURVES.measure) == ((3, 2), 6, False, "density")
    assert not Sequences(Real((8, 8)), 3).image
    assert (TEXT.measure, TEXT.end, CURVES.end) == ("mass", 3, math.inf)
    assert PAIRS.steps.tolist() == [[1, 1]] * 3


# the verbs


def test_a_scored_list_is_a_scored_tensor():
    model = Symbols(WORDS)
    assert model.log_prob([[0, 1], [2]]).exp().tolist() == pytest.approx([0.15, 0.2])
    assert Symbols(TEXT).log_prob([[0, 1], [], [0, 0, 0, 0]]).exp().tolist() == pytest.approx([0.01, 0.1, 0.0625])


def test_a_mask_beyond_the_end_asks_for_nothing():
    model = Symbols(WORDS)
    observed = torch.tensor([True, True, False, False])
    assert torch.equal(model.log_prob([[0, 1]], observed=observed), model.log_prob([[0, 1]]))
    assert model.log_prob([[0, 1, 2]], observed=observed).exp().tolist() == pytest.approx([0.15])


def test_lengths_are_drawn_as_in_training_or_asked_for():
    model = Symbols(WORDS)
    model.record_lengths(torch.tensor([1, 1, 1, 4]))
    assert model.length_frequencies.tolist() == [[0.75, 0, 0, 0.25]]
    lengths = WORDS.lengths(model.sample(4000, generator=0))
    assert (lengths == 1).double().mean() == pytest.approx(0.75, abs=0.03)
    assert ((lengths == 1) | (lengths == 4)).all()
    assert WORDS.lengths(model.sample(3, lengths=2, generator=0)).tolist() == [2, 2, 2]
    assert WORDS.lengths(model.sample(3, lengths=[1, 3, 4], generator=0)).tolist() == [1, 3, 4]


@pytest.mark.parametrize(
    ("lengths", "error"),
    [(0, RangeError), (5, RangeError), (True, RangeError), ("a", RangeError), ([1, 2], ShapeError)],
)
def test_bad_lengths_are_refused(lengths, error):
    with pytest.raises(error, match="lengths"):
        Symbols(WORDS).sample(3, lengths=lengths)


def test_lengths_of_each_label():
    model = Symbols(WORDS, Discrete((), 3))
    model.record_frequencies(torch.tensor([0, 0, 1]))
    model.record_lengths(torch.tensor([1, 2, 4]), torch.tensor([0, 0, 1]))
    assert model.length_frequencies[:2].tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0, 1]]
    assert model.length_frequencies[2].tolist() == [0.25] * 4  # never seen: any
    assert WORDS.lengths(model.sample(50, given=1, generator=0)).unique().tolist() == [4]


def test_where_texts_end_is_no_setting():
    with pytest.raises(BadInput, match="no length"):
        Symbols(TEXT).sample(2, lengths=3)
    with pytest.raises(BadInput, match="no length"):
        make("gaussian", Real((2,))).sample(2, lengths=3)
    assert "length_frequencies" not in Symbols(TEXT).state_dict()


def test_completion_keeps_the_length_and_the_prompt():
    filled = Symbols(WORDS).complete([[0, 1, 2], [2]], torch.tensor([True, False, False, False]), generator=0)
    assert WORDS.lengths(filled).tolist() == [3, 1]
    assert filled[:, 0].tolist() == [0, 2]
    prompt = TEXT.check([[1]] * 200)
    ended = Symbols(TEXT).complete(prompt, torch.tensor([True, False, False, False]), generator=generator(0))
    assert (ended[:, 0] == 1).all()
    assert TEXT.lengths(ended).unique().tolist() == [1, 2, 3, 4]


def test_a_model_of_vectors_takes_no_sequences():
    with pytest.raises(NotSupported, match="cannot take these data"):
        make("gaussian", CURVES)
