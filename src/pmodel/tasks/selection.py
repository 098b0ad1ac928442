r"""How many components, by held-out likelihood and by the Bayesian information criterion.

.. math:: \mathrm{BIC}(k) = p_k \log n - 2 \log \hat L_k \qquad \text{(the least is best)}

:math:`\hat L_k` is the likelihood of the n training data under the fit with k components, and :math:`p_k` its number of free
parameters. Where the truth is among the candidates, BIC finds it as n grows; it needs no data set aside, and holds for maximum
likelihood (``shrinkage=0``). The held-out likelihood estimates what is wanted, the divergence from the truth but for a
constant, and needs neither: here by the validation data, never by the test data.

Held-out curves are flat beyond the right number, and the highest point of a flat curve is a matter of chance. So the choice is
the *fewest* components whose loss against the best, datum by datum, is within one standard error (Breiman et al. 1984).

Source:
    | Estimating the dimension of a model (Schwarz, 1978)
    | https://doi.org/10.1214/aos/1176344136
    | Classification and regression trees (Breiman, Friedman, Olshen and Stone, 1984), section 3.4.3
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import BadInput, NotSupported
from ..likelihood import Kind
from ..model import Model
from ..train import fit

__all__ = ["Candidate", "Choice", "choose_components"]

Criterion = Literal["held_out", "bic"]


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """A fit with some number of components.

    Args:
        components: Their number.
        parameters: Free ones.
        log_likelihood: Mean of the training data, in nats.
        bic: In nats, of all training data; the least is best. None where the likelihood is only bounded.
        held_out: Mean log-likelihood of the validation data, in nats; None where none were set aside.
        stderr: Of that mean, over the data; NaN where a datum is impossible.
        behind: By how much it is behind the best, mean and standard error of the paired differences; None where there are no
            validation data, or every candidate holds one of them for impossible.
        kind: Of the likelihoods.
        model: The fitted model.
    """

    components: int
    parameters: int
    log_likelihood: float
    bic: float | None
    held_out: float | None
    stderr: float | None
    behind: tuple[float, float] | None
    kind: Kind
    model: Model


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """All fits, and which of them to take.

    Args:
        candidates: One for each number of components, in order.
        criterion: What the choice was made by.
        components: The number that was chosen.
    """

    candidates: tuple[Candidate, ...]
    criterion: Criterion
    components: int

    @property
    def model(self) -> Model:
        """The fit that was chosen."""
        return next(row.model for row in self.candidates if row.components == self.components)

    def __str__(self) -> str:
        """The table, with a mark at the choice."""
        lines = ["components  parameters  held-out nats          behind the best      BIC"]
        for row in self.candidates:
            mark = "*" if row.components == self.components else " "
            held = "-" if row.held_out is None else f"{row.held_out:.4f} ± {row.stderr:.4f}"
            gap = "-" if row.behind is None else f"{row.behind[0]:.4f} ± {row.behind[1]:.4f}"
            bic = "-" if row.bic is None else f"{row.bic:.1f}"
            lines.append(f"{mark}{row.components:>9}  {row.parameters:>10}  {held:<21}  {gap:<19}  {bic}")
        return "\n".join(lines)


def choose_components(
    data: Dataset,
    counts: Iterable[int],
    *,
    model: str = "mixture",
    option: str = "components",
    by: Criterion = "held_out",
    seed: int = 0,
    steps: int | None = None,
    **options: Any,
) -> Choice:
    """Fit a model with each number of components, and choose.

    Args:
        data: A data set; the choice is made on its validation (or training) data.
        counts: The numbers to try.
        model: A name of the catalogue.
        option: The option that holds the number.
        by: ``held_out``, or ``bic``.
        seed: Of the fits.
        steps: Most iterations of each fit; None for the model's own.
        **options: The model's other options.

    Raises:
        BadInput: if there is nothing to try, the criterion is not known or cannot be had from these data and this model, or
            every fit holds some of the held-out data for impossible.
        NotSupported: if the model has no likelihood.
    """
    tried = sorted(set(counts))
    if not tried:
        raise BadInput("There must be a number of components to try.", got=tried)
    if by not in ("held_out", "bic"):
        raise BadInput("The choice is by held_out or by bic.", got=by)
    apart = data.valid is not data.train and len(data.valid) > 1
    if by == "held_out" and not apart:
        raise BadInput("No data are held out.", got=data.note or data.name, hint="use by='bic'")
    settings: list[dict[str, Any]] = [{**options, option: count} for count in tried]
    fits = [fit(model, data, seed=seed, steps=steps, **setting) for setting in settings]
    scores = [_scored(fitted, data, apart) for fitted in fits]
    possible = [values for _, values in scores if values is not None and float(values.mean()) > -math.inf]
    best = max(possible, key=lambda values: float(values.mean()), default=None)
    rows = tuple(
        _candidate(count, fitted, data, train, valid, best)
        for count, fitted, (train, valid) in zip(tried, fits, scores, strict=True)
    )
    return Choice(rows, by, _chosen(rows, by))


def _scored(model: Any, data: Dataset, apart: bool) -> tuple[float, Tensor | None]:
    """The sum over the training data, and the values of the held-out ones."""
    if not model.can("score"):
        raise NotSupported(f"{type(model).__name__} has no likelihood to choose by.", got=model.capabilities)
    total = math.fsum(float(model.score(part).values.sum()) for part in _batches(data.train.x))
    return total, torch.cat([model.score(part).values.double() for part in _batches(data.valid.x)]) if apart else None


def _batches(x: Any, size: int = 2**16) -> list[Any]:
    """Parts of the data, which may be on the disk."""
    return [x[start : start + size] for start in range(0, len(x), size)]


def _candidate(
    count: int, model: Any, data: Dataset, total: float, values: Tensor | None, best: Tensor | None
) -> Candidate:
    n, parameters = len(data.train), model.freedom
    if parameters is None:
        raise NotSupported("This model does not count its free parameters.", got=type(model).__name__)
    behind = None if values is None or best is None else best - values
    return Candidate(
        components=count,
        parameters=parameters,
        log_likelihood=total / n,
        bic=parameters * math.log(n) - 2 * total if model.kind == "exact" else None,
        held_out=None if values is None else float(values.mean()),
        stderr=None if values is None else float(values.std()) / math.sqrt(len(values)),
        behind=None if behind is None else (float(behind.mean()), float(behind.std()) / math.sqrt(len(behind))),
        kind=model.kind,
        model=model,
    )


def _chosen(rows: tuple[Candidate, ...], by: Criterion) -> int:
    if by == "held_out":
        compared = [row for row in rows if row.behind is not None]
        if not compared:
            hint = "use by='bic', or options that keep the probability of every value above zero"
            raise BadInput("Every fit holds some of the held-out data for impossible.", got=rows[0].held_out, hint=hint)
        return next(row.components for row in compared if row.behind and row.behind[0] <= row.behind[1])
    known = [row for row in rows if row.bic is not None]
    if not known:
        raise BadInput("BIC needs exact likelihoods.", got=rows[0].kind, hint="use by='held_out'")
    return min(known, key=lambda row: row.bic or 0.0).components
