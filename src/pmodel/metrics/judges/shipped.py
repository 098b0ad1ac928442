"""The judges that come with the package, each for data of one content hash.

``scripts/judges`` trains them and writes NAME.safetensors, the judge, and NAME.json: its record and the hash of the file,
which must have it. They depend on nothing of the machine that uses them.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

from ...errors import RunError

__all__ = ["shipped", "shipped_names", "shipped_record"]

PLACE = files(__package__)


def shipped_names() -> list[str]:
    """The data sets that a judge is shipped for."""
    return sorted(entry.name.removesuffix(".json") for entry in PLACE.iterdir() if entry.name.endswith(".json"))


def shipped_record(name: str) -> dict[str, Any]:
    """The record of a shipped judge, with the ``sha256`` of its file."""
    record: dict[str, Any] = json.loads((PLACE / f"{name}.json").read_text(encoding="utf-8"))
    return record


def shipped(data_hash: str) -> bytes | None:
    """The content of the judge of the data with this hash, or None if none was made for them.

    Raises:
        RunError: if the file is not the one that its record names.
    """
    for name in shipped_names():
        record = shipped_record(name)
        if record["hash"] == data_hash:
            content = (PLACE / f"{name}.safetensors").read_bytes()
            found = hashlib.sha256(content).hexdigest()
            if found != record["sha256"]:
                hint = "install pmodel again"
                raise RunError(f"The shipped judge of {name} is not the one of its record.", got=found, hint=hint)
            return content
    return None
