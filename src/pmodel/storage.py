"""What lies on disk: files written whole or not at all, and models that load without executing anything.

A model is two files in a folder: ``run.json`` holds its specification (and, for a run, everything else that is known), and
``model.safetensors`` its tensors. Loading builds the model without memory for its tensors, compares names, shapes and types
with the file's header, and only then reads. A run that has not finished has its tensors in a checkpoint: files that a manifest
names, and the manifest is written last, so that at every moment one whole checkpoint is there, or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .construction import build
from .device import device_of
from .errors import PmodelError, RunError
from .model import Model

__all__ = [
    "CHECKPOINT",
    "RECORD",
    "SCHEMA",
    "TENSORS",
    "digest",
    "load",
    "read_json",
    "read_manifest",
    "remove_unfinished",
    "save",
    "write_atomic",
    "write_json",
    "write_tensors",
]

RECORD = "run.json"
TENSORS = "model.safetensors"
CHECKPOINT = Path("checkpoint", "checkpoint.json")
SCHEMA = 1
LARGEST_JSON = 64 * 2**20


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that at every moment either the old one or the whole new one is there.

    Raises:
        RunError: if it cannot be written; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of writes during which a process was killed, in a folder and below."""
    for path in folder.rglob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) and path.is_file():
            with contextlib.suppress(OSError):  # it costs room and nothing else
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk: a new name survives a power cut only then."""
    if os.name == "nt":
        return  # a folder cannot be opened there, and names are journalled
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError | ValueError) -> RunError:
    reason = getattr(error, "strerror", None) or error
    return RunError(f"{path} cannot be written: {reason}.", hint="free space or choose another folder")


def write_json(path: Path, value: Any) -> None:
    """Write JSON: strict (no NaN), indented, atomic."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that may be damaged or hostile.

    Raises:
        RunError: if it is missing, too large, or not a JSON object.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise RunError(f"{path} is too large for a record.", got=f"{path.stat().st_size} bytes")
        value = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.", hint="pass the folder of a finished run") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not valid JSON.", got=str(error)) from error
    if not isinstance(value, dict):
        raise RunError(f"{path} does not hold a JSON object.", got=value)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write named tensors as safetensors, atomically.

    Returns:
        What a manifest says of the file: its name, length and SHA-256.
    """
    content = _to_bytes(tensors)
    write_atomic(path, content)
    return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    return to_bytes({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()})


def digest(model: Model) -> str:
    """SHA-256 of what ``model.safetensors`` holds: two models with one digest are equal bit for bit."""
    return hashlib.sha256(_to_bytes(model.state_dict())).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run's checkpoint, or None if there is none.

    Raises:
        RunError: if it is damaged, of another version, or names anything but plain files beside it.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    manifest = read_json(path)
    if manifest.get("schema") != SCHEMA:
        raise RunError(f"{path} has another format.", got=manifest.get("schema"), hint=f"this version reads {SCHEMA}")
    files = manifest.get("files")
    names = [file.get("name") if isinstance(file, dict) else None for file in _values(files)]
    if len(names) != 2 or not all(
        isinstance(name, str) and re.fullmatch(r"[\w-]+\.safetensors", name) for name in names
    ):
        raise RunError(f"{path} does not name its files.", got=files)
    return manifest


def _values(mapping: object) -> list[Any]:
    return list(mapping.values()) if isinstance(mapping, dict) and mapping.keys() == {"model", "training"} else []


def save(model: Model, folder: str | Path, record: Mapping[str, Any] | None = None) -> None:
    """Save a model; ``load`` gives one with equal scores back.

    Args:
        model: The model.
        folder: Where to; made if it is not there. A model that is there already stays.
        record: More that ``run.json`` is to say.

    Raises:
        RunError: if the folder holds a model, or cannot be written.
    """
    folder = Path(folder)
    if (folder / RECORD).exists():
        raise RunError(f"{folder} holds a model already.", hint="choose another folder, or remove it first")
    write_tensors(folder / TENSORS, model.state_dict())
    write_json(folder / RECORD, {"schema": SCHEMA, **(record or {}), "model": model.spec()})


def load(folder: str | Path, *, device: str = "cpu") -> Model:
    """Load a model. Nothing in the files is executed, and names resolve only in the catalogue.

    Of a run that has not finished this is the model of its last checkpoint.

    Args:
        folder: A run folder, or a folder written by ``save``.
        device: ``cpu``, where a seed gives the same samples everywhere; ``cuda``; or ``auto`` for a GPU where there is one.

    Raises:
        RunError: if the folder is not one, or its files are damaged, hostile or do not fit together.
        BadInput: if there is no such device.
    """
    folder, place = Path(folder), device_of(device)
    record = read_json(folder / RECORD)
    if record.get("schema") != SCHEMA:
        raise RunError(
            f"{folder / RECORD} has another format.", got=record.get("schema"), hint=f"this version reads {SCHEMA}"
        )
    try:
        with torch.device("meta"):
            model = build(record.get("model", {}))
    except PmodelError as error:
        raise RunError(f"{folder / RECORD} does not describe a model.", got=error.problem, hint=error.hint) from error
    model.load_state_dict(_read_tensors(_tensors_of(folder, record), model.state_dict()), assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:  # what only training carries, and no file of a model holds
                setattr(module, name, torch.zeros_like(buffer, device="cpu"))
    return model.eval().to(place)


def _tensors_of(folder: Path, record: Mapping[str, Any]) -> Path:
    """Where a run's tensors are: beside its record once it has finished, else in its checkpoint."""
    if record.get("status") != "training":
        return folder / TENSORS
    manifest = read_manifest(folder)
    if manifest is None:
        raise RunError(f"{folder} is a run that has only begun.", hint="go on with pmodel fit … --resume")
    return folder / CHECKPOINT.parent / str(manifest["files"]["model"]["name"])


def _read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, once its header has been compared with what the model expects."""
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if names != set(expected):
                odd = sorted(names ^ set(expected))[:5]
                raise RunError(f"{path} does not hold the tensors of this model.", got=f"missing or extra: {odd}")
            for name, tensor in expected.items():
                shape = tuple(file.get_slice(name).get_shape())
                if shape != tuple(tensor.shape):
                    raise RunError(
                        f"{path}: {name} has the wrong shape.", got=shape, hint=f"expected {tuple(tensor.shape)}"
                    )
            # Copies, each aligned as PyTorch aligns: at the odd places of a file, sums are rounded otherwise.
            tensors = {name: file.get_tensor(name).clone() for name in expected}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read as safetensors.", got=str(error)) from error
    for name, tensor in expected.items():
        if tensors[name].dtype != tensor.dtype:
            raise RunError(
                f"{path}: {name} has the wrong type.", got=tensors[name].dtype, hint=f"expected {tensor.dtype}"
            )
    return tensors
