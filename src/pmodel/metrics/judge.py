"""A judge: a small network, trained on the real data, that looks at samples.

It gives features for a distance and, where the data have labels, class probabilities: is a sample clearly *some* class, and do
all classes occur? The judges of ``digits``, ``mnist``, ``mnist-binary`` and ``fashion-mnist`` come with the package. For other
pictures one is trained on the spot, in float32, with a fixed recipe and derived seeds: a classifier where there are labels
(``judges.supervised`` says how and why), else features alone (``judges.unsupervised``). A judge is one file, and the file's
hash is its name: numbers of two judges are different measures. The weights of one that is trained on the spot depend, in
their last bits, on the number of threads, and so it is kept under that number too; those that are shipped do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import SMALL, Dataset, load_data
from ..data.places import cache
from ..domain import Discrete, Domain
from ..errors import BadInput, NotSupported, PmodelError, RunError
from ..storage import write_atomic
from .channels import ChannelJudge
from .classes import CONFIDENT
from .features import Extractor
from .inception import Inception
from .judges.file import read, unpack
from .judges.recipe import VERSION, Recipe
from .judges.shipped import shipped
from .judges.training import trained
from .judges.unsupervised import recipe_without_labels

__all__ = ["CONFIDENT", "FILE", "Judge", "can_judge", "judge_at_hand", "judge_for", "judges_folder"]

FILE = "judge.safetensors"
"""The name of a judge's file, in its own folder and beside a report."""
LEAST_SIDE = 8
"""Pictures without labels have a judge from so many pixels a side; smaller ones are their own features."""


