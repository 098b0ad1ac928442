"""Files are written whole or not at all; a loaded model is the saved one; and loading executes nothing."""

import errno
import json
import os
import pickle
import resource
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import pmodel
from pmodel.cli import main
from pmodel.data import from_arrays
from pmodel.errors import RunError
from pmodel.storage import RECORD, TENSORS, read_json, write_atomic, write_json

FITS = {
    "real, standardised": ("gaussian", "heights", {}),
    "levels": ("mixture", "digits", {"components": 3}),
    "levels, dequantised": ("gaussian", "digits", {}),
    "levels, by class": ("histogram", "digits", {"conditional": True}),
    "levels, dequantised by class": ("gaussian", "dice", {}),
}


@pytest.fixture(scope="module", params=FITS, ids=str)
def fitted(request):
    name, data, options = FITS[request.param]
    dataset = pmodel.load_data(data)
    return pmodel.fit(name, dataset, **options), dataset.test.x[:50]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestRoundTrip:
    def test_scores_are_equal(self, fitted, tmp_path):
        model, x = fitted
        pmodel.save(model, tmp_path)
        again = pmodel.load(tmp_path)
        assert torch.equal(again.score(x, generator=3).values, model.score(x, generator=3).values)

    def test_samples_are_equal(self, fitted, tmp_path):
        model, _ = fitted
        pmodel.save(model, tmp_path)
        assert torch.equal(pmodel.load(tmp_path).sample(20, generator=3), model.sample(20, generator=3))

    def test_the_second_save_writes_the_same_bytes(self, fitted, tmp_path):
        model, _ = fitted
        pmodel.save(model, tmp_path / "one")
        pmodel.save(pmodel.load(tmp_path / "one"), tmp_path / "two")
        assert files(tmp_path / "one") == files(tmp_path / "two")

    def test_a_loaded_model_evaluates_and_can_be_trained_on(self, fitted, tmp_path):
        model, _ = fitted
        pmodel.save(model, tmp_path)
        again = pmodel.load(tmp_path)
        assert not again.training
        assert all(parameter.requires_grad for parameter in again.parameters())
        assert not any(tensor.is_meta for tensor in again.state_dict().values())

    def test_types_of_numbers_survive(self, fitted, tmp_path):
        model, _ = fitted
        pmodel.save(model, tmp_path)
        before, after = model.state_dict(), pmodel.load(tmp_path).state_dict()
        assert {name: t.dtype for name, t in after.items()} == {name: t.dtype for name, t in before.items()}


# Faults: the disk is full, or the process is killed, at each step of writing a file.


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(*_, **__):
    raise KeyboardInterrupt


STEPS = [(os, "fsync"), (Path, "open"), (Path, "replace")]
FAULTS = [
    pytest.param(place, step, fault, expected, id=f"{fault.__name__} in {step}")
    for place, step in STEPS
    for fault, expected in ((no_space, RunError), (killed, KeyboardInterrupt))
]


