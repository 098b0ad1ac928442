"""A judge: a small classifier of the real data that looks at samples.

It gives class probabilities (is a sample clearly *some* class, and do all classes occur?) and features for a distance. It is
trained on the spot on the training split, in float32, with a fixed recipe and derived seeds, and kept as safetensors with
its hash: numbers of two judges are different measures.

A network is over-confident, first on what it was trained on: its logits are therefore divided by a temperature that is
fitted on the validation data, and the confidence of held-out *real* data always stands beside that of samples. And second on
what is no class at all: a plain classifier of digits was 82 % sure of uniform noise. So a part of every batch is such images
(noise, and images with their pixels shuffled), and the loss there pulls all classes to equal probability. They are chosen
to resemble no model's samples: a judge trained against one model's faults would not be fair to it.

Where data come with named factors beside the label (``faces``), the features have to tell these apart too: a judge of glasses
alone looks at the eyes, and a distance of its features would not see a hat.

Source:
    On Calibration of Modern Neural Networks (Guo et al., 2017), https://arxiv.org/abs/1706.04599
    Deep Anomaly Detection with Outlier Exposure (Hendrycks et al., 2019), eq. 1, https://arxiv.org/abs/1812.04606
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..data import Dataset, Split, in_memory, load_data
from ..domain import Discrete, Domain
from ..errors import NotSupported, RunError
from ..randomness import forked, generator
from ..storage import read_json, write_json, write_tensors
from .features import Extractor

__all__ = ["Judge", "can_judge", "judge_for"]

RECIPE = 3
"""Changed whenever the network or its training changes, so that old files are not taken for new ones."""
STEPS = 1000
BATCH = 128
RATE = 3e-3
OUTLIERS = 32
"""Images of no class in each batch."""
EXPOSURE = 0.5
"""Weight of the loss on them: lambda of Hendrycks et al."""
FEATURES = 64
CONFIDENT = 0.9
"""The confidence from which on a sample counts as clearly some class."""


@final
class Network(nn.Module):
    """Convolutions down to at most 7 pixels a side, a layer of features, and a linear layer of logits.

    Args:
        shape: Of an image, ``(C, H, W)``.
        classes: How many.
    """

    loc: Tensor
    scale: Tensor
    temperature: Tensor

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, side, width = shape[0], max(shape[1:]), 16
        layers: list[nn.Module] = []
        while not layers or side > 8:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
            channels, width, side = width, min(2 * width, 64), (side + 1) // 2
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self.body(torch.zeros(1, *shape)).shape[1]
        self.head = nn.Linear(flat, FEATURES)
        self.top = nn.Linear(FEATURES, classes)
        for name in ("loc", "scale", "temperature"):
            self.register_buffer(name, torch.ones(()))

    def features(self, x: Tensor) -> Tensor:
        """The activations before the last layer, ``(N, FEATURES)``."""
        hidden: Tensor = self.head(self.body((x.float() - self.loc) / self.scale))
        return hidden.relu()

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(N, classes)``."""
        logits: Tensor = self.top(self.features(x))
        return logits


