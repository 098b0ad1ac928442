r"""The doctor: what is wrong with a model in training, in words, from its losses and from looking at it now and then.

With x a datum, z its code and n samples beside n data, it looks for

- *posterior collapse* (Bowman et al. 2016): the code, or a layer of it, says nothing of the datum (``verdicts/posterior.py``);
  a *silent code* is the same where no KL weighs on codes: those of a map, and hidden units with an exact posterior;
- *dead codes*: most values that a discrete code could take stand nowhere (``verdicts/codes.py``);
- a *collapsed generator*: the mean distance between samples over that between data, and the same for nearest neighbours
  (``verdicts/collapse.py``);
- *missing modes* and *missing classes* of a model without a likelihood, where it is known which there are
  (``verdicts/modes.py``);
- *memorised training data*: samples that lie three times nearer to one training datum than to any other (Yoon et al. 2023),
  where held-out data do not;
- a *saturated discriminator*: its loss stays so small that a generator learns nothing from it (``verdicts/discriminator.py``);
- *diverging chains*, which a model that learns from Markov chains reports the energies of (``verdicts/chains.py``);
- a loss that has *exploded*, though it is finite, and samples that have *run away* from the data.

Samples and data are compared by their distances (``neighbours``).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from ..data import Dataset, Split, conditions, in_memory
from ..domain import Domain
from ..errors import Diverged
from ..model import Model
from ..randomness import generator, some
from .diagnosis import Diagnosis
from .events import Stepped
from .explanation import SMALLER_STEPS
from .neighbours import ERRORS, Columns, copied, differ
from .verdicts.chains import diverging
from .verdicts.codes import dead_codes, levels_of, silent_codes
from .verdicts.collapse import collapse
from .verdicts.discriminator import critics, saturation
from .verdicts.modes import Modes
from .verdicts.posterior import posterior_collapse, silent_layers
from .verdicts.remedies import Patient

__all__ = ["Doctor"]

LEAST_STEPS = 100
"""Before so many steps a model is not judged: it is untrained. On digits the code of a healthy VAE said at most 0.007 nats a
unit after 30 steps, and 0.1 after 60."""
GROWN, GROWN_STEPS = 0.25, 500
"""The part of training, and the steps, from which on a pair is told what it lacks: until then it may be about to learn it. By
default ``gan`` had all modes of ``ring`` after 320 steps."""
ROWS = 256
"""Samples, and data beside them: a share of them has a standard error of at most 0.031."""
TRAINING_ROWS = 4096
"""Training data that samples are compared with."""
SECONDS = 0.1
"""Sampling ends after this time, once there is a quarter of ``ROWS``: some models sample entry by entry."""

RAN_AWAY = 100.0
"""Samples whose median distance is this many times the data's have nothing to do with them."""
COPIED = 0.2
"""The share of copies among samples, beyond that among held-out data, which is memorising."""

WINDOW = 10
"""Loss reports, of about 200 in a run, over which a discriminator must be saturated."""
REPORTS = 3
"""Loss reports in a row that must have exploded: single ones come back."""
EXPLODED = 1e3
"""A loss so many times what it was at the start (and that of at least 1) has exploded. Healthy ones stayed below 10 times."""


