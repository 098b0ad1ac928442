"""From data to the content of a judge's file: the network, its training, its calibration and the record of all that."""

from __future__ import annotations

from typing import Any

import torch

from ...data import Dataset, in_memory
from ...errors import NotSupported
from ...randomness import forked
from .changes import Range
from .file import pack, rounded
from .network import Layout, Network
from .recipe import VERSION, Progress, Recipe
from .supervised import accuracy, labels_of, logits_of, temperature_of, train_classifier
from .unsupervised import TESTED, train_features

__all__ = ["trained"]

SEEN = 5000
"""About so many pictures are what the mean and the spread of all values are taken from."""


def trained(data: Dataset, recipe: Recipe, progress: Progress = None) -> bytes:
    """Train a judge and give the content of its file.

    Args:
        data: Pictures; with labels, a classifier is trained on them, without, features are.
        recipe: Settings.
        progress: Called with the part of the training that is done.

    Raises:
        NotSupported: if the data are no pictures.
    """
    if not data.domain.image:
        raise NotSupported("A judge is trained on pictures.", got=data.name)
    channels, height, width = data.domain.shape
    classes = 0 if data.given is None else data.given.levels
    with forked(recipe.seed, "judge"):
        network = Network(Layout((channels, height, width), classes, recipe.width, recipe.features))
    seen = data.train.x[:: max(1, len(data.train) // SEEN)].double()
    span = Range.of(seen, data.domain)
    network.loc.fill_(seen.mean())
    network.scale.fill_(span.std)
    figures = (
        _classifier(network, data, span, recipe, progress)
        if classes
        else _features(network, data, span, recipe, progress)
    )
    record = {
        "data": data.name,
        "hash": data.hash,
        "class_names": list(data.label_names) if classes else [],
        "version": VERSION,
        "recipe": recipe.to_json(),
        "steps": recipe.steps,
        "seed": recipe.seed,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "temperature": float(network.temperature),
    }
    return pack(network, data.domain, record | figures)


def _classifier(network: Network, data: Dataset, span: Range, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    train_classifier(network, data, span, recipe, progress)
    rounded(network).eval()
    separate = data.valid is not data.train
    if separate and len(data.valid):
        logits = logits_of(network, in_memory(data.valid.x))
        network.temperature.fill_(temperature_of(logits, labels_of(data.valid)))
    found = accuracy(logits_of(network, in_memory(data.test.x)), labels_of(data.test))
    return {
        "kind": "supervised",
        "accuracy": found,
        "accuracy_on": "held-out data" if separate else "training data: there are no others",
        "n": len(data.test),
    }


def _features(network: Network, data: Dataset, span: Range, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    found = train_features(network, data, span, recipe, progress)
    rounded(network).eval()
    separate = data.test is not data.train
    return {
        "kind": "self-supervised",
        "accuracy": found,
        "accuracy_on": f"what was done to {'held-out' if separate else 'training'} pictures",
        "n": min(len(data.test), TESTED),
    }
