"""One model for each class."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, final

import torch
from torch import Generator, Tensor

from ..capability import Bound, Completes, Energy, Marginalises, Samples
from ..domain import Discrete
from ..errors import BadInput, NotSupported
from ..learning import Batch, ClosedForm, Recipe
from ..likelihood import Kind
from ..model import Model

__all__ = ["ByClass"]


@final
class ByClass(Samples, Bound, Energy, Completes, Marginalises, ClosedForm):
    """One model for each class: p(x | y) = p_y(x). It makes any closed-form model conditional.

    Args:
        model: An unconditional model: the pattern that is copied.
        given: The domain of the label.
    """

    def __init__(self, model: Model, given: Discrete) -> None:
        super().__init__(model.domain, given)
        if model.learns != ("statistics",) or model.given is not None:
            raise NotSupported("ByClass takes an unconditional model that is fitted in closed form.", got=type(model))
        if given.levels > 10_000:
            raise BadInput("ByClass fits one model for each class: at most 10000.", got=given.levels)
        self.models: Any = torch.nn.ModuleList(copy.deepcopy(model) for _ in range(given.levels))
        self.iterative = model.iterative
        self.chunk = model.chunk
        self.weighted = getattr(model, "weighted", True)
        self.adjustable = getattr(model, "adjustable", ())
        self.completing = getattr(model, "completing", None)

    def can(self, verb: str) -> bool:
        """What the models of the classes can."""
        return bool(self.models[0].can(verb))

    def spec(self) -> dict[str, Any]:
        """The label's domain, and the specification of the model of one class."""
        assert self.given is not None  # noqa: S101 - the constructor requires it
        return {"model": "ByClass", "given": self.given.to_json(), "inner": self.models[0].spec()}

    @property
    def inner(self) -> Model:
        """The model of the first class."""
        return self.models[0]  # type: ignore[no-any-return]

    @property
    def kind(self) -> Kind:
        """That of the models of the classes."""
        return self.models[0].kind  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """All classes together."""
        return sum(int(model.size) for model in self.models)

    @property
    def freedom(self) -> int | None:
        """Those of all classes."""
        counts = [model.freedom for model in self.models]
        return None if None in counts else sum(counts)

    @contextmanager
    def adjusted(self, **settings: Any) -> Iterator[None]:
        """Other values of the settings of all classes."""
        with ExitStack() as stack:
            for model in self.models:
                stack.enter_context(model.adjusted(**settings))
            yield

    def recipe(self) -> Recipe:
        """That of the model of a class."""
        return self.models[0].recipe()  # type: ignore[no-any-return]

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Prepare the model of each class on the data of its class."""
        for label, model in self._classes(given):
            model.prepare(subset[given == label], None, generator)

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Start the model of each class on the data of its class."""
        for label, model in self._classes(subset.given):
            model.initialise(_of_class(subset, label), generator)

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The statistics of every class under the name ``label.name``, and the sum of their log-likelihoods."""
        sums: dict[str, Tensor] = {}
        for label, model in enumerate(self.models):
            part = model.statistics(_of_class(batch, label), generator)
            sums.update({f"{label}.{name}": value for name, value in part.items()})
        for name in ("log_prob", "n"):
            found = [value for key, value in sums.items() if key.endswith(f".{name}")]
            if found:
                sums[name] = torch.stack(found).sum()
        return sums

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """Update the model of each class that has data."""
        for label, model in enumerate(self.models):
            prefix = f"{label}."
            own = {name.removeprefix(prefix): s for name, s in statistics.items() if name.startswith(prefix)}
            if float(own["n"]) > 0:
                model.maximise(own)

    def _classes(self, given: Tensor | None) -> list[tuple[int, Any]]:
        """The labels that occur, with their models."""
        if given is None:
            raise BadInput("A model for each class needs labelled data.", hint="choose data with labels")
        return [(label, self.models[label]) for label in torch.bincount(given).nonzero().flatten().tolist()]

    def _each(self, given: Tensor | None, verb: Callable[[Any, Tensor], Tensor]) -> Tensor:
        """Answer with one class's model at a time, and put the rows back in order."""
        classes = self._classes(given)
        if given is None or not classes:
            return verb(self.models[0], torch.arange(0))
        rows = [(given == label).nonzero().squeeze(1) for label, _ in classes]
        parts = [verb(model, of_class) for (_, model), of_class in zip(classes, rows, strict=True)]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        return self._each(given, lambda m, rows: m._sample(len(rows), None, generator))

    def _draw(self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator) -> Tensor:
        def draw(model: Any, rows: Tensor) -> Tensor:
            mask = None if observed is None else observed[rows]
            return model._draw(x[rows], None, mask, generator).double()  # type: ignore[no-any-return]

        return self._each(given, draw)

    def _energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._each(given, lambda m, rows: m._energy(x[rows], None))

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._draw(x, given, None, torch.Generator(x.device))

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        return self._draw(x, given, None, generator)

    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        return self._draw(x, given, observed, torch.Generator(x.device))

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        def fill(model: Any, rows: Tensor) -> Tensor:
            return model._complete(x[rows], observed[rows], None, generator)  # type: ignore[no-any-return]

        return self._each(given, fill)

    def _exactly(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.models[0]._exactly(x, observed)  # type: ignore[no-any-return]


def _of_class(batch: Batch, label: int) -> Batch:
    if batch.given is None:
        raise BadInput("ByClass learns from labelled data.", hint="choose data with labels, or conditional=false")
    rows = batch.given == label
    return Batch(batch.x[rows], None, None if batch.observed is None else batch.observed[rows])
