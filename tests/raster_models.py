"""Picture models with random weights, and the slow ways to compute what they compute: for the tests of each of them."""

import itertools
import math

import torch

from pmodel.domain import Discrete
from pmodel.explicit.tractable.autoregressive.categories import scaled
from pmodel.explicit.tractable.autoregressive.pixels.pixelcnn import PixelCNN

LABELS = 3
OUTPUTS = ("categorical", "logistic")


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def random_model(shape, levels=3, *, kind=PixelCNN, labelled=False, dtype=torch.float64, **options):
    """A model whose weights are all random, biases and places too, and large enough for effects to be seen from afar."""
    options = {"channels": 6, "layers": 4, "kernel": 3, "width": 8, "mixtures": 3, **options}
    model = kind(Discrete(shape, levels), Discrete((), LABELS) if labelled else None, **options).to(dtype).eval()
    generator = noise(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = 0.5 if "output" in name else 1.5
            fan_in = weight[0].numel() if weight.ndim > 1 else 4
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(scale * drawn / math.sqrt(fan_in))
    return model


def sharper(model, by=10):
    """A model whose entries say much about each other."""
    with torch.no_grad():
        for name, weight in model.output.named_parameters():
            if name.endswith("weight") and ("logits" in name or "heads" in name):
                weight.mul_(by)
    return model


def random_data(model, n, seed=1):
    x = torch.randint(0, model.levels, (n, *model.domain.shape), generator=noise(seed))
    return x, torch.randint(0, LABELS, (n,), generator=noise(seed)) if model.given is not None else None


def features_of(model, x, given):
    return model.network(scaled(x, model.levels, model.network.place.dtype), given)


def effects(model, n=1):
    """How much features (second axis) depend on pixels: ``(C, H · W, H · W)``, summed over n pictures."""
    x, given = random_data(model, n)
    height, width = model.domain.shape[1:]
    x = scaled(x, model.levels, torch.float64).requires_grad_()
    features = model.network(x, given).flatten(1, 2)
    mixed = features @ torch.randn(features.shape[2], generator=noise(3), dtype=torch.float64)
    gradients = [torch.autograd.grad(mixed[:, pixel].sum(), x, retain_graph=True)[0] for pixel in range(height * width)]
    return torch.stack([gradient.abs().sum(0).flatten(1) for gradient in gradients], 1)


OPENED = [(-up, across) for up in range(1, 4) for across in range(-3, 4)] + [(0, -1), (0, -2), (0, -3)]
"""Where a 7×7 convolution of mask A looks."""


def seen(height, width, layers):
    """Which pixels (columns) features of a pixel (rows) see behind an opening and layers that look at these offsets each."""
    pixels = list(itertools.product(range(height), range(width)))
    number = {pixel: index for index, pixel in enumerate(pixels)}
    found = torch.zeros(len(pixels), len(pixels), dtype=torch.bool)
    for (i, j), (up, across) in itertools.product(pixels, OPENED):
        if (i + up, j + across) in number:
            found[number[i, j], number[i + up, j + across]] = True
    for offsets in layers:
        before, found = found, found.clone()
        for (i, j), (up, across) in itertools.product(pixels, offsets):
            if (i + up, j + across) in number:
                found[number[i, j]] |= before[number[i + up, j + across]]
    return found


def conditionals(model, features, x):
    """log p(x_c = v | features, earlier channels) of every pixel for all levels v: (M, C, L) from features (M, F), x (M, C)."""
    rows, channels = x.shape
    u = torch.full((rows, channels, model.output.uniforms), 0.5, dtype=features.dtype)

    def log_p(values, known):
        forced = (torch.arange(channels) < known).expand(rows, channels)
        return model.output.draw(features, u, values, forced)[1]

    table = torch.empty(rows, channels, model.levels, dtype=features.dtype)
    for c, level in itertools.product(range(channels), range(model.levels)):
        values = x.clone()
        values[:, c] = level
        table[:, c, level] = log_p(values, c + 1) - log_p(values, c)
    return table


@torch.no_grad()
def all_conditionals(model, x, given):
    """The same for whole pictures in raster order: (N, H · W · C, L)."""
    features = features_of(model, x, given).flatten(0, 2)
    return conditionals(model, features, x.permute(0, 2, 3, 1).flatten(0, 2)).reshape(len(x), -1, model.levels)


def every_picture(shape, levels):
    states = torch.cartesian_prod(*[torch.arange(levels)] * math.prod(shape))
    return states.reshape(-1, *shape)


@torch.no_grad()
def naive(model, n, given, generator):
    """Ancestral sampling with the whole network evaluated for every pixel."""
    channels, height, width = model.domain.shape
    x = torch.zeros(n, *model.domain.shape, dtype=torch.int64)
    sides = (height, width, n, channels, model.output.uniforms)
    u = torch.rand(sides, generator=generator, dtype=model.network.place.dtype)
    for i, j in itertools.product(range(height), range(width)):
        features = features_of(model, x, given)[:, i, j]
        x[:, :, i, j], _ = model.output.draw(features, u[i, j], x[:, :, i, j], None)
    return x
