"""Whatever is put in: the right error or exit code, a sentence with the offending value, and nothing on disk changed.

One row is one way of being wrong. A row of Python is a call and the error it must raise; a row of the command line is the
words and the exit code: 2 where the words cannot be right, 1 where data or a run cannot be used.
"""

import gzip
import json
import shlex
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import pmodel
from pmodel.cli import main
from pmodel.data import from_arrays
from pmodel.domain import Column, Discrete, Real, Table, domain_from_json
from pmodel.errors import (
    BadInput,
    Diverged,
    DtypeError,
    NotSupported,
    PmodelError,
    RangeError,
    RunError,
    ShapeError,
    UnknownName,
)
from pmodel.explicit.tractable.gaussian_components import _factorised
from pmodel.learning import Batch
from pmodel.storage import save
from pmodel.tasks import posterior


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A Gaussian of two reals, uniform digits, and a histogram for each digit."""
    folder = tmp_path_factory.mktemp("trained")
    pmodel.fit("gaussian", "heights", out=folder / "plane")
    pmodel.fit("uniform", "digits", out=folder / "image")
    pmodel.fit("histogram", "digits", out=folder / "labelled", conditional=True)
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A folder to work in, with these in runs/."""
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(name):
    return pmodel.load(f"runs/{name}")


# What is wrong on disk: each function makes it in the current folder.


def wrote(name: str, content: bytes | str) -> Callable[[], None]:
    def make():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def folder_of_pictures(*sizes, broken: bytes | None = None) -> Callable[[], None]:
    def make():
        Path("pictures").mkdir()
        for number, size in enumerate(sizes):
            Image.new("L", size, number).save(f"pictures/{number}.png")
        if broken is not None:
            Path("pictures/broken.png").write_bytes(broken)

    return make


