"""Tables: kinds of columns, missing values, labels, and files that are not quite tables."""

import math
import sys

import numpy as np
import pytest
import torch

from pmodel.data import load_data
from pmodel.data.columns import Raw, inferred
from pmodel.domain import Column, Discrete, Table
from pmodel.errors import BadInput, DataError, UnknownName

DRAW = np.random.RandomState(0)


@pytest.fixture
def csv(tmp_path):
    def write(text, name="people.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


def infer(values, kind=None):
    if not any(isinstance(value, str) or value is None for value in values):
        values = np.asarray(values, dtype=np.float64)
    return inferred(Raw("c", values, "people.csv", range(2, 2 + len(values)), "line"), kind)


# ---------------------------------------------------------------- kinds of columns


WHOLE = DRAW.permutation(500)[:200] + 100


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (DRAW.randn(200), Column("c", "real")),
        (DRAW.randn(5), Column("c", "real")),
        (WHOLE, Column("c", "stepped", step=1.0)),
        (WHOLE * 1000, Column("c", "stepped", step=1000.0)),
        (-WHOLE, Column("c", "stepped", step=1.0)),
        (np.round(DRAW.randn(200), 1) + 0.0, Column("c", "stepped", step=0.1)),
        (np.round(DRAW.rand(200) * 20) / 4, Column("c", "stepped", step=0.25)),
        (np.round(DRAW.rand(200), 6), Column("c", "real")),
        (np.repeat(DRAW.rand(100), 2), Column("c", "real")),
        (DRAW.rand(200) * 1e-12, Column("c", "real")),
        (WHOLE * 1e300, Column("c", "real")),
        (DRAW.randint(0, 2, 200), Column("c", "category", categories=("0", "1"))),
        (DRAW.randint(1, 4, 200) / 2, Column("c", "category", categories=("0.5", "1", "1.5"))),
        (
            DRAW.randint(0, 3, 200) / 3,
            Column("c", "category", categories=("0", "0.3333333333333333", "0.6666666666666666")),
        ),
        ([1.0, 2.0, 3.0, 3.0], Column("c", "stepped", step=1.0)),
        ([7.5, 7.5, 7.5], Column("c", "category", categories=("7.5",))),
        ([1.5], Column("c", "category", categories=("1.5",))),
    ],
)
def test_a_column_of_numbers(values, column):
    found, stored = infer(np.array(values))
    assert found == column
    original = np.array(values, dtype=float)
    if column.kind == "category":
        np.testing.assert_array_equal([float(column.categories[int(code)]) for code in stored], original)
    else:
        np.testing.assert_allclose(stored, original, rtol=1e-12)


def test_a_stepped_value_is_a_multiple_of_its_step_to_the_bit():
    column, stored = infer(np.round(DRAW.randn(200), 1))
    assert np.array_equal(np.round(stored / column.step) * column.step, stored)


def test_a_column_of_text():
    column, codes = infer(["b", "a", None, "b"])
    assert column == Column("c", "category", categories=("a", "b"), missing=True)
    np.testing.assert_array_equal(codes, [1, 0, math.nan, 1])


def test_missing_numbers_do_not_hide_the_grid():
    column, values = infer([*WHOLE[:50], math.nan])
    assert column == Column("c", "stepped", step=1.0, missing=True)
    assert math.isnan(values[-1])


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        (WHOLE, "real", Column("c", "real")),
        (np.round(DRAW.rand(200), 6), "stepped", Column("c", "stepped", step=1e-6)),
        ([3.0, 1.0], "category", Column("c", "category", categories=("1", "3"))),
        ([f"id {k}" for k in range(200)], "category", None),
    ],
)
def test_a_kind_by_choice(values, kind, found):
    column, _ = infer(values, kind)
    assert column.kind == kind
    assert found is None or column == found


@pytest.mark.parametrize(
    ("values", "kind", "error", "message"),
    [
        ([math.nan, math.nan], None, DataError, r"'c' of people\.csv has no values[\s\S]*2 missing[\s\S]*drop"),
        ([None, None], None, DataError, "has no values"),
        ([1.0, math.inf], None, DataError, r"must be finite[\s\S]*inf in people\.csv, line 3"),
        ([f"id {k}" for k in range(200)], None, DataError, r"identifier[\s\S]*200 different texts in 200 rows"),
        ([*map(str, range(200)), "oops"], None, DataError, r"most are numbers, but 'oops' in people\.csv, line 202"),
        (["1", "x"], "real", BadInput, r"is not real: it holds text[\s\S]*'x' in people\.csv, line 3"),
        (["1", "x"], "stepped", BadInput, "is not stepped"),
        (DRAW.rand(5), "stepped", BadInput, "no decimal grid"),
        (DRAW.rand(1001), "category", BadInput, r"more than 1000 different values[\s\S]*1001"),
    ],
)
def test_what_is_no_column_is_refused_by_name(values, kind, error, message):
    with pytest.raises(error, match=message) as raised:
        infer(values, kind)
    assert "'c'" in str(raised.value)


