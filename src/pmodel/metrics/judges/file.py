"""A judge as one file: tensors as safetensors, and in the header of the same file the record of how they came about.

Equal training gives equal bytes, and the hash of the file is the judge's identity: so the record holds no times, the header
has one entry (several would come in any order), and reading a judge and writing it again copies the bytes. Nothing in a file is
executed. Its sizes are checked before memory is taken for them: the network is built without memory from the whole numbers
in the record, and compared with the shapes and types in the header, before a tensor is read.

Weights are kept in half precision and used in single precision; the record's figures were measured after the rounding.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from ...domain import Domain, domain_from_json
from ...errors import BadInput, PmodelError, RunError
from .network import Layout, Network

__all__ = ["LARGEST", "pack", "read", "rounded", "unpack"]

KEY = "pmodel.judge"
SCHEMA = 1
LARGEST = 64 * 2**20
"""Bytes of a file at most."""
KINDS = ("supervised", "self-supervised")
FIELDS: Mapping[str, type] = {
    "data": str,
    "hash": str,
    "weights": str,
    "accuracy": float,
    "accuracy_on": str,
    "temperature": float,
    "recipe": dict,
    "version": int,
    "steps": int,
    "seed": int,
    "threads": int,
    "n": int,
    "class_names": list,
}
"""What a record holds beside its schema, kind, domain and layout. ``weights`` is the hash of all tensors."""
RULES: Mapping[str, Callable[[Any], bool]] = {
    "kind": lambda value: value in KINDS,
    "accuracy": lambda value: 0 <= value <= 1,
    "temperature": lambda value: value > 0,
    "class_names": lambda value: all(isinstance(name, str) for name in value),
}


def rounded(network: Network) -> Network:
    """The network with its weights rounded to what a file keeps."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    return network


def pack(network: Network, domain: Domain, record: Mapping[str, Any]) -> bytes:
    """The content of a judge's file.

    Args:
        network: Trained, and ``rounded``.
        domain: What a picture is.
        record: The other ``FIELDS``, and the kind.
    """
    parameters = {name for name, _ in network.named_parameters()}
    tensors = {
        name: (tensor.half() if name in parameters else tensor).detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    weights = _digest_of_tensors(to_bytes(tensors))
    known = {"schema": SCHEMA, "domain": domain.to_json(), "layout": network.layout.to_json(), "weights": weights}
    return to_bytes(tensors, {KEY: json.dumps(known | dict(record), sort_keys=True, allow_nan=False)})


def _digest_of_tensors(content: bytes) -> str:
    """SHA-256 of what comes after the header."""
    return hashlib.sha256(memoryview(content)[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


def read(path: str | Path) -> bytes:
    """A file that may be a judge.

    Raises:
        RunError: if it cannot be read, or is too large for one.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise RunError(f"{path} is too large for a judge.", got=f"{path.stat().st_size} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{path} cannot be read: {reason}.", hint="pass the judge.safetensors of a report") from error


def unpack(content: bytes, domain: Domain) -> tuple[Network, dict[str, Any]]:
    """The network and the record in the content of a file, which may be damaged or hostile.

    The record gets the hash of the content as ``sha256``.

    Raises:
        RunError: if it is damaged, or no judge that this version reads.
        BadInput: if it is a judge of another domain.
    """
    header = _header(content)
    record = _record(header)
    try:
        theirs, layout = domain_from_json(record["domain"]), Layout.from_json(record["layout"])
    except PmodelError as error:
        raise RunError("The record of this judge is damaged.", got=f"{error.problem} got: {error.got}") from error
    if theirs != domain:
        raise BadInput("This judge is of other data.", got=f"a judge of {theirs}", hint=f"these are {domain}")
    if layout.shape != domain.shape or layout.classes != len(record["class_names"]):
        raise RunError("The layout of this judge does not fit its record.", got=layout)
    with torch.device("meta"):
        network = Network(layout)
    _require_fitting(header, network)
    if _digest_of_tensors(content) != record["weights"]:
        raise RunError("This judge is damaged: its weights are not those of its record.")
    return _filled(network, content).eval(), record | {"sha256": hashlib.sha256(content).hexdigest()}


def _header(content: bytes) -> dict[str, Any]:
    """What a safetensors file says of its tensors: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length]) if 8 + length <= len(content) else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise RunError("This file is no judge: it is not safetensors, or damaged.", got=f"{len(content)} bytes")
    return header


def _record(header: Mapping[str, Any]) -> dict[str, Any]:
    metadata = header.get("__metadata__")
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    try:
        record = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise RunError("This file holds no record of a judge.", hint="pass the judge.safetensors of a report")
    if record.get("schema") != SCHEMA:
        got, hint = record.get("schema"), f"this version reads {SCHEMA}"
        raise RunError("This judge has another format.", got=got, hint=hint)
    odd = [name for name in (*FIELDS, *RULES) if not _holds(name, record.get(name))]
    if odd:
        raise RunError("The record of this judge is damaged.", got=f"{odd[0]}: {record.get(odd[0])!r}")
    return record


def _holds(name: str, value: Any) -> bool:
    """Whether a field of the record has the right type, and a value that is possible."""
    kind = FIELDS.get(name, object)
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return name not in RULES or RULES[name](value)


def _require_fitting(header: Mapping[str, Any], network: Network) -> None:
    """The file's tensors must be those of the network, by name, shape and type."""
    half = {name for name, _ in network.named_parameters()}
    expected = {
        name: (list(tensor.shape), "F16" if name in half else "F32") for name, tensor in network.state_dict().items()
    }
    found = {
        name: (row.get("shape"), row.get("dtype")) if isinstance(row, dict) else row
        for name, row in header.items()
        if name != "__metadata__"
    }
    odd = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if odd:
        hint = f"expected {expected.get(odd[0], 'no such tensor')}"
        got = f"{odd[0]}: {found.get(odd[0], 'missing')}"
        raise RunError("This file has another layout than a judge of this version.", got=got, hint=hint)


def _filled(network: Network, content: bytes) -> Network:
    try:
        tensors = {name: tensor.float().clone() for name, tensor in from_bytes(content).items()}  # aligned: see storage
        network.load_state_dict(tensors, assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise RunError("The tensors of this judge cannot be read.", got=str(error)) from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise RunError("Some weights of this judge are not finite numbers.")
    return network.laid_out().requires_grad_(False)
