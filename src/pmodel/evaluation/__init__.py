"""Everything that is measured of one model, on one bench that stays the same for all that are compared."""

from ..metrics.judge import judges_folder as judges_folder
from .bench import Bench as Bench
from .of_run import evaluate as evaluate
from .record import Evaluation as Evaluation
from .record import read_evaluation as read_evaluation

__all__ = ["Bench", "Evaluation", "evaluate", "judges_folder", "read_evaluation"]
