"""Sequences from lists, ``.npz`` and tables; and those of the known hidden Markov model."""

import itertools
import math

import numpy as np
import pytest
import torch

from pmodel import fit, load_data
from pmodel.data import from_sequences
from pmodel.data.chains import LONGEST, MEANS, START, STD, STEP, draw_chains, log_prob_of_chains
from pmodel.domain import Discrete, Real, Sequences
from pmodel.errors import BadInput, DataError, RangeError, ShapeError, UnknownName
from pmodel.randomness import generator

NAN = float("nan")


def test_lists_of_rows_are_real_sequences():
    data = from_sequences([[[1.0, 2.0]], np.array([[3.0, NAN], [5.0, 6.0]])], [4, 7])
    assert data.domain == Sequences(Real((2,)), 2, missing=True)
    assert data.train.x.dtype == torch.float32
    assert data.domain.lengths(data.train.x).tolist() == [1, 2]
    assert data.label_names == ("4", "7")
    assert data.note == "sequences of 1 to 2 elements; 2 data: train = valid = test = all"


def test_lists_of_numbers():
    assert from_sequences([[0.5], torch.zeros(3)]).domain == Sequences(Real((1,)), 3)
    assert from_sequences([[0, 4], [1]]).domain == Sequences(Discrete((), 5), 2)
    assert from_sequences([[0, 4], [1]], levels=6).domain == Sequences(Discrete((), 6), 2)
    assert from_sequences([[[0, 4]], [[1, 1]]]).domain == Sequences(Discrete((2,), 5), 1)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([], DataError, "no sequences"),
        ([[1.0], []], RangeError, "length 0"),
        ([np.zeros((2, 3)), np.zeros((2, 2))], ShapeError, "same features"),
        ([[1.0, math.inf]], RangeError, "finite"),
        ([[-1, 0]], RangeError, "from 0"),
        ([["a"]], BadInput, "numeric"),
        ([np.zeros((1, 1, 1))], ShapeError, "rows"),
    ],
)
def test_what_is_no_list_of_sequences(x, error, words):
    with pytest.raises(error, match=words):
        from_sequences(x)


def test_splits_are_by_sequence():
    data = from_sequences([[float(k)] * (1 + k % 3) for k in range(200)])
    assert [len(split) for split in data.splits.values()] == [160, 20, 20]
    first = [split.x[:, 0, 0] for split in data.splits.values()]
    assert torch.cat(first).sort().values.tolist() == list(range(200))


# .npz


@pytest.mark.parametrize("padded", [True, False])
def test_npz_with_lengths(tmp_path, padded):
    lengths, rows = np.array([2, 1, 3]), np.arange(12.0).reshape(6, 2)
    x = rows
    if padded:
        x = np.full((3, 4, 2), 99.0)
        for row, part in zip(x, np.split(rows, [2, 3]), strict=True):
            row[: len(part)] = part
    path = tmp_path / "walks.npz"
    np.savez(path, x=x, lengths=lengths, y=np.array([0, 1, 1]))
    data = load_data(path)
    assert data.domain == Sequences(Real((2,)), 3)
    assert [part.tolist() for part in data.domain.listed(data.train.x)] == [
        [[0, 1], [2, 3]],
        [[4, 5]],
        [[6, 7], [8, 9], [10, 11]],
    ]
    assert data.train.y.tolist() == [0, 1, 1]


def test_where_all_lengths_are_one_rows_are_elements(tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.arange(6).reshape(3, 2), lengths=np.ones(3, int))
    assert load_data(tmp_path / "rows.npz").domain == Sequences(Discrete((2,), 6), 1)


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([2, 2], ShapeError, "lengths are not those"),
        ([3, 0], RangeError, "at least one"),
        ([1.5, 1.5], ShapeError, "whole numbers"),
        ([], ShapeError, "whole numbers"),
    ],
)
def test_lengths_that_do_not_fit(tmp_path, lengths, error, words):
    path = tmp_path / "walks.npz"
    np.savez(path, x=np.zeros(3), lengths=np.array(lengths))
    with pytest.raises(error, match=words):
        load_data(path)


# .npy


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_npy_of_padded_sequences(tmp_path, mapped, gaps):
    x = np.arange(300.0).reshape(50, 3, 2)
    x[::2, 2] = np.inf
    if gaps:
        x[1, 0, 0] = np.nan
    np.save(tmp_path / "s.npy", x)
    data = load_data(tmp_path / "s.npy", sequences=True, mapped=mapped)
    assert data.domain == Sequences(Real((2,)), 3, missing=gaps)
    assert data.domain.lengths(data.test.x[:]).unique().tolist() == [2, 3]
    assert data.hash == load_data(tmp_path / "s.npy", sequences=True).hash
    assert load_data(data.source, **data.options).hash == data.hash


def test_npy_of_padded_symbols(tmp_path):
    np.save(tmp_path / "s.npy", np.array([[0, 3, 4], [1, 2, 3]]))
    assert load_data(tmp_path / "s.npy", sequences=True, levels=4).domain == Sequences(Discrete((), 4), 3)
    with pytest.raises(ShapeError, match="no sequences"):
        load_data(tmp_path / "s.npy", sequences=True)
    with pytest.raises(BadInput, match="true or false"):
        load_data(tmp_path / "s.npy", sequences="yes")


