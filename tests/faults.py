"""A disk that fails on purpose: at the k-th thing that is done to it, and in one of several ways.

Everything that the storage layer can do to files in a folder is counted: making a file, writing, syncing a file or a folder,
renaming, unlinking, truncating, making and removing a folder. ``count`` gives their number; a test then breaks the disk at
each of them.

==============  =====================================================================================================
``interrupt``   the operation raises, once: whatever is to be cleaned up can be
``kill``        the process dies: from here on nothing more reaches the disk, so no ``finally`` removes anything, and
                what a file object holds back is lost
``power``       … and with it whatever was never synced: files end where they were synced, names are what they were
``full``        from here on there is no room: writing fails after half of it, as does making files and folders
==============  =====================================================================================================
"""

import builtins
import contextlib
import errno
import io
import os
from pathlib import Path

import pytest

NEEDS_ROOM = ("open", "write", "mkdir", "replace", "fsync")


class Crash(BaseException):
    """The process is gone; nothing may catch this."""


class Disk:
    """Operations on a folder, counted from 1, of which the ``at``-th fails; 0 breaks none.

    Args:
        folder: What is watched; everything elsewhere works.
        at: The operation that fails.
        how: ``interrupt``, ``kill``, ``power`` or ``full``.
    """

    def __init__(self, folder: Path, at: int = 0, how: str = "kill") -> None:
        self.folder, self.at, self.how = folder.resolve(), at, how
        self.done: list[str] = []
        self.broken = False
        self.unsynced: dict[Path, int] = {}  # files that were written to, and the length that is safe
        self.undo: list[tuple[Path, Path, bytes | None]] = []  # of which folder, which name, and what it was

    @contextlib.contextmanager
    def installed(self):
        """Watch the folder; the crash itself ends here."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("mkdir", "rmdir", "unlink", "remove", "truncate"):
                patch.setattr(os, name, self._counted(name, getattr(os, name)))
            for name in ("replace", "rename"):
                patch.setattr(os, name, self._counted("replace", getattr(os, name)))
            patch.setattr(os, "fsync", self._synced)
            opened = self._opened(io.open)
            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            with contextlib.suppress(Crash):
                yield self
        if self.broken and self.how == "power":
            self._lose()

    def operate(self, name: str, path: Path) -> None:
        """Count an operation, or fail it."""
        if not path.is_relative_to(self.folder):
            return
        if self.broken and self.how in ("kill", "power"):
            raise Crash
        self.done.append(f"{name} {path.relative_to(self.folder)}")
        if len(self.done) == self.at:
            self.broken = True
            if self.how != "full":
                raise Crash
        if self.broken and self.how == "full" and name in NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _counted(self, name, original):
        def operation(path, *others, dir_fd=None, **options):
            where = _located(path, dir_fd)
            if name == "mkdir" and where.exists():
                return original(path, *others, dir_fd=dir_fd, **options)  # which says so
            self.operate(name, where)
            if name in ("unlink", "remove", "replace"):
                targets = [Path(other).absolute() for other in others] if name == "replace" else [where]
                for target in targets:
                    self.undo.append((target.parent, target, target.read_bytes() if target.is_file() else None))
            safe = self.unsynced.pop(where, None)
            if name == "replace" and safe is not None:
                self.unsynced[targets[0]] = safe
            if dir_fd is not None:
                options["dir_fd"] = dir_fd
            return original(path, *others, **options)

        return operation

    def _synced(self, fd: int) -> None:
        """In the place of ``os.fsync``: the real disk need not be waited for, since its power is not really cut."""
        path = Path(f"/proc/self/fd/{fd}").readlink()
        self.operate("fsync", path)
        self.unsynced.pop(path, None)
        self.undo = [entry for entry in self.undo if entry[0] != path]

    def _opened(self, original):
        def opened(file, mode="r", buffering=-1, *others, **options):
            if isinstance(file, int) or not set(mode) & set("wxa+"):
                return original(file, mode, buffering, *others, **options)
            path = Path(file).absolute()
            if not path.is_relative_to(self.folder):
                return original(file, mode, buffering, *others, **options)
            assert "b" in mode, f"{path} is written as text: these faults know bytes only"
            self.operate("open", path)
            return File(self, path, original(file, mode, 0), held_back=buffering != 0)

        return opened

    def _lose(self) -> None:
        for path, safe in self.unsynced.items():
            if path.exists():
                os.truncate(path, safe)
        for _, path, content in reversed(self.undo):
            if content is not None:
                path.write_bytes(content)
            elif path.exists():
                path.unlink()


class File:
    """A file opened for writing, with the buffer of a file object where it has one."""

    def __init__(self, disk: Disk, path: Path, raw: io.FileIO, *, held_back: bool) -> None:
        self._disk, self._path, self._raw, self._held_back = disk, path, raw, held_back
        self._pending = b""

    def __getattr__(self, name):
        return getattr(self._raw, name)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    def write(self, content) -> int:
        if self._held_back:
            self._pending += bytes(content)
        else:
            self._put(bytes(content))
        return len(content)

    def _put(self, content: bytes) -> None:
        whole = not self._disk.broken
        self._disk.unsynced.setdefault(self._path, os.fstat(self._raw.fileno()).st_size)
        try:
            self._disk.operate("write", self._path)
        except (Crash, OSError):
            if whole:
                self._raw.write(content[: len(content) // 2])
            raise
        rest = memoryview(content)
        while rest:
            rest = rest[self._raw.write(rest) :]

    def flush(self) -> None:
        pending, self._pending = self._pending, b""
        if pending:
            self._put(pending)

    def truncate(self, size=None) -> int:
        self._disk.operate("truncate", self._path)
        return self._raw.truncate(size)

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._raw.close()


def _located(path, folder: int | None) -> Path:
    """Where a path leads, which may be relative to an open folder."""
    return Path(path).absolute() if folder is None else Path(f"/proc/self/fd/{folder}").readlink() / path


def count(folder: Path, work) -> list[str]:
    """What ``work`` does to a folder, in order."""
    disk = Disk(folder)
    with disk.installed():
        work()
    return disk.done


def broken(folder: Path, at: int, how: str, work) -> bool:
    """Do ``work`` on a disk that fails at the ``at``-th operation; whether it came so far."""
    disk = Disk(folder, at, how)
    with disk.installed():
        work()
    return disk.broken