def picture_bomb() -> bytes:
    """A PNG that declares 100 000 × 100 000 pixels in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def saved(name: str, array: np.ndarray, *, allow_pickle: bool = False) -> Callable[[], None]:
    return lambda: np.save(name, array, allow_pickle=allow_pickle)


def cut(make: Callable[[], None], name: str, length: int) -> Callable[[], None]:
    """The same file, cut short."""

    def made():
        make()
        path = Path(name)
        path.write_bytes(path.read_bytes()[:length])

    return made


def idx(*sides: int, values: int, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(sides)]) + struct.pack(f">{len(sides)}I", *sides) + bytes(values)


def record(**changes) -> Callable[[], None]:
    """The record of the plane's run, with some of its fields changed."""

    def make():
        path = Path("runs/plane/run.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return make


def core(**changes) -> Callable[[], None]:
    """The record of the plane's run, with some fields of the innermost model changed."""

    def make():
        path = Path("runs/plane/run.json")
        value = json.loads(path.read_text())
        spec = value["model"]
        while "inner" in spec:
            spec = spec["inner"]
        spec.update(changes)
        path.write_text(json.dumps(value))

    return make


def nested(depth: int) -> dict:
    spec: dict = {"model": "Gaussian"}
    for _ in range(depth):
        spec = {"model": "Standardised", "inner": spec}
    return spec


def implicit() -> None:
    """A run of a model without a likelihood, untrained."""
    data = pmodel.load_data("digits")
    record = {"data": {"name": "digits", "source": "digits", "options": {}, "hash": data.hash}}
    save(pmodel.make("dcgan", data.domain, channels=8), "runs/drawn", record)


def header(value: object, payload: bytes = b"") -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text + payload


def tensors(change: Callable[[dict], object]) -> Callable[[], None]:
    """The tensors of the plane's run, after a change to their dictionary."""

    def make():
        from safetensors.numpy import load_file

        values = load_file("runs/plane/model.safetensors")
        change(values)
        save_file(values, "runs/plane/model.safetensors")

    return make


def first(values: dict) -> str:
    return min(name for name in values if values[name].ndim)


TENSORS = "runs/plane/model.safetensors"
RECORD = "runs/plane/run.json"
SIX = Discrete((2,), 6)
PLANE = Real((2,))
MIXED = Table((Column("age"), Column("sex", "category", categories=("f", "m"))))


@dataclass(frozen=True)
class Row:
    name: str
    act: Callable[[], object] | str
    expected: type[PmodelError] | int
    says: tuple[str, ...]
    prepare: Callable[[], None] | None = None


def api(name, act, expected, *says, prepare=None):
    return Row(name, act, expected, says, prepare)


def cli(name, words, code, *says, prepare=None):
    return Row(name, words, code, says, prepare)


DOMAINS = (
    api("nan", lambda: PLANE.check([[float("nan"), 1.0]]), RangeError, "nan (entry 0"),
    api("infinity", lambda: PLANE.check([[0.0, float("inf")]]), RangeError, "inf (entry 1"),
    api("shape", lambda: PLANE.check(torch.zeros(3, 3)), ShapeError, "(3, 3)", "(N, 2)"),
    api("no batch axis", lambda: PLANE.check([1.0, 2.0]), ShapeError, "(2,)", "(N, 2)"),
    api("ragged", lambda: PLANE.check([[1.0, 2.0], [3.0]]), ShapeError, "rectangular", "[[1.0, 2.0], [3.0]]"),
    api("text", lambda: PLANE.check([["a", "b"]]), DtypeError, "numeric", "str"),
    api("objects", lambda: PLANE.check(np.array([[None, 1]])), DtypeError, "object"),
    api("complex array", lambda: PLANE.check(np.ones((1, 2), complex)), DtypeError, "complex128"),
    api("complex tensor", lambda: PLANE.check(torch.ones(1, 2) * 1j), DtypeError, "complex64"),
    api("dates", lambda: PLANE.check(np.array([["2020-01-01"] * 2], "M8[D]")), DtypeError, "datetime64"),
    api("sparse", lambda: PLANE.check(torch.eye(2).to_sparse()), DtypeError, "dense"),
    api("level too high", lambda: SIX.check([[0, 6]]), RangeError, "0 to 5", "got:  6"),
    api("level below zero", lambda: SIX.check([[-1, 0]]), RangeError, "got:  -1"),
    api("scaled levels", lambda: SIX.check([[0.5, 1.0]]), RangeError, "0.5", "not values scaled to [0, 1]"),
    api("level nan", lambda: SIX.check([[float("nan"), 1.0]]), RangeError, "nan"),
    api("category", lambda: MIXED.check([[30.0, 2.0]]), RangeError, "'sex'", "got:  2.0"),
    api("missing undeclared", lambda: MIXED.check([[float("nan"), 0.0]]), RangeError, "'age'", "nan"),
    api("no levels", lambda: Discrete((2,), 0), BadInput, "levels", "got:  0"),
    api("levels a bool", lambda: Discrete((2,), True), BadInput, "levels", "True"),
    api("side of nothing", lambda: Real((0,)), BadInput, "side", "got:  0"),
    api("shape a word", lambda: Real("28"), BadInput, "sequence", "28"),
    api("absurd shape", lambda: Real((10**6, 10**6)), BadInput, "entries", "1000000"),
    api("kind of column", lambda: Column("age", "text"), BadInput, "category", "text"),
    api("step of nothing", lambda: Column("age", "stepped"), BadInput, "'age'", "0.0"),
    api("no columns", lambda: Table(()), BadInput, "at least one column"),
    api("kind of domain", lambda: domain_from_json({"kind": "os.system"}), BadInput, "os.system"),
    api("fields of a domain", lambda: domain_from_json({"kind": "real", "x": 1}), BadInput, "Real"),
)

VERBS = (
    api("n below zero", lambda: run("plane").sample(-1), RangeError, "got:  -1"),
    api("n absurd", lambda: run("plane").sample(10**12), RangeError, "1000000000000"),
    api("n a bool", lambda: run("plane").sample(True), RangeError, "True"),
    api("n a float", lambda: run("plane").sample(2.5), RangeError, "2.5"),
    api("seed below zero", lambda: run("plane").sample(1, generator=-1), BadInput, "got:  -1"),
    api("seed too large", lambda: run("plane").sample(1, generator=2**63), BadInput, str(2**63)),
    api("seed a word", lambda: run("plane").sample(1, generator="7"), BadInput, "got:  7"),
    api("given to an unconditional", lambda: run("plane").sample(1, given=3), BadInput, "unconditional", "got:  3"),
    api("label too high", lambda: run("labelled").sample(1, given=10), RangeError, "0 to 9", "got:  10"),
    api("labels too few", lambda: run("labelled").sample(3, given=[1, 2]), ShapeError, "2 for 3"),
    api("effort of nothing", lambda: run("plane").score([[1.0, 2.0]], effort=0), RangeError, "effort", "got:  0"),
    api("score of nan", lambda: run("plane").score([[float("nan"), 1.0]]), RangeError, "nan"),
    api("score of another shape", lambda: run("image").score(torch.zeros(2, 8, 8)), ShapeError, "(2, 8, 8)"),
    api("score of scaled pixels", lambda: run("image").score(torch.full((1, 1, 8, 8), 0.5)), RangeError, "0.5"),
    api("mask not boolean", lambda: run("image").score(torch.zeros(1, 1, 8, 8), observed=[1]), BadInput, "int64"),
    api(
        "mask of another shape",
        lambda: run("image").score(torch.zeros(1, 1, 8, 8), observed=torch.ones(3, dtype=torch.bool)),
        ShapeError,
        "(3,)",
    ),
    api("verb it lacks", lambda: run("plane").encode([[1.0, 2.0]]), NotSupported, "cannot encode", "vae"),
)

FITS = (
    api("model unknown", lambda: pmodel.fit("mixtur", "heights"), UnknownName, "mixtur", "did you mean mixture"),
    api("option unknown", lambda: pmodel.fit("mixture", "heights", k=3), UnknownName, "got:  k", "components"),
    api("option a word", lambda: pmodel.fit("mixture", "heights", components="3"), BadInput, "components", "3"),
    api("option of nothing", lambda: pmodel.fit("mixture", "heights", components=0), BadInput, "components", "0"),
    api(
        "option absurd",
        lambda: pmodel.fit("mixture", "heights", components=10**12),
        BadInput,
        "components",
        str(10**12),
    ),
    api("data a number", lambda: pmodel.fit("gaussian", 3), UnknownName, "data set", "got:  3"),
    api("data unknown", lambda: pmodel.fit("gaussian", "height"), UnknownName, "height", "did you mean heights"),
    api("no labels", lambda: pmodel.fit("gaussian", "heights", conditional=True), BadInput, "heights", "no labels"),
    api("steps of nothing", lambda: pmodel.fit("gaussian", "heights", steps=0), BadInput, "steps", "got:  0"),
    api("steps a bool", lambda: pmodel.fit("gaussian", "heights", steps=True), BadInput, "steps", "True"),
    api("budget in words", lambda: pmodel.fit("gaussian", "heights", budget="2s"), BadInput, "number of seconds", "2s"),
    api("budget of nothing", lambda: pmodel.fit("gaussian", "heights", budget=0), BadInput, "budget", "got:  0"),
    api("budget nan", lambda: pmodel.fit("gaussian", "heights", budget=float("nan")), BadInput, "budget", "nan"),
    api("budget of years", lambda: pmodel.fit("gaussian", "heights", budget=1e9), BadInput, "30 days", "1000000000"),
    api("steps and budget", lambda: pmodel.fit("gaussian", "heights", steps=3, budget=2.0), BadInput, "steps=3"),
    api("precision unknown", lambda: pmodel.fit("gaussian", "heights", precision="int8"), BadInput, "int8"),
    api(
        "device unknown", lambda: pmodel.fit("gaussian", "heights", device="tpu"), BadInput, "auto, cpu or cuda", "tpu"
    ),
    api("size unknown", lambda: pmodel.fit("gaussian", "heights", size="huge"), BadInput, "tiny", "huge"),
    api("size it has not", lambda: pmodel.fit("gaussian", "heights", size="tiny"), NotSupported, "one size", "tiny"),
    api(
        "setting unknown",
        lambda: pmodel.fit("gaussian", "heights", settings={"lr": 1}),
        UnknownName,
        "training setting",
        "lr",
    ),
    api(
        "setting of another type",
        lambda: pmodel.fit("gaussian", "heights", settings={"batch": "many"}),
        BadInput,
        "train.batch must be int",
        "many",
    ),
    api(
        "setting out of range",
        lambda: pmodel.fit("gaussian", "heights", settings={"rate": -1.0}),
        BadInput,
        "train.rate",
        "-1.0",
    ),
    api("run in the way", lambda: pmodel.fit("gaussian", "heights", out="runs/plane"), RunError, "runs/plane", "holds"),
    api(
        "file in the way",
        lambda: pmodel.fit("gaussian", "heights", out="taken"),
        RunError,
        "taken is not empty",
        prepare=wrote("taken", b"mine"),
    ),
    api(
        "file for a parent",
        lambda: pmodel.fit("gaussian", "heights", out="taken/run"),
        RunError,
        "taken/run",
        "cannot be written",
        prepare=wrote("taken", b"mine"),
    ),
    api("log unknown", lambda: pmodel.fit("gaussian", "heights", out="r", logs=["json"]), UnknownName, "jsonl"),
    api("save never", lambda: pmodel.fit("gaussian", "heights", out="r", save_every=-1.0), BadInput, "got:  -1.0"),
    api("resume nowhere", lambda: pmodel.fit("gaussian", "heights", resume=True), BadInput, "in its folder"),
    api("shards of nothing", lambda: pmodel.fit("gaussian", "heights", out="r", shards=0), BadInput, "shards", "0"),
    api("start from nothing", lambda: pmodel.fit("gaussian", "heights", warm_start="runs/no"), RunError, "runs/no"),
    api(
        "start from another model",
        lambda: pmodel.fit("mixture", "heights", out="r", warm_start="runs/plane"),
        RunError,
        "runs/plane is a run of another model",
    ),
    api("repeat of nothing", lambda: pmodel.replay("runs/no"), RunError, "runs/no"),
    api(
        "repeat on other data",
        lambda: pmodel.replay("runs/plane", data=pmodel.load_data("tins")),
        RunError,
        "not those that this run learned from",
    ),
    api("compared with nothing", lambda: pmodel.compare([], "heights", out="c"), BadInput, "list of models", "[]"),
    api("seeds of nothing", lambda: pmodel.compare(["gaussian"], "heights", out="c", seeds=0), RangeError, "got:  0"),
    api("effort a float", lambda: pmodel.evaluate("runs/plane", effort=1.5), RangeError, "effort", "1.5"),
)

DATA = (
    api("arrays empty", lambda: from_arrays(np.zeros((0, 2))), BadInput, "(0, 2)"),
    api("arrays of text", lambda: from_arrays(np.array([["a"]])), DtypeError, "<U1"),
    api("arrays nan", lambda: from_arrays(np.array([[1.0], [np.nan]])), RangeError, "nan"),
    api("arrays complex", lambda: from_arrays(np.ones((3, 2), complex)), DtypeError, "complex128"),
    api("labels of another length", lambda: from_arrays(np.ones((3, 2)), np.zeros(2, int)), ShapeError, "3", "2"),
    cli("file missing", "fit gaussian --data ./none.csv", 1, "./none.csv", "no such file"),
    cli(
        "file of no kind", "fit gaussian --data notes.rst", 1, "notes.rst", "no kind", prepare=wrote("notes.rst", "hi")
    ),
    cli(
        "picture corrupt",
        "fit uniform --data pictures",
        1,
        "broken.png",
        prepare=folder_of_pictures((8, 8), broken=b"\x89PNG\r\n\x1a\n broken"),
    ),
    cli(
        "picture bomb",
        "fit uniform --data pictures",
        1,
        "broken.png",
        "10000000000 pixels",
        prepare=folder_of_pictures((8, 8), broken=picture_bomb()),
    ),
    cli("pictures of two sizes", "fit uniform --data pictures", 1, "9×8", prepare=folder_of_pictures((8, 8), (8, 9))),
    cli("pictures of none", "fit uniform --data pictures", 1, "holds no pictures", prepare=folder_of_pictures()),
    cli("idx cut", "fit uniform --data d.idx", 1, "only 5", prepare=wrote("d.idx", idx(3, 2, 2, values=5))),
    cli("idx absurd", "fit uniform --data d.idx", 1, "declares", prepare=wrote("d.idx", idx(*[2**31] * 2, values=4))),
    cli("idx of no magic", "fit uniform --data d.idx", 1, "no kind", prepare=wrote("d.idx", b"\1\2\3\4 and more")),
    cli(
        "idx in gzip cut",
        "fit uniform --data d.gz",
        1,
        "d.gz",
        prepare=wrote("d.gz", gzip.compress(b"\0\0\x08\1")[:-9]),
    ),
    cli("npy cut", "fit gaussian --data a.npy", 1, "a.npy", prepare=cut(saved("a.npy", np.ones((9, 2))), "a.npy", 150)),
    cli("npy of no magic", "fit gaussian --data a.npy", 1, "a.npy", prepare=wrote("a.npy", b"PK no array")),
    cli(
        "npy of objects",
        "fit gaussian --data a.npy",
        1,
        "a.npy",
        "object",
        prepare=saved("a.npy", np.array([None, "x"]), allow_pickle=True),
    ),
    cli("npy nan", "fit gaussian --data a.npy", 1, "nan", prepare=saved("a.npy", np.array([[1.0], [np.nan]]))),
    cli("npy empty", "fit gaussian --data a.npy", 1, "(0, 3)", prepare=saved("a.npy", np.ones((0, 3)))),
    cli(
        "npz cut",
        "fit gaussian --data a.npz",
        1,
        "a.npz",
        prepare=cut(lambda: np.savez("a.npz", x=np.ones((50, 2))), "a.npz", 300),
    ),
    cli(
        "npz without x",
        "fit gaussian --data a.npz",
        1,
        "a.npz",
        "other",
        prepare=lambda: np.savez("a.npz", other=np.ones((50, 2))),
    ),
    cli("csv ragged", "fit gaussian --data t.csv", 1, "line 3", prepare=wrote("t.csv", "a,b\n1,2\n3\n")),
    cli("csv empty", "fit gaussian --data t.csv", 1, "t.csv holds no rows", prepare=wrote("t.csv", "")),
    cli("csv of a header", "fit gaussian --data t.csv", 1, "t.csv holds no rows", prepare=wrote("t.csv", "a,b\n")),
    cli(
        "csv with one name twice",
        "fit gaussian --data t.csv",
        1,
        "t.csv",
        "got:  a",
        prepare=wrote("t.csv", "a,a\n1,2\n"),
    ),
    cli("csv not text", "fit gaussian --data t.csv", 1, "t.csv", prepare=wrote("t.csv", b"a,b\n\xff\xfe\x80,1\n")),
    cli("csv infinity", "fit gaussian --data t.csv", 1, "inf", prepare=wrote("t.csv", "a,b\n1.5,2\ninf,4\n")),
    cli("label of a view", "fit gaussian --data digits:12", 2, "digits", "got:  12"),
    cli("view without labels", "fit gaussian --data heights:1", 1, "heights", "no labels"),
    cli("data unknown, cli", "fit gaussian --data digts", 2, "digts", "did you mean digits"),
    cli("data path tricks", "fit gaussian --data ../../none/../x", 1, "../../none/../x"),
    cli("data option unknown", "fit gaussian --data digits --set data.sise=3", 2, "data.sise", "data.size"),
    cli("data of another kind", "score runs/plane --data digits", 1, "digits", "Real"),
    cli(
        "data that changed",
        "score runs/of-a-table",
        1,
        "have changed",
        "t.csv",
        prepare=lambda: (
            wrote("t.csv", "a,b\n1.5,2.5\n2.25,4.5\n3.125,4.25\n")(),
            pmodel.fit("gaussian", "t.csv", out="runs/of-a-table"),
            wrote("t.csv", "a,b\n1.5,2.5\n2.25,4.5\n3.125,4.75\n")(),
        ),
    ),
)

HOSTILE = (
    api("run missing", lambda: pmodel.load("runs/none"), RunError, "runs/none/run.json"),
    api("run a file", lambda: pmodel.load("taken"), RunError, "taken/run.json", prepare=wrote("taken", "x")),
    api("name with a null byte", lambda: pmodel.load("runs/\0plane"), RunError, "plane"),
    api("json cut", lambda: run("plane"), RunError, "not valid JSON", prepare=wrote(RECORD, '{"schema": 1, "mod')),
    api("json nan", lambda: run("plane"), RunError, "NaN is not JSON", prepare=wrote(RECORD, '{"schema": NaN}')),
    api("json deep", lambda: run("plane"), RunError, "not valid JSON", prepare=wrote(RECORD, "[" * 10**6)),
    api("json huge", lambda: run("plane"), RunError, "too large", prepare=wrote(RECORD, b" " * (65 * 2**20))),
    api("json huge number", lambda: run("plane"), RunError, "not valid JSON", prepare=wrote(RECORD, "9" * 10**5)),
    api("json a list", lambda: run("plane"), RunError, "JSON object", "[1, 2]", prepare=wrote(RECORD, "[1, 2]")),
    api("json not text", lambda: run("plane"), RunError, "not valid JSON", prepare=wrote(RECORD, b"\xff\xfe\x00")),
    api("schema of tomorrow", lambda: run("plane"), RunError, "99", "reads 1", prepare=record(schema=99)),
    api("model missing", lambda: run("plane"), RunError, "does not describe a model", prepare=record(model={})),
    api("model a word", lambda: run("plane"), RunError, "does not describe a model", prepare=record(model="Gaussian")),
    api("class unknown", lambda: run("plane"), RunError, "no model class", prepare=core(model="Gausian")),
    api("class os:system", lambda: run("plane"), RunError, "no model class", prepare=core(model="os:system")),
    api("class dotted", lambda: run("plane"), RunError, "no model class", prepare=core(model="subprocess.Popen")),
    api("class with a path", lambda: run("plane"), RunError, "no model class", prepare=core(model="../x:Y")),
    api("class of another base", lambda: run("plane"), RunError, "no model class", prepare=core(model="Model")),
    api("models too deep", lambda: run("plane"), RunError, "eight deep", prepare=record(model=nested(20))),
    api("options a list", lambda: run("plane"), RunError, "does not describe", prepare=core(options=[1])),
    api("option that it has not", lambda: run("plane"), RunError, "no option", prepare=core(options={"__class__": 1})),
    api(
        "option of a wrong type",
        lambda: run("plane"),
        RunError,
        "does not describe a model",
        prepare=core(model="Mixture", options={"components": [1]}),
    ),
    api(
        "size that would fill the memory",
        lambda: run("plane"),
        RunError,
        prepare=core(model="Mixture", options={"components": 10**12}),
    ),
    api(
        "domain that would fill the memory",
        lambda: run("plane"),
        RunError,
        prepare=core(domain={"kind": "real", "shape": [10**9]}),
    ),
    api("domain unknown", lambda: run("plane"), RunError, "does not describe", prepare=core(domain={"kind": "eval"})),
    api("tensors missing", lambda: run("plane"), RunError, TENSORS, prepare=lambda: Path(TENSORS).unlink()),
    api("tensors cut", lambda: run("plane"), RunError, TENSORS, prepare=cut(lambda: None, TENSORS, 20)),
    api("tensors empty", lambda: run("plane"), RunError, TENSORS, prepare=wrote(TENSORS, b"")),
    api(
        "header of 2^63 bytes",
        lambda: run("plane"),
        RunError,
        "cannot be read as safetensors",
        prepare=wrote(TENSORS, struct.pack("<Q", 2**63) + b"{}"),
    ),
    api(
        "tensors that overlap",
        lambda: run("plane"),
        RunError,
        "cannot be read as safetensors",
        prepare=wrote(
            TENSORS,
            header(
                {
                    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                    "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
                },
                bytes(12),
            ),
        ),
    ),
    api(
        "tensors beyond the end",
        lambda: run("plane"),
        RunError,
        "cannot be read as safetensors",
        prepare=wrote(TENSORS, header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})),
    ),
    api(
        "a pickle",
        lambda: run("plane"),
        RunError,
        "cannot be read as safetensors",
        prepare=wrote(TENSORS, b"\x80\x04cos\nsystem\n(S'touch executed'\ntR."),
    ),
    api("tensor missing", lambda: run("plane"), RunError, "missing", prepare=tensors(lambda v: v.pop(first(v)))),
    api("tensor extra", lambda: run("plane"), RunError, "odd", prepare=tensors(lambda v: v.update(odd=np.ones(1)))),
    api(
        "tensor of a wrong shape",
        lambda: run("plane"),
        RunError,
        "wrong shape",
        prepare=tensors(lambda v: v.update({first(v): v[first(v)][None]})),
    ),
    api(
        "tensor of a wrong type",
        lambda: run("plane"),
        RunError,
        "wrong type",
        "float16",
        prepare=tensors(lambda v: v.update({first(v): v[first(v)].astype(np.float16)})),
    ),
    cli("class os:system, cli", "sample runs/plane --out s.csv", 1, "no model class", prepare=core(model="os:system")),
)