# ---------------------------------------------------------------- CSV


MIXED = "\n".join(
    ["height,eyes,age,note"]
    + [f"{160 + DRAW.randn():.9f},{DRAW.choice(['blue', 'brown'])},{DRAW.randint(20, 90)},same" for _ in range(200)]
)


def test_a_mixed_table(csv):
    data = load_data(csv(MIXED))
    assert isinstance(data.domain, Table)
    assert [column.kind for column in data.domain.columns] == ["real", "category", "stepped", "category"]
    assert [column.name for column in data.domain.columns] == ["height", "eyes", "age", "note"]
    assert (data.train.x.shape, data.train.x.dtype) == ((160, 4), torch.float64)
    assert data.domain.measure == "mixed"
    assert data.note == "column 'note' is constant"
    data.domain.check(data.test.x)


def test_the_label_is_no_part_of_a_datum(csv):
    path = csv(MIXED)
    data = load_data(path, label="eyes")
    assert data.given == Discrete((), 2)
    assert data.label_names == ("blue", "brown")
    assert [column.name for column in data.domain.columns] == ["height", "age", "note"]
    assert load_data(data.source, **data.options).hash == data.hash
    view = load_data(f"{path}:blue", label="eyes")
    assert view.given is None
    assert len(view.train) < len(data.train)


def test_a_label_may_hold_a_colon(csv):
    rows = "\n".join(f"{1.5 * k},{'09:30' if k % 2 else '17:30'}" for k in range(20))
    view = load_data(csv(f"price,time\n{rows}\n"), label="time").only("09:30")
    assert (len(view.train), view.name) == (10, "people.csv:09:30")
    assert load_data(view.source, **view.options).hash == view.hash


def test_columns_by_choice(csv):
    data = load_data(csv(MIXED), columns={"age": "real", "note": "drop"})
    assert [column.kind for column in data.domain.columns] == ["real", "category", "real"]


@pytest.mark.parametrize("token", ["", "NA", "n/a", "NaN", "null", "  "])
def test_missing_values(token, csv):
    data = load_data(csv(f"a,b\n1.5,x\n{token},y\n2.25,{token}\n"))
    assert data.domain.missing
    assert torch.isnan(data.train.x).tolist() == [[False, False], [True, False], [False, True]]
    data.domain.check(data.train.x)


def test_values_that_repeat_off_any_grid_are_noted(csv):
    rain = [0.0] * 20 + [math.pi * k for k in range(1, 80)]
    note = load_data(csv("rain\n" + "\n".join(map(repr, rain)))).note
    assert "column 'rain' repeats values (0 the most), where its density has no upper bound" in note


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(delimiter, csv):
    data = load_data(csv(f"a{delimiter}b\n1.5{delimiter}2\n3.25{delimiter}4\n"))
    assert data.train.x.tolist() == [[1.5, 2], [3.25, 4]]


