"""Domains: what they accept, what they refuse and how they say it, and their JSON."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pmodel import Column, Discrete, Real, Sequences, Table
from pmodel.domain import domain_from_json
from pmodel.errors import BadInput, DtypeError, RangeError, ShapeError

GAPPY = Table(
    (Column("a"), Column("b", "stepped", step=0.5, missing=True), Column("c", "category", categories=("x", "y")))
)


@pytest.mark.parametrize(
    "x",
    [
        [[1, 0], [2, 3]],
        np.array([[1, 0], [2, 3]], dtype=np.uint8),
        np.array([[1, 0], [2, 3]], dtype=np.uint16),
        np.array([[1.0, 0.0], [2.0, 3.0]]),
        np.array([[1, 2], [0, 3]]).T,  # not contiguous
        torch.tensor([[1, 0], [2, 3]], dtype=torch.int32),
        torch.tensor([[1.0, 0.0], [2.0, 3.0]]),
    ],
)
def test_discrete_takes_whole_numbers_of_any_type(x):
    checked = Discrete((2,), 4).check(x)
    assert checked.dtype == torch.int64
    assert checked.tolist() == [[1, 0], [2, 3]]


def test_read_only_array_is_copied_without_a_warning():
    x = np.zeros((2, 2))
    x.flags.writeable = False
    checked = Real((2,)).check(x)
    checked += 1
    assert float(x.sum()) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_real_is_single_precision_or_double(dtype):
    assert Real((1,)).check(torch.ones(2, 1, dtype=dtype)).dtype == torch.float32
    assert Real((1,)).check(torch.ones(2, 1, dtype=torch.float64)).dtype == torch.float64


BITS, REAL = Discrete((2,), 2), Real((2,))
REFUSED = [
    (BITS, [[0, 2]], RangeError, "2", "from 0 to 1"),
    (BITS, [[0, -1]], RangeError, "-1", "from 0 to 1"),
    (BITS, [[0, 0.5]], RangeError, "0.5", "whole numbers"),
    (BITS, [[0, float("nan")]], RangeError, "nan", "whole numbers"),
    (BITS, [[0, float("inf")]], RangeError, "inf", "whole numbers"),
    (BITS, [0, 1], ShapeError, "(2,)", "shape"),
    (BITS, [[0, 1, 1]], ShapeError, "(1, 3)", "shape"),
    (BITS, [["a", "b"]], DtypeError, "str", "numeric"),
    (BITS, np.array([[None, 1]], dtype=object), DtypeError, "object", "numeric"),
    (BITS, [[0, 1], [1]], ShapeError, "[[0, 1], [1]]", "rectangular"),
    (BITS, torch.zeros(1, 2, dtype=torch.complex64), DtypeError, "complex64", "real"),
    (BITS, torch.zeros(1, 2).to_sparse(), DtypeError, "float32", "dense"),
    (REAL, [[0.0, float("nan")]], RangeError, "nan (entry 1", "finite"),
    (REAL, [[float("-inf"), 0.0]], RangeError, "-inf (entry 0", "finite"),
    (GAPPY, [[float("nan"), 0, 0]], RangeError, "nan", "column 'a'"),
    (GAPPY, [[0, float("inf"), 0]], RangeError, "inf", "column 'b'"),
    (GAPPY, [[0, 0, 2]], RangeError, "2", "column 'c'"),
    (GAPPY, [[0, 0, 0.5]], RangeError, "0.5", "column 'c'"),
]


@pytest.mark.parametrize(("domain", "x", "error", "value", "words"), REFUSED)
def test_refusal_names_value_and_rule(domain, x, error, value, words):
    with pytest.raises(error) as caught:
        domain.check(x)
    assert value in caught.value.got
    assert words in caught.value.problem


def test_table_keeps_what_is_missing():
    assert GAPPY.check([[1.0, float("nan"), 1]]).isnan().tolist() == [[False, True, False]]


@pytest.mark.parametrize("domain", [BITS, REAL, Discrete((), 3), Real((1, 8, 8)), GAPPY])
def test_no_data_are_data(domain):
    assert domain.check(torch.zeros(0, *domain.shape)).shape == (0, *domain.shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Discrete((0,), 2),
        lambda: Discrete((2,), 0),
        lambda: Discrete((2,), True),
        lambda: Discrete((2.0,), 2),
        lambda: Discrete("12", 2),
        lambda: Discrete((2**20, 2**20), 2),
        lambda: Real((-1,)),
        lambda: Table(()),
        lambda: Column("a", "stepped"),
        lambda: Column("a", "real", step=1.0),
        lambda: Column("a", "stepped", step=float("inf")),
        lambda: Column("a", "category"),
        lambda: Column("a", "real", categories=("x",)),
        lambda: Column("a", "complex"),
        lambda: domain_from_json({"kind": "sphere", "shape": [2]}),
        lambda: domain_from_json({"kind": "real"}),
        lambda: domain_from_json({"kind": "real", "shape": [2], "more": 1}),
        lambda: domain_from_json([]),
        lambda: domain_from_json({"kind": "table", "columns": [{"title": "a"}]}),
    ],
)
def test_absurd_domains_are_refused(make):
    with pytest.raises(BadInput) as caught:
        make()
    assert caught.value.problem.endswith(".")


def test_measures_and_steps():
    assert [d.measure for d in (BITS, REAL, GAPPY, Table((Column("a"),)))] == ["mass", "density", "mixed", "density"]
    assert GAPPY.steps.tolist() == [0, 0.5, 1]
    assert Discrete((1, 2, 2), 5).image
    assert not Discrete((2, 2, 2), 5).image
    assert Discrete((), 5).entries == 1


names = st.text(max_size=8)
shapes = st.lists(st.integers(1, 5), max_size=3).map(tuple)
columns = st.one_of(
    st.builds(Column, names, missing=st.booleans()),
    st.builds(Column, names, st.just("stepped"), step=st.floats(1e-3, 1e3)),
    st.builds(Column, names, st.just("category"), categories=st.lists(names, min_size=1, max_size=3).map(tuple)),
)
elements = st.one_of(st.builds(Discrete, shapes, st.integers(1, 300)), st.builds(Real, shapes))
domains = st.one_of(
    st.builds(Sequences, elements, st.integers(1, 9)),
    st.builds(Discrete, shapes, st.integers(1, 300)),
    st.builds(Real, shapes),
    st.builds(Table, st.lists(columns, min_size=1, max_size=4).map(tuple)),
)


@given(domains)
def test_json_and_back(domain):
    assert domain_from_json(json.loads(json.dumps(domain.to_json()))) == domain


@given(domains)
def test_domains_are_values(domain):
    assert hash(domain) == hash(domain_from_json(domain.to_json()))
    with pytest.raises(AttributeError):
        domain.shape = (9,)