WORDS = (
    cli("command unknown", "fitt", 2, "fitt"),
    cli("option unknown, cli", "fit gaussian --data heights --stepz 3", 2, "--stepz"),
    cli("argument missing", "fit --data heights", 2, "MODEL"),
    cli("data not given", "fit gaussian", 2, "--data"),
    cli("model unknown, cli", "fit gausian --data heights", 2, "gausian", "did you mean gaussian"),
    cli("model with markup", "fit [red]x --data heights", 2, "got:  [red]x"),
    cli("model with escapes", "fit 'a\x1b]0;title\x07' --data heights", 2, "got:  a\\x1b]0;title\\x07"),
    cli("described model unknown", "models vaee", 2, "vaee", "did you mean vae"),
    cli("checked model unknown", "check vaee", 2, "vaee"),
    cli("setting without value", "fit mixture --data heights --set components", 2, "'components'", "key=value"),
    cli("setting without key", "fit mixture --data heights --set =4", 2, "'=4'", "key=value"),
    cli("setting twice", "fit mixture --data heights --set components=2 --set components=3", 2, "components twice"),
    cli(
        "setting unknown, cli",
        "fit mixture --data heights --set componets=2",
        2,
        "componets",
        "did you mean components",
    ),
    cli("setting of a word", "fit mixture --data heights --set components=many", 2, "whole number", "many"),
    cli("setting of a float", "fit mixture --data heights --set components=2.5", 2, "whole number", "2.5"),
    cli("setting not in the choice", "fit mixture --data heights --set covariance=fulll", 2, "full", "fulll"),
    cli("setting of code", "fit mixture --data heights --set 'components=__import__(\"os\")'", 2, "__import__"),
    cli("setting with open quote", "fit mixture --data heights --set 'covariance=\"full'", 2, "open quote"),
    cli("train setting unknown", "fit mixture --data heights --set train.batchs=3", 2, "batchs", "did you mean batch"),
    cli("conditional a number", "fit mixture --data heights --set conditional=1", 2, "true or false", "got:  1"),
    cli("unlabelled, cli", "fit mixture --data heights --set conditional=true", 2, "heights", "no labels"),
    cli("budget of nothing, cli", "fit gaussian --data heights --budget 0", 2, "'0'", "1.5h"),
    cli("budget below zero", "fit gaussian --data heights --budget -5", 2, "'-5'"),
    cli("budget garbage", "fit gaussian --data heights --budget soon", 2, "'soon'", "90s"),
    cli("budget infinite", "fit gaussian --data heights --budget inf", 2, "'inf'"),
    cli("budget of years, cli", "fit gaussian --data heights --budget 999999h", 2, "30 days"),
    cli("steps and budget, cli", "fit gaussian --data heights --budget 2m --steps 5", 2, "--steps 5", "--budget 2m"),
    cli("steps of nothing, cli", "fit gaussian --data heights --steps 0", 2, "'0'", "--steps"),
    cli("steps a float", "fit gaussian --data heights --steps 1.5", 2, "'1.5'"),
    cli("seed below zero, cli", "fit gaussian --data heights --seed -1", 2, "'-1'", "--seed"),
    cli("size unknown, cli", "fit gaussian --data heights --size huge", 2, "tiny", "huge"),
    cli("device unknown, cli", "fit gaussian --data heights --device tpu", 2, "tpu"),
    cli("precision unknown, cli", "fit gaussian --data heights --precision int8", 2, "int8"),
    cli("run in the way, cli", "fit gaussian --data heights --out runs/plane", 1, "runs/plane", "holds a run already"),
    cli("resumed as another model", "fit mixture --data heights --out runs/plane --resume", 1, "its name is another"),
    cli("resumed on other data", "fit gaussian --data tins --out runs/plane --resume", 1, "its data is another"),
    cli(
        "resumed with a seed", "fit gaussian --data heights --out runs/plane --seed 3 --resume", 1, "seed 3, recorded 0"
    ),
    cli("resumed to a total", "fit gaussian --data heights --out runs/plane --steps 7 --resume", 1, "steps 7"),
    cli("resumed with an option", "fit histogram --data digits --out runs/labelled --set bins=3 --resume", 1, "bins 3"),
    cli("resumed without a run", "fit gaussian --data heights --resume", 1, "gaussian-heights", "--out"),
    cli(
        "resumed in a full folder", "fit gaussian --data heights --out runs --resume", 1, "runs holds no run to resume"
    ),
    cli("started from nothing", "fit gaussian --data heights --from runs/none --out r", 1, "runs/none/run.json"),
    cli("started from another model", "fit uniform --data heights --from runs/plane --out r", 1, "another model"),
    cli("log unknown, cli", "fit gaussian --data heights --log json", 2, "json", "did you mean jsonl"),
    cli("log and none", "fit gaussian --data heights --log none --log jsonl", 2, "none jsonl"),
    cli("saving garbage", "fit gaussian --data heights --save-every often", 2, "'often'", "90s"),
    cli("shards of nothing, cli", "fit gaussian --data heights --shards 0", 2, "'0'", "--shards"),
    cli("repeat of nothing, cli", "replay runs/none", 1, "runs/none/run.json"),
    cli("repeat of unfinished", "replay runs/plane", 1, "has finished", "--resume", prepare=record(status="training")),
    cli("repeat on other data, cli", "replay runs/plane --data tins", 1, "learned from", "tins"),
    cli("reading without data to repeat", "replay runs/plane --set data.size=3", 2, "--data"),
    cli("show of only begun", "show runs/plane", 1, "only begun", "--resume", prepare=record(status="training")),
    cli("sample of nothing", "sample runs/plane -n 0 --out s.csv", 2, "'0'"),
    cli("sample of billions", "sample runs/plane -n 99999999999 --out s.csv", 2, "'99999999999'"),
    cli("sample to no suffix known", "sample runs/image --out s.jpeg", 2, "s.jpeg", ".png"),
    cli("picture of a table", "sample runs/plane --out s.png", 2, "s.png", "Only images"),
    cli("pictures into a full folder", "sample runs/image --out runs", 1, "runs is not an empty folder"),
    cli("sample over a folder", "sample runs/image --out s.png", 2, "s.png", prepare=lambda: Path("s.png").mkdir()),
    cli("sample under a file", "sample runs/image --out f/s.png", 1, "f/s.png", prepare=wrote("f", "mine")),
    cli("label of an unconditional", "sample runs/plane --label 3 --out s.csv", 2, "unconditional", "got:  3"),
    cli("label too high, cli", "sample runs/labelled --label 10 --out s.png", 2, "0 to 9", "got:  10"),
    cli("label below zero", "sample runs/labelled --label -1 --out s.png", 2, "-1"),
    cli("run missing, cli", "show runs/none", 1, "runs/none/run.json"),
    cli("split unknown", "score runs/plane --split tset", 2, "tset", "did you mean test"),
    cli("effort of nothing, cli", "score runs/plane --effort 0", 2, "'0'"),
    cli("reading without data", "score runs/plane --set data.size=3", 2, "--data"),
    cli("compared model unknown", "compare gaussian gausian --data heights --out c", 2, "gausian"),
    cli("compared option unknown", "compare mixture:k=3 --data heights --out c", 2, "got:  k"),
    cli("compared option a word", "compare mixture:components=x --data heights --out c", 2, "whole number", "got:  x"),
    cli("compared option malformed", "compare mixture:components --data heights --out c", 2, "key=value"),
    cli("compared with itself", "compare gaussian gaussian --data heights --out c", 2, "twice", "gaussian"),
    cli("compared seeds", "compare gaussian --data heights --seeds 0 --out c", 2, "'0'"),
    cli(
        "compared over another comparison",
        "compare gaussian --data heights --steps 7 --out c",
        1,
        "c/runs/gaussian-s0",
        "steps differs",
        prepare=lambda: pmodel.compare(["gaussian"], "heights", out="c", steps=3),
    ),
    cli("compared over a file", "compare gaussian --data heights --out c", 1, "c", prepare=wrote("c", "mine")),
    cli("data in one of several", "compare uniform:data.size=3 --data heights --out c", 2, "--set data.size=3"),
    cli("likelihood of an implicit model", "score runs/drawn", 1, "cannot score", "gaussian", prepare=implicit),
    cli("setting of one in compare", "compare mixture --data heights --set components=3 --out c", 2, "components=3"),
)

