"""Data that stay in their file are the same data, in little memory, and say so when the file is touched."""

import gzip
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pmodel
from pmodel.data import Mapped, arrays, load_data, mapped, spread
from pmodel.data.mapped import AllBut
from pmodel.errors import BadInput, DataError, RangeError, ShapeError
from pmodel.train.events import Event, Stepped

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (300, 6, 5), dtype=np.uint8)
ARRAYS = {
    "grey": BYTES,
    "colour, channels first": RANDOM.integers(0, 256, (300, 3, 4, 5), dtype=np.uint8),
    "colour, channels last": RANDOM.integers(0, 256, (300, 4, 5, 3), dtype=np.uint8),
    "dim": BYTES // 32,
    "binary pictures": BYTES > 127,
    "rows of bytes": BYTES.reshape(300, 30),
    "big-endian": RANDOM.integers(0, 200, (300, 4)).astype(">i2"),
    "unsigned": RANDOM.integers(0, 200, (300, 4)).astype(np.uint16),
    "doubles": RANDOM.normal(size=(300, 7)),
    "singles with negative zeros": np.where(BYTES.reshape(300, 30) > 127, -0.0, 1.5).astype(np.float32),
    "numbers": RANDOM.integers(0, 6, 300),
    "Fortran, one axis": np.asfortranarray(RANDOM.normal(size=300)),
}


def written(folder: Path, array: np.ndarray, name: str = "x.npy") -> Path:
    np.save(folder / name, array)
    return folder / name


@pytest.mark.parametrize("name", ARRAYS)
def test_mapped_data_are_the_same_data(name, tmp_path):
    path = written(tmp_path, ARRAYS[name])
    label = str(written(tmp_path, RANDOM.integers(3, 6, 300), "y.npy"))
    read, left = load_data(path, label=label, seed=4), load_data(path, label=label, seed=4, mapped=True)
    assert isinstance(left.train.x, Mapped)
    assert isinstance(left.valid.x, torch.Tensor)
    assert (left.domain, left.given, left.label_names, left.note) == (
        read.domain,
        read.given,
        read.label_names,
        read.note,
    )
    assert (left.train.x.shape, left.train.x.dtype) == (read.train.x.shape, read.train.x.dtype)
    assert torch.equal(left.train.x[:], read.train.x)
    assert left.hash == read.hash


def test_levels_are_taken_and_checked(tmp_path):
    path = written(tmp_path, RANDOM.integers(0, 6, (300, 2)).astype(np.float64))
    read, left = (load_data(path, levels=6, mapped=way) for way in (False, True))
    assert (left.domain, left.hash) == (read.domain, read.hash)
    with pytest.raises(RangeError, match="from 0 to 3"):
        load_data(path, levels=4, mapped=True)


@pytest.fixture
def pair(tmp_path):
    """The same training data, mapped and in memory."""
    path = written(tmp_path, BYTES)
    return load_data(path, mapped=True).train.x, load_data(path, mapped=False).train.x


INDICES = {
    "slice": slice(10, 20),
    "steps": slice(3, None, 7),
    "backwards from the end": slice(-20, -3, 4),
    "all": slice(None),
    "none": slice(0, 0),
    "rows": torch.tensor([7, 3, 3, 239]),
    "small integers": torch.tensor([5, 1], dtype=torch.int32),
    "negative rows": torch.tensor([-1, -240, 2]),
    "no rows": torch.zeros(0, dtype=torch.int64),
    "mask": torch.arange(240) % 3 == 1,
}


@pytest.mark.parametrize("name", INDICES)
def test_rows_are_asked_for_as_of_a_tensor(name, pair):
    left, read = pair
    index = INDICES[name]
    assert torch.equal(left[index], read[index])
    if isinstance(index, torch.Tensor):
        assert torch.equal(left.part(index)[:], read[index])


@pytest.mark.parametrize("row", [240, -241])
def test_a_row_beyond_the_data_is_refused(row, pair):
    with pytest.raises(IndexError, match=str(abs(row))):
        pair[0][torch.tensor([0, row])]


ANNOUNCED = {
    "apart": torch.tensor([239, 0, 17]),
    "in a row": torch.arange(100, 240),
    "one": torch.tensor([239]),
    "none": torch.tensor([], dtype=torch.int64),
}


@pytest.mark.parametrize("name", ANNOUNCED)
def test_rows_that_are_announced_are_what_they_were(name, pair):
    left, read = pair
    left.announce(ANNOUNCED[name])
    assert torch.equal(left[ANNOUNCED[name]], read[ANNOUNCED[name]])


def test_all_of_the_data_are_an_array_if_they_fit(pair, monkeypatch):
    left, read = pair
    assert torch.equal(left.read(), read)
    assert torch.equal(torch.cat(list(left.blocks())), read)
    assert np.array_equal(np.asarray(left), read.numpy())
    monkeypatch.setattr(mapped, "LIMIT", 1000)
    with pytest.raises(DataError, match=r"(?s)do not fit into memory.*7200 bytes.*x\[:1000\]"):
        np.asarray(left)


