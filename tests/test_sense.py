"""Measurements of pictures with known faults: the committed experiment holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "sense.py"


@pytest.mark.slow
@pytest.mark.skipif("PMODEL_DATA" not in os.environ, reason="needs MNIST in $PMODEL_DATA")
def test_every_claim_holds(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path / "sense.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "sense.json").read_text())
    assert result["failed"] == []
    assert len(result["claims"]) > 40


def test_the_kept_result_has_no_failed_claim():
    result = json.loads((SCRIPT.parent / "results" / "sense.json").read_text())
    assert result["failed"] == []
    assert all(claim["holds"] for claim in result["claims"])