PLANE_DATA = np.random.default_rng(0).normal(size=(200, 2))

EXPLICIT = (
    api(
        "joint histogram of pictures",
        lambda: pmodel.make("histogram", Discrete((1, 28, 28), 256), joint=True),
        BadInput,
        "The table would have 256^784 = 10^1888 cells: at most 134217728 fit into memory.",
        "784 entries of 256 values, joint",
        "use joint=false, or fewer bins",
    ),
    api(
        "joint histogram of many reals",
        lambda: pmodel.fit("histogram", from_arrays(np.zeros((120, 784)) + np.arange(120)[:, None] / 7), joint=True),
        BadInput,
        "The table would have 32^784 = 10^1180 cells: at most 134217728 fit into memory.",
    ),
    api(
        "histogram with too many bins one by one",
        lambda: pmodel.make("histogram", Real((3000,)), bins=2**20, joint=False),
        BadInput,
        "The table would have 3145728000 cells: at most 134217728 fit into memory.",
    ),
    api(
        "covariances beyond memory",
        lambda: pmodel.make("mixture", Real((3, 64, 64)), covariance="full", components=20),
        BadInput,
        "The covariances would not fit into memory.",
        "20 of 12288 × 12288",
        "use covariance=diagonal, or fewer components",
    ),
    api(
        "covariance unknown",
        lambda: pmodel.fit("gaussian", from_arrays(PLANE_DATA), covariance="round"),
        BadInput,
        "covariance must be one of full, tied, diagonal, spherical, lowrank.",
        "got:  round",
    ),
    api(
        "no least variance",
        lambda: pmodel.fit("mixture", from_arrays(PLANE_DATA), floor=0.0),
        RangeError,
        "floor must be positive: without it a variance can collapse to nothing.",
        "got:  0.0",
    ),
    api(
        "covariance that no diagonal mends",
        lambda: _factorised(torch.full((1, 2, 2), float("nan"), dtype=torch.float64), 1e-6),
        Diverged,
        "A covariance is not positive definite, whatever is added to its diagonal.",
        "use fewer components, more shrinkage, or another covariance",
    ),
    api(
        "category that does not exist",
        lambda: pmodel.fit("mixture", "dice", components=2).log_prob([[6]]),
        RangeError,
        "x must hold whole numbers from 0 to 5.",
        "got:  6",
    ),
    api(
        "data of unequal shapes",
        lambda: from_arrays([[1.0, 2.0], [3.0]]),
        ShapeError,
        "x is not a rectangular array.",
    ),
    api(
        "other entries than in training",
        lambda: pmodel.fit("mixture", from_arrays(PLANE_DATA), components=2).log_prob(torch.zeros(4, 3)),
        ShapeError,
        "x does not have the shape of this data.",
        "got:  (4, 3)",
        "pass a batch of shape (N, 2)",
    ),
    api(
        "start from no data",
        lambda: pmodel.make("mixture", Real((2,))).initialise(Batch(torch.zeros(0, 2)), torch.Generator()),
        BadInput,
        "Expectation maximisation cannot start from no data.",
        "got:  0",
    ),
    api(
        "box around no data",
        lambda: pmodel.make("uniform", Real((2,))).initialise(Batch(torch.zeros(0, 2)), torch.Generator()),
        BadInput,
        "A range cannot be taken from no data.",
        "got:  0",
    ),
    api(
        "a prior for another number of labels",
        lambda: posterior(run("labelled"), torch.zeros(1, 1, 8, 8), prior=[0.5, 0.5]),
        ShapeError,
        "A prior has one probability for each label.",
        "10 labels",
    ),
    api(
        "Bayes without labels",
        lambda: posterior(run("plane"), [[1.0, 2.0]]),
        BadInput,
        "Bayes' theorem needs a model of data given a label.",
        "fit it conditional=true",
    ),
)

