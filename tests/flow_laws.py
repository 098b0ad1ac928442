"""What the tests of flows of vectors share: data, weights that are nowhere zero, and the laws of an invertible map."""

import torch

from pmodel.domain import Discrete, Real
from pmodel.learning import Batch

LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def shaken(module, by=0.05):
    """Every parameter moved at random: no map is the identity any more."""
    noise = seeded(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += by * torch.randn(parameter.shape, generator=noise).to(parameter.dtype)
    return module


def built(cls, shape, given=None, *, dtype=torch.float64, n=200, by=0.05, **options):
    """A model that has seen skewed data, with weights that are nowhere zero; and some of the data with labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = cls(Real(shape), given, **(cls.sizes["tiny"] | options)).to(dtype)
    x = torch.randn(n, *shape, generator=seeded(2), dtype=torch.float64).mul(0.7).add(0.5).sinh().to(dtype)
    labels = None if given is None else torch.arange(n) % given.levels
    model.prepare(x, labels, seeded())
    return shaken(model, by), x[:6], None if labels is None else labels[:6]


def roundtrip_error(model, x, labels=None):
    """The largest difference between decode(encode(x)) and x, relative to the largest entry of the datum, or to one."""
    back = model.decode(model.encode(x, given=labels).mean, given=labels).mean
    error, size = ((back - x).abs().flatten(1).amax(1), x.abs().flatten(1).amax(1).clamp_min(1))
    return float((error / size).max())


def jacobian_error(model, x, labels=None):
    """How far the log-determinant of the map is from that of autograd's Jacobian, over the data."""
    worst = 0.0
    for index, datum in enumerate(x):
        given = None if labels is None else labels[index : index + 1]
        context = model._context(given)

        def f(one, context=context):
            return model.flow(model._entering(one.unsqueeze(0)), context)[0].squeeze(0)

        jacobian = torch.autograd.functional.jacobian(f, datum).reshape(datum.numel(), -1)
        _, ladj = model.flow(model._entering(datum.unsqueeze(0)), context)
        worst = max(worst, abs(ladj.item() - jacobian.slogdet().logabsdet.item()))
    return worst


def gradients_are_finite(model, x):
    """Whether the loss, and its gradients with respect to the data and to every parameter, are finite."""
    x = x.clone().requires_grad_()
    (phase,) = model.phases()
    loss = phase.loss(Batch(x), seeded()).total
    loss.backward()
    return bool(loss.isfinite()) and all(bool(p.grad.isfinite().all()) for p in (x, *model.parameters()))


def mass(model, label=None, width=0.05, low=-12.0, cells=480):
    """The integral of a density of the plane, by one uniform point in every cell of a grid."""
    corners = torch.cartesian_prod(*[low + width * torch.arange(cells, dtype=torch.float64)] * 2)
    points = corners + width * torch.rand(corners.shape, generator=seeded(), dtype=torch.float64)
    return float(model.log_prob(points, given=label).exp().sum() * width**2)
