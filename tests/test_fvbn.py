"""FVBN: it is a regression of each entry on the earlier ones, and finds the one that scikit-learn finds."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from autoregressive import noise, random_data, random_model
from pmodel.domain import Discrete
from pmodel.explicit.tractable.autoregressive.vectors.fvbn import FVBN
from pmodel.learning import Batch


def test_bits_are_logistic_regressions():
    model = random_model("fvbn", Discrete((5,), 2))
    x = random_data(model.domain, 20)
    a, b = model.weights.weight, model.weights.bias
    expected = torch.zeros(20, dtype=torch.float64)
    for i in range(5):
        p = torch.sigmoid(b[i] + x[:, :i].double() @ a[i, :i])
        expected = expected + torch.where(x[:, i] == 1, p, 1 - p).log()
    torch.testing.assert_close(model.log_prob(x), expected.detach())


def test_a_trained_regression_is_that_of_scikit_learn():
    x = torch.randint(0, 2, (4000, 4), generator=noise())
    x[:, 3] = (x[:, :3].sum(1) + 4 * torch.rand(4000, generator=noise(1)) > 3.5).long()
    oracle = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000).fit(x[:, :3], x[:, 3])
    model = FVBN(Discrete((4,), 2)).double()
    model.prepare(x, None, noise())
    options = {"max_iter": 500, "tolerance_change": 1e-14, "tolerance_grad": 1e-10, "line_search_fn": "strong_wolfe"}
    optimiser = torch.optim.LBFGS(model.parameters(), **options)

    def closure():
        optimiser.zero_grad()
        loss = model._loss(Batch(x), noise()).total
        loss.backward()
        return loss

    optimiser.step(closure)
    found = model.weights.weight[3, :3].detach()
    torch.testing.assert_close(found, torch.as_tensor(oracle.coef_[0]), rtol=1e-3, atol=1e-3)


def test_it_starts_at_the_frequencies_given_the_label():
    model = FVBN(Discrete((3,), 4), Discrete((), 2))
    x = torch.randint(0, 4, (500, 3), generator=noise()).clamp(max=2)
    given = torch.arange(500) % 2
    x[given == 1] = 3
    model.prepare(x, given, noise())
    assert model.log_prob(x[1:2], given=1).exp() == pytest.approx(0.95, abs=0.05)
    assert float(model.log_prob(x[1:2], given=0)) < -10
