"""Where named data sets live on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache", "found", "roots"]


def roots() -> list[Path]:
    """Where data are looked for: the folder in $PMODEL_DATA, then the user's cache."""
    named = os.environ.get("PMODEL_DATA")
    return [Path(named).expanduser(), cache()] if named else [cache()]


def found(folder: str, name: str) -> Path | None:
    """The file, packed or not, in the first place that has it."""
    names = (name, name.removesuffix(".gz"))
    paths = (root / folder / candidate for root in roots() for candidate in names)
    return next((path for path in paths if path.is_file()), None)


def cache() -> Path:
    """The user's cache of pmodel: ``$PMODEL_CACHE``, else where this system keeps caches."""
    if named := os.environ.get("PMODEL_CACHE"):
        return Path(named).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local"))
    elif sys.platform == "darwin":
        base = home / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "pmodel"
