"""Laws for models that draw new data."""

from __future__ import annotations

import torch

from ...errors import PmodelError
from ..check import require
from ..law import Law, can
from ..measure import Z, numbers, smooth_features
from ..subject import Subject, sampler_of

__all__ = ["LAWS"]

MANY = 4096


def samples_are_data(subject: Subject) -> None:
    """Samples have the domain's shape, type and range, whatever their number; none is none."""
    for n in (0, 1, 5):
        x = subject.fitted.sample(n, given=subject.asked(n), generator=0)
        expected = (n, *subject.domain.shape)
        require(tuple(x.shape) == expected, f"sample({n}) has the wrong shape.", got=tuple(x.shape), hint=f"{expected}")
        checked = subject.domain.check(x)
        same = checked.dtype == x.dtype and bool(torch.equal(checked, x))
        require(same, "Samples are not of the domain's type.", got=x.dtype, hint=f"expected {checked.dtype}")
        require(not x.requires_grad, "Samples carry a gradient.")


def samples_follow_the_seed(subject: Subject) -> None:
    """The same seed gives the same samples, another seed others, and a generator moves on.

    The seed is that of data to translate, too, where there are such: from one of them there may be one way only.
    """
    model = subject.fitted
    first, again, other = (model.sample(64, given=subject.asked(64, seed), generator=seed) for seed in (0, 0, 1))
    require(bool(torch.equal(first, again)), "The same seed gives other samples.")
    require(not bool(torch.equal(first, other)), "Another seed gives the same samples.")
    noise = torch.Generator().manual_seed(0)
    first, second = (model.sample(64, given=subject.asked(64, seed), generator=noise) for seed in (0, 1))
    require(not bool(torch.equal(first, second)), "A generator gives the same samples twice: it was not advanced.")


def settings_hold_for_one_call(subject: Subject) -> None:
    """Settings of the sampler are attributes; one call may change them, and bad ones are refused and leave no trace."""
    model, parts = subject.fitted, (sampler_of(subject.fitted), subject.fitted.nested[-1])
    owner = {name: next(part for part in parts if name in part.adjustable) for name in model.adjustable}
    before = {name: getattr(part, name) for name, part in owner.items()}
    given = subject.asked(8)
    same = torch.equal(model.sample(8, given=given, generator=0), model.sample(8, given=given, generator=0, **before))
    require(bool(same), "The same settings, given for a call, draw other samples.", got=before)
    for name in (*before, "no_such_setting"):
        try:
            model.sample(1, given=subject.asked(1), generator=0, **{name: object()})
        except PmodelError:
            continue
        require(False, f"A senseless value of {name} is not refused.")
    after = {name: getattr(part, name) for name, part in owner.items()}
    require(after == before, "A call's settings outlive it.", got=after)


def labels_shape_the_samples(subject: Subject) -> None:
    """Samples differ between labels, and each row of a mixed batch follows its own label."""
    model, labels = subject.fitted, [label for label in subject.labels if label is not None]
    if "phases" in model.learns and not model.can("score"):  # an adversarial pair learns little in a few steps
        same = torch.equal(*(model.sample(MANY, given=labels[end], generator=0) for end in (0, -1)))
        require(not same, "The label does not change the samples.")
        return
    mixed = torch.tensor(labels).repeat(MANY)
    x = model.sample(len(mixed), given=mixed, generator=1)
    flat = numbers(x)
    mu, std = flat.mean(0), flat.std(0).clamp_min(1e-12)
    of_label = [smooth_features(x[mixed == label], mu, std) for label in labels]
    alone = [smooth_features(model.sample(MANY, given=label, generator=2), mu, std) for label in labels]
    for label, first, second in zip(labels, of_label, alone, strict=True):
        z = _z(first, second)
        require(z < Z, f"Rows with label {label} in a mixed batch are not samples of that label.", got=f"z = {z:.1f}")
    z = _z(alone[0], alone[-1])
    require(
        z > Z or not subject.learned, "Samples of different labels are alike, and the data are not.", got=f"z = {z:.1f}"
    )


def _z(first: torch.Tensor, second: torch.Tensor) -> float:
    """The largest deviation between the means of two sets of features, in standard errors."""
    variance = first.var(0) / len(first) + second.var(0) / len(second)
    return float(((first.mean(0) - second.mean(0)).abs() / (variance + 1e-9).sqrt()).max())


def _labelled(subject: Subject) -> bool:
    return can("sample")(subject) and len(subject.blank.given_frequencies) > 0


def translations_follow_their_data(subject: Subject) -> None:
    """What a model that translates answers with depends on what it is given, and without it sampling is refused."""
    model, given = subject.fitted, subject.asked(64)
    x = model.sample(given=given, generator=0)
    same = torch.equal(x, model.sample(given=given.flip(0), generator=0))  # type: ignore[union-attr]
    require(not same, "The datum does not change its translation.")
    try:
        model.sample(64, generator=0)
    except PmodelError:
        return
    require(False, "A model that translates samples without data to translate.")


LAWS = (
    Law(samples_are_data, can("sample")),
    Law(settings_hold_for_one_call, can("sample")),
    Law(samples_follow_the_seed, can("sample")),
    Law(labels_shape_the_samples, _labelled),
    Law(translations_follow_their_data, lambda subject: bool(subject.blank.translates)),
)
