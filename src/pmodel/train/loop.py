"""The one loop: a generator of events. To stop training is to stop iterating."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import torch
from torch import Tensor

from ..data import Dataset, conditions
from ..errors import BadInput, Diverged, NotSupported
from ..model import Model
from ..randomness import derive, generator
from .doctor import Doctor
from .events import (
    Diagnosed,
    Event,
    Finished,
    Rescued,
    Resumed,
    Sampled,
    Started,
    Stepped,
    Validated,
    to_json,
)
from .logs import finite
from .means import Means
from .passes import maximise
from .planning import Plan
from .precision import Arithmetic
from .preparation import batches_of, prepare, require_fit, threads_set
from .processes import ALONE, Processes
from .state import Position, State, copied, put, taken
from .stepper import Stepper
from .validation import Validation, validation_of

__all__ = ["Training", "train"]

REPORTS = 200
"""Gradient events in a run, about."""
PICTURES = (0.05, 0.1, 0.25, 0.5, 0.75)
"""The points of training at which the model is sampled and examined, and at its end."""
SHOWN = 36
"""Samples in a picture."""
PATIENCE = 1.5
"""A run ends when it has taken this many times its budget."""
CAREFUL = 0.5
"""What the rate is multiplied by when a run that diverged goes on from its last good state."""


def train(model: Model, data: Dataset, plan: Plan) -> Iterator[Event]:
    """Train a model: gradient phases if it has any, then expectation maximisation if it has statistics.

    When the last event has been taken, the model holds the weights to sample and score with and is in evaluation mode.

    Args:
        model: A model of the data's domain; it is changed in place.
        data: What to learn from: the training split.
        plan: From ``plan``.

    Yields:
        ``Started``, then the other events as they come, then ``Finished``.

    Raises:
        BadInput: if the data are not of the model's domain, or it needs labels that they do not have.
        Diverged: if a loss or a statistic is not finite.
    """
    return iter(Training(model, data, plan))


@final
class Training:
    """A training under way: iterate for its events. After each, its whole state can be taken, and put into a fresh one.

    Args:
        model: A model of the data's domain; it is changed in place.
        data: What to learn from.
        plan: From ``plan``.
        processes: Who shares the work.
    """

    def __init__(self, model: Model, data: Dataset, plan: Plan, processes: Processes = ALONE) -> None:
        require_fit(model, data)
        if plan.shards % processes.world:
            raise BadInput(
                f"This run has {plan.shards} shards, which {processes.world} processes cannot share out equally.",
                hint=f"start as many processes as divide {plan.shards}",
            )
        self.model: Any = model.to(plan.device)
        self.data, self.plan, self.processes = data, plan, processes
        self.position = Position()
        self.asked = self.halted = False
        self.health: list[Diagnosed] = []
        self.batches = batches_of(data, plan, conditional=model.given is not None)
        self.best: dict[str, Tensor] = {}
        self.peak: Tensor | None = None
        self.good: State | None = None
        self.stepper = self._new_stepper() if plan.steps else None
        self.validation = validation_of(model, data, plan.validated, plan.seed) if plan.validations else None
        self.doctor = Doctor(model, data, plan.seed)
        self.losses = Means()

    def _new_stepper(self) -> Stepper:
        plan = self.plan
        if plan.shards > 1 and self.model.training_state():
            raise NotSupported("A model that carries state from step to step learns in one shard.", got=plan.shards)
        return Stepper(self.model, self.batches, plan.recipe, plan.seed, plan.arithmetic, self.processes)

    def halt(self) -> None:
        """End after the step, or within the pass, that is under way, without a ``Finished``."""
        self.asked = True
        self.halted = self.halted or self.processes.world == 1  # several processes agree on it, or they would part

    def state(self) -> State:
        """The whole state, after an event."""
        return taken(self)

    @property
    def sound(self) -> bool:
        """Whether the state is one to keep: no loss has exploded, and every weight is finite."""
        return self.doctor.calm and all(bool(p.isfinite().all()) for p in self.model.parameters())

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises:
            RunError: if it is not one of this model under this plan.
        """
        put(self, state)

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, without the time that it lay stopped."""
        return time.perf_counter() - self._began

    def __iter__(self) -> Iterator[Event]:
        with threads_set(self.plan.threads):
            yield from self._events()

    def _events(self) -> Iterator[Event]:
        plan, at = self.plan, self.position
        self._began = time.perf_counter() - at.seconds
        if at.stage == "prepare":
            if not plan.warm:
                prepare(self.model, self.data, self.batches, plan.seed)
            self.processes.share_(list(self.model.state_dict().values()))
            if self.stepper is not None and self.stepper.average is not None:
                self.stepper.average.begin()  # preparing has moved the weights
            at.stage = "descend"
        else:
            yield Resumed(at.step, at.iteration, at.seconds)
        yield Started(plan.steps, plan.iterations)
        if self.position.stage == "descend":
            yield from self._descend()
        if self.position.stage == "maximise" and not self.halted:
            yield from maximise(self)
        if self.halted:
            return
        self.model.eval()
        yield from self._shown(1.0)
        at = self.position  # a rescue has put another in its place
        yield Finished(at.reason, at.step, at.iteration, at.images, at.seconds)

    def _descend(self) -> Iterator[Event]:
        """The gradient steps of the plan, and then the weights to keep."""
        plan, stepper = self.plan, self.stepper
        if stepper is not None:
            if plan.recipe.retry and self.good is None:
                self._remember()
            self._take_care(stepper)
            until = plan.steps if plan.end is None else min(plan.end, plan.steps)
            while self.position.step < until and not self.position.over and not self.halted:
                try:
                    at = self.position  # a rescue goes back to another
                    before, now = (at.step - 1) / plan.steps, at.step / plan.steps
                    if at.step and stepper.turn(at.step, before, now, warm=plan.warm):
                        self.best, self.peak, at.stale = {}, None, 0  # it lacks what is only now learned
                    losses = stepper.step(at.step, at.step / plan.steps)
                    yield from self._after(stepper, losses, until)
                except Diverged as error:
                    yield self._rescued(stepper, error)
            if self.halted:
                return
            self._keep(stepper)
        at = self.position
        at.stage, at.over, at.begun = "maximise" if plan.iterations else "end", False, at.seconds

    def _after(self, stepper: Stepper, losses: Mapping[str, Tensor], until: int) -> Iterator[Event]:
        """What is due after a step. Its ``Stepped`` comes last, and with the decision whether there is another one."""
        at, plan = self.position, self.plan
        self.losses.add(losses)
        at.images += stepper.drawn(at.step / plan.steps) * self.batches.size
        at.step += 1
        at.seconds = self.elapsed
        if self._late() or (at.step == until and until < plan.steps):
            at.reason, at.over = "cut by the clock", True
        ended, looked_at = at.step == until or at.over, self._due(at.step)
        regular = ended or looked_at or at.step % max(1, plan.steps // REPORTS) == 0
        if not (regular or self.halted):
            return
        stepped = Stepped(at.step, plan.steps, self.losses.over(self.processes), at.images, at.seconds)
        if not regular:  # a signal: what is gathered for the next report goes into the state
            yield stepped
            return
        self.losses.clear()
        if ended and stepper.average is not None:
            stepper.average.settle(at.step - 1, (at.step - 1) / plan.steps)
        if ended or looked_at:
            self._require_finite(at.step)
        for diagnosis in self.doctor.listen(stepped):
            yield Diagnosed(at.step, diagnosis, at.seconds)
        if self.validation is not None and (_falls(at.step, plan.steps, plan.validations) or ended):
            yield self._validated(stepper, self.validation)
        if plan.recipe.retry and self._due(at.step) and self.sound:
            self._remember()
        if at.step in self._pictures() and not plan.iterations:  # codes have no density before its turn comes
            with self._averaged(stepper):
                shown = list(self._shown(at.step / plan.steps))
            yield from shown  # when whoever takes them may take the state too: the weights are back
        yield stepped

    def _late(self) -> bool:
        """Whether time is up; and whether anyone was told to stop is then known to all processes."""
        budget = self.plan.budget
        over = budget is not None and self.position.seconds > PATIENCE * budget
        if self.processes.world > 1:
            flags = torch.tensor([float(over), float(self.asked)])
            self.processes.sum_([flags])
            over, self.halted = bool(flags[0]), bool(flags[1])
        return over

    def _pictures(self) -> list[int]:
        return [round(point * self.plan.steps) for point in PICTURES]

    def _due(self, step: int) -> bool:
        """Whether something other than a report falls on this step."""
        return _falls(step, self.plan.steps, self.plan.validations) or step in self._pictures()

    def _require_finite(self, step: int) -> None:
        """Weights that are not finite are no result. Before the end, the loss of the next step finds them."""
        for name, tensor in self.model.named_parameters():
            if not bool(tensor.isfinite().all()):
                raise Diverged(
                    f"The weight {name} is not finite after step {step - 1}: its gradient was not.",
                    hint="lower the rate (--set train.rate=…), clip gradients (--set train.clip=1),"
                    " or use --precision float32",
                )

    def _remember(self) -> None:
        """This is a state to go back to."""
        self.good = None  # or it would hold the one before
        self.good = copied(self.state())

    def _rescued(self, stepper: Stepper, error: Diverged) -> Rescued:
        """Go back to the last good state and on with a smaller rate, in float32.

        Raises:
            Diverged: if that has been tried as often as it may.
        """
        rescues, seconds = self.position.rescues + 1, self.position.seconds
        if rescues > self.plan.recipe.retry or self.good is None:
            raise error
        self.restore(self.good)
        self.position.rescues, self.position.seconds = rescues, seconds
        self._take_care(stepper)
        return Rescued(self.position.step, stepper.caution, stepper.arithmetic.precision, seconds)

    def _take_care(self, stepper: Stepper) -> None:
        """Compute as carefully as the rescues so far ask for."""
        if self.position.rescues:
            stepper.caution = CAREFUL**self.position.rescues
            stepper.arithmetic = Arithmetic("float32", self.plan.layout)

    def _validated(self, stepper: Stepper, validation: Validation) -> Validated:
        """Score the model, and remember it if it is the one to keep so far."""
        at, plan = self.position, self.plan
        with self._averaged(stepper):
            found = validation.score(self.model)
            best = bool(self.processes.agreed(found.stands(self.peak)))  # so that all keep and stop alike
            if best and plan.recipe.select == "best":
                self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        event = Validated(at.step, plan.steps, found.told, found.stderr, found.kind, found.n, best, at.seconds)
        at.stale += 1
        if best:
            at.stale, at.validated = 0, finite(to_json(event))
            self.peak = found.values if found.leads(self.peak) else self.peak
        tired = bool(plan.recipe.patience) and at.stale >= plan.recipe.patience
        if tired and stepper.last_stage(at.step / plan.steps) and not at.over:
            at.reason, at.over = "stopped early", True
        return event

    def _averaged(self, stepper: Stepper) -> AbstractContextManager[None]:
        return stepper.average.applied() if stepper.average else nullcontext()

    def _keep(self, stepper: Stepper) -> None:
        """Leave the weights to sample and score with in the model: the best, else the moving average, else the last."""
        if self.best:
            self.model.load_state_dict(self.best)
        elif stepper.average is not None:
            stepper.average.swap()
        self.stepper, self.best, self.peak, self.good = None, {}, None, None

    def _shown(self, progress: float) -> Iterator[Event]:
        """A few samples of the model as it is, from the same noise each time, and what the doctor thinks of it."""
        if not self.processes.leader:
            return
        if self.model.can("sample"):
            given = conditions(self.data, SHOWN, "valid", generator(self.plan.seed, "pictured"))
            yield Sampled(progress, self.model.sample(SHOWN, given=given, generator=derive(self.plan.seed, "picture")))
        self.health = [Diagnosed(self.position.step, d, self.position.seconds) for d in self.doctor.examine()]
        yield from self.health


def _falls(step: int, steps: int, points: int) -> bool:
    """Whether one of so many equally spaced points of training falls on this step."""
    return step * points // steps > (step - 1) * points // steps
