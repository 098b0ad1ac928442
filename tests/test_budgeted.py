"""What benchmarks of trainings share: a run is trained once, one that diverged says so, and trials replace no result."""

import json
import signal
import sys
from pathlib import Path

import pytest

import pmodel
from pmodel.errors import Diverged, Stopped
from pmodel.train import Stepped

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALL = {"latent": 2, "width": 8}


@pytest.fixture
def budgeted(monkeypatch, tmp_path):
    """The module, with its runs below a folder of the test's."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import budgeted

    monkeypatch.setattr(budgeted, "ROOT", tmp_path)
    return budgeted


@pytest.fixture
def ask(budgeted, monkeypatch):
    """What a script is asked for by these words; its own budget is two seconds."""

    def asked(*words):
        monkeypatch.setattr(sys, "argv", ["script", *words, "--threads", "1"])
        return budgeted.asked("About.", ["one", "two"], budget=2)

    return asked


def test_what_is_asked_for(ask, capsys):
    assert (ask().rows, ask("two").rows) == (("one", "two"), ("two",))
    assert ask().kept
    assert not ask("--seed", "1").kept
    assert not ask("--budget", "1").kept
    with pytest.raises(SystemExit):
        ask("three")
    assert "no such row: three; known: one, two" in capsys.readouterr().err


def test_a_run_that_is_whole_is_read(ask):
    data = pmodel.load_data("ring")
    model, run = ask("--budget", "1").trained("gan", data, "gan", **SMALL)
    again, read = ask("--budget", "1").trained("gan", data, "gan", **SMALL)
    assert run == read
    assert run["steps"] > 0
    assert run["images_seen"] >= run["steps"] * 64
    assert "ended" not in run
    assert (model.sample(5, generator=0) == again.sample(5, generator=0)).all()


def test_a_run_that_diverged_is_measured_as_it_last_was_well_and_says_so(ask, monkeypatch):
    whole = pmodel.fit

    def failing(*args, **options):
        def stop(event):
            if isinstance(event, Stepped):
                signal.raise_signal(signal.SIGTERM)

        with pytest.raises(Stopped):
            whole(*args, on_event=stop, **options)
        raise Diverged("The loss is not finite.")

    monkeypatch.setattr(pmodel, "fit", failing)
    model, run = ask("--budget", "1").trained("gan", pmodel.load_data("ring"), "gan", **SMALL)
    assert run["ended"] == "The loss is not finite."
    assert run["steps"] > 0
    assert model.sample(5).isfinite().all()


def test_a_trial_replaces_no_result(ask, tmp_path, capsys):
    path = tmp_path / "result.json"
    ask().keep(path, {"fid": 1.0})
    ask("--budget", "1").keep(path, {"fid": 2.0})
    assert json.loads(path.read_text()) == {"fid": 1.0}
    assert "result.json is kept as it was: this is budget 1 s, seed 0" in capsys.readouterr().out
