"""Laws for models with a likelihood: it is a probability, it is that of the samples, and it is each datum's own."""

from __future__ import annotations

import torch
from torch import Tensor

from ...domain import Real, Sequences
from ...likelihood import Likelihood
from ...randomness import generator
from ..check import require
from ..law import Law, can
from ..measure import Z, chi_square, has_states, z_scores
from ..subject import Subject

__all__ = ["LAWS"]

TOLERANCE = {"exact": 1e-3, "lower_bound": 1e-2, "estimate": 1e-2}
"""What quadrature may be wrong by. A density 0.5 % too high is found at 1e-3; a Monte Carlo band of 10 % finds nothing."""

MIXED = {True: 32, False: 1024}
"""Draws for the mixture of labels, by whether they are weights: it is noise that lifts a sum of exponentials of bounds."""
CALLS = 8
"""Calls over which an estimate is averaged."""
COPIES = 64
"""Copies of a batch over which a bound is averaged."""


def scores_are_likelihoods(subject: Subject) -> None:
    """Scores are one float64 number a datum, say what they are, and are never NaN or infinitely good."""
    model, data = subject.fitted, subject.held_out
    for n in (0, 1, 5):
        scores = model.score(data.x[:n], given=None if data.given is None else data.given[:n], effort=4)
        require(isinstance(scores, Likelihood), "A score is not a Likelihood.", got=scores)
        right = tuple(scores.values.shape) == (n,) and scores.values.dtype == torch.float64
        require(
            right, f"The scores of {n} data are not ({n},) float64.", got=(scores.values.shape, scores.values.dtype)
        )
        require(not bool((scores.values.isnan() | scores.values.isposinf()).any()), "A score is NaN or +inf.")
        require(
            (scores.kind == "exact") == subject.exact, "A score is exact, and log_prob is not there.", got=scores.kind
        )
        drawn = scores.mc_stderr is not None
        require(drawn == (scores.kind != "exact"), "Exactly the scores that are not exact have a Monte Carlo error.")
    likelihoods = model.score(data.x, given=data.given, generator=5)
    again = model.score(data.x, given=data.given, generator=5)
    require(bool(torch.equal(likelihoods.values, again.values)), "The same seed gives other scores.")


def log_prob_is_the_score(subject: Subject) -> None:
    """Where it is exact, log_prob and score are one number."""
    data = subject.held_out
    same = torch.equal(
        subject.fitted.log_prob(data.x, given=data.given), subject.fitted.score(data.x, given=data.given).values
    )
    require(same, "log_prob is not the value of score.")


def scores_are_each_datum_s_own(subject: Subject) -> None:
    """A datum's score does not depend on what else is in the batch, nor on the order."""
    data, n = subject.held_out, 6
    x, given = data.x[:n], None if data.given is None else data.given[:n]
    order = torch.arange(n - 1, -1, -1)
    together, error = _scored(subject, x, given, 0)
    flipped, error_flipped = _scored(subject, x[order], None if given is None else given[order], 1)
    for what, found, stderr in (
        ("in another order", flipped[order], error_flipped[order]),
        ("alone", *_alone(subject, x, given)),
        ("beside copies of another", *_beside_copies(subject, x, given)),
    ):
        allowed = 1e-5 * (1 + together.abs()) + (Z + 1) * (error.square() + stderr.square()).sqrt()
        gap = torch.where(together == found, 0.0, (together - found).abs())
        worst = int((gap - allowed).argmax())
        got = f"{float(together[worst])} in a batch, {float(found[worst])} {what}"
        require(bool((gap <= allowed).all()), f"A datum has another score {what}.", got=got)


