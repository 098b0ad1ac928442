"""The engine: one visible loop that yields events, a plan that is recorded, and run folders.

``train`` is the loop. ``fit`` makes a plan, consumes the loop's events and writes the run folder.
"""

from .events import Event as Event
from .events import Finished as Finished
from .events import Iterated as Iterated
from .events import Sampled as Sampled
from .events import Started as Started
from .events import Stepped as Stepped
from .loop import train as train
from .planning import Plan as Plan
from .planning import plan as plan
from .run import fit as fit

__all__ = ["Event", "Finished", "Iterated", "Plan", "Sampled", "Started", "Stepped", "fit", "plan", "train"]
