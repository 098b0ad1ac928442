"""Laws for models that fill in or leave out parts of a datum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...domain import Discrete, Domain, Sequences, Table
from ...randomness import generator
from ..check import require
from ..law import Law, can
from ..measure import Masses, Nodes, Z, z_scores
from ..subject import Subject

__all__ = ["LAWS"]

COMPLETIONS = 16_384
CELLS = 20_000


def observed_entries_come_back(subject: Subject) -> None:
    """Completion leaves observed entries as they are, bit for bit, and fills the others with values of the domain."""
    model, data = subject.fitted, subject.held_out
    mask = torch.rand(data.x.shape, generator=generator(0, "mask")) < 0.5
    for observed in (mask, mask[0], torch.ones_like(mask), torch.zeros_like(mask)):
        x = model.complete(data.x, observed, given=data.given, generator=1)
        kept = observed.expand(data.x.shape)
        require(bool(torch.equal(x[kept], data.x[kept])), "Completion changes observed entries.")
        require(bool(torch.equal(subject.domain.check(x), x)), "Completed data are not of the domain.")
    first = model.complete(data.x, mask, given=data.given, generator=1)
    again = model.complete(data.x, mask, given=data.given, generator=1)
    require(bool(torch.equal(first, again)), "The same seed completes otherwise.")


def unobserved_values_do_not_matter(subject: Subject) -> None:
    """What stands in an unobserved entry changes neither a completion nor a marginal."""
    model, data = subject.fitted, subject.held_out
    mask = torch.rand(data.x.shape, generator=generator(0, "mask")) < 0.5
    other = torch.where(mask, data.x, _others(subject.domain, data.x))
    verbs: dict[str, Callable[[Tensor], Tensor]] = {
        "complete": lambda x: model.complete(x, mask, given=data.given, generator=1),
        "marginalise": lambda x: model.score(x, given=data.given, observed=mask, generator=1).values,
    }
    for verb, call in verbs.items():
        if model.can(verb):
            same = torch.allclose(call(data.x).double(), call(other).double(), rtol=1e-6, atol=1e-6)
            require(same, f"{verb} depends on values that are not observed.")


def completions_say_whether_they_are_exact(subject: Subject) -> None:
    """One answer for each datum: yes where nothing is missing, and no where a likelihood is not exact either."""
    model, x = subject.fitted, subject.held_out.x
    mask = torch.rand(x.shape, generator=generator(0, "mask")) < 0.5
    claims, missing = model.exact_completions(x, mask), (~mask).flatten(1).any(1)
    require(
        claims.shape == (len(x),), "It is not said of each datum whether its completion is exact.", got=claims.shape
    )
    whole = model.exact_completions(x, torch.ones_like(mask))
    require(bool(whole.all()), "Where nothing is missing, a completion is exact.")
    honest = subject.exact or not bool((claims & missing).any())
    require(honest, "Completions are called exact of a model whose likelihood is not.")


def completions_follow_the_conditional(subject: Subject) -> None:
    """A missing entry is drawn from p(missing | observed): the joint density along that entry, normalised."""
    domain = subject.domain
    for label in subject.labels[-1:]:
        first, second = subject.sample(label, 2).unsqueeze(1)
        for entry, datum in ((0, first), (subject.last_entry(second), second)):
            nodes = subject.along(datum, entry, CELLS)
            log_p = subject.fitted.log_prob(nodes.x, given=label)
            masses = _of_entry(nodes, (log_p - log_p.max()).exp(), entry)
            observed = _only(domain, set(range(domain.entries)) - {entry})
            x = datum.repeat(COMPLETIONS, *[1] * len(domain.shape))
            drawn = subject.fitted.complete(x, observed, given=label, generator=2).flatten(1)[:, entry : entry + 1]
            deviation = float(z_scores(drawn, masses).abs().max())
            got = f"entry {entry}: {deviation:.1f} errors away"
            require(deviation < Z, "Completions are not distributed as the conditional density.", got=got)


def marginals_are_sums(subject: Subject) -> None:
    """The probability of some entries is that of more entries, summed over the rest; that of none is one."""
    model, domain, data = subject.fitted, subject.domain, subject.held_out
    none = model.score(data.x, given=data.given, observed=_only(domain, set()), generator=0)
    require(bool((none.values.abs() < 1e-9).all()), "The probability of nothing is not one.", got=none.values)
    full = model.score(data.x, given=data.given, generator=0).values
    observed = model.score(
        data.x, given=data.given, observed=_only(domain, set(range(domain.entries))), generator=0
    ).values
    require(bool(torch.equal(full, observed)), "Observing every entry scores otherwise than leaving the mask out.")
    for label in subject.labels[-1:]:
        datum = subject.sample(label, 64)
        datum = datum[domain.sizes(datum).argmax()].unsqueeze(0)
        last = subject.last_entry(datum)
        for first, second in ((0, last), (last, 0)) if last else ():
            _sums_over(subject, datum, label, first, second)


def _sums_over(subject: Subject, datum: Tensor, label: int | None, first: int, second: int) -> None:
    """p(first) against the sum over second of p(first, second), at one datum's value."""
    nodes = subject.along(datum, second, CELLS if subject.exact else 1000)
    p, noise = subject.weigh(nodes.x, label, 64, _only(subject.domain, {first, second}))
    one, noise_of_one = subject.weigh(datum, label, 4096, _only(subject.domain, {first}))
    total, expected = float((nodes.weights * p).sum()), float(one)
    error = (2e-3 if subject.exact else 1e-2) * expected + (Z + 1) * float(
        torch.linalg.vector_norm(torch.cat([nodes.weights * noise, noise_of_one]))
    )
    got = f"entry {first} alone: {expected:.6g}, summed over entry {second}: {total:.6g}"
    require(total <= expected + error, "A marginal is smaller than the sum over what it leaves out.", got=got)
    require(
        subject.clamped or total >= expected - error,
        "A marginal is larger than the sum over what it leaves out.",
        got=got,
    )


