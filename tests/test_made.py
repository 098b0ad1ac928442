"""MADE: orders of the entries, and their mixture as a mixture of joint distributions."""

import pytest
import torch

import pmodel
from autoregressive import every_datum, random_data, random_model
from pmodel.domain import Discrete
from pmodel.learning import Batch
from pmodel.storage import load, save

BITS = Discrete((8,), 2)


def joint_in(model, order, x):
    """log p of data in one order, by the chain rule: each factor from a pass that has seen only what comes before it."""
    entries, total = model._order(order), torch.zeros(len(x), dtype=torch.float64)
    for i, entry in enumerate(entries):
        seen = torch.zeros_like(x)
        seen[:, entries[:i]] = x[:, entries[:i]]
        numbers = model._numbers(model.factor.code(seen, torch.float64), None, order)[:, entry]
        total = total + model.factor.log_prob(numbers, x[:, entry])
    return total


def test_orders_are_permutations_and_the_first_is_that_of_the_data():
    model = random_model("made", BITS, orderings=4)
    orders = [model._order(order) for order in range(4)]
    assert orders[0] == list(range(8))
    assert all(sorted(order) == orders[0] for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("layers", [1, 3])
def test_each_order_is_a_distribution_of_its_own(layers):
    model, every = random_model("made", BITS, orderings=3, layers=layers), every_datum(BITS)
    with torch.no_grad():
        parts = [model._in(order, every, None) for order in range(3)]
        for order, part in enumerate(parts):
            assert float(part.exp().sum()) == pytest.approx(1, abs=1e-12)
            torch.testing.assert_close(part, joint_in(model, order, every))
    assert (parts[0] - parts[1]).abs().max() > 0.1


def test_the_model_is_the_mixture_of_joints_and_not_a_mean_of_logits():
    model, every = random_model("made", BITS, orderings=3), every_datum(BITS)
    with torch.no_grad():
        joints = torch.stack([joint_in(model, order, every) for order in range(3)]).exp()
        numbers = [model._numbers(model.factor.code(every, torch.float64), None, order) for order in range(3)]
        averaged = model.factor.log_prob(torch.stack(numbers).mean(0), every).sum(1)
    found = model.log_prob(every)
    torch.testing.assert_close(found.exp(), joints.mean(0))
    assert abs(float(averaged.exp().sum()) - 1) > 1e-3  # what averaged logits give is no distribution
    assert float((averaged - found).abs().max()) > 0.1


def test_each_step_trains_one_order_drawn_by_the_generator():
    model = random_model("made", BITS, orderings=3)
    batch = Batch(random_data(BITS, 16))
    with torch.no_grad():
        expected = {round(float(-model._in(order, batch.x, None).mean()), 9) for order in range(3)}
        losses = {float(model._loss(batch, torch.Generator().manual_seed(seed)).total) for seed in range(30)}
    assert {round(loss, 9) for loss in losses} == expected


def test_orders_are_saved_with_the_model(tmp_path):
    model = pmodel.make("made", BITS, orderings=3, width=16)
    save(model, tmp_path / "model")
    again, x = load(tmp_path / "model"), random_data(BITS, 9)
    assert torch.equal(again.log_prob(x), model.log_prob(x))


@pytest.mark.slow
def test_learns_digits_better_than_independent_pixels_and_several_orders_help():
    data = pmodel.load_data("digits")
    alone = pmodel.fit("histogram", data, smoothing=1.0)
    model = pmodel.fit("made", data, steps=1500, width=200, orderings=4)
    gain = model.log_prob(data.test.x) - alone.log_prob(data.test.x)
    assert float(gain.mean()) > 10 * float(gain.std() / len(gain) ** 0.5)
    with torch.no_grad():
        parts = [float(model._in(order, data.test.x.long(), None).mean()) for order in range(4)]
    assert float(model.log_prob(data.test.x).mean()) > max(parts)