@pytest.mark.parametrize("mapped", [False, True])
def test_npy_of_padded_rows_of_symbols(tmp_path, mapped):
    listed = from_sequences([[[0, 3], [1, 2]], [[3, 0]]])
    x = np.array([[[0, 3], [1, 2]], [[3, 0], [4, 4]]])
    np.save(tmp_path / "s.npy", x)
    data = load_data(tmp_path / "s.npy", sequences=True, levels=4, mapped=mapped)
    assert data.domain == listed.domain == Sequences(Discrete((2,), 4), 2)
    assert torch.equal(data.train.x[:], listed.train.x)


@pytest.mark.parametrize("mapped", [False, True])
def test_padded_sequences_that_are_none(tmp_path, mapped):
    x = np.zeros((50, 3, 2))
    x[40, 0] = np.inf
    np.save(tmp_path / "s.npy", x)
    with pytest.raises(RangeError, match="after the end"):
        load_data(tmp_path / "s.npy", sequences=True, mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_model_learns_from_mapped_sequences(tmp_path, mapped):
    np.save(tmp_path / "s.npy", draw_chains(400, generator(0)).numpy())
    data = load_data(tmp_path / "s.npy", sequences=True, mapped=mapped)
    model = fit("hmm", data, states=2, steps=2)
    lengths = data.domain.lengths(data.train.x[:])
    torch.testing.assert_close(
        model.length_frequencies[0], torch.bincount(lengths - 1, minlength=40) / float(len(lengths)), check_dtype=False
    )


# tables

TABLE = "who,t,height,weight,mood,kind\na,1,1.5,2,good,x\nb,1,2.25,3,bad,y\na,2,,4,bad,x\nb,2,1,5,good,y\nb,3,0.1,7,good,y\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "days.csv"
    path.write_text(TABLE)
    return path


def dropping(*names):
    return dict.fromkeys(names, "drop")


def test_rows_of_numbers_are_real_elements_in_their_order(table):
    data = load_data(table, sequence="who", label="kind", columns=dropping("mood", "t"))
    assert data.domain == Sequences(Real((2,)), 3, missing=True)
    first, second = data.domain.listed(data.train.x)
    assert torch.nan_to_num(first, nan=-1).tolist() == [[1.5, 2], [-1, 4]]
    assert second[:, 1].tolist() == [3, 5, 7]
    assert data.train.y.tolist() == [0, 1]
    assert data.label_names == ("x", "y")
    assert load_data(data.source, **data.options).hash == data.hash


def test_one_category_is_a_symbol(table):
    data = load_data(table, sequence="who", columns=dropping("t", "height", "weight", "kind"))
    assert data.domain == Sequences(Discrete((), 2), 3)
    assert [part.tolist() for part in data.domain.listed(data.train.x)] == [[1, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sequence": "whom"}, UnknownName, "whom"),
        ({"sequence": "who", "label": "mood", "columns": dropping("kind")}, DataError, "has not one"),
        ({"sequence": "who"}, DataError, "mood: category"),
        ({"sequence": "height"}, DataError, "a row has none"),
        ({"sequence": "who", "columns": dropping("t", "height", "weight", "mood", "kind")}, DataError, "no columns"),
    ],
)
def test_tables_that_are_no_sequences(table, options, error, words):
    with pytest.raises(error) as caught:
        load_data(table, **options)
    assert words in str(caught.value)


def test_a_category_with_gaps_is_refused(tmp_path):
    path = tmp_path / "days.csv"
    path.write_text("who,mood\na,good\na,\nb,bad\n")
    with pytest.raises(DataError, match="a row of a sequence has none"):
        load_data(path, sequence="who")


# the known hidden Markov model


def test_the_known_density_is_that_of_all_paths():
    x = draw_chains(3, generator(0))
    domain = Sequences(Real((2,)), LONGEST)
    x = domain.cut(x, torch.tensor([1, 2, 4]))
    for row, found in zip(domain.listed(x), log_prob_of_chains(x), strict=True):
        total = 0.0
        for path in itertools.product(range(3), repeat=len(row)):
            p = START[path[0]] * math.prod(STEP[a][b] for a, b in itertools.pairwise(path))
            for point, state in zip(row.double(), path, strict=True):
                distance = float((point - torch.tensor(MEANS[state]).double()).square().sum()) / STD**2
                p *= math.exp(-distance / 2) / (2 * math.pi * STD**2)
            total += p
        assert float(found) == pytest.approx(math.log(total), abs=1e-9)


def test_the_known_sequences():
    data = load_data("hmm-three")
    lengths = data.domain.lengths(data.train.x)
    assert (int(lengths.min()), int(lengths.max())) == (10, 40)
    assert f"{float(log_prob_of_chains(data.test.x).mean()):.4f} nats" in data.note
    assert load_data("hmm-three", seed=1).hash != data.hash
