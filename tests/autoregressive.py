"""What the tests of autoregressive vectors share: random models, all data of a small domain, and the naive sampler."""

import torch

from pmodel.catalogue import find
from pmodel.domain import Discrete, Real
from pmodel.randomness import forked

LABELS = 3


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def random_model(name, domain, *, labelled=False, scale=1.0, dtype=torch.float64, **options):
    """A model whose weights are all random, and large enough for effects to be seen from afar."""
    cls = find(name).load()
    with forked(3, "init"):
        model = cls(domain, Discrete((), LABELS) if labelled else None, **{**cls.sizes["tiny"], **options})
    model = model.to(dtype).eval()
    with torch.no_grad():
        for weight in model.parameters():
            drawn = torch.randn(weight.shape, generator=noise(7 + weight.numel()), dtype=torch.float64)
            weight.copy_(scale * drawn / max(1, weight[0].numel()) ** 0.25)
    return model


def random_data(domain, n, seed=1):
    if isinstance(domain, Real):
        return torch.randn(n, *domain.shape, generator=noise(seed), dtype=torch.float64)
    return torch.randint(0, domain.levels, (n, *domain.shape), generator=noise(seed))


def every_datum(domain):
    """All data of a discrete domain."""
    states = torch.cartesian_prod(*[torch.arange(domain.levels)] * domain.entries)
    return states.reshape(-1, *domain.shape)


def numbers_of(model, x, given=None):
    """The numbers that the factors are made from, from one parallel pass."""
    return model._numbers(model.factor.code(x.flatten(1), model._dtype), model._label(given))


@torch.no_grad()
def naive_sample(model, n, generator, given=None):
    """Ancestral sampling with a whole pass for every entry, in the entries' own order."""
    entries = model.domain.entries
    if hasattr(model, "orderings"):
        torch.randint(model.orderings, (n,), generator=generator)
    x = model._blank(n)
    u = torch.rand(entries, n, 1, generator=generator, dtype=torch.float64).flatten(1)
    for i in range(entries):
        x[:, i] = model.factor.draw(numbers_of(model, x, given)[:, i], u[i]).to(x.dtype)
    return x.reshape(n, *model.domain.shape)
