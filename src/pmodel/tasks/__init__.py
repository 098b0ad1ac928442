"""Tasks: what generative models are good for, as functions over their capabilities.

A task takes any model that has what it needs. Two tasks mean mixtures: ``responsibilities`` asks for a sum of components, and
``choose_components`` tries the model called ``mixture`` where no other is named.

``bayes``           labels, and any part given any other, by the sum and the product rule
``fine_tuning``     codes as features, and an encoder as the beginning of a classifier
``prediction``      how good predicted probabilities are: accuracy, log-loss, calibration
``probes``          classifiers so simple that they can only use what features show plainly
``representation``  classifiers from few labels on codes that were learned without any
``selection``       how many components a mixture should have
"""

from .bayes import Posterior as Posterior
from .bayes import conditional as conditional
from .bayes import evidence as evidence
from .bayes import posterior as posterior
from .bayes import responsibilities as responsibilities
from .fine_tuning import encoded as encoded
from .fine_tuning import fine_tuned as fine_tuned
from .prediction import Predicted as Predicted
from .prediction import predicted as predicted
from .probes import linear_probe as linear_probe
from .probes import nearest_probe as nearest_probe
from .representation import FewLabels as FewLabels
from .representation import few_labels as few_labels
from .selection import Choice as Choice
from .selection import choose_components as choose_components

__all__ = [
    "Choice",
    "FewLabels",
    "Posterior",
    "Predicted",
    "choose_components",
    "conditional",
    "encoded",
    "evidence",
    "few_labels",
    "fine_tuned",
    "linear_probe",
    "nearest_probe",
    "posterior",
    "predicted",
    "responsibilities",
]
