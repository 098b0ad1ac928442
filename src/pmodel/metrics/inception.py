"""Inception-v3 as a judge: the features that published FIDs, KIDs and Inception Scores are of.

The network and its peculiarities (TensorFlow's resizing to 299 pixels, its average pooling) are those of ``torch-fidelity``,
which reproduces the original to the last bits and is imported only when this judge is asked for. It was trained on
photographs. Of other pictures its features are a convention and no more; a judge of the data themselves sees more.

The weights are looked for where data are, then where PyTorch keeps its own, and else downloaded once from where
``torch-fidelity`` has them. They come as a pickle, which could execute anything: so only a file with the pinned hash is opened.

Source:
    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017),
    https://arxiv.org/abs/1706.08500
    Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016), https://arxiv.org/abs/1512.00567
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ..data.download import Remote, fetched
from ..data.places import found
from ..device import device_of
from ..domain import Discrete, Domain
from ..errors import NotSupported, RunError
from .features import Extractor

__all__ = ["Inception"]

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 95_628_359
FOLDER = "inception"
LEVELS = 256


@final
class Inception(Extractor):
    """Inception-v3: 2048 features, and the probabilities of the 1008 classes of its own that Inception Scores are of.

    Its classes are not the data's: ``class_names`` is empty.

    Args:
        domain: Grey or colour pictures of whole levels; grey ones are repeated to three channels, and other levels than 256
            are stretched to them.
        weights: The file of its weights; None looks for it and else downloads it.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.

    Attributes:
        record: ``kind``, ``data``, and the ``sha256`` of the weights.

    Raises:
        NotSupported: if the data are no such pictures, or ``torch-fidelity`` is not installed.
        RunError: if the file cannot be read or is another.
        DataError: if the weights are not on this machine and cannot be downloaded.
    """

    def __init__(self, domain: Domain, weights: str | Path | None = None, *, device: str = "auto") -> None:
        super().__init__(domain)
        if not (isinstance(domain, Discrete) and domain.image and domain.levels > 1):
            raise NotSupported("Inception looks at pictures of whole levels.", got=domain, hint="leave the judge out")
        self.device = device_of(device)
        module = _fidelity()
        path = Path(weights) if weights is not None else _weights(module.URL_INCEPTION_V3)
        _require_pinned(path)
        wanted = ["2048", "logits_unbiased"]
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", wanted, feature_extractor_weights_path=str(path)
        )
        self.network = network.eval().to(self.device)
        self.top: Tensor = self.network.fc.weight.detach().to("cpu", torch.float64)
        self.classes = len(self.top)
        self.chunk = 32 * domain.entries
        self.record: dict[str, Any] = {"kind": "inception", "data": "ImageNet", "sha256": SHA256, "class_names": []}

    @property
    def name(self) -> str:
        """With the hash of its weights."""
        return f"Inception-v3 of torch-fidelity, sha256:{SHA256[:16]}"

    def _features(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device, enabled=False):
            features: Tensor = self.network(self._pictures(x))[0]
        return features

    def _pictures(self, x: Tensor) -> Tensor:
        """As colour pictures of 256 levels, uint8."""
        assert isinstance(self.domain, Discrete)  # noqa: S101 - the constructor takes no other
        levels = self.domain.levels
        if levels != LEVELS:
            x = (x.double() * ((LEVELS - 1) / (levels - 1))).round()
        return x.to(self.device, torch.uint8).expand(-1, 3, -1, -1)

    def classified(self, features: Tensor) -> Tensor:
        """Probabilities of ImageNet's classes, of logits without their bias as in published scores, ``(N, 1008)``."""
        return torch.softmax(features @ self.top.T, 1)


def _fidelity() -> Any:
    """The module of ``torch-fidelity`` that has the network; importing it imports ``torchvision`` too."""
    try:
        return import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError as error:
        raise NotSupported(
            "The judge inception needs torch-fidelity, which cannot be imported.",
            got=str(error),
            hint="pip install 'pmodel[inception]'",
        ) from error


def _weights(url: str) -> Path:
    """The file in a place for data, or in PyTorch's own, or downloaded."""
    hub = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    here = found(FOLDER, WEIGHTS) or (hub if hub.is_file() else None)
    return here or fetched(Remote(WEIGHTS, SHA256, SIZE, (url,), as_it_is=True), FOLDER)


def _require_pinned(path: Path) -> None:
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"The weights of Inception cannot be read: {error.strerror}.", got=str(path)) from error
    if content != SHA256:
        hint = f"expected {WEIGHTS} of torch-fidelity, whose SHA-256 is {SHA256}"
        raise RunError("These are not the weights of Inception.", got=f"{path}, SHA-256 {content}", hint=hint)