def missing_values_are_marginalised(subject: Subject) -> None:
    """A missing value (NaN) scores as an entry that is not observed, and completion fills it."""
    model, data = subject.fitted, subject.held_out
    gaps = _gaps(subject.domain, data.x)
    x = torch.where(gaps, torch.nan, data.x)
    by_mask = model.score(data.x, given=data.given, observed=~gaps, generator=0).values
    by_nan = model.score(x, given=data.given, generator=0).values
    require(bool(torch.equal(by_mask, by_nan)), "A missing value scores otherwise than an entry that is not observed.")
    if model.can("complete"):
        filled = model.complete(x, torch.ones(subject.domain.shape, dtype=torch.bool), given=data.given, generator=0)
        require(not bool(filled.isnan().any()), "Completion leaves missing values missing.")


def _others(domain: Domain, x: Tensor) -> Tensor:
    """Other values for every entry: those of another datum, or of another element where sequences differ in length."""
    if not isinstance(domain, Sequences):
        return x.roll(7, 0)
    there = domain.present(x)
    other = x.clone()
    other[there] = x[there].roll(7, 0)
    return other


def _gaps(domain: Domain, x: Tensor) -> Tensor:
    """Entries that may be missing and are there, ``(N, *shape)``: whole columns of a table, every third entry of sequences."""
    if isinstance(domain, Table):
        return torch.tensor([column.missing for column in domain.columns]).expand(x.shape)
    thirds = torch.arange(domain.entries).reshape(domain.shape) % 3 == 1
    return thirds & x.isfinite()


def _only(domain: Domain, entries: set[int]) -> Tensor:
    """The mask of one datum of which these entries are observed."""
    mask = torch.zeros(domain.entries, dtype=torch.bool)
    mask[sorted(entries)] = True
    return mask.reshape(domain.shape)


def _of_entry(nodes: Nodes, p: Tensor, entry: int) -> Masses:
    """Normalised masses of one entry's values."""
    p = p / (nodes.weights * p).sum()
    return Masses(Nodes(nodes.x.flatten(1)[:, entry : entry + 1], nodes.weights), p, torch.zeros_like(p))


def _exact_parts(subject: Subject) -> bool:
    """A dequantised model completes given one draw of the noise: approximately, as it says."""
    return (
        can("complete")(subject)
        and subject.exact
        and not (isinstance(subject.domain, Discrete) and subject.dequantised)
    )


def _gappy(subject: Subject) -> bool:
    return can("marginalise")(subject) and subject.domain.missing


def _partial(subject: Subject) -> bool:
    return can("complete")(subject) or can("marginalise")(subject)


LAWS = (
    Law(observed_entries_come_back, can("complete")),
    Law(completions_say_whether_they_are_exact, can("complete")),
    Law(unobserved_values_do_not_matter, _partial),
    Law(completions_follow_the_conditional, _exact_parts),
    Law(marginals_are_sums, can("marginalise")),
    Law(missing_values_are_marginalised, _gappy),
)
