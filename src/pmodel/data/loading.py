"""From a name or a path to a data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BadInput, DataError, UnknownName, unknown
from .arrays import load_idx, load_npy, load_npz
from .columns import Kind
from .dataset import Dataset
from .folder import load_folder
from .idx import is_idx
from .named import NAMED
from .picture_file import SUFFIXES, Alpha
from .tables import load_table
from .text import load_text

__all__ = ["FILES", "load_data"]

FILES: Mapping[str, str] = {
    "folder": "pictures; sub-folders are labels; mixed sizes with size=",
    ".csv .tsv": "a table with a header line; label= names the column of the label, sequence= that of the sequence",
    ".parquet": 'a table; needs pip install "pmodel[parquet]"',
    ".npy": "one array, of any size",
    ".npz": "arrays x and perhaps y, or x_train, x_test and perhaps y_train, y_test; x and lengths are sequences",
    ".txt": "a text: paragraphs, or lines, are strings; tokens=character, subword or word",
    "IDX (.gz too)": "the format of mnist, recognised by its first bytes",
}
"""The kinds of file that ``load_data`` takes, each in one line."""

LOADERS: Mapping[str, Callable[..., Dataset]] = {
    ".csv": load_table,
    ".tsv": load_table,
    ".parquet": load_table,
    ".pq": load_table,
    ".npy": load_npy,
    ".npz": load_npz,
    ".txt": load_text,
}


def load_data(
    source: str | Path,
    *,
    seed: int = 0,
    label: str | None = None,
    columns: Mapping[str, Kind] | None = None,
    encoding: str | None = None,
    levels: int | None = None,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    corrupt: str | None = None,
    alpha: Alpha | None = None,
    whole: bool | None = None,
    mapped: bool | None = None,
    sequence: str | None = None,
    sequences: bool | None = None,
    tokens: str | None = None,
    vocabulary: int | None = None,
    longest: int | None = None,
) -> Dataset:
    """A data set by name, such as ``digits``, or from a file or folder. After a colon come the labels to keep: ``mnist:3,8``.

    Data with named factors can be labelled by another one: ``faces:hat``. And ``faces:hat=cap,top`` keeps two of its values.

    Data without an official test set are split 80/10/10 at random, or not at all if they are at most 100.

    Args:
        source: A name of ``datasets()``, or a path (see ``FILES``). A name wins over a path; write ``./digits`` for a folder.
        seed: Of the random split, and of drawn data. Official splits do not depend on it.
        label: Tables: the column that is the label. ``.npy``: another ``.npy`` file, of the labels.
        columns: Tables: kinds that should not be inferred, by column: real, stepped, category or drop.
        encoding: CSV: the encoding, where it is neither UTF-8 nor marked UTF-16.
        levels: Arrays: the number of levels, where that is more than the largest value shows.
        size: Folders: the side, or height and width, that pictures are scaled and cropped to.
        channels: Folders: 1 for grey or 3 for colour; by default what the pictures are.
        corrupt: Folders: ``refuse`` (the default) or ``skip`` pictures that cannot be read.
        alpha: Folders: lay transparent pictures on ``white`` (the default) or ``refuse`` them.
        whole: Folders: whether every split is all of the pictures, in the order of their names, as it is with a few dozen.
        mapped: ``.npy`` and unpacked IDX: whether the data stay in the file and are read when they are needed, by default if
            they are more than 1 GiB. Validation and test data are then at most 10 000 and 128 MiB each. The file must not be
            changed.
        sequence: Tables: the column that says which sequence a row belongs to.
        sequences: ``.npy``: whether a row is a sequence, which infinity, or the number of levels, ends.
        tokens: Texts: what a symbol is, ``character`` (the default), ``subword`` or ``word``.
        vocabulary: Texts: the most symbols, where they are subwords or words.
        longest: Texts: the most characters of a string, its end among them.

    Raises:
        UnknownName: if there is no such data set, file, label or column; the nearest names are given.
        DataError: if a file cannot be read, or downloaded, as what it should be.
        BadInput: if an option has a wrong value, or means nothing for this kind of data.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadInput("A seed is a whole number from 0.", got=seed)
    for name, value in (("mapped", mapped), ("whole", whole)):
        if value is not None and not isinstance(value, bool):
            raise BadInput(f"{name} is true or false.", got=value)
    if sequences is not None and not isinstance(sequences, bool):
        hint = "the column of a table is sequence=NAME"
        raise BadInput("sequences is true or false.", got=sequences, hint=hint)
    given = {"label": label, "columns": columns, "encoding": encoding, "levels": levels, "size": size}
    given |= {"channels": channels, "corrupt": corrupt, "alpha": alpha, "whole": whole, "mapped": mapped}
    given |= {
        "sequence": sequence,
        "sequences": sequences,
        "tokens": tokens,
        "vocabulary": vocabulary,
        "longest": longest,
    }
    options = {name: value for name, value in given.items() if value is not None}
    place, view = _located(str(source))
    data = _loaded(place, seed, options)
    used = options | ({"seed": seed} if seed else {})
    data = replace(data, source=place, options=used)
    return data if view is None else _viewed(data, view)


