"""Pages that scripts write from what the benchmarks left."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "ROOT", "kept", "result"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def result(name: str) -> dict[str, Any] | None:
    """What a benchmark left, if it did."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def kept(page: Path, text: str) -> int:
    """Write the page; with ``--check`` only compare. The exit status: 1 if it was to be equal and is not."""
    if "--check" in sys.argv:
        return int(page.read_text() != text)
    page.write_text(text)
    return 0
