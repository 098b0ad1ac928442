"""The engine: one visible loop that yields events, a plan that is recorded, and runs that can be stopped, resumed and repeated.

``plan`` decides everything that, beside seed and data, decides the bits of a run. ``train`` is the loop (``Training`` where its
state is wanted). ``fit`` makes a plan, consumes the loop's events and keeps the run folder; ``replay`` repeats a run from its
record.
"""

from .diagnosis import Diagnosis as Diagnosis
from .events import Diagnosed as Diagnosed
from .events import Event as Event
from .events import Finished as Finished
from .events import Iterated as Iterated
from .events import Rescued as Rescued
from .events import Resumed as Resumed
from .events import Sampled as Sampled
from .events import Saved as Saved
from .events import Started as Started
from .events import Stepped as Stepped
from .events import Validated as Validated
from .loop import Training as Training
from .loop import train as train
from .planning import Plan as Plan
from .planning import plan as plan
from .repetition import Replay as Replay
from .repetition import replay as replay
from .run import fit as fit

__all__ = [
    "Diagnosed",
    "Diagnosis",
    "Event",
    "Finished",
    "Iterated",
    "Plan",
    "Replay",
    "Rescued",
    "Resumed",
    "Sampled",
    "Saved",
    "Started",
    "Stepped",
    "Training",
    "Validated",
    "fit",
    "plan",
    "replay",
    "train",
]