def _scored(subject: Subject, x: Tensor, given: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """Unbiased scores and their Monte Carlo error: exact ones, estimates, or evidence lower bounds over copies of the batch."""
    if subject.exact:
        values = subject.fitted.score(x, given=given).values
        return values, torch.zeros_like(values)
    if subject.fitted.kind == "estimate":  # whose error is common to all data of a call
        calls = [subject.fitted.score(x, given=given, generator=CALLS * seed + i, effort=4) for i in range(CALLS)]
        values = torch.stack([call.values for call in calls])
        return values.mean(0), values.std(0) / CALLS**0.5
    many, labels = x.repeat(COPIES, *[1] * (x.ndim - 1)), None if given is None else given.repeat(COPIES)
    bounds = subject.fitted.elbo(many, given=labels, generator=seed, effort=4).values.reshape(COPIES, len(x))
    return bounds.mean(0), torch.nan_to_num(bounds.std(0)) / COPIES**0.5  # NaN where a draw, and so the bound, is -inf


def _alone(subject: Subject, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
    parts = [_scored(subject, x[i : i + 1], None if given is None else given[i : i + 1], 2 + i) for i in range(len(x))]
    return torch.cat([value for value, _ in parts]), torch.cat([error for _, error in parts])


def _beside_copies(subject: Subject, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
    """The last datum many times, then all: a batch with other means."""
    labels = None if given is None else torch.cat([given[-1:]] * 24 + [given])
    values, errors = _scored(subject, torch.cat([*[x[-1:]] * 24, x]), labels, 20)
    return values[24:], errors[24:]


def probability_is_one(subject: Subject) -> None:
    """Summed or integrated over the domain, under every label, the probability is one, or less where only a bound is known."""
    tolerance = TOLERANCE[subject.fitted.kind]
    for label in subject.labels:
        total, stderr = subject.masses(label).total
        under = "" if label is None else f" under label {label}"
        require(stderr < 0.05, f"The scores are too noisy to be summed{under}.", got=f"{total:.3f} ± {stderr:.3f}")
        got = f"{total:.5f} ± {stderr:.5f}"
        require(total < 1 + tolerance + Z * stderr, f"The total probability{under} is above one.", got=got)
        require(
            subject.clamped or not subject.weighted or total > 1 - tolerance - Z * stderr,
            f"The total probability{under} is below one.",
            got=got,
        )


def samples_follow_the_density(subject: Subject) -> None:
    """Samples are distributed as the likelihood says, under every label and under their mixture."""
    for label in dict.fromkeys((*subject.labels, None)):
        under = "" if label is None else f" under label {label}"
        x, masses = subject.sample(label), subject.masses(label)
        if has_states(subject.domain):
            deviation = chi_square(x, masses, subject.domain, clamped=subject.clamped)
        else:
            deviation = float(z_scores(x, masses).abs().max())
        require(
            deviation < Z,
            f"Samples{under} are not distributed as the likelihood says.",
            got=f"{deviation:.1f} errors away",
        )


def marginal_is_the_mixture_of_labels(subject: Subject) -> None:
    """Without a label, a conditional model scores the mixture over the labels' frequencies in training."""
    model, x = subject.fitted, subject.held_out.x[:16]
    given = subject.data.given
    require(given is not None, "A conditional model was tried on data without labels.")
    counts = torch.bincount(torch.as_tensor(given), minlength=len(model.given_frequencies)).double()
    frequencies = counts / counts.sum()
    same = torch.allclose(model.given_frequencies, frequencies, atol=1e-12)
    require(same, "The labels' frequencies are not those of training.", got=model.given_frequencies.tolist())
    effort = 1 if subject.exact else MIXED[subject.weighted]
    parts = [model.score(x, given=label, effort=effort, generator=label) for label in subject.labels]
    log_weights = _log_weights(subject, x, frequencies)
    expected = torch.logsumexp(torch.stack([part.values for part in parts], 1) + log_weights, 1)
    found = model.score(x, effort=effort, generator=9)
    allowed = torch.full_like(expected, 1e-6) * (1 + expected.abs())
    if found.mc_stderr is not None:
        shares = torch.stack([part.values for part in parts], 1) + log_weights - expected.unsqueeze(1)
        errors = torch.stack([part.mc_stderr for part in parts], 1) * shares.exp()
        allowed = allowed + (Z + 1) * torch.nan_to_num((errors.square().sum(1) + found.mc_stderr.square()).sqrt())
        if (
            not subject.weighted
        ):  # the labels' shares are taken from other draws: noise in them costs up to its variance
            noise = torch.stack([part.mc_stderr for part in parts]).square().amax(0)
            allowed = allowed + torch.where(found.values < expected, noise, 0.0)
    gap = torch.where(found.values == expected, 0.0, (found.values - expected).abs())
    worst = int((gap - allowed).argmax())
    got = f"{float(found.values[worst])}, and the mixture is {float(expected[worst])}"
    require(bool((gap <= allowed).all()), "The score without a label is not that of the mixture.", got=got)


def _log_weights(subject: Subject, x: Tensor, frequencies: Tensor) -> Tensor:
    """The logarithms of each datum's weights of the labels: their frequencies in training, among data of its length."""
    of_length = torch.stack([subject.of_lengths(x, label) for label in subject.labels], 1)
    joint = of_length * frequencies
    return (joint / joint.sum(1, keepdim=True)).log()


def every_length_has_probability_one(subject: Subject) -> None:
    """Where the likelihood of a sequence is given its length, it sums to one over the sequences of each length."""
    tolerance, domain = TOLERANCE[subject.fitted.kind], subject.domain
    for label in subject.labels:
        masses = subject.masses(label)
        lengths = domain.lengths(masses.nodes.x)  # type: ignore[attr-defined]
        of_length = subject.of_lengths(masses.nodes.x, label)
        for length in lengths.unique().tolist():
            rows = (lengths == length) & (of_length > 0)
            total = float((masses.nodes.weights * masses.p / of_length)[rows].sum())
            got = f"{total:.5f} over the sequences of length {length}"
            require(abs(total - 1) < tolerance or not bool(rows.any()), "The total probability is not one.", got=got)


def lengths_are_those_of_training(subject: Subject) -> None:
    """Sequences are drawn as long as those of training with the same label, or as long as they are asked for."""
    model, data, domain = subject.fitted, subject.data, subject.domain
    lengths = domain.lengths(data.x)  # type: ignore[attr-defined]
    for label in subject.labels:
        rows = lengths if label is None or data.given is None else lengths[data.given == label]
        counts = torch.bincount(rows - 1, minlength=domain.shape[0]).double()
        near = torch.allclose(model.length_frequencies[label or 0], counts / counts.sum(), atol=1e-12)
        require(near, "The frequencies of lengths are not those of training.", got=model.length_frequencies.tolist())
    asked = 1 + torch.arange(64) % domain.shape[0]
    found = domain.lengths(model.sample(64, lengths=asked, generator=0))  # type: ignore[attr-defined]
    require(bool(torch.equal(found, asked)), "Samples are not as long as they are asked for.", got=found.tolist())


def labels_matter_to_the_score(subject: Subject) -> None:
    """After a little learning, data are likelier under their own label than under another."""
    data, model = subject.data, subject.fitted
    if not subject.learned:
        return
    x, y = data.x[:256], data.given[:256]  # type: ignore[index]
    observed = None if data.observed is None else data.observed[:256]
    levels = len(subject.labels)
    right = model.score(x, given=y, observed=observed).values
    wrong = model.score(x, given=(y + levels - 1) % levels, observed=observed).values
    possible = right.isfinite()
    gain = (right - wrong)[possible].clamp(max=50)
    z = float(gain.mean() / (gain.std() / len(gain) ** 0.5 + 1e-9))
    require(
        z > 3, "Data are no likelier under their own label than under another.", got=f"mean gain {gain.mean():.4f} nats"
    )


def tails_vanish(subject: Subject) -> None:
    """Far from all data, the log-density falls without a floor: what is impossible is not made merely unlikely."""
    model, data = subject.fitted, subject.held_out
    x = data.x.double()
    direction = torch.where(torch.rand(x.shape, generator=generator(0, "tails")) < 0.5, -1, 1) * x.std()
    near, far = (model.score(x + r * direction, given=data.given).values for r in (1e6, 1e9))
    require(not bool((near.isnan() | far.isnan()).any()), "Data far away have the score NaN.")
    # in D dimensions a density that can be integrated falls faster than distance to the power -D, which is 6.9 D nats
    falls = far.isneginf() | (far < near - 6 * subject.domain.entries)
    require(bool(falls.all()), "The log-density has a floor far from the data.", got=far[~falls][:4].tolist())


def _summable(subject: Subject) -> bool:
    return subject.summable


def _clamped_reals(subject: Subject) -> bool:
    """Whether a comparison of samples with scores is spoilt by clamping."""
    return subject.summable and subject.weighted and not (subject.clamped and not has_states(subject.domain))


def _labelled(subject: Subject) -> bool:
    return can("score")(subject) and len(subject.blank.given_frequencies) > 0


def _given_lengths(subject: Subject) -> bool:
    return isinstance(subject.domain, Sequences) and not subject.domain.ends


def _real(subject: Subject) -> bool:
    return can("score")(subject) and isinstance(subject.domain, Real)


LAWS = (
    Law(scores_are_likelihoods, can("score")),
    Law(log_prob_is_the_score, can("log_prob")),
    Law(scores_are_each_datum_s_own, can("score")),
    Law(probability_is_one, _summable),
    Law(samples_follow_the_density, _clamped_reals),
    Law(every_length_has_probability_one, lambda subject: subject.summable and _given_lengths(subject)),
    Law(lengths_are_those_of_training, lambda subject: can("sample")(subject) and _given_lengths(subject)),
    Law(marginal_is_the_mixture_of_labels, _labelled),
    Law(labels_matter_to_the_score, _labelled),
    Law(tails_vanish, _real),
)