def test_data_are_stood_for_by_some_of_them(pair):
    left, read = pair
    assert torch.equal(spread(left, 80), read[::3])
    assert spread(read, 80) is read


@pytest.mark.parametrize("without", [[], [0], [9], [0, 1, 2], [3, 8, 4], [9, 0, 5, 6]])
def test_numbers_less_a_few(without):
    rest = AllBut(10, torch.tensor(without, dtype=torch.int64))
    expected = [k for k in range(10) if k not in without]
    assert rest[torch.arange(len(rest))].tolist() == expected


def test_a_large_file_holds_out_ten_thousand_and_trains_on_all_others(tmp_path):
    x = np.arange(120_000, dtype=np.float32)
    data = load_data(written(tmp_path, x), mapped=True)
    assert (len(data.train), len(data.valid), len(data.test)) == (100_000, 10_000, 10_000)
    together = torch.cat([split.x[:].flatten() for split in data.splits.values()])
    assert torch.equal(together.sort().values, torch.from_numpy(x))
    assert abs(float(data.valid.x.mean()) - 60_000) < 5 * 120_000 / 12**0.5 / 100


def test_few_data_are_not_split_and_are_read(tmp_path):
    data = load_data(written(tmp_path, BYTES[:50]), mapped=True)
    assert data.train is data.test
    assert data.hash == load_data(tmp_path / "x.npy", mapped=False).hash


def test_a_view_stays_in_the_file(tmp_path):
    path, label = written(tmp_path, BYTES), str(written(tmp_path, RANDOM.integers(0, 3, 300), "y.npy"))
    read, left = (load_data(f"{path}:1,2", label=label, mapped=way) for way in (False, True))
    assert isinstance(left.train.x, Mapped)
    assert left.hash == read.hash
    assert load_data(left.parent, **left.options).hash == load_data(path, label=label).hash


def test_a_view_that_leaves_few_data_is_read(tmp_path):
    path, label = written(tmp_path, BYTES), str(written(tmp_path, np.arange(300) % 20, "y.npy"))
    read, left = (load_data(f"{path}:7", label=label, mapped=way) for way in (False, True))
    assert left.train is left.test
    assert left.hash == read.hash


