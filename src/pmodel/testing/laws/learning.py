"""Laws for how models learn: by gradients in phases, or from sufficient statistics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...domain import Discrete, Real
from ...learning import Phase
from ...metrics.energy_distance import pseudo_values
from ...randomness import forked, generator
from ..cases import toy
from ..check import require
from ..fitting import BATCH, learn, passes, rows_of, start
from ..law import Law, always, learns
from ..subject import Subject

__all__ = ["LAWS"]


def every_parameter_learns(subject: Subject) -> None:
    """Every parameter is in a phase, and has a finite gradient in each and one that is not zero in some."""
    model = subject.fresh()
    start(model, subject.data, 0)
    moved: set[int] = set()
    for _ in range(3):  # after a step or two, what starts at zero no longer hides what feeds it
        for phase, _ in _losses(model, subject):
            bad = [
                i for i, p in enumerate(phase.parameters) if p.grad is not None and not bool(p.grad.isfinite().all())
            ]
            require(not bad, f"Phase {phase.name!r} has gradients that are not finite.", got=f"parameters {bad}")
            moved |= {id(p) for p in phase.parameters if p.grad is not None and bool((p.grad != 0).any())}
    listed = {id(p) for phase in model.phases() for p in phase.parameters}
    named = dict(model.named_parameters())
    forgotten = [
        name for name, p in named.items() if id(p) not in listed and p.requires_grad and not _of_statistics(model, p)
    ]
    require(not forgotten, "Parameters are in no phase.", got=forgotten)
    idle = [name for name, p in named.items() if id(p) in listed and id(p) not in moved]
    require(not idle, "Parameters never have a gradient.", got=idle)


def phases_keep_to_themselves(subject: Subject) -> None:
    """A phase moves its own parameters and buffers, and leaves those of the others alone."""
    model = subject.fresh()
    start(model, subject.data, 0)
    names = [phase.name for phase in model.phases()]
    require(len(set(names)) == len(names), "Phases need different names.", got=names)
    before = _snapshot(model)
    for phase, _ in _losses(model, subject):
        after = _snapshot(model)
        own = _own_tensors(model, phase)
        moved = [name for name, tensor in after.items() if name not in own and not torch.equal(tensor, before[name])]
        require(not moved, f"Phase {phase.name!r} moves tensors of another.", got=moved)
        before = after


def learning_repeats_itself(subject: Subject) -> None:
    """Learning twice from one seed gives the same bits."""
    states = [learn(subject.fresh(), subject.data, steps=4, iterations=3).state_dict() for _ in range(2)]
    different = [name for name, tensor in states[0].items() if not torch.equal(_bits(tensor), _bits(states[1][name]))]
    require(not different, "Learning twice from one seed gives different tensors.", got=different)


def losses_are_scalars(subject: Subject) -> None:
    """A loss is one finite number."""
    model = subject.fresh()
    start(model, subject.data, 0)
    for phase, total in _losses(model, subject):
        require(total.ndim == 0, f"The loss of phase {phase.name!r} is not one number.", got=tuple(total.shape))
        require(bool(total.isfinite()), f"The loss of phase {phase.name!r} is not finite.", got=float(total.detach()))


def statistics_add_up(subject: Subject) -> None:
    """Statistics are float64 sums over data: those of parts, an empty one too, add up to those of the whole in any order."""
    model, data = subject.copied(), subject.data
    n = len(data.x)
    whole = _statistics(model, subject, torch.arange(n))
    cuts = ((0, 0), (0, n // 3), (n // 3, n))
    parts = [_statistics(model, subject, torch.arange(*cut)) for cut in cuts]
    backwards = _statistics(model, subject, torch.arange(n - 1, -1, -1))
    for name, value in whole.items():
        require(value.dtype == torch.float64, f"The statistic {name!r} is not float64.", got=value.dtype)
        total = sum((part[name] for part in parts), torch.zeros_like(value))
        for what, other in (("in parts", total), ("backwards", backwards[name])):
            near = torch.allclose(value, other, rtol=1e-9, atol=1e-9 * float(value.abs().max() + 1))
            require(near, f"The statistic {name!r} is not a sum over the data: {what} it is another.", got=value)
    require("n" in whole and float(whole["n"]) == n, "The statistic 'n' is not the number of data.", got=whole.get("n"))


def statistics_know_the_likelihood(subject: Subject) -> None:
    """The statistic ``log_prob`` is the log-likelihood of the data under the parameters as they are."""
    model, data = subject.copied(), subject.data
    statistics = _statistics(model, subject, torch.arange(len(data.x)))
    if "log_prob" not in statistics:
        require(not model.iterative, "A model that iterates has the statistic 'log_prob'.", got=sorted(statistics))
        return
    expected = float(model.score(data.x, given=data.given, observed=data.observed).values.sum())
    found = float(statistics["log_prob"])
    near = found == expected or abs(found - expected) < 1e-5 * len(data.x)
    require(
        near, "The statistic 'log_prob' is not the log-likelihood of the data.", got=f"{found}, expected {expected}"
    )


def likelihood_never_falls(subject: Subject) -> None:
    """No pass of expectation maximisation lowers the log-likelihood of the data."""
    model = subject.fresh()
    start(model, subject.data, 0)
    trace = [float(s["log_prob"]) / len(subject.data.x) for s in passes(model, subject.data, iterations=10, seed=0)]
    steps = [after - before for before, after in itertools.pairwise(trace)]
    got = f"{min(steps):.3g} nats per datum in pass {steps.index(min(steps)) + 1}"
    require(min(steps) > -1e-6, "A pass of expectation maximisation lowers the likelihood.", got=got)


def learns_its_data(subject: Subject) -> None:
    """After some learning, samples are at most half as far from the data as noise in the data's range (energy distance)."""
    model = learn(subject.fresh(), subject.data, steps=1500, iterations=100, settle=True)
    if model.nested[-1].size <= 2 * subject.domain.entries:
        return  # a box has as many numbers
    data = toy(subject.case, 1000, generator(5, "conformance"), complete=True).x.flatten(1).double()
    low, high = data.min(0).values, data.max(0).values
    noise = low + (high - low) * torch.rand(data.shape, generator=generator(6, "conformance"), dtype=torch.float64)
    samples = model.sample(1000, given=subject.asked(1000), generator=7).flatten(1).double()
    std = data.std(0).clamp_min(1e-9)
    learned, box = (float(pseudo_values(x / std, data / std).mean()) for x in (samples, noise))
    require(
        learned < 0.5 * box, "The model does not learn the data.", got=f"energy distance {learned:.4f}, box {box:.4f}"
    )