def test_a_decimal_comma_after_semicolons(csv):
    assert load_data(csv("a;b\n1,5;2\n3,25;4\n")).train.x.tolist() == [[1.5, 2], [3.25, 4]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_can_be_told(encoding, csv):
    data = load_data(csv("키,이름\n1.5,가\n2.5,나\n", encoding=encoding))
    assert [column.name for column in data.domain.columns] == ["키", "이름"]
    assert data.domain.columns[1].categories == ("가", "나")


def test_other_encodings_are_asked_for(csv):
    path = csv("키,이름\n1.5,가\n", encoding="cp949")
    with pytest.raises(DataError, match=r"people\.csv is not utf-8 text[\s\S]*in line 1[\s\S]*encoding="):
        load_data(path)
    data = load_data(path, encoding="cp949")
    assert data.domain.columns[0].name == "키"
    assert data.options == {"encoding": "cp949"}
    with pytest.raises(BadInput, match=r"no such encoding[\s\S]*klingon"):
        load_data(path, encoding="klingon")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n\r\n"])
def test_line_ends_and_blank_lines(end, csv):
    assert load_data(csv(end.join(["a,b", "1,2.5", "", "3,4.5", ""]))).train.x.tolist() == [[1, 2.5], [3, 4.5]]


def test_quoted_fields(csv):
    data = load_data(csv('a,"the, name"\n1,"x\ny"\n2,"say ""z"""\n'))
    assert data.domain.columns[1] == Column("the, name", "category", categories=('say "z"', "x\ny"))


def test_columns_without_a_name_are_counted(csv):
    assert [column.name for column in load_data(csv(",a\n1,2\n2,3\n")).domain.columns] == ["column 1", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"holds no rows[\s\S]*0 lines"),
        ("a,b\n", r"holds no rows[\s\S]*1 lines"),
        ("a,b\n1,2\n3\n", r"should have 2 fields[\s\S]*1 fields in line 3"),
        ("a,b\n1,2\n\n1,2,3\n", r"3 fields in line 4"),
        ("1,2\n3,4\n", r"should name the columns[\s\S]*1, 2"),
        ("a,a\n1,2\n", r"same name[\s\S]*got:  a"),
        ('a,b\n"1,2\n', r"not a table[\s\S]*line 2"),
        (b"a,b\n1,\x00\n", r"zero byte[\s\S]*line 2"),
        (b"\x89PNG\r\n\x1a\n\xff", r"not utf-8[\s\S]*0x89"),
        ("a,b\n1,\n2,NA\n", r"'b' of .*people\.csv has no values"),
        ("a,b\n1,inf\n2,3\n", r"inf in .*people\.csv, line 2"),
    ],
)
def test_what_is_no_table_is_refused_by_line(text, message, csv):
    with pytest.raises(DataError, match=message) as raised:
        load_data(csv(text))
    assert "people.csv" in str(raised.value)


def test_unknown_columns_are_answered_with_the_nearest(csv):
    path = csv("height,eyes\n1.5,blue\n2.5,brown\n")
    with pytest.raises(UnknownName, match=r"eye\s[\s\S]*did you mean eyes"):
        load_data(path, label="eye")
    with pytest.raises(UnknownName, match=r"hight[\s\S]*did you mean height"):
        load_data(path, columns={"hight": "real"})
    with pytest.raises(UnknownName, match=r"number[\s\S]*stepped"):
        load_data(path, columns={"height": "number"})


def test_a_row_without_a_label_is_refused(csv):
    with pytest.raises(DataError, match=r"is the label, but a row has none[\s\S]*line 3"):
        load_data(csv("a,y\n1,x\n2,\n3,z\n"), label="y")


def test_a_table_of_its_label_alone_is_no_data(csv):
    with pytest.raises(DataError, match="no columns left"):
        load_data(csv("y\n1\n2\n"), label="y")


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"no such file[\s\S]*gone\.csv"):
        load_data(tmp_path / "gone.csv")


# ---------------------------------------------------------------- Parquet


def parquet(tmp_path, **columns):
    pyarrow, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    writer.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


def test_parquet_is_the_same_table_as_csv(tmp_path, csv):
    numbers, texts = [1.5, None, 2.25, 3.125], ["a", "b", None, "a"]
    path = parquet(tmp_path, x=numbers, y=texts)
    lines = [f"{'' if a is None else a},{b or ''}" for a, b in zip(numbers, texts, strict=True)]
    assert load_data(path).hash == load_data(csv("\n".join(["x,y", *lines]))).hash


def test_parquet_types(tmp_path):
    import decimal

    pyarrow = pytest.importorskip("pyarrow")
    single = np.round(np.linspace(0, 2, 21), 1).astype(np.float32).repeat(2)
    path = parquet(
        tmp_path,
        single=single,
        whole=np.arange(42, dtype=np.uint16),
        truth=[True, None] * 21,
        words=pyarrow.array(["a", "b"] * 21).dictionary_encode(),
        price=[decimal.Decimal(k) / 4 for k in range(42)],
    )
    columns = load_data(path).domain.columns
    assert columns[0] == Column("single", "stepped", step=0.1)
    assert columns[1] == Column("whole", "stepped", step=1.0)
    assert columns[2] == Column("truth", "category", categories=("True",), missing=True)
    assert columns[3] == Column("words", "category", categories=("a", "b"))
    assert columns[4] == Column("price", "real")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1], [2]], r"'x' .* neither number nor text[\s\S]*list"),
        ([], "holds no rows"),
        ([None, None], "neither|no values"),
    ],
)
def test_parquet_without_data(values, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_data(parquet(tmp_path, x=values))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"text"])
def test_damaged_parquet(content, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "bad.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.parquet cannot be read as Parquet"):
        load_data(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").touch()
    with pytest.raises(DataError, match=r'pip install "pmodel\[parquet\]"'):
        load_data(tmp_path / "x.parquet")
