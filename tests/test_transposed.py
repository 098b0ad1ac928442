"""A transposed convolution with a bias of its own is the plain one: its answer, its gradients, its weights and its start."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pmodel.nn.transposed import TransposedConvolution


def _pair(arguments: tuple[int, ...]) -> list[nn.Module]:
    """The plain layer and ours, from the same seed."""
    found = []
    for layer in (nn.ConvTranspose2d, TransposedConvolution):
        torch.manual_seed(0)
        found.append(layer(*arguments))
    return found


def _answers(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """y, and the gradients of a sum of squares."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("arguments", [(3, 5, 3, 1, 1), (3, 5, 3, 2, 1, 1), (4, 1, 4, 2, 1), (1, 2, 5, 3, 0, 2)])
def test_is_the_plain_layer(arguments: tuple[int, ...], layout: Any) -> None:
    x = torch.randn(2, arguments[0], 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain, ours = (layer.double().to(memory_format=layout) for layer in _pair(arguments))
    expected, found = (_answers(layer, x.to(memory_format=layout)) for layer in (plain, ours))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_weights_have_the_same_names_and_start() -> None:
    plain, ours = (layer.state_dict() for layer in _pair((3, 5, 3, 2, 1, 1)))
    assert list(plain) == list(ours)
    assert all(torch.equal(plain[name], ours[name]) for name in plain)


def test_answers_in_the_precision_of_its_products() -> None:
    _, ours = _pair((3, 5, 3, 2, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        y = ours(torch.ones(2, 3, 4, 4))
    assert y.dtype == torch.bfloat16
    gradient = torch.autograd.grad(y.float().sum(), ours.bias)[0]
    assert gradient.tolist() == [2 * 8 * 8] * 5
