"""Pages that scripts write: they are what the results give, and of a run that failed they say that it did."""

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
TRAINED = {"protocol": "budget 1 s, seed 0", "machine": "a machine", "training_seconds": 3600, "steps": 1234}
READ = {"modes": 3, "of": 8, "clear_modes": 2, "clear": 0.5, "kl": 0.1, "kl_stderr": 0.01, "kl_plain_uniform": 0.2}


@pytest.mark.parametrize("script", ["approximate", "implicit", "likelihoods", "measurements", "readme", "translations"])
def test_a_page_is_what_the_results_give(script):
    assert subprocess.run([sys.executable, SCRIPTS / script, "--check"]).returncode == 0


@pytest.fixture
def page(monkeypatch):
    """The script of the page of implicit models, and a way to give it results."""
    monkeypatch.syspath_prepend(SCRIPTS)
    loader = SourceFileLoader("implicit_page", str(SCRIPTS / "implicit"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("implicit_page", loader))
    loader.exec_module(module)

    def of(section, found):
        monkeypatch.setattr(module, "result", lambda name: found)
        return getattr(module, section)()

    return of


def test_a_training_that_diverged_is_called_so(page):
    rows = {"default": {**READ, **TRAINED}, "minimax": {**READ, **TRAINED, "ended": "It is not finite.", "steps": 0}}
    text = page("stacked", {"n": 100, "judge": "judge", "floor": READ, "rows": rows})
    assert "| the default | **3** of 8 | 2 | 50.0% | 0.1000 ± 0.0100 | 0.2000 | 1,234 | 1.00 |" in text
    assert "| minimax, no penalty (It is not finite.) | **3** of 8 |" in text


def test_seeds_without_a_sample_at_a_mode_count_as_the_worst(page):
    good = {"seed": 0, "budget": 30.0, "modes": 8, "of": 8, "high_quality": 0.92, "kl": 0.01, "seconds": 28.0}
    none = {**good, "modes": 0, "high_quality": 0.0, "kl": None}
    diverged = {"seed": 2, "budget": 30.0, "ended": "It is not finite.", "modes": 0, "high_quality": 0.0, "kl": None}
    runs = {"ring": {"default": {"seeds": [good, good, none]}, "minimax": {"seeds": [good, none, diverged]}}}
    text = page("modes", {"n": 2500, "protocol": "one thread", "machine": "a machine", "runs": runs})
    assert "| 3 | **2 of 3** | 0, 8 of 8 | 0.0%, 92.0% | 0.010 | 28 |" in text
    assert "| 3 | **1 of 3** | 0, 0 of 8 | 0.0%, 0.0% | ∞ | 30 |" in text
