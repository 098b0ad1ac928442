r"""Bayes with generative models: two rules, and what follows from them.

.. math:: p(x) = \sum_y p(x, y) \quad\text{(sum rule)}, \qquad p(x, y) = p(x \mid y) \, p(y) \quad\text{(product rule)}

A conditional model knows p(x | y), and the training frequencies of the labels are its prior p(y), unless another is given:

====================  ========================================================================  ==========================
function              what it computes                                                          what the model must have
====================  ========================================================================  ==========================
``posterior``         :math:`p(y \mid x) = p(x \mid y) p(y) / p(x)`                             labels, a likelihood
``evidence``          :math:`p(x) = \sum_y p(x \mid y) p(y)`: the label marginalised            labels, a likelihood
``conditional``       :math:`p(x_a \mid x_b) = p(x_a, x_b) / p(x_b)`: what is in neither        ``Marginalises``
                      a nor b is marginalised
``responsibilities``  :math:`p(z \mid x)` of the latent component z of a mixture                a sum of components
====================  ========================================================================  ==========================

Of sequences without an end symbol the length T is given: all of this is conditional on it, and the prior becomes
:math:`p(y \mid T) \propto p(y) \, p(T \mid y)`.

With ``observed=`` the first two see a part of x only, and marginalise the rest: nothing is imputed. The latent of a VAE or a
diffusion model is marginalised by ``score`` itself, up to a bound.

From exact likelihoods the answers are exact. From importance weights, whose mean is p(x | y), the evidence is a lower bound in
expectation, as they are. But a ratio of bounds is neither above nor below the ratio of what they bound: such a posterior is
an *estimate*, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from ..capability import as_mask
from ..errors import BadInput, NotSupported, RangeError, ShapeError
from ..explicit.tractable.em import WeightedSum
from ..likelihood import Kind, Likelihood
from ..model import Model
from ..randomness import Seed, as_generator, derive
from ..wrappers import Standardised

__all__ = ["Posterior", "conditional", "evidence", "posterior", "responsibilities"]


@final
@dataclass(frozen=True, eq=False)
class Posterior:
    """The distribution of a label, or of a latent component, given each datum.

    Args:
        log_probs: Normalised, ``(N, K)`` float64 nats; those of the prior where the datum is impossible under every label.
        kind: ``exact``, or ``estimate`` where it comes from bounds or estimates.
        estimator: How the likelihoods were computed.
        impossible: Which data have probability zero under every label, ``(N,)``: of them nothing can be said.
    """

    log_probs: Tensor
    kind: Kind
    estimator: str
    impossible: Tensor

    @property
    def probs(self) -> Tensor:
        """The probabilities, ``(N, K)``."""
        return self.log_probs.exp()

    @property
    def labels(self) -> Tensor:
        """The most probable label of each datum, ``(N,)``: the classification with the fewest expected errors."""
        return self.log_probs.argmax(1)


def posterior(
    model: Model,
    x: object,
    observed: object = None,
    *,
    prior: object = None,
    generator: Seed = 0,
    effort: int = 16,
) -> Posterior:
    r"""The labels of data by Bayes' theorem, :math:`p(y \mid x) \propto p(x \mid y) \, p(y)`.

    Args:
        model: A conditional model with a likelihood.
        x: Data, ``(N, *shape)``.
        observed: A mask of what is known, of the shape of ``x`` or of one datum; the rest is marginalised.
        prior: Probabilities p(y) of the K labels; None for their training frequencies.
        generator: Seed of the draws, where the likelihood is a bound. All labels are scored with the same ones.
        effort: Draws for each datum and label.

    Raises:
        BadInput: if the model is unconditional, the prior is no distribution of its labels, or the data do not fit.
        NotSupported: if the model has no likelihood, or cannot marginalise what is missing.
    """
    log_prior = _log_prior(model, x, prior)
    joint, kind, estimator = _joint(model, x, observed, log_prior, generator, effort)
    return _normalised(joint, log_prior, _ratio(kind), estimator)


def evidence(
    model: Model,
    x: object,
    observed: object = None,
    *,
    prior: object = None,
    generator: Seed = 0,
    effort: int = 16,
) -> Likelihood:
    r"""The sum rule over the label, :math:`\log p(x) = \log \sum_y p(x \mid y) \, p(y)`, under any prior.

    Arguments and errors are those of ``posterior``.

    Returns:
        The log-likelihoods: exact, or a lower bound where weights were drawn, since a sum of unbiased weights is one again.
        Other draws (``weighted`` is False) bound each term but, under the convex log-sum-exp, not the sum: an estimate.
    """
    joint, kind, estimator = _joint(model, x, observed, _log_prior(model, x, prior), generator, effort)
    if kind == "lower_bound" and not getattr(model, "weighted", True):
        kind = "estimate"
    return Likelihood(joint.logsumexp(1), kind, estimator)


def conditional(
    model: Model,
    x: object,
    part: object,
    observed: object,
    *,
    given: object = None,
    generator: Seed = 0,
    effort: int = 16,
) -> Likelihood:
    r"""The product rule within a datum, :math:`\log p(x_a \mid x_b) = \log p(x_a, x_b) - \log p(x_b)`.

    Args:
        model: A model that marginalises.
        x: Data, ``(N, *shape)``.
        part: A mask of a, of the shape of ``x`` or of one datum.
        observed: A mask of b. What is in neither is marginalised.
        given: Labels, for a conditional model; None for the mixture over its training frequencies.
        generator: Seed of the draws, where the likelihood is a bound; both terms see the same ones.
        effort: Draws for each datum.

    Returns:
        Exact where the model is. A difference of bounds is an estimate. Minus infinity where a is impossible given b; not a
        number where b itself is impossible.

    Raises:
        BadInput: if a mask or the data do not fit, or if a and b overlap.
        NotSupported: if the model cannot marginalise.
    """
    scored: Any = model
    data = model.domain.check(x)
    a, b = as_mask(part, data), as_mask(observed, data)
    if bool((a & b).any()):
        raise BadInput(
            "The part asked for and the observed part must not overlap.", got=f"{int((a & b).sum())} entries"
        )
    model._require("marginalise")
    seed = _seed(generator)
    joint = scored.score(data, given=given, observed=a | b, generator=seed, effort=effort)
    known = scored.score(data, given=given, observed=b, generator=seed, effort=effort)
    return Likelihood(joint.values - known.values, _ratio(joint.kind), joint.estimator)


def responsibilities(model: Model, x: object, observed: object = None) -> Posterior:
    r"""Which component of a mixture a datum came from, :math:`p(z = k \mid x) = w_k p_k(x) / \sum_j w_j p_j(x)`.

    Args:
        model: A mixture, standardised or not.
        x: Data, ``(N, *shape)``.
        observed: A mask of what is known; the rest is marginalised.

    Raises:
        NotSupported: if the model is no sum of components, is conditional, or sees its data through noise.
        BadInput: if the data or the mask do not fit.
    """
    data = model.domain.check(x).to(model.device)
    mask = torch.ones_like(data, dtype=torch.bool) if observed is None else as_mask(observed, data)
    mask = mask & ~data.isnan() if data.is_floating_point() else mask
    while isinstance(model, Standardised):
        data, model = model._inward(data, torch.Generator(data.device))[0], model.model
    if not isinstance(model, WeightedSum):
        raise NotSupported(
            "Only a mixture of one density has components to tell apart.",
            got=type(model).__name__,
            hint="of a dequantised model ask the inner one, of a model of classes ask posterior()",
        )
    with torch.no_grad():
        joint = model._log_joint(model._rows(data), model._rows(mask)).T
    return _normalised(joint, model.weights.log(), "exact", "exact")


def _joint(
    model: Model, x: object, observed: object, log_prior: Tensor, generator: Seed, effort: int
) -> tuple[Tensor, Kind, str]:
    """Log p(x, y) for every label ``(N, K)``, of what kind they are, and how they were computed."""
    scored: Any = model
    seed, columns = _seed(generator), []
    for label in range(log_prior.shape[1]):
        columns.append(scored.score(x, given=label, observed=observed, generator=seed, effort=effort))
    joint = torch.stack([column.values.double() for column in columns], 1) + log_prior
    return joint, columns[0].kind, columns[0].estimator


def _ratio(kind: Kind) -> Kind:
    """What kind a ratio is: of bounds or estimates it errs to either side."""
    return "exact" if kind == "exact" else "estimate"


def _normalised(joint: Tensor, log_prior: Tensor, kind: Kind, estimator: str) -> Posterior:
    impossible = joint.isneginf().all(1)
    joint = torch.where(impossible[:, None], log_prior, joint)
    return Posterior(joint.log_softmax(1), kind, estimator, impossible)


def _seed(generator: Seed) -> int:
    """A seed that several scores can share: from a generator, one draw of it."""
    noise = as_generator(generator)
    return derive(int(torch.randint(2**62, (1,), generator=noise, device=noise.device)), "bayes")


def _log_prior(model: Model, x: object, prior: object) -> Tensor:
    """The logarithms of the labels' probabilities before more of the data is seen than lengths, ``(N, K)`` float64."""
    if model.given is None:
        raise BadInput(
            "Bayes' theorem needs a model of data given a label.",
            got=f"{type(model).__name__}, which is unconditional",
            hint="fit it conditional=true",
        )
    model._require("score")
    scored: Any = model
    probs = None if prior is None else _checked_prior(model, prior)
    return scored._label_weights(model.domain.check(x).to(model.device), probs).log()  # type: ignore[no-any-return]


def _checked_prior(model: Model, prior: object) -> Tensor:
    """Probabilities of the labels, ``(K,)`` float64."""
    probs = torch.as_tensor(prior, dtype=torch.float64, device=model.device)
    if probs.shape != model.given_frequencies.shape:
        raise ShapeError(
            "A prior has one probability for each label.",
            got=tuple(probs.shape),
            hint=f"{len(model.given_frequencies)} labels",
        )
    if not bool((probs >= 0).all()) or abs(float(probs.sum()) - 1) > 1e-6:
        raise RangeError("A prior is probabilities that sum to one.", got=probs.tolist())
    return probs / probs.sum()
