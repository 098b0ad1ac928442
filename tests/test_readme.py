"""The README says what is true: its table is current, its code runs, its first block is the two commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.M | re.S)


def test_the_table_is_current():
    assert subprocess.run([sys.executable, ROOT / "scripts" / "readme", "--check"]).returncode == 0


def test_the_first_block_is_two_commands_that_exist():
    lines = blocks("sh")[0].splitlines()
    assert len(lines) == 2
    assert all((ROOT / line.split()[0]).exists() for line in lines)


def test_continuous_integration_runs_the_second():
    assert blocks("sh")[0].splitlines()[1].split()[0] in (ROOT / ".ci" / "run").read_text()


def test_the_python_runs(tmp_path):
    code = blocks("python")[0].replace("budget=20.0", "steps=20")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("exact")


@pytest.mark.parametrize("script", ["approximate", "measurements", "likelihoods", "translations", "implicit"])
def test_the_measurements_are_those_of_the_results(script):
    assert subprocess.run([sys.executable, ROOT / "scripts" / script, "--check"]).returncode == 0


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_local_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
