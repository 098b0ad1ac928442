"""Masked networks: which output depends on which input, and that evaluating them entry by entry changes nothing."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from pmodel.nn.masked import Incremental, MaskedNetwork

ENTRIES = 6


def random_network(*, orders=1, entries=ENTRIES, contexts=0, **options):
    """A network in float64, with some order that is not the entries' own."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.stack([torch.randperm(entries, generator=generator) for _ in range(orders)])
    options = {"outputs": 3, "width": 40, "layers": 2, **options}
    network = MaskedNetwork(entries, orders=drawn, contexts=contexts, **options).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return network


KINDS = [
    dict(zip(("contexts", "residual", "direct", "layers", "inputs"), choice, strict=True))
    for choice in itertools.product([0, 2], [False, True], [False, True], [1, 3], [1, 2])
]


def data_of(network, n=5):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, network.entries, network.inputs, generator=generator, dtype=torch.float64)
    contexts = 0 if network.context is None else network.context.in_features
    return x, torch.randn(n, contexts, generator=generator, dtype=torch.float64) if contexts else None


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_outputs_depend_on_every_earlier_entry_and_on_no_other(kind, order):
    network = random_network(orders=3, activation=torch.tanh, **kind)
    x, context = data_of(network, 1)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x, context, order)[0], x)
    effect = jacobian.reshape(ENTRIES, network.outputs, ENTRIES, network.inputs).abs().amin((1, 3))
    largest = jacobian.reshape(ENTRIES, network.outputs, ENTRIES, network.inputs).abs().amax((1, 3))
    places = network.orders[order].argsort()
    earlier = places.unsqueeze(1) > places
    assert (effect[earlier] > 1e-12).all()
    assert (largest[~earlier] == 0).all()


@pytest.mark.parametrize("width", [1, 3, 200])
def test_nothing_leaks_whatever_the_width(width):
    network = random_network(width=width, activation=torch.tanh)
    x, _ = data_of(network, 1)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x)[0], x)[..., 0].abs().amax((1, 2))
    places = network.orders[0].argsort()
    assert (jacobian[places.unsqueeze(1) <= places] == 0).all()


def test_every_output_knows_the_context():
    network = random_network(contexts=2, activation=torch.tanh)
    x, context = data_of(network, 1)
    jacobian = torch.autograd.functional.jacobian(lambda c: network(x, c)[0], context)
    assert (jacobian.abs() > 1e-12).all()


def test_the_own_order_is_the_default():
    assert torch.equal(MaskedNetwork(4, 1, width=8).orders, torch.arange(4).unsqueeze(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_entry_by_entry_the_outputs_are_the_same(kind, dtype):
    network = random_network(orders=2, activation=F.silu, **kind).to(dtype)
    x, context = (None if part is None else part.to(dtype) for part in data_of(network))
    for order in (0, 1):
        steps = Incremental(network, len(x), context, order)
        with torch.no_grad():
            expected = network(x, context, order)
            for i, entry in enumerate(network.orders[order].tolist()):
                scale = expected[:, entry].abs().amax()
                found = steps.outputs(i)
                torch.testing.assert_close(found / scale, expected[:, entry] / scale, rtol=0, atol=1e-5)
                steps.put(i, x[:, entry] if network.inputs > 1 else x[:, entry, 0])


def test_data_can_be_selected_on_the_way():
    network = random_network()
    x, _ = data_of(network)
    rows = torch.tensor([4, 4, 0, 1, 1])
    with torch.no_grad():
        steps = Incremental(network, len(x))
        for i, entry in enumerate(network.orders[0].tolist()):
            if i == 3:
                steps.select(rows)
                x = x[rows]
            torch.testing.assert_close(steps.outputs(i), network(x)[:, entry])
            steps.put(i, x[:, entry])


@pytest.mark.parametrize("contexts", [0, 2])
def test_a_single_entry_has_outputs_that_depend_on_the_context_alone(contexts):
    network = random_network(entries=1, contexts=contexts)
    x, context = data_of(network)
    outputs = network(x, None if context is None else context[:1].expand(5, -1))
    torch.testing.assert_close(
        outputs, outputs[:1].expand(5, -1, -1)
    )  # rows of a product may be summed in other orders


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_columns_are_the_outputs_with_data_last(kind):
    network = random_network(orders=2, **kind)
    x, context = data_of(network)
    found = network.columns(x, context, 1)
    assert found.is_contiguous() or kind["contexts"]
    torch.testing.assert_close(found, network(x, context, 1).permute(2, 1, 0))
