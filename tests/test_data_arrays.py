"""Arrays in memory and in ``.npy``, ``.npz`` and IDX files."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
import torch

from pmodel.data import arrays, from_arrays, load_data
from pmodel.data.idx import TYPES, read_idx
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, DataError, DtypeError, RangeError, ShapeError

DRAW = np.random.RandomState(0)


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    sides = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, kind, array.ndim]) + sides + array.astype(TYPES[kind]).tobytes()


# ---------------------------------------------------------------- what an array is


@pytest.mark.parametrize(
    ("x", "domain", "dtype"),
    [
        (DRAW.randint(0, 256, (5, 4, 6)).astype(np.uint8), Discrete((1, 4, 6), 256), torch.uint8),
        (DRAW.randint(0, 256, (5, 4, 6, 3)).astype(np.uint8), Discrete((3, 4, 6), 256), torch.uint8),
        (DRAW.randint(0, 256, (5, 3, 4, 6)).astype(np.uint8), Discrete((3, 4, 6), 256), torch.uint8),
        (DRAW.randint(0, 256, (5, 1, 4, 3)).astype(np.uint8)[:, :, :, :2], Discrete((1, 4, 2), 256), torch.uint8),
        (DRAW.rand(5, 4, 6) > 0.5, Discrete((1, 4, 6), 2), torch.uint8),
        (np.array([[0, 3], [2, 1]]), Discrete((2,), 4), torch.uint8),
        (np.array([0, 3, 2]), Discrete((1,), 4), torch.uint8),
        (np.array([[0, 3], [2, 1]], dtype=np.uint16), Discrete((2,), 4), torch.uint8),
        (np.array([[0, 3], [2, 1]], dtype=">i4"), Discrete((2,), 4), torch.uint8),
        (np.array([True, False]), Discrete((1,), 2), torch.uint8),
        (DRAW.rand(5, 2), Real((2,)), torch.float32),
        (DRAW.rand(5).astype(np.float16), Real((1,)), torch.float32),
        (DRAW.rand(5, 2).astype(">f8"), Real((2,)), torch.float32),
        ([[0.5, 1.0], [2.0, 3.0]], Real((2,)), torch.float32),
    ],
)
def test_an_array_is_understood(x, domain, dtype):
    data = from_arrays(x)
    assert data.domain == domain
    assert data.train.x.dtype == dtype
    assert tuple(data.train.x.shape[1:]) == domain.shape


def test_channels_are_moved_and_not_mixed():
    x = DRAW.randint(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    assert torch.equal(from_arrays(x).train.x[2, 1], torch.from_numpy(x[2, :, :, 1]))


def test_a_tensor_is_an_array():
    x = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(from_arrays(x).train.x, x.float())


def test_more_levels_than_are_seen():
    assert from_arrays([[0, 1]], levels=300).domain == Discrete((2,), 300)
    assert from_arrays([[0, 1]], levels=300).train.x.dtype == torch.int64
    assert from_arrays([[0.0, 1.0]], levels=2).domain == Discrete((2,), 2)


def test_few_levels_in_a_picture_are_noted():
    x = DRAW.randint(0, 2, (5, 4, 6)).astype(np.uint8)
    assert "pass levels=2" in from_arrays(x).note
    assert "levels" not in from_arrays(x, levels=2).note


def test_labels_are_renumbered_without_gaps():
    data = from_arrays(np.zeros((4, 1)), [7, 3, 7, 9])
    assert data.label_names == ("3", "7", "9")
    assert data.train.y.tolist() == [1, 0, 1, 2]
    assert data.given == Discrete((), 3)


def test_one_label_is_no_label():
    data = from_arrays(np.zeros((4, 1)), [7, 7, 7, 7])
    assert data.given is None
    assert data.train.y is None
    assert data.train is data.test


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([[1.0, np.nan]], None, RangeError, r"nan at index \(0, 1\)"),
        ([[1.0], [np.inf]], None, RangeError, r"inf at index \(1, 0\)"),
        ([[1e300]], None, RangeError, r"single precision[\s\S]*1e\+300"),
        ([[-1, 2]], None, RangeError, r"-1 to 2"),
        ([[0, 256]], None, RangeError, r"0 to 256"),
        ([[0, 5]], None, None, ""),
        ([["a", "b"]], None, DtypeError, r"<U1"),
        ([[1j]], None, DtypeError, "complex"),
        ([[1, 2], [3]], None, ShapeError, "rectangular"),
        ([], None, ShapeError, r"\(0,\)"),
        (3.0, None, ShapeError, r"\(\)"),
        (np.zeros((4, 0)), None, ShapeError, r"\(4, 0\)"),
        (np.zeros((2, 5, 4, 4), np.uint8), None, ShapeError, r"\(2, 5, 4, 4\)"),
        (np.zeros((2, 3, 4, 3), np.uint8), None, ShapeError, "axis holds the channels"),
        ([[0.0], [1.0]], [1], ShapeError, r"\(1, 1\) for 2 data"),
        ([[0.0], [1.0]], [1.5, 2], DtypeError, "1.5"),
        ([[0.0], [1.0]], ["a", "b"], DtypeError, "y must be numeric"),
        (np.zeros((1001, 1)), np.arange(1001), BadInput, "1001"),
        ([[0.5, 1.0]], None, None, ""),
    ],
)
def test_what_is_no_data_is_refused(x, y, error, message):
    if error is None:
        assert len(from_arrays(x, y).train) == len(x)
    else:
        with pytest.raises(error, match=message):
            from_arrays(x, y)


@pytest.mark.parametrize(("levels", "error"), [(2, RangeError), (0, BadInput), (2.5, BadInput), (-3, BadInput)])
def test_levels_must_hold_the_values(levels, error):
    with pytest.raises(error, match=r"levels|whole numbers"):
        from_arrays([[0, 2]], levels=levels)


# ---------------------------------------------------------------- .npy and .npz


@pytest.fixture
def saved(tmp_path):
    def save(name, *args, **kwargs):
        path = tmp_path / name
        (np.save if name.endswith("npy") else np.savez_compressed)(path, *args, **kwargs)
        return path

    return save


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_in_either_order(order, saved):
    x = np.array(DRAW.rand(5, 3), order=order)
    data = load_data(saved("x.npy", x))
    assert data.hash == from_arrays(x).hash
    assert data.name == "x.npy"


def test_npz_has_data_and_labels(saved):
    data = load_data(saved("x.npz", x=DRAW.rand(300, 2), y=np.arange(300) % 4))
    assert (len(data.train), data.given, data.domain) == (240, Discrete((), 4), Real((2,)))


def test_npz_keeps_an_official_test_set(saved):
    x_train, x_test = DRAW.randint(0, 9, (200, 2)), DRAW.randint(0, 11, (50, 2))
    path = saved("x.npz", x_train=x_train, y_train=np.arange(200) % 2, x_test=x_test, y_test=np.ones(50, int))
    data = load_data(path)
    assert [len(split) for split in data.splits.values()] == [180, 20, 50]
    assert torch.equal(data.test.x.long(), torch.from_numpy(x_test))
    assert data.domain == Discrete((2,), 11)
    assert data.test.y.tolist() == [1] * 50


def test_a_view_of_a_file(saved):
    path = saved("x.npz", x=np.arange(300.0)[:, None], y=np.arange(300) % 2)
    data = load_data(f"{path}:1")
    assert (data.train.x % 2 == 1).all()
    assert data.parent == str(path)
    assert load_data(data.source).hash == data.hash


def objects(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def truncated(path):
    np.save(path, DRAW.rand(50))
    path.write_bytes(path.read_bytes()[:-9])


def lying(path):
    """A header that declares 2^61 bytes."""
    np.lib.format.write_array_header_1_0(
        file := io.BytesIO(), {"shape": (2**58,), "fortran_order": False, "descr": "<f8"}
    )
    path.write_bytes(file.getvalue() + bytes(64))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (objects, "Python objects"),
        (truncated, "ends too early"),
        (lying, r"ends too early[\s\S]*288230376151711744"),
        (lambda path: path.write_bytes(b""), "damaged or not .npy"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': __import"), "damaged or not .npy"),
        (lambda path: path.write_text("1,2,3"), "damaged or not .npy"),
        (lambda path: path.mkdir() or (path / "a.txt").touch(), "holds no pictures"),
    ],
)
def test_bad_npy_is_refused_by_name(damage, message, tmp_path):
    path = tmp_path / "bad.npy"
    damage(path)
    with pytest.raises(DataError, match=message) as raised:
        load_data(path)
    assert "bad.npy" in str(raised.value)


@pytest.mark.parametrize("member", ["x", "y"])
def test_objects_inside_npz_are_refused(member, saved):
    content = {"x": np.zeros(3), "y": np.zeros(3, int)} | {member: np.array([None] * 3, dtype=object)}
    with pytest.raises(DataError, match=f"array {member}, holds Python objects"):
        load_data(saved("x.npz", **content))


def test_bad_npz_is_refused_by_name(tmp_path, saved, monkeypatch):
    path = tmp_path / "bad.npz"
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match=r"bad\.npz is damaged"):
        load_data(path)
    with pytest.raises(DataError, match=r"got:  a, b"):
        load_data(saved("other.npz", a=np.zeros(3), b=np.zeros(3)))
    with pytest.raises(ShapeError, match=r"\(3, 1\), \(3, 2\)"):
        load_data(saved("shapes.npz", x_train=np.zeros((3, 1)), x_test=np.zeros((3, 2))))
    monkeypatch.setattr(arrays, "LIMIT", 10**6)
    with pytest.raises(DataError, match=r"unpacks to more than 1000000 bytes[\s\S]*8000128"):
        load_data(saved("bomb.npz", x=np.zeros(10**6)))


def test_a_damaged_member_is_found(saved):
    path = saved("x.npz", x=DRAW.rand(1000))
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        load_data(path)


def test_a_member_longer_than_its_array_is_data_all_the_same(tmp_path):
    np.save(buffer := io.BytesIO(), np.arange(3.0))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
        archive.writestr("readme.txt", "not an array")
    assert load_data(tmp_path / "x.npz").train.x.flatten().tolist() == [0, 1, 2]


# ---------------------------------------------------------------- IDX


@pytest.mark.parametrize("kind", TYPES)
def test_idx_is_read_in_every_type(kind, tmp_path):
    values = DRAW.randint(0, 100, (4, 3, 2))
    (tmp_path / "x").write_bytes(idx(values, kind))
    array = read_idx(tmp_path / "x")
    assert np.array_equal(array, values)
    assert array.dtype.isnative


@pytest.mark.parametrize("packed", [False, True])
def test_idx_finds_its_labels(packed, tmp_path):
    pack, end = (gzip.compress, ".gz") if packed else (bytes, "")
    (tmp_path / f"some-images-idx3-ubyte{end}").write_bytes(pack(idx(DRAW.randint(0, 256, (300, 4, 4)))))
    (tmp_path / f"some-labels-idx1-ubyte{end}").write_bytes(pack(idx(np.arange(300) % 3)))
    data = load_data(tmp_path / f"some-images-idx3-ubyte{end}")
    assert (data.domain, data.given, len(data.test)) == (Discrete((1, 4, 4), 256), Discrete((), 3), 30)
    assert load_data(tmp_path / f"some-labels-idx1-ubyte{end}").given is None


GOOD = idx(np.arange(24).reshape(4, 3, 2))
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], r"24 bytes of values[\s\S]*only 23"),
        (GOOD + b"\0", r"24 bytes of values[\s\S]*more"),
        (GOOD[:10], r"ends within its header[\s\S]*10 bytes"),
        pytest.param(PACKED[:-9], "is damaged", id="truncated gzip"),
        pytest.param(PACKED[:20] + b"\0\0\0\0" + PACKED[24:], "is damaged", id="damaged gzip"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, r"declares more than[\s\S]*4294967295"),
    ],
)
def test_bad_idx_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "bad-idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        load_data(path)
    assert "bad-idx" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\0\0\x07\x01\0\0\0\0", b"\0\0\x08\0", b"\0\0\x08\x09", b"text"])
def test_other_files_are_no_idx(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="not an IDX file"):
        read_idx(tmp_path / "x")
    with pytest.raises(DataError, match="of no kind that is read"):
        load_data(tmp_path / "x")
