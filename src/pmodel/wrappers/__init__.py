r"""Models around models. A wrapper is a model again, so nothing else in pmodel knows that there are wrappers.

``Standardised`` and ``Dequantised`` are one idea: a map x → y under which the inner model is fitted, with the change of
volume added to every log-probability, so that scores stay in the measure of the *original* data.

=============  ==============================  ===========================  ==========================
wrapper        inward y                        log-volume of an entry       likelihood
=============  ==============================  ===========================  ==========================
Standardised   (x - loc) / scale               -log scale                   as the inner model's
Dequantised    x + step · (u - 1/2), u ~ U     +log step                    a lower bound of the mass
=============  ==============================  ===========================  ==========================

The noise u may have a learned density q(u | x) instead, which takes -log q to the log-volume (``flow/noise.py``).

``make`` puts the right ones around a model for a domain that it does not take by itself, and they are recorded.

``ByClass`` makes one model a class; ``WithPrior`` gives the codes of an autoencoder a density.
"""

from .by_class import ByClass as ByClass
from .volume import Dequantised as Dequantised
from .volume import Standardised as Standardised
from .volume import Wrapper as Wrapper
from .with_prior import WithPrior as WithPrior

__all__ = ["ByClass", "Dequantised", "Standardised", "WithPrior", "Wrapper"]