@final
class Judge(Extractor):
    """A trained judge of pictures.

    Args:
        domain: What one picture is.
        content: Of its file.
        class_names: What the data call the classes, where that is not what the file says.

    Attributes:
        record: What is known of its training: ``kind`` (supervised or self-supervised), ``data`` and their ``hash``,
            ``accuracy`` on ``n`` data of ``accuracy_on``, ``temperature``, ``recipe``, ``steps``, ``seed``, ``threads``,
            ``class_names``, and the file's ``sha256``.

    Raises:
        RunError: if the content is damaged, or no judge that this version reads.
        BadInput: if it is a judge of another domain.
    """

    chunk = 2**18
    record: dict[str, Any]

    def __init__(self, domain: Domain, content: bytes, class_names: Sequence[str] = ()) -> None:
        super().__init__(domain)
        self.network, self.record = unpack(content, domain)
        self._content = content
        self.classes = self.network.layout.classes
        if len(class_names) == self.classes:
            self.record["class_names"] = list(class_names)
        self.class_names = tuple(self.record["class_names"])

    @classmethod
    def open(cls, path: str | Path, domain: Domain) -> Judge:
        """Read a judge from a file that may be damaged or hostile: nothing in it is executed.

        Raises:
            RunError: if the file is missing, damaged, or no judge that this version reads.
            BadInput: if it is a judge of another domain.
        """
        try:
            return cls(domain, read(path))
        except (RunError, BadInput) as error:
            error.hint = f"{error.hint + '; ' if error.hint else ''}the file is {path}"
            raise

    def save(self, path: str | Path) -> Path:
        """Write the very file that it was read from, or would be read from.

        Raises:
            RunError: if it cannot be written.
        """
        write_atomic(Path(path), self._content)
        return Path(path)

    @property
    def name(self) -> str:
        """With the hash of its file."""
        return f"judge of {self.record['data']}, sha256:{self.record['sha256'][:16]}"

    def _features(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.network.features(x.cpu())

    def classified(self, features: Tensor) -> Tensor:
        """Class probabilities, at the fitted temperature, of data whose features are known, ``(N, classes)`` float64.

        Raises:
            NotSupported: if it was trained without labels.
        """
        if self.network.top is None:
            return super().classified(features)
        weight, bias = (t.double() for t in (self.network.top.weight, self.network.top.bias))
        return torch.softmax((features @ weight.T + bias) / float(self.network.temperature), 1)

    def placed(self, features: Tensor) -> Tensor:
        """The directions of features, because their lengths tell how sure the judge is.

        Features of unclear pictures are short. Blurred ones would gather in the large neighbourhoods of the few real pictures
        that are unclear, and precision would rise (``benchmarks/sense.py``).
        """
        return F.normalize(features)


def can_judge(data: Dataset) -> bool:
    """Whether there can be a judge of these data: discrete pictures that are labelled, or else not tiny and not few."""
    if not (data.domain.image and isinstance(data.domain, Discrete)):
        return False
    if data.given is not None or _is_view(data):
        return True
    return min(data.domain.shape[1:]) >= LEAST_SIDE and len(data.train) > SMALL


def _is_view(data: Dataset) -> bool:
    return data.parent not in ("", data.name)


def judge_for(
    data: Dataset,
    folder: str | Path,
    *,
    judge: str | Path | None = None,
    steps: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Judge | Inception | ChannelJudge:
    """The judge of a data set: the shipped one, or one from the folder, or trained and kept there.

    Args:
        data: Pictures; for a view such as ``mnist:0`` the judge is that of the whole set, and where channels are pictures of
            their own it is that of one channel, which looks at each.
        folder: Where judges are kept, each in a folder named by the hash of what it depends on.
        judge: Another one: the file of a judge, or ``inception``.
        steps: Of training. A number given, the judge is trained even where one is shipped.
        progress: Called with the part of the training that is done.

    Raises:
        NotSupported: if the data are not pictures that can be judged, or ``inception`` is not installed.
        RunError: if the file is damaged.
        BadInput: if the file is a judge of another domain.
    """
    if judge == "inception":
        return Inception(data.domain)
    if data.channel:
        one = judge_for(load_data(data.channel), folder, judge=judge, steps=steps, progress=progress)
        return ChannelJudge(data.domain, one)
    if judge is not None:
        return Judge.open(judge, data.domain)
    if not can_judge(data):
        raise NotSupported(
            "A judge needs labelled images of whole levels, or more than a few unlabelled ones.",
            got=data.summary,
            hint=f"unlabelled: more than {SMALL} for training, of at least {LEAST_SIDE} pixels a side",
        )
    whole = load_data(data.parent, **data.options) if _is_view(data) else data
    content = shipped(whole.hash) if steps is None else None
    if content is not None:
        return Judge(whole.domain, content, whole.label_names)
    recipe = Recipe() if whole.given is not None else recipe_without_labels(whole.domain)
    return _kept(whole, Path(folder), recipe if steps is None else replace(recipe, steps=steps), progress)


def judges_folder() -> Path:
    """Where judges are kept unless told otherwise: in the user's cache."""
    return cache() / "judges"


def judge_at_hand(data: Dataset) -> Judge | None:
    """The judge of labelled pictures that is there already, shipped or kept in the user's cache; none is trained."""
    if data.given is None or data.origin is not None or not can_judge(data):
        return None
    try:
        content = shipped(data.hash) or read(judges_folder() / _key(data, Recipe())[:16] / FILE)
        return Judge(data.domain, content, data.label_names)
    except PmodelError:  # not there, or damaged
        return None


def _kept(data: Dataset, folder: Path, recipe: Recipe, progress: Callable[[float], None] | None) -> Judge:
    """The judge in its folder, if it is there and whole; else it is made."""
    path = folder / _key(data, recipe)[:16] / FILE
    try:
        return Judge(data.domain, read(path), data.label_names)
    except PmodelError:  # not there, or damaged: made again
        content = trained(data, recipe, progress)
        write_atomic(path, content)
        return Judge(data.domain, content, data.label_names)


def _key(data: Dataset, recipe: Recipe) -> str:
    """The content hash of everything that the training depends on."""
    found: dict[str, Any] = {
        "data": data.hash,
        "version": VERSION,
        "recipe": recipe.to_json(),
        "threads": torch.get_num_threads(),
    }
    if data.factor_values:
        found["factors"] = {name: list(values) for name, values in data.factor_values.items()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
