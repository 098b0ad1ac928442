"""The capabilities: abstract classes, each adding verbs to ``Model``.

A public verb validates, seeds, splits and restores; the private method of the same name holds only the mathematics.
"""

from .activity import active_units
from .drawing import Completes, Samples
from .energy import Energy, Partitioned
from .latent import Latent
from .scoring import Bound, Density, Marginalises, Scores
from .verbs import as_mask, evaluating

__all__ = [
    "Bound",
    "Completes",
    "Density",
    "Energy",
    "Latent",
    "Marginalises",
    "Partitioned",
    "Samples",
    "Scores",
    "active_units",
    "as_mask",
    "evaluating",
]
