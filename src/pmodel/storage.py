"""What lies on disk: files written whole or not at all, and models that load without executing anything.

A model is two files in a folder: ``run.json`` holds its specification (and, for a run, everything else that is known), and
``model.safetensors`` its tensors. Loading builds the model without memory for its tensors, compares names, shapes and types
with the file's header, and only then reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .construction import build
from .errors import PmodelError, RunError
from .model import Model

__all__ = ["RECORD", "SCHEMA", "TENSORS", "load", "read_json", "save", "write_atomic", "write_json", "write_tensors"]

RECORD = "run.json"
TENSORS = "model.safetensors"
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
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


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


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    write_atomic(path, to_bytes({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}))


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


def load(folder: str | Path) -> Model:
    """Load a model. Nothing in the files is executed, and names resolve only in the catalogue.

    Args:
        folder: A run folder, or a folder written by ``save``.

    Raises:
        RunError: if the folder is not one, or its files are damaged, hostile or do not fit together.
    """
    folder = Path(folder)
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
    model.load_state_dict(_read_tensors(folder / TENSORS, model.state_dict()), assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


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
            tensors = {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read as safetensors.", got=str(error)) from error
    for name, tensor in expected.items():
        if tensors[name].dtype != tensor.dtype:
            raise RunError(
                f"{path}: {name} has the wrong type.", got=tensors[name].dtype, hint=f"expected {tensor.dtype}"
            )
    return tensors