@final
class Doctor:
    """Looks after one model during one run. It draws from generators of its own and changes nothing.

    Args:
        model: The model in training.
        data: What it learns from; the validation split is the held-out data.
        seed: Of the run.
    """

    def __init__(self, model: Model, data: Dataset, seed: int) -> None:
        self.model: Any = model
        self.seed, self.entries = seed, data.domain.entries
        self.patient = Patient.of(model)
        self.step, self.progress = 0, 1.0
        self.scales: dict[str, float] = {}
        self.recent: deque[Mapping[str, float]] = deque(maxlen=WINDOW)
        self.saturated: dict[str, Diagnosis] = {}
        train = _drawn(data.train, TRAINING_ROWS, generator(seed, "doctor", "train"))
        held_out = _drawn(data.valid, ROWS, generator(seed, "doctor", "valid"))
        self.columns = Columns(data.domain, in_memory(train.x))
        self.train = self.columns(in_memory(train.x))
        self.share = len(self.train) / max(1, len(data.train))
        self.fresh = 0 if data.valid is data.train else len(held_out)
        self.usual = copied(self.columns(in_memory(held_out.x)), self.train) if self.fresh else 0.0
        self.x, self.given = _whole(train, data.domain)
        self.given = None if model.given is None else self.given
        self.asked = conditions(data, ROWS, "valid", generator(seed, "doctor", "conditions"))
        self.modes = Modes(data, self.x, self.patient)

    def listen(self, event: Stepped) -> list[Diagnosis]:
        """What the losses say that was not known before.

        Raises:
            Diverged: if a loss has exploded.
        """
        if event.step <= self.step:  # the run went back to an earlier state
            self.recent.clear()
        self.step, self.progress = event.step, event.step / max(1, event.steps)
        self.recent.append(event.losses)
        self._refuse_exploded()
        known = set(self.saturated)
        self.saturated = self._saturated(event.losses)
        return [found for phase, found in self.saturated.items() if phase not in known]

    def examine(self) -> list[Diagnosis]:
        """What is wrong with the model as it is now: most serious first."""
        learns = self.model.learns
        if "phases" in learns and self.step < LEAST_STEPS:
            return []
        x = self._samples() if self.model.can("sample") and len(self.train) > 1 else None
        if x is not None and (broken := self._broken(x)):
            return [broken]
        samples = None if x is None else self.columns(x)
        found = [self._code(samples), silent_layers(self.recent, self.patient)]
        if x is not None and samples is not None:
            found += self._of_samples(x, samples)
        verdicts = [verdict for verdict in found if verdict is not None] + list(self.saturated.values())
        verdicts += diverging(list(self.recent), WINDOW, self.entries, self.patient)
        return sorted(verdicts, key=lambda verdict: not verdict.fatal)

    def memory(self) -> dict[str, Any]:
        """What it has heard, as JSON: a resumed run is judged as if it had never been stopped."""
        recent = [{k: v if math.isfinite(v) else None for k, v in losses.items()} for losses in self.recent]
        saturated = {phase: found.to_json() for phase, found in self.saturated.items()}
        at = {"step": self.step, "progress": self.progress, "scales": dict(self.scales)}
        return {**at, "recent": recent, "saturated": saturated}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take over what another doctor of the same run had heard."""
        self.step, self.progress, self.scales = memory["step"], memory["progress"], dict(memory["scales"])
        heard = [{k: math.nan if v is None else v for k, v in losses.items()} for losses in memory["recent"]]
        self.recent = deque(heard, maxlen=WINDOW)
        self.saturated = {phase: Diagnosis.from_json(found) for phase, found in memory["saturated"].items()}

    @property
    def calm(self) -> bool:
        """Whether no loss of the last report had exploded: only then is the state worth to be gone back to."""
        return not self.recent or not self._exploded(self.recent[-1])

    def _exploded(self, losses: Mapping[str, float]) -> set[str]:
        """The losses that are much larger than any of their phase were at its start."""
        scales = ((name, value, self.scales.get(name.partition(".")[0], math.inf)) for name, value in losses.items())
        return {name for name, value, scale in scales if abs(value) > EXPLODED * scale}

    def _refuse_exploded(self) -> None:
        known = set(self.scales)
        for name, value in self.recent[-1].items():
            if (phase := name.partition(".")[0]) not in known:  # it has begun
                self.scales[phase] = max(self.scales.get(phase, 1.0), abs(value))
        last = list(self.recent)[-REPORTS:]
        lasting = set.intersection(*map(self._exploded, last)) if len(last) == REPORTS else set[str]()
        for name in sorted(lasting):
            raise Diverged(
                f"The loss {name!r} has exploded: it is {last[-1][name]:.3g} at step {self.step}, and losses were at most "
                f"{self.scales[name.partition('.')[0]]:.3g} at the start. The steps are too large.",
                got=dict(last[-1]),
                hint=SMALLER_STEPS,
            )

    def _saturated(self, losses: Mapping[str, float]) -> dict[str, Diagnosis]:
        if self.step < LEAST_STEPS:
            return {}
        found = {phase: saturation(phase, self.recent, WINDOW, self.patient) for phase in critics(losses)}
        return {phase: verdict for phase, verdict in found.items() if verdict is not None}

    def _samples(self) -> Tensor:
        """Samples from the same noise each time, ``(n, *shape)``."""
        noise = generator(self.seed, "doctor", "samples", device=self.model.device)
        began, parts = time.perf_counter(), list[Tensor]()
        while len(parts) < 4 and (not parts or time.perf_counter() - began < SECONDS):
            given = None if self.asked is None else self.asked[len(parts) * ROWS // 4 : (len(parts) + 1) * ROWS // 4]
            parts.append(self.model.sample(ROWS // 4, given=given, generator=noise))
        return torch.cat(parts)

    def _code(self, samples: Tensor | None) -> Diagnosis | None:
        if not self.model.can("encode") or self.model.searched or len(self.x) < 2:
            return None
        q = self.model.encode(self.x, given=self.given)
        z = q.sample(generator(self.seed, "doctor", "code", device=self.model.device))

        def different() -> bool:
            return samples is None or differ(samples, self.train)

        if levels := levels_of(self.model):
            silent = silent_codes(q, levels, different, self.patient)
            return silent or dead_codes(z, levels, self.patient)
        return posterior_collapse(q.mean, z, different, self.patient)

    def _broken(self, x: Tensor) -> Diagnosis | None:
        rows = int((~self.model.domain.sound(x)).flatten(1).any(1).sum())
        if not rows:
            return None
        words = f"{rows} of {len(x)} samples hold values that are not finite."
        return Diagnosis("runaway samples", words, SMALLER_STEPS, fatal=True)

    def _of_samples(self, x: Tensor, rows: Tensor) -> list[Diagnosis | None]:
        n = min(len(rows), len(self.train))
        alike, memory = collapse(rows[:n], self.train[:n], self.patient), self._memory(rows)
        crowded = alike is not None and not alike.fatal
        missing = self.modes.missing(x) if self._grown else None
        return [self._runaway(rows), None if crowded and memory else alike, memory, missing]  # copies coincide

    @property
    def _grown(self) -> bool:
        """Whether to look for what is missing: what has a likelihood is told by that what it leaves out."""
        return not self.model.can("score") and self.step >= GROWN_STEPS and self.progress >= GROWN

    def _runaway(self, samples: Tensor) -> Diagnosis | None:
        n = min(len(samples), len(self.train))
        spread, real_spread = (float(torch.cdist(rows[:n], rows[:n]).median()) for rows in (samples, self.train))
        if spread <= RAN_AWAY * real_spread or real_spread == 0:
            return None
        return Diagnosis(
            "runaway samples",
            f"The median distance between {n} samples is {spread / real_spread:.2g} times that between data.",
            SMALLER_STEPS,
            fatal=True,
        )

    def _memory(self, samples: Tensor) -> Diagnosis | None:
        if not self.fresh:
            return None
        share = copied(samples, self.train)
        chance = max(self.usual, 1 / self.fresh)
        error = math.sqrt(chance * (1 - chance) * (1 / len(samples) + 1 / self.fresh))
        if not share - self.usual > max(COPIED * self.share, ERRORS * error):
            return None
        of = "" if self.share == 1 else f" (of {len(self.train)} that were looked at)"
        return Diagnosis(
            "memorised training data",
            f"{share:.0%} of the samples are three times nearer to one training datum{of} than to any other; of held-out data "
            f"{self.usual:.0%} are.",
            "take a smaller model or fewer steps, more data, or augmentation",
        )


def _drawn(split: Split, most: int, noise: torch.Generator) -> Split:
    return split.take(some(len(split), most, noise))


def _whole(split: Split, domain: Domain) -> tuple[Tensor, Tensor | None]:
    """At most ``ROWS`` data with nothing missing, as a model takes them, and their labels."""
    x = in_memory(split.x)
    x = domain.unpacked(x)
    known = domain.observed(x)
    rows = torch.arange(len(x)) if known is None else known.flatten(1).all(1).nonzero().flatten()
    rows = rows[:ROWS]
    return x[rows], None if split.y is None else split.y[rows]