@final
class Judge(Extractor):
    """A trained classifier of images.

    Args:
        domain: What one image is.
        network: Trained.
        record: What is known of its training: data, accuracy, temperature, hash.
    """

    def __init__(self, domain: Domain, network: Network, record: dict[str, Any]) -> None:
        super().__init__(domain)
        self.network = network.eval()
        self.record = record

    @property
    def name(self) -> str:
        """With the hash of its weights."""
        return f"judge of {self.record['data']}, sha256:{self.record['sha256'][:16]}"

    def _features(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.network.features(x)

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities at the fitted temperature, ``(N, *shape) -> (N, classes)``."""
        return self.classified(self(x))

    def classified(self, features: Tensor) -> Tensor:
        """Class probabilities of data whose features are known, ``(N, classes)`` float64."""
        weight, bias = (t.detach().cpu().double() for t in (self.network.top.weight, self.network.top.bias))
        return torch.softmax((features @ weight.T + bias) / float(self.network.temperature), 1)


def can_judge(data: Dataset) -> bool:
    """Whether a judge of these data, or of those that they are a view of, can be trained."""
    labelled = data.given is not None or data.parent not in ("", data.name)
    return data.domain.image and isinstance(data.domain, Discrete) and labelled


def judge_for(
    data: Dataset, folder: str | Path, *, steps: int = STEPS, progress: Callable[[float], None] | None = None
) -> Judge:
    """The judge of a data set: read from the folder, or trained (a minute at most on two cores) and kept there.

    Args:
        data: Labelled images; for a view such as ``mnist:0`` the judge is that of the whole set.
        folder: Where judges are kept, each in a folder named by the hash of what it depends on.
        steps: Of training.
        progress: Called with the part of the training that is done.

    Raises:
        NotSupported: if the data are not labelled images.
    """
    if not can_judge(data):
        raise NotSupported("A judge needs labelled images.", got=data.name)
    whole = (
        data if data.given is not None and data.parent in ("", data.name) else load_data(data.parent, **data.options)
    )
    home = Path(folder) / _key(whole, steps)[:16]
    known = _read(whole, home)
    if known is None:
        known = _trained(whole, home, steps, progress)
    return known


def _key(data: Dataset, steps: int) -> str:
    """The content hash of everything that the training depends on."""
    recipe: dict[str, Any] = {"data": data.hash, "recipe": RECIPE, "steps": steps, "threads": torch.get_num_threads()}
    if data.factor_values:
        recipe["factors"] = {name: list(values) for name, values in data.factor_values.items()}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _classes(data: Dataset) -> int:
    if data.given is None:
        raise NotSupported("A judge needs labelled images.", got=data.name)
    return data.given.levels


def _untrained(data: Dataset) -> Network:
    with forked(0, "judge"):
        return Network(data.domain.shape, _classes(data))


def _read(data: Dataset, home: Path) -> Judge | None:
    """The judge in a folder; None if there is none, or its files do not belong together."""
    network = _untrained(data)
    try:
        record = read_json(home / "judge.json")
        content = (home / "judge.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != record.get("sha256"):
            return None
        network.load_state_dict(from_bytes(content))
    except (RunError, OSError, SafetensorError, RuntimeError):
        return None
    return Judge(data.domain, network, record)


def _trained(data: Dataset, home: Path, steps: int, progress: Callable[[float], None] | None) -> Judge:
    began = time.perf_counter()
    network = _untrained(data)
    _standardise(network, data.train.x[:5000])
    _train(network, data, steps, progress)
    network.eval()
    separate = data.valid is not data.train
    if separate and len(data.valid):
        network.temperature.fill_(_temperature(_logits(network, in_memory(data.valid.x)), _labels(data.valid)))
    tested = _logits(network, in_memory(data.test.x)).argmax(1) == _labels(data.test)
    write_tensors(home / "judge.safetensors", network.state_dict())
    record = {
        "data": data.name,
        "hash": data.hash,
        "classes": _classes(data),
        "class_names": list(data.label_names),
        "recipe": RECIPE,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "temperature": float(network.temperature),
        "accuracy": float(tested.double().mean()),
        "accuracy_on": "held-out data" if separate else "training data: there are no others",
        "n": len(tested),
        "seconds": time.perf_counter() - began,
        "sha256": hashlib.sha256((home / "judge.safetensors").read_bytes()).hexdigest(),
    }
    write_json(home / "judge.json", record)
    return Judge(data.domain, network, record)


def _standardise(network: Network, x: Tensor) -> None:
    sample = x.double()
    network.loc.fill_(sample.mean())
    network.scale.fill_(sample.std().clamp_min(1e-6))


def _labels(split: Split) -> Tensor:
    if split.y is None:
        raise NotSupported("A judge needs labelled images.")
    return split.y.long()


@final
class _Aside(nn.Module):
    """What the features must tell apart beside the label: each named factor, by a linear layer of its own."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self.columns = [data.factor_names.index(name) for name in data.factor_values]
        self.tops = nn.ModuleList(nn.Linear(FEATURES, len(values)) for values in data.factor_values.values())

    def forward(self, features: Tensor, factors: Tensor | None) -> Tensor:
        """The mean cross-entropy of the factors; 0 if there are none."""
        if factors is None or not self.columns:
            return features.new_zeros(())
        truth = factors[:, self.columns].long().T
        losses = [F.cross_entropy(top(features), column) for top, column in zip(self.tops, truth, strict=True)]
        return torch.stack(losses).mean()


def _train(network: Network, data: Dataset, steps: int, progress: Callable[[float], None] | None) -> None:
    """AdamW with one cycle of the rate; images are shifted by a pixel, because a digit moved is the same digit."""
    split = data.train
    with forked(0, "judge", "aside"):
        aside = _Aside(data)
    parameters = [*network.parameters(), *aside.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=1e-2)
    labels, n = _labels(split), len(split.x)
    noise = generator(0, "judge", "batches")
    network.train()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        for step in range(steps):
            done = step / steps
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(done / 0.1, (1 - done) / 0.9)
            rows = torch.randint(n, (min(BATCH, n),), generator=noise)
            shift = torch.randint(-1, 2, (2,), generator=noise).tolist()
            x = _shifted(split.x[rows].float(), shift[0], shift[1])
            features = network.features(torch.cat([x, _outliers(x[:OUTLIERS], step, noise)]))
            logits = network.top(features)
            even = logits[len(x) :].logsumexp(1) - logits[len(x) :].mean(1)  # cross-entropy to equal probabilities
            loss = F.cross_entropy(logits[: len(x)], labels[rows]) + EXPOSURE * even.mean()
            loss = loss + aside(features[: len(x)], None if split.factors is None else split.factors[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if progress is not None and step % 50 == 49:
                progress((step + 1) / steps)


def _outliers(x: Tensor, step: int, noise: Generator) -> Tensor:
    """Images of no class: noise over the range of the values, or images with their pixels shuffled, in turn."""
    if step % 2:
        return x.min() + (x.max() - x.min()) * torch.rand(x.shape, generator=noise)
    return x.flatten(1)[:, torch.randperm(x[0].numel(), generator=noise)].view_as(x)


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    """Images moved by a pixel or not; what comes in repeats the border."""
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return padded[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]


def _logits(network: Network, x: Tensor) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return torch.cat([network(part).double() for part in torch.split(x, 2000)])


def _temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature, of 400 from 1/16 to 16, under which the labels are likeliest."""
    grid = torch.logspace(-4, 4, 400, base=2.0, dtype=torch.float64)
    losses = [float(F.cross_entropy(logits / t, labels)) for t in grid]
    return float(grid[losses.index(min(losses))])