ROWS = (*EXPLICIT, *DOMAINS, *VERBS, *FITS, *DATA, *HOSTILE, *WORDS)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_is_refused_in_words_and_changes_nothing(row, here, capsys):
    if row.prepare is not None:
        row.prepare()
    before = contents(here)
    if isinstance(row.act, str):
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(row.act))
        captured = capsys.readouterr()
        words = captured.err
        assert ended.value.code == row.expected, words
        assert captured.out == ""
        assert "Traceback" not in words
        assert "Internal error" not in words
    else:
        with pytest.raises(row.expected) as raised:
            row.act()
        words = str(raised.value)
    for part in row.says:
        assert part in words
    assert contents(here) == before


def test_names_of_rows_are_unique():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gaussian", {}),
        ("histogram", {}),
        ("uniform", {}),
        ("mixture", {"components": 1}),
        ("mixture", {"components": 7, "shrinkage": 0.0}),
    ],
    ids=["gaussian", "histogram", "uniform", "one component", "more components than distinct data"],
)
@pytest.mark.parametrize(
    "x", [np.array([[1.5, 2.5]]), np.tile([[1.5, 2.5]], (20, 1))], ids=["one datum", "constant columns"]
)
def test_data_without_spread_keep_every_number_finite(name, options, x):
    """The likeliest density of a point is unbounded: the floor of the variance keeps it finite."""
    data = from_arrays(x)
    model = pmodel.fit(name, data, **options)
    assert bool(model.score(data.train.x).values.isfinite().all())
    assert bool(model.sample(5, generator=0).isfinite().all())


