"""A data set: its splits, what one datum is, and the hash that names the measure of every score on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..domain import Discrete, Domain, Sequences, Table
from ..errors import DataError, RangeError, unknown
from ..randomness import derive, distinct, few
from .density import KnownDensity
from .mapped import LIMIT as LIMIT
from .mapped import AllBut, Mapped
from .split import Split as Split

__all__ = ["LIMIT", "SMALL", "Dataset", "Split", "assemble", "divide", "hold_out", "kept", "set_apart", "stored"]

SMALL = 100
"""Sets of at most this many data are not split: train = valid = test = all, and the note says so."""

SHARES = (0.1, 0.1)
"""The parts of a larger set that become validation and test data; the rest is for training."""

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data with everything that a fair comparison needs to know about them.

    Args:
        name: What reports call it, such as ``mnist:0``.
        domain: What one datum is.
        train: For learning.
        valid: For choosing; nothing is ever chosen on ``test``.
        test: For reporting.
        given: The domain of the labels, ``Discrete((), levels=K)``, or None where there are none to tell apart.
        label_names: The names of the K labels.
        note: What a reader should know, such as ``12 data: train = valid = test = all``.
        truth: The density that the data were drawn from, if it is known.
        parent: Of a view, what ``load_data`` takes for the whole set: a judge of ``mnist:0`` is trained on ``mnist``.
        source: The name or path that ``load_data`` was given.
        options: The options that ``load_data`` was given: ``load_data(source, **options)`` is this data set again.
        factor_names: The names of the columns of ``Split.factors``.
        factor_values: The names of a factor's values, which its column holds the positions of; other factors are numbers.
        factor: The factor that ``by`` took the labels from, or nothing where they are the data's own.
        origin: Of two unpaired sets, the one that models are to translate from; these data are what they translate to.
        channel: Of pictures whose channels are pictures of their own, what ``load_data`` takes for those: their judge looks at
            each channel.
        shares: How often each combination of the channels' labels occurs, ``(modes,)``, where that is known.
    """

    name: str
    domain: Domain
    train: Split
    valid: Split
    test: Split
    given: Discrete | None = None
    label_names: tuple[str, ...] = ()
    note: str = ""
    truth: KnownDensity | None = None
    parent: str = ""
    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    factor_names: tuple[str, ...] = ()
    factor_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    factor: str = ""
    origin: Dataset | None = None
    channel: str = ""
    shares: Tensor | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def split(self, name: str) -> Split:
        """One split by name.

        Raises:
            UnknownName: if it is not train, valid or test.
        """
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
        return self.splits[name]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the domains and the little-endian bytes of every split: equal data, equal hash, anywhere.

        Of two unpaired sets it is that of both.
        """
        total = hashlib.sha256(b"" if self.origin is None else f"from {self.origin.hash}".encode())
        given = None if self.given is None else self.given.to_json()
        total.update(json.dumps([self.domain.to_json(), given], sort_keys=True).encode())
        for name, split in self.splits.items():
            for part in (split.x, torch.empty(0, dtype=torch.float64) if split.y is None else split.y):
                total.update(f"{name} {str(part.dtype).removeprefix('torch.')} {tuple(part.shape)}".encode())
                for block in part.blocks() if isinstance(part, Mapped) else (part,):
                    array = block.contiguous().numpy()
                    total.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
        return total.hexdigest()

    @property
    def summary(self) -> str:
        """The data set in one line."""
        sizes = " / ".join(f"{len(split):,}".replace(",", " ") for split in self.splits.values())
        labels = f", {len(self.label_names)} labels" if self.given is not None else ""
        beside = "" if self.origin is None else f"; from {self.origin.summary}"
        return f"{self.name}: {sizes} {_kind(self.domain)}{labels}{beside}"

    def only(self, labels: str) -> Dataset:
        """The view that keeps some labels, written as ``"3"`` or ``"3,8"``: names, or numbers from 0.

        Splits stay what they are in the whole set, unless that leaves at most ``SMALL`` data or an empty split. The view is
        ``mnist:3,8`` to ``load_data``, or ``faces:hat=cap,top`` where a factor was chosen to label by.

        Raises:
            DataError: if the data have no labels, or are a view of some of them already.
            UnknownName: if a label does not exist; the message lists those that do.
        """
        if self.parent:
            raise DataError(
                f"{self.name} is a view of some labels already.", got=labels, hint=f"choose from {self.parent}"
            )
        if self.given is None:
            raise DataError(f"{self.name} has no labels to choose from.", got=f"{self.name}:{labels}")
        chosen, mark = self._resolve(labels), "=" if self.factor else ":"
        (train, valid, test), note = self._kept(chosen)
        return replace(
            self,
            name=f"{self.name}{mark}{labels}",
            source=self.source and f"{self.source}{mark}{labels}",
            train=train,
            valid=valid,
            test=test,
            given=Discrete((), len(chosen)) if len(chosen) > 1 else None,
            label_names=tuple(self.label_names[k] for k in chosen),
            note=note,
            truth=None,
            shares=None,
            parent=self.source or self.name,
        )

    def by(self, factor: str) -> Dataset:
        """The same data labelled by a factor whose values have names: ``faces:hat`` is ``load_data("faces").by("hat")``.

        Raises:
            UnknownName: if there is no such factor; the message lists those that there are.
            DataError: if the data are a view of some labels: a judge of the new ones would be one of the whole's.
        """
        if factor not in self.factor_values:
            raise unknown(f"factor with names in {self.name}", factor, self.factor_values)
        before = f":{self.factor}" if self.factor else ""
        if self.parent:
            whole, value = self.parent.removesuffix(before), self.factor_values[factor][-1]
            hint = f"label first, then choose: {whole}:{factor}={value}"
            raise DataError(f"{self.name} is a view of some labels already.", got=factor, hint=hint)
        name, source = (text.removesuffix(before) for text in (self.name, self.source))
        column, values = self.factor_names.index(factor), self.factor_values[factor]
        train, valid, test = (split.labelled(column) for split in self.splits.values())
        valid, test = (train, train) if self.train is self.test else (valid, test)
        return replace(
            self,
            name=f"{name}:{factor}",
            source=source and f"{source}:{factor}",
            train=train,
            valid=valid,
            test=test,
            given=Discrete((), len(values)),
            label_names=values,
            factor=factor,
        )

    def _kept(self, chosen: Sequence[int]) -> tuple[tuple[Split, Split, Split], str]:
        """The splits less the data of other labels, and the note on them."""
        parts = [_keep(split, chosen) for split in self.splits.values()]
        unsplit = self.train is self.test
        n = len(parts[0]) if unsplit else sum(map(len, parts))
        if not n:
            raise DataError(f"{self.name} has no data with these labels.", got=[self.label_names[k] for k in chosen])
        if unsplit or n <= SMALL or not all(map(len, parts)):
            whole = parts[0] if unsplit else parts[0].joined(*parts[1:])
            before = self.note.replace(_unsplit(len(self.train)), "").removesuffix("; ")
            return (whole, whole, whole), _joined(before, _unsplit(n))
        return (parts[0], parts[1], parts[2]), self.note

    def _resolve(self, labels: str) -> list[int]:
        names = [name.casefold() for name in self.label_names]
        if labels.casefold() in names:
            return [names.index(labels.casefold())]
        found = []
        for label in (part.strip() for part in labels.split(",")):
            if label.casefold() in names:
                found.append(names.index(label.casefold()))
            elif label.isdecimal() and int(label) < len(names):
                found.append(int(label))
            else:
                raise unknown(f"label in {self.name}", label, self.label_names)
        return sorted(set(found))


def _keep(split: Split, chosen: Sequence[int]) -> Split:
    labels = split.y
    if labels is None:
        raise DataError("The data have no labels to choose from.")
    wanted = torch.tensor(chosen)
    mask = torch.isin(labels, wanted)
    left = torch.searchsorted(wanted, labels[mask]) if len(chosen) > 1 else None
    return replace(split.part(mask), y=left)


def _kind(domain: Domain) -> str:
    shape = "×".join(map(str, domain.shape)) or "1"
    if isinstance(domain, Table):
        return f"rows of {len(domain.columns)} columns"
    if isinstance(domain, Sequences):
        return _kind_of_sequences(domain)
    what = "images" if domain.image else "data"
    return f"{what} {shape}" + (f" of {domain.levels} levels" if isinstance(domain, Discrete) else " real")


def _kind_of_sequences(domain: Sequences) -> str:
    if domain.alphabet is not None:
        return f"texts of up to {domain.longest} {domain.alphabet.tokens}s, {domain.end} symbols"
    of = f"{domain.end} levels" if isinstance(domain.element, Discrete) else "real numbers"
    return f"sequences of up to {domain.longest} elements, {of}"


def _joined(*notes: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, notes)))


def _unsplit(n: int) -> str:
    return f"{n} data: train = valid = test = all"


def _order(n: int, seed: int, purpose: str) -> Tensor:
    """A permutation that depends on nothing but its arguments."""
    return torch.from_numpy(_stream(seed, purpose).permutation(n).astype(np.int64, copy=False))


def _stream(seed: int, purpose: str) -> np.random.RandomState:
    """Random numbers that NumPy has frozen for good (NEP 19)."""
    return np.random.RandomState(derive(seed, purpose) % 2**32)


def hold_out(whole: Split, n: int, seed: int = 0) -> tuple[Split, Split]:
    """The split less ``n`` data drawn at random, and those; both in the original order."""
    order = _order(len(whole), seed, "valid")
    return whole.take(order[n:].sort().values), whole.take(order[:n].sort().values)


def divide(whole: Split, seed: int) -> tuple[tuple[Split, Split, Split], str]:
    """Train, valid and test (80, 10 and 10 % at random), and the note that says so if the set is too small for that."""
    n = len(whole)
    if n <= SMALL:
        return (whole, whole, whole), _unsplit(n)
    valid, test = set_apart(n, seed)
    rest = AllBut(n, torch.cat([valid, test]))
    return (whole.take(rest[torch.arange(len(rest))]), whole.take(valid), whole.take(test)), ""


def set_apart(n: int, seed: int, most: int | None = None) -> tuple[Tensor, Tensor]:
    """The positions of the data for validation and for test, in order: 10 % of ``n`` each, at most so many, at random."""
    valid, test = (min(round(share * n), n if most is None else most) for share in SHARES)
    apart = _apart(n, valid + test, seed)
    return apart[:valid].sort().values, apart[valid:].sort().values


def _apart(n: int, count: int, seed: int) -> Tensor:
    """So many of ``n`` positions: the last of the order, or a few of many in memory of the few."""
    if not few(count, n):
        return _order(n, seed, "split")[n - count :]
    stream = _stream(seed, "split")
    return distinct(lambda: torch.from_numpy(stream.randint(0, n, count, dtype=np.int64)), count)


def assemble(
    name: str,
    domain: Domain,
    parts: Split | Sequence[Split],
    *,
    seed: int = 0,
    label_names: Sequence[str] = (),
    note: str = "",
    **more: Any,
) -> Dataset:
    """A data set from one split, divided at random, or from three. One label only is no label.

    Raises:
        DataError: if there are no data.
    """
    if isinstance(parts, Split):
        parts, small = divide(parts, seed)
        note = _joined(note, small)
    train, valid, test = parts
    if not len(train) or not len(test):
        raise DataError(f"{name} holds no data.", got=f"{len(train)} for training, {len(test)} for testing")
    labelled = train.y is not None and len(label_names) > 1
    if not labelled:
        same = train is test
        train, valid, test = (replace(part, y=None) for part in (train, valid, test))
        valid, test = (train, train) if same else (valid, test)
    given = Discrete((), len(label_names)) if labelled else None
    names = tuple(map(str, label_names))
    return Dataset(name, domain, train, valid, test, given, names, note=note, **more)


def stored(x: Tensor, domain: Domain, name: str = "x") -> Tensor:
    """The data as they are kept: uint8 up to 256 levels and int64 above, float32 reals, float64 tables.

    Raises:
        ShapeError: if a datum has another shape.
        RangeError: if a value lies outside the domain or its storage.
    """
    full = isinstance(domain, Discrete) and domain.levels == 256 and x.dtype == torch.uint8
    for start in range(0, len(x), 2**14) if not full else ():
        domain.check(x[start : start + 2**14], f"{name}[{start}:{start + 2**14}]")
    data = kept(x, domain)
    if data.dtype == torch.float32 and bool((x.isfinite() & ~data.isfinite()).any()):
        raise RangeError(f"{name} holds values beyond single precision.", got=float(x.abs().max()))
    return data


def kept(x: Tensor, domain: Domain) -> Tensor:
    """As ``stored``, of data known to lie in the domain."""
    data = x.to(domain.storage).contiguous()
    return data + 0.0 if data.is_floating_point() else data  # one zero: -0.0 has other bytes
