"""Whether a page tells what an example tells now: the same words, and the same numbers but for arithmetic."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
NUMBER = re.compile(r"[-−]?\d+\.?\d*(?:e[-+]?\d+)?")


def block(example):
    """What the pages that scripts/examples writes tell of an example."""
    pages = [(DOCS / f"{name}.md").read_text() for name in ("inference", "collapse")]
    found = [
        match for page in pages for match in re.findall(rf"<!-- {example}: .*?-->\n```\n(.*?)\n```", page, flags=re.S)
    ]
    assert len(found) == 1, f"{example} has {len(found)} blocks"
    return found[0]


def tells(example, text, rel=0.02):
    """The block of an example on its page against its text."""
    old, new = block(example), text
    assert NUMBER.sub("#", old).split() == NUMBER.sub("#", new).split()
    for line, (was, now) in enumerate(zip(numbers(old), numbers(new), strict=True)):
        assert now == pytest.approx(was, rel=rel, abs=2e-4), f"number {line}"
    return True


def numbers(text):
    return [float(number.replace("−", "-")) for number in NUMBER.findall(text)]
