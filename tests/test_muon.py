"""Muon: its polynomial, its step by hand, what it takes for a matrix, and that it stops and goes on like AdamW."""

import copy

import pytest
import torch
from torch import nn

import pmodel
from pmodel.errors import BadInput
from pmodel.train import Stepped, Training, plan
from pmodel.train.muon import COEFFICIENTS, ITERATIONS, LIKE_ADAM, MOMENTUM, Muon, matrices, orthogonal

SETTINGS = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(count, rows, columns):
    """Matrices whose singular values go from 0.05 to 1."""
    noise = torch.randn(count, rows, columns, generator=seeded(), dtype=torch.float64)
    left, values, right = torch.linalg.svd(noise, full_matrices=False)
    return left * torch.logspace(-1.3, 0, values.shape[1], dtype=torch.float64) @ right


def newton_schulz(x):
    """The iteration as it is published, one matrix at a time."""
    a, b, c = COEFFICIENTS
    x = x / x.norm()
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x


@pytest.mark.parametrize("shape", [(3, 12, 12), (2, 8, 40), (2, 40, 8), (1, 64, 576)], ids=str)
def test_the_polynomial_of_the_gram_matrix_is_the_published_iteration(shape):
    batch = drawn(*shape)
    expected = torch.stack([newton_schulz(matrix) for matrix in batch])
    assert torch.allclose(orthogonal(batch), expected, atol=1e-9)
    assert torch.allclose(orthogonal(batch.float()).double(), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 8, 40), (2, 40, 8), (1, 64, 576)], ids=str)
def test_singular_values_come_near_one_and_vectors_stay(shape):
    batch = drawn(*shape)
    found = orthogonal(batch)
    left, _, right = torch.linalg.svd(batch, full_matrices=False)
    inside = left.mT @ found @ right.mT
    diagonal = inside.diagonal(dim1=1, dim2=2)
    assert torch.allclose(inside, torch.diag_embed(diagonal), atol=1e-9)
    assert float(diagonal.min()) > 0.6
    assert float(diagonal.max()) < 1.2


def test_no_gradient_is_no_step():
    assert torch.equal(orthogonal(torch.zeros(2, 4, 9)), torch.zeros(2, 4, 9))


def test_matrices_are_maps_between_layers():
    net = nn.ModuleList(
        [
            nn.Conv2d(1, 16, 3),  # from one channel
            nn.Conv2d(16, 16, 3),
            nn.ConvTranspose2d(16, 8, 2),
            nn.Conv2d(16, 16, 3, groups=16),  # each channel for itself
            nn.Conv2d(16, 1, 3),  # to one channel
            nn.Embedding(16, 16),
            nn.LayerNorm(16),
            nn.Linear(16, 24),
            nn.Linear(24, 4),
        ]
    )
    found = {id(weight) for weight in matrices(net)}
    assert [index for index, part in enumerate(net) if id(part.weight) in found] == [1, 2, 7]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_step_is_the_formula(layout):
    conv = nn.Conv2d(8, 16, 3).double().to(memory_format=layout)
    with torch.no_grad():
        conv.weight.normal_(generator=seeded(1))
    expected, momentum = conv.weight.detach().clone(), torch.zeros(16, 8, 3, 3, dtype=torch.float64)
    optimiser = Muon([conv.weight], [conv.bias], **SETTINGS)
    for number in range(3):
        gradient = torch.randn(16, 8, 3, 3, generator=seeded(10 + number), dtype=torch.float64)
        conv.weight.grad, conv.bias.grad = gradient.to(memory_format=layout), torch.ones(16, dtype=torch.float64)
        optimiser.step()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        ahead = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        length = SETTINGS["lr"] * LIKE_ADAM * 72**0.5
        step = newton_schulz(ahead.flatten(1)).view_as(momentum)
        expected = expected * (1 - SETTINGS["lr"] * SETTINGS["weight_decay"]) - length * step
    assert torch.allclose(conv.weight, expected, atol=1e-9)
    assert conv.weight.is_contiguous(memory_format=layout)
    assert torch.equal(conv.weight.grad, gradient)


def test_a_step_is_as_long_as_one_of_adamw():
    """The root mean square of its entries, in units of the rate, is that of AdamW's steps on noise."""
    conv = nn.Conv2d(32, 32, 3)
    before = conv.weight.detach().clone()
    conv.weight.grad = torch.randn(conv.weight.shape, generator=seeded())
    Muon([conv.weight], [conv.bias], lr=1.0, betas=(0.9, 0.99), weight_decay=0.0).step()
    assert 0.1 < float((conv.weight.detach() - before).square().mean().sqrt()) < 0.3


def test_the_other_parameters_move_as_under_adamw():
    net = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 1))
    twin = copy.deepcopy(net)
    known = matrices(net)
    others = [p for p in net.parameters() if all(p is not weight for weight in known)]
    mine, adamw = Muon(known, others, **SETTINGS), torch.optim.AdamW(twin.parameters(), fused=True, **SETTINGS)
    for number in range(3):
        for a, b in zip(net.parameters(), twin.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=seeded(number))
            b.grad = a.grad.clone()
        mine.step()
        adamw.step()
    same = [torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True)]
    assert same == [False, True, True, True, True, True]


def test_a_run_with_it_learns_and_comes_back_from_its_state():
    """The moments of both kinds come back, in the layout of their parameters: the next steps have the same bits."""
    data = pmodel.load_data("digits")

    def training():
        model = pmodel.make("ddpm", data.domain, seed=0, timesteps=20, channels=16, width=16)
        settings = {"optimiser": "muon", "batch": 16}
        return Training(model, data, plan(model, data, steps=6, settings=settings, precision="float32"))

    def after(run, steps):
        events = (event for event in run if isinstance(event, Stepped))
        while next(events).step < steps:
            pass
        return [p.detach().clone() for p in run.model.parameters()]

    first, second = training(), training()
    after(first, 3)
    stepper = first.stepper
    saved = {name: value.clone().contiguous() for name, value in stepper.moments().items()}
    stepper.restore_moments(saved)
    assert {name.rpartition(".")[2] for name in saved} == {"step", "exp_avg", "exp_avg_sq"}
    ends = after(first, 6), after(second, 6)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_no_other_optimiser_is_known():
    data = pmodel.load_data("digits")
    with pytest.raises(BadInput, match="adamw or muon"):
        plan(pmodel.make("ddpm", data.domain), data, steps=1, settings={"optimiser": "sgd"})
