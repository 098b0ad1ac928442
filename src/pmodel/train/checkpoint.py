"""The state of a training on disk: written so that whenever the machine stops, one whole checkpoint is there.

``checkpoint/`` holds two files of tensors, what would be sampled now and what else training carries, and ``checkpoint.json``,
which names them with their hashes and is renamed into place last. Only then the files before them are removed: a folder holds
one checkpoint, and two while one is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor

from ..errors import RunError
from ..storage import CHECKPOINT, SCHEMA, read_manifest, write_json, write_tensors
from .state import State

__all__ = ["clear_checkpoint", "read_checkpoint", "write_checkpoint"]


def write_checkpoint(folder: Path, state: State, log: int) -> None:
    """Write the state of a training, and then remove the one before.

    Args:
        folder: Of the run.
        state: Of the training, after an event.
        log: How long the log is.

    Raises:
        RunError: if it cannot be written; the checkpoint before is whole then.
    """
    home = folder / CHECKPOINT.parent
    before = read_manifest(folder)
    serial = 1 if before is None else int(before["serial"]) + 1
    files = {
        part: write_tensors(home / f"{serial:06d}-{part}.safetensors", tensors)
        for part, tensors in (("model", state.model), ("training", state.training))
    }
    manifest = {"schema": SCHEMA, "serial": serial, "position": state.position, "log": log, "files": files}
    write_json(folder / CHECKPOINT, manifest)
    kept = {CHECKPOINT.name, *(file["name"] for file in files.values())}
    for path in home.iterdir():
        if path.name not in kept:
            with contextlib.suppress(OSError):  # what is left over costs room and nothing else
                path.unlink()


def read_checkpoint(folder: Path) -> tuple[State, int] | None:
    """The last whole state of a run and the length of its log then, or None if it has none yet.

    Raises:
        RunError: if a file is missing, damaged, or not the one that the manifest names.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    try:
        model, training = (_tensors(folder, manifest["files"][part]) for part in ("model", "training"))
        return State(dict(manifest["position"]), model, training), int(manifest["log"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{folder / CHECKPOINT} is damaged.", got=str(error)) from error


def _tensors(folder: Path, file: dict[str, Any]) -> dict[str, Tensor]:
    path = folder / CHECKPOINT.parent / str(file["name"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != file["sha256"]:
        raise RunError(
            f"{path} is not what was written: the disk or a copy has damaged it.", got=f"{len(content)} bytes"
        )
    try:
        return dict(from_bytes(content))
    except SafetensorError as error:
        raise RunError(f"{path} cannot be read as safetensors.", got=str(error)) from error


def clear_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a run that has finished, its manifest first."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINT.parent, ignore_errors=True)