def _losses(model: Any, subject: Subject) -> Iterator[tuple[Phase, Tensor]]:
    """One plain gradient step of each phase, in the middle of its span; yields the phase and its loss after the step."""
    model.train()
    for number, phase in enumerate(model.phases()):
        model.advance(sum(phase.span) / 2)
        rows = torch.randint(len(subject.data.x), (BATCH,), generator=generator(0, "rows", number))
        with forked(0, "layers", number):
            loss = phase.loss(rows_of(subject.data, rows), generator(0, "noise", number)).total
        for parameter in phase.parameters:
            parameter.grad = None
        loss.backward(inputs=list(phase.parameters))
        torch.optim.Adam(phase.parameters, lr=1e-3).step()
        yield phase, loss


def _own_tensors(model: nn.Module, phase: Phase) -> set[str]:
    """The names of a phase's parameters, and of buffers whose nearest module with parameters has one of them."""
    mine = {id(p) for p in phase.parameters}
    own = {name for name, p in model.named_parameters() if id(p) in mine}
    for name, _ in model.named_buffers():
        path = name.rpartition(".")[0]
        while path and not list(model.get_submodule(path).parameters()):
            path = path.rpartition(".")[0]
        parameters = list(model.get_submodule(path).parameters())
        if any(id(p) in mine for p in parameters):
            own.add(name)
    return own


def _of_statistics(model: Any, parameter: nn.Parameter) -> bool:
    """Whether a parameter belongs to a part that learns from statistics."""
    prior = getattr(model, "prior", None) if "statistics" in model.learns else None
    return isinstance(prior, nn.Module) and any(parameter is p for p in prior.parameters())


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in tensors}


def _statistics(model: Any, subject: Subject, rows: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return model.statistics(rows_of(subject.data, rows), generator(0, "statistics"))  # type: ignore[no-any-return]


def _bits(x: Tensor) -> Tensor:
    return torch.nan_to_num(x)


def _pure_statistics(subject: Subject) -> bool:
    """Statistics of the data alone: no noise is added, and no gradients come first."""
    return learns("statistics")(subject) and not subject.dequantised and "phases" not in subject.blank.learns


def _known_likelihood(subject: Subject) -> bool:
    return _pure_statistics(subject) and subject.exact


def _iterative(subject: Subject) -> bool:
    return learns("statistics")(subject) and "phases" not in subject.blank.learns and bool(subject.blank.iterative)


def _two_dimensional(subject: Subject) -> bool:
    """The plane; or pictures, for models that take nothing else."""
    only_pictures = not type(subject.blank.nested[-1]).refuses(subject.domain) and isinstance(subject.domain, Discrete)
    plane = isinstance(subject.domain, Real) and subject.domain.entries == 2
    return bool(subject.blank.can("sample")) and (plane or (only_pictures and subject.domain.entries == 64))


LAWS = (
    Law(every_parameter_learns, learns("phases")),
    Law(phases_keep_to_themselves, learns("phases")),
    Law(losses_are_scalars, learns("phases")),
    Law(learning_repeats_itself, always),
    Law(statistics_add_up, _pure_statistics),
    Law(statistics_know_the_likelihood, _known_likelihood),
    Law(likelihood_never_falls, _iterative),
    Law(learns_its_data, _two_dimensional, slow=True),
)
