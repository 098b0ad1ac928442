"""``compare``: several models, one data set, one bench, one page.

Each model and seed gets a run folder, so that an interrupted comparison goes on where it stopped, and a model that fails is
a row that says why.
"""

from .comparing import Comparison as Comparison
from .comparing import compare as compare
from .entry import Entry as Entry
from .job import Job as Job
from .job import Progress as Progress
from .running import Outcome as Outcome

__all__ = ["Comparison", "Entry", "Job", "Outcome", "Progress", "compare"]