@pytest.mark.parametrize(("size", "expected"), [(10**3, Mapped), (10**6, torch.Tensor)])
def test_the_size_of_a_file_decides(size, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAPPED", size)
    data = load_data(written(tmp_path, BYTES))
    assert isinstance(data.train.x, expected)
    assert data.options == {}


def idx(path: Path, array: np.ndarray) -> Path:
    header = bytes([0, 0, {"uint8": 8, ">f4": 13}[array.dtype.str if array.dtype != np.uint8 else "uint8"], array.ndim])
    path.write_bytes(header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())
    return path


@pytest.mark.parametrize("array", [BYTES, RANDOM.normal(size=(300, 3)).astype(">f4")], ids=["bytes", "singles"])
def test_an_idx_file_is_mapped_with_its_labels(array, tmp_path):
    path = idx(tmp_path / "my-images-idx3-ubyte", array)
    idx(tmp_path / "my-labels-idx1-ubyte", RANDOM.integers(0, 4, 300, dtype=np.uint8))
    read, left = (load_data(path, mapped=way) for way in (False, True))
    assert isinstance(left.train.x, Mapped)
    assert left.given is not None
    assert left.hash == read.hash


def test_a_packed_file_is_not_mapped(tmp_path, monkeypatch):
    path = idx(tmp_path / "x-idx", BYTES)
    (tmp_path / "x-idx.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"(?s)packed by gzip.*gunzip"):
        load_data(tmp_path / "x-idx.gz", mapped=True)
    monkeypatch.setattr(arrays, "MAPPED", 1000)
    assert load_data(tmp_path / "x-idx.gz").hash == load_data(path).hash


def test_columns_first_cannot_be_mapped(tmp_path, monkeypatch):
    path = written(tmp_path, np.asfortranarray(RANDOM.normal(size=(300, 4))))
    with pytest.raises(DataError, match=r"(?s)one after another.*ascontiguousarray"):
        load_data(path, mapped=True)
    monkeypatch.setattr(arrays, "MAPPED", 1000)
    assert isinstance(load_data(path).train.x, torch.Tensor)


def test_a_file_too_large_for_memory_says_how(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "LIMIT", 1000)
    with pytest.raises(DataError, match=r"(?s)more than 1000 bytes.*mapped=true"):
        load_data(written(tmp_path, BYTES), mapped=False)


def spoilt(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


REALS = RANDOM.normal(size=(5000, 600))
BAD = {
    "nan": (spoilt(REALS, (4321, 7), np.nan), RangeError, r"nan at index \(4321, 7\)"),
    "infinity": (spoilt(REALS, (0, 0), np.inf), RangeError, r"inf at index \(0, 0\)"),
    "too large": (spoilt(REALS, (1, 1), 1e300), RangeError, "single precision"),
    "negative": (np.arange(-1, 199), RangeError, "-1 to 198"),
    "many levels": (np.arange(300), RangeError, "0 to 299"),
    "empty": (np.zeros((0, 3)), ShapeError, "at least one datum"),
    "scalar": (np.float64(3.0), ShapeError, "at least one datum"),
    "complex": (np.zeros(200, np.complex64), BadInput, "numeric"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_found_in_the_stream(name, tmp_path):
    array, kind, words = BAD[name]
    with pytest.raises(kind, match=words):
        load_data(written(tmp_path, array), mapped=True)


def test_a_file_cut_short_before_it_is_opened(tmp_path):
    path = written(tmp_path, BYTES)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(DataError, match="ends too early"):
        load_data(path, mapped=True)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(5000)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2000)
        file.write(b"other")


@pytest.mark.parametrize("touch", [cut, append, overwrite])
def test_a_file_changed_in_use_is_an_error_and_no_crash(touch, tmp_path):
    path = written(tmp_path, BYTES)
    data = load_data(path, mapped=True)
    touch(path)
    with pytest.raises(DataError, match="changed while it was in use"):
        data.train.x[torch.tensor([239])]


def test_a_file_changed_during_a_run_ends_it_with_an_error(tmp_path):
    path = written(tmp_path, BYTES)
    data = load_data(path, mapped=True)

    def spoil(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            cut(path)

    with pytest.raises(DataError, match="changed while it was in use"):
        pmodel.fit("vae", data, steps=20, size="tiny", on_event=spoil)


def test_a_file_that_is_replaced_stays_what_it_was(tmp_path):
    path = written(tmp_path, BYTES)
    data, content = load_data(path, mapped=True), load_data(path).train.x
    written(tmp_path, 255 - BYTES, "other.npy").replace(path)
    assert torch.equal(data.train.x[:], content)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"mapped": 1}, "true or false"), ({"label": "absent.npy"}, "absent.npy")],
    ids=["no truth value", "no labels"],
)
def test_options_are_checked(options, words, tmp_path):
    with pytest.raises((BadInput, DataError), match=words):
        load_data(written(tmp_path, BYTES), **options)


def test_a_table_is_not_mapped(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1.5,2.5\n")
    with pytest.raises(BadInput, match="mapped means nothing"):
        load_data(tmp_path / "x.csv", mapped=True)


def test_labels_are_as_many_as_data(tmp_path):
    label = str(written(tmp_path, np.arange(299) % 3, "y.npy"))
    with pytest.raises(ShapeError, match="one label a datum"):
        load_data(written(tmp_path, BYTES), label=label, mapped=True)


FITS = {
    "vae": {"steps": 6, "size": "tiny"},
    "mixture": {"steps": 3, "components": 3},
    "gaussian": {},
    "vae of a class": {"steps": 6, "size": "tiny", "conditional": True},
}


@pytest.mark.parametrize("name", FITS)
def test_models_learn_the_same_from_mapped_data(name, tmp_path):
    x = BYTES if name.startswith("vae") else RANDOM.normal(size=(300, 3))
    path, label = written(tmp_path, x), str(written(tmp_path, RANDOM.integers(0, 3, 300), "y.npy"))
    first, second = (
        pmodel.fit(name.split()[0], load_data(path, label=label, mapped=way), **FITS[name]) for way in (False, True)
    )
    for (key, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other), key


def test_a_run_on_a_mapped_file_is_scored_and_evaluated_from_the_command_line(tmp_path):
    path = written(tmp_path, RANDOM.integers(0, 256, (300, 8, 8), dtype=np.uint8))

    def cli(*arguments: str) -> str:
        command = [sys.executable, "-m", "pmodel", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = str(tmp_path / "run")
    cli("fit", "vae", "--data", str(path), "--set", "data.mapped=true", "--steps", "5", "--size", "tiny", "--out", run)
    assert json.loads((tmp_path / "run/run.json").read_text())["data"]["options"] == {"mapped": True}
    train, test = (json.loads(cli("score", run, "--split", split, "--json")) for split in ("train", "test"))
    assert (train["n"], test["n"]) == (240, 30)
    assert json.loads(cli("evaluate", run, "-n", "20", "--json"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux counts it")
def test_a_large_file_takes_little_memory(tmp_path):
    path = tmp_path / "x.npy"
    rows, side = 100_000, 128  # 1.6 GB, of which the disk holds the first rows
    head = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, side, side))
    head[:100] = 200
    head.flush()
    program = f"""
import resource, torch
from pathlib import Path
from pmodel.data import load_data
def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024
before = anonymous()
data = load_data({str(path)!r})
data.train.x[torch.randperm(len(data.train))[:512]]
print(anonymous() - before, len(data.valid) * {side * side})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    grown, held_out = map(int, re.findall(r"\d+", done.stdout))
    assert held_out <= 2**27
    assert grown < 2 * held_out + 10**8  # validation and test data, and not the 1.3 GB of training data