HARD = {
    "a constant column": np.column_stack([PLANE_DATA, np.full(200, 7.0)]),
    "a column twice": PLANE_DATA[:, [0, 1, 1]],
    "a sum of columns": np.column_stack([PLANE_DATA, PLANE_DATA.sum(1)]),
    "three distinct data": np.repeat([[0.0, 1.0], [5.0, 5.0], [9.0, -4.0]], 70, 0),
}


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "spherical", "lowrank"])
@pytest.mark.parametrize("name", HARD)
def test_components_die_and_covariances_are_singular_without_harm(name, covariance):
    """Nine components for data that have no use for them: weights stay a distribution, and every number finite."""
    data = from_arrays(HARD[name])
    model = pmodel.fit("mixture", data, components=9, covariance=covariance, shrinkage=0.0, rank=2)
    weights = model.model.weights
    assert bool((weights > 0).all())
    assert weights.sum().item() == pytest.approx(1)
    assert bool(model.log_prob(data.test.x).isfinite().all())
    assert bool(model.sample(50, generator=0).isfinite().all())
    seen = torch.tensor([True] + [False] * (data.domain.entries - 1))
    assert bool(model.complete(data.test.x, seen, generator=0).isfinite().all())


@pytest.mark.parametrize(
    ("name", "options", "impossible"),
    [
        ("histogram", {}, 1),
        ("histogram", {"smoothing": 0.5}, 0),
        ("mixture", {"components": 2, "shrinkage": 0.0}, 1),
        ("mixture", {"components": 2}, 0),
    ],
)
def test_a_category_that_was_never_seen_is_impossible_or_smoothed(name, options, impossible):
    data = from_arrays(np.arange(200)[:, None] % 4, levels=5)
    found = pmodel.fit(name, data, **options).score([[0], [4]])
    assert (found.impossible, found.n) == (impossible, 2)
    assert bool(found.values[0].isfinite())