class TestAtomicity:
    @pytest.mark.parametrize(("place", "step", "fault", "expected"), FAULTS)
    def test_the_old_file_stays(self, place, step, fault, expected, tmp_path, monkeypatch):
        write_atomic(tmp_path / "file", b"old")
        with monkeypatch.context() as patch:
            patch.setattr(place, step, fault)
            with pytest.raises(expected):
                write_atomic(tmp_path / "file", b"new and longer")
        assert files(tmp_path) == {"file": b"old"}

    @pytest.mark.parametrize(("place", "step", "fault", "expected"), FAULTS)
    def test_no_half_file_appears(self, place, step, fault, expected, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(place, step, fault)
            with pytest.raises(expected):
                write_atomic(tmp_path / "file", b"new")
        assert files(tmp_path) == {}

    def test_the_message_says_what_is_wrong(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(RunError, match="No space left on device") as raised:
            write_atomic(tmp_path / "file", b"new")
        assert str(tmp_path / "file") in str(raised.value)

    def test_no_folder_can_be_made_under_a_file(self, tmp_path):
        (tmp_path / "taken").write_bytes(b"mine")
        with pytest.raises(RunError, match="cannot be written"):
            write_atomic(tmp_path / "taken" / "file", b"new")
        assert files(tmp_path) == {"taken": b"mine"}

    def test_what_is_not_json_leaves_the_old_record(self, tmp_path):
        write_json(tmp_path / RECORD, {"loss": 1.0})
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / RECORD, {"loss": float("nan")})
        assert read_json(tmp_path / RECORD) == {"loss": 1.0}


class TestFullDisk:
    def test_fit_leaves_no_run_that_looks_whole(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(RunError, match="No space left"):
            pmodel.fit("gaussian", "heights", out=tmp_path / "run")
        assert not (tmp_path / "run" / RECORD).exists()
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    def test_the_command_says_so_and_keeps_what_is_there(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        pmodel.fit("gaussian", "heights", out="runs/first")
        before = files(Path("runs/first"))
        Path("s.csv").write_bytes(b"earlier")
        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(SystemExit) as ended:
            main(["sample", "runs/first", "--out", "s.csv"])
        assert ended.value.code == 1
        assert "s.csv cannot be written: No space left on device" in capsys.readouterr().err
        assert Path("s.csv").read_bytes() == b"earlier"
        assert files(Path("runs/first")) == before

    def test_a_save_over_a_model_leaves_the_old_one(self, tmp_path, monkeypatch):
        data = pmodel.load_data("heights")
        old, new = pmodel.fit("gaussian", data), pmodel.fit("mixture", data, components=2)
        pmodel.save(old, tmp_path)
        before = files(tmp_path)
        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(RunError):
            pmodel.save(new, tmp_path)
        assert files(tmp_path) == before


# Nothing in a file is executed.

MARK = "executed"


class Payload:
    """Leaves a mark in the current folder when it is unpickled."""

    def __reduce__(self):
        return (exec, (f"open({MARK!r}, 'w').close()",))


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A saved model in ``model``, and a module on the path that leaves a mark when it is imported."""
    (tmp_path / "trap_module.py").write_text(f"open({MARK!r}, 'w').close()\nclass Payload: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    pmodel.save(pmodel.fit("gaussian", "heights"), "model")
    return tmp_path


def test_the_trap_works(trap):
    """Both ways of executing would be noticed."""
    pickle.loads(pickle.dumps(Payload()))
    assert Path(MARK).exists()
    Path(MARK).unlink()
    __import__("trap_module")
    assert Path(MARK).exists()
    del sys.modules["trap_module"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", [TENSORS, RECORD])
def test_a_pickle_is_not_executed(trap, name, protocol):
    Path("model", name).write_bytes(pickle.dumps(Payload(), protocol=protocol))
    with pytest.raises(RunError):
        pmodel.load("model")
    assert not Path(MARK).exists()


def test_a_torch_archive_is_not_executed(trap):
    torch.save({"payload": Payload()}, f"model/{TENSORS}")
    with pytest.raises(RunError, match="cannot be read as safetensors"):
        pmodel.load("model")
    assert not Path(MARK).exists()


NAMES = [
    "trap_module:Payload",
    "trap_module.Payload",
    "trap_module",
    "pmodel.trap_module:Payload",
    "os:system",
    "../trap",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["model", "kind", "option", "record"])
def test_a_name_in_a_file_imports_nothing(trap, place, name):
    record = json.loads(Path("model", RECORD).read_text())
    spec = record["model"]
    while "inner" in spec:
        spec = spec["inner"]
    if place == "record":
        record["model"] = name
    elif place == "kind":
        spec["domain"]["kind"] = name
    elif place == "option":
        spec["options"][name] = 1
    else:
        spec["model"] = name
    Path("model", RECORD).write_text(json.dumps(record))
    with pytest.raises(RunError, match="does not describe a model"):
        pmodel.load("model")
    assert not Path(MARK).exists()
    assert "trap_module" not in sys.modules


# A file that declares much takes no memory for it.


def real(*shape: int) -> dict:
    return {"kind": "real", "shape": list(shape)}


def levels(shape: list[int], count: int) -> dict:
    return {"kind": "discrete", "shape": shape, "levels": count}


def model(name: str, domain: dict, **options) -> dict:
    return {"model": name, "domain": domain, "given": None, "options": options}


ABSURD = {
    "many components": model("Mixture", real(2), components=10**12),
    "large components": model("Mixture", real(2**26), components=10_000, covariance="diagonal"),
    "full covariances": model("Mixture", real(4096), components=10_000, covariance="full"),
    "one covariance": model("Gaussian", real(2**26)),
    "categories": model("Mixture", levels([2**20], 2**31), components=10_000),
    "a joint table": model("Histogram", levels([8], 2**20)),
    "many bins": model("Histogram", real(2**20), bins=10**9),
    "a long datum": model("Uniform", levels([2**26], 2**31)),
    "classes": {"model": "ByClass", "inner": model("Gaussian", real(2)), "given": levels([], 2**31)},
    "a network": model("VAE", levels([2**26], 2**31)),
    "a wide code": model("VAE", levels([4], 2), latent=10**12),
}


@pytest.mark.parametrize("spec", ABSURD.values(), ids=ABSURD)
def test_absurd_sizes_take_no_memory(spec, tmp_path):
    """Peak memory, in kilobytes, does not grow by more than the noise of an allocator."""
    write_json(tmp_path / RECORD, {"schema": 1, "model": spec})
    save_file({"x": torch.zeros(1)}, tmp_path / TENSORS)
    with pytest.raises(RunError):
        pmodel.load(tmp_path)  # once to import what it needs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError):
        pmodel.load(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_shapes_are_compared_before_tensors_are_read(tmp_path):
    pmodel.save(pmodel.fit("gaussian", from_arrays(torch.randn(200, 2))), tmp_path)
    tensors = load_file(tmp_path / TENSORS)
    name = max(tensors, key=lambda name: tensors[name].numel())
    save_file(tensors | {name: torch.zeros(10**6, dtype=tensors[name].dtype)}, tmp_path / TENSORS)
    with pytest.raises(RunError, match="wrong shape") as raised:
        pmodel.load(tmp_path)
    assert "(1000000,)" in str(raised.value)
