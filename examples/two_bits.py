"""The sum rule and the product rule on the notes' table of two bits, by a model and by hand.

    python examples/two_bits.py

Ten observations of two bits; the histogram of all of them is the joint table P(a, b). Everything else follows from two rules:

    sum       P(a) = Σ_b P(a, b)
    product   P(a, b) = P(b | a) P(a)          and so   P(a | b) = P(b | a) P(a) / P(b)

Each line is computed three times: by counting, from the model's joint table, and by the model's own verbs (``log_prob`` with a
mask, ``pmodel.tasks``). They agree to 1e-12.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

import pmodel
from pmodel.domain import Discrete
from pmodel.model import Model
from pmodel.tasks import conditional, evidence, posterior

STATES = torch.cartesian_prod(torch.arange(2), torch.arange(2))
"""The four values of (a, b), in the order of the table."""
A, B = torch.tensor([True, False]), torch.tensor([False, True])


def counted(x: Tensor) -> Tensor:
    """The table P(a, b), ``(2, 2)``, by counting."""
    return torch.bincount(2 * x[:, 0].long() + x[:, 1].long(), minlength=4).double().reshape(2, 2) / len(x)


def joint(model: Model) -> Tensor:
    """The same from the model."""
    return model.log_prob(STATES).exp().reshape(2, 2)


def sum_rule(model: Model) -> Tensor:
    """P(a) by marginalising b, ``(2,)``."""
    return model.log_prob(STATES, observed=A).exp().reshape(2, 2)[:, 0]


def product_rule(model: Model) -> Tensor:
    """P(b | a), a row for each a."""
    return conditional(model, STATES, part=B, observed=A).values.exp().reshape(2, 2)


def by_class(x: Tensor) -> Model:
    """A model of b given a, in which a is the label: P(b | a), and the prior P(a) from its frequencies."""
    data = pmodel.load_data("bits")
    split = replace(data.train, x=x[:, 1:], y=x[:, 0].long())
    labelled = replace(
        data,
        domain=Discrete((1,), 2),
        train=split,
        valid=split,
        test=split,
        given=Discrete((), 2),
        label_names=("0", "1"),
    )
    return pmodel.fit("histogram", labelled, conditional=True)


def bayes(model: Model) -> Tensor:
    """P(a | b) from P(b | a) and P(a), a row for each b."""
    return posterior(model, torch.tensor([[0], [1]])).probs


def main() -> None:
    x = pmodel.load_data("bits").train.x[:]
    model, labelled = pmodel.fit("histogram", "bits"), by_class(x)
    table = counted(x)
    rows = {
        "P(a, b)": (table, joint(model)),
        "P(a)      by the sum rule": (table.sum(1), sum_rule(model)),
        "P(b | a)  by the product rule": (table / table.sum(1, keepdim=True), product_rule(model)),
        "P(a | b)  by Bayes' theorem": ((table / table.sum(0)).T, bayes(labelled)),
        "P(b)      over the label a": (table.sum(0), evidence(labelled, torch.tensor([[0], [1]])).values.exp()),
    }
    for name, (hand, found) in rows.items():
        torch.testing.assert_close(found, hand, rtol=0, atol=1e-12)
        print(f"{name}: {[[round(v, 4) for v in row] for row in found.reshape(-1, 2).tolist()]}")


if __name__ == "__main__":
    main()