def _viewed(data: Dataset, view: str) -> Dataset:
    """Labelled by a factor (``hat``), then perhaps only some of its values (``hat=cap,top``); or only some labels (``3,8``)."""
    factor, equals, values = view.partition("=")
    if factor in data.factor_values:
        labelled = data.by(factor)
        return labelled.only(values) if equals else labelled
    try:
        return data.only(view)
    except UnknownName as error:
        if not data.factor_values:
            raise
        known = [*data.label_names, *data.factor_values]
        raise unknown(f"label or factor of {data.name}", view, known) from error


def _located(source: str) -> tuple[str, str | None]:
    """The data set and the labels of a view. A path may hold colons of its own, and so may a label."""
    name, colon, view = source.partition(":")
    if name in NAMED:
        return name, view if colon else None
    path = source
    while path and not Path(path).exists():
        path = path.rpartition(":")[0]
    return (path, source[len(path) + 1 :]) if path and path != source else (source, None)


def _loaded(source: str, seed: int, options: Mapping[str, Any]) -> Dataset:
    load = _named if source in NAMED else _read
    try:
        return load(source, seed, options)
    except OSError as error:
        raise DataError(f"{source} cannot be read.", got=f"{type(error).__name__}: {error}") from error


def _named(source: str, seed: int, options: Mapping[str, Any]) -> Dataset:
    row = NAMED[source]
    if strange := [option for option in options if option not in row.takes]:
        own = f"none but {', '.join(row.takes)}" if row.takes else "no options"
        raise BadInput(f"{source} has {own} of its own.", got=", ".join(strange))
    return row.load(seed, **options)


def _read(source: str, seed: int, options: Mapping[str, Any]) -> Dataset:
    path = Path(source)
    loader = _loader(source, path)
    takes = inspect.signature(loader).parameters
    for option, value in options.items():
        if option not in takes:
            raise BadInput(f"The option {option} means nothing for {source}.", got=f"{option}={value!r}")
    return loader(path, seed=seed, **options)


def _loader(source: str, path: Path) -> Callable[..., Dataset]:
    if path.is_dir():
        return load_folder
    if not path.exists():
        looks_like_path = path.suffix.lower() in LOADERS or len(path.parts) > 1
        if looks_like_path:
            raise DataError("There is no such file or folder.", got=source, hint="check the path")
        raise unknown("data set, file or folder", source, NAMED)
    if path.suffix.lower() in LOADERS:
        return LOADERS[path.suffix.lower()]
    if is_idx(path):
        return load_idx
    one = path.suffix.lower() in SUFFIXES
    hint = "pass the folder of pictures" if one else f"these kinds are read: {', '.join(FILES)}"
    raise DataError("This file is of no kind that is read.", got=source, hint=hint)
