"""Whether docs/inference.md tells what an example tells now: the same words, and the same numbers but for arithmetic."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "inference.md"
NUMBER = re.compile(r"[-−]?\d+\.?\d*(?:e[-+]?\d+)?")


def tells(example, text):
    """The block of an example on the page against its text."""
    block = re.search(rf"<!-- {example}: .*?-->\n```\n(.*?)\n```", PAGE.read_text(), flags=re.S)
    assert block is not None, f"docs/inference.md has no block for {example}"
    old, new = block[1], text
    assert NUMBER.sub("#", old).split() == NUMBER.sub("#", new).split()
    for line, (was, now) in enumerate(zip(numbers(old), numbers(new), strict=True)):
        assert now == pytest.approx(was, rel=0.02, abs=2e-4), f"number {line}"
    return True


def numbers(text):
    return [float(number.replace("−", "-")) for number in NUMBER.findall(text)]
