"""The capabilities: abstract classes, each adding verbs to ``Model``.

A public verb validates, seeds, splits and restores; the private method of the same name holds only the mathematics.
"""

from .activity import Usage, active_units, code_usage
from .drawing import Completes, Samples
from .energy import Energy, Partitioned
from .latent import Latent
from .scoring import Bound, Density, Marginalises, Scores, Weigher
from .variational import Variational
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
    "Usage",
    "Variational",
    "Weigher",
    "active_units",
    "as_mask",
    "code_usage",
    "evaluating",
]
