"""Fetching a file over the network: checked against its hash before it gets its name, or not kept at all."""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import DataError
from .idx import sha256_of
from .places import roots

__all__ = ["Remote", "fetch", "fetched"]

BLOCK = 2**16


@dataclass(frozen=True)
class Remote:
    """A file that can be fetched.

    Args:
        name: Its name on this machine.
        sha256: The hash of its content, unpacked if it is gzip: mirrors pack the same content differently.
        size: The length of that content in bytes.
        urls: Where it lies, tried in this order.
        as_it_is: Whether hash and length are those of the file itself, packed or not.
    """

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...]
    as_it_is: bool = False


def fetch(remote: Remote, folder: Path, *, timeout: float = 30) -> Path:
    """Download into a folder. The file appears there whole and checked, or not at all.

    Raises:
        DataError: if no mirror gives the right content; the message says what each one gave.
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in remote.urls:
        try:
            return _from(url, remote, folder, timeout)
        except DataError as error:
            failures.append(f"{url}: {error.got or error.problem}")
        except (http.client.HTTPException, _NetworkError) as error:
            failures.append(f"{url}: {' '.join(str(error).split())}")
    raise DataError(
        f"{remote.name} could not be downloaded: {'; '.join(failures)}",
        hint=f"check the network, or put the file into {folder} yourself",
    )


def fetched(remote: Remote, folder: str) -> Path:
    """Download into a folder of the first place for data that can be written.

    Raises:
        DataError: as ``fetch``, or if nothing can be written anywhere.
    """
    for root in roots():
        try:
            return fetch(remote, root / folder)
        except OSError as error:
            reason = error
    places = " or ".join(str(root / folder) for root in roots())
    raise DataError(f"{remote.name} cannot be saved.", got=str(reason), hint=f"make {places} writable") from reason


class _NetworkError(Exception):
    """The mirror failed, not this machine's disk: both are OSError to urllib."""


def _from(url: str, remote: Remote, folder: Path, timeout: float) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as file:
        partial = Path(file.name)
        try:
            for block in _blocks(url, remote, timeout):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            found = sha256_of(partial, limit=remote.size, as_it_is=remote.as_it_is)
            if found != remote.sha256:
                raise DataError("The content is another.", got=f"its SHA-256 is {found}, not {remote.sha256}")
            file.close()  # Windows renames no open file
            return partial.replace(folder / remote.name)
        finally:
            file.close()
            partial.unlink(missing_ok=True)


def _blocks(url: str, remote: Remote, timeout: float) -> Iterator[bytes]:
    if urlsplit(url).scheme not in ("https", "http"):  # the hash guards the content either way
        raise DataError("only http and https are fetched")
    received, declared = 0, 0
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310
            declared = int(answer.headers.get("Content-Length") or 0)
            with _progress(remote.name, declared) as advance:
                while block := answer.read(BLOCK):
                    received += len(block)
                    if received > remote.size + BLOCK:
                        raise DataError(f"the answer is longer than the {remote.size} bytes of the file")
                    advance(len(block))
                    yield block
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise _NetworkError(str(error) or type(error).__name__) from error
    if declared and received < declared:
        raise _NetworkError(f"the connection ended after {received} of {declared} bytes")


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total or None)
        yield lambda n: bar.advance(task, n)
