r"""The energy distance between two distributions, from rows of samples beside rows of data.

.. math:: \mathcal{E}(P, Q) = 2\, \mathbb{E} |X - Y| - \mathbb{E} |X - X'| - \mathbb{E} |Y - Y'| \ge 0,
          \qquad X, X' \sim P, \quad Y, Y' \sim Q,

is zero between equal distributions and no others. It is the squared maximum mean discrepancy under the kernel
:math:`-|x - y|` (Sejdinovic et al. 2013), and has no width to choose.

*Estimate.* The rows are n units :math:`w_i = (x_i, y_i)`, independent of one another; within a unit the sample may depend on
the datum, as where it is drawn by the datum's label. The U-statistic leaves out :math:`|x_i - y_i|` for that reason,

.. math:: \hat{\mathcal{E}} = \frac{1}{n (n - 1)} \sum_{i \ne j} h_{ij}, \qquad
          h_{ij} = |x_i - y_j| + |x_j - y_i| - |x_i - x_j| - |y_i - y_j| ,

and is unbiased: between equal distributions it is 0 on average, and less than 0 at times.

*Standard error.* With :math:`r_i = \sum_{j \ne i} h_{ij}` and :math:`S = \sum_i r_i`, leaving a unit out gives
:math:`\hat{\mathcal{E}}_{-i} = (S - 2 r_i) / ((n-1)(n-2))`, and Tukey's pseudo-values are

.. math:: v_i = n \hat{\mathcal{E}} - (n - 1) \hat{\mathcal{E}}_{-i} = \frac{2 r_i}{n - 2} - \frac{S}{(n-1)(n-2)} .

Their mean is :math:`\hat{\mathcal{E}}`, and their standard deviation over :math:`\sqrt n` is its error by the jackknife. Split
:math:`h_{ij} = \mathcal{E} + g_i + g_j + e_{ij}` into uncorrelated terms (Hoeffding). Then :math:`r_i - r_k` has the variance
:math:`2 (n-2)^2 \sigma_g^2 + 2 (n-2) \sigma_e^2`, so that on average

.. math:: \mathbb{E}\, \frac{\operatorname{var}(v)}{n} = \frac{4 \sigma_g^2}{n} + \frac{4 \sigma_e^2}{n (n-2)}, \qquad
          \operatorname{Var} \hat{\mathcal{E}} = \frac{4 \sigma_g^2}{n} + \frac{2 \sigma_e^2}{n (n-1)} :

right where distributions differ, and up to :math:`\sqrt 2` too large where they are equal and g vanishes; never too small.

*Difference of two.* Where two sets of samples stand beside the same data, the difference of their distances is a U-statistic
too, with the kernel :math:`h^a - h^b`, and its pseudo-values are :math:`v^a - v^b`. Their spread is its error, whatever the two
have in common, such as the noise that both were drawn from.

Source:
    Energy statistics: A class of statistics based on distances (Székely and Rizzo, 2013)
    https://doi.org/10.1016/j.jspi.2013.03.018
    The jackknife estimate of variance (Efron and Stein, 1981), https://doi.org/10.1214/aos/1176345462
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import BadInput
from .rows import matrix, same_columns

__all__ = ["LEAST", "pseudo_values"]

LEAST = 3
"""Units: leaving one out leaves a pair."""


def pseudo_values(samples: Tensor, data: Tensor) -> Tensor:
    """The jackknife's pseudo-values of the energy distance, ``(N,)`` float64: their mean is the unbiased estimate.

    Args:
        samples: ``(N, D)``.
        data: ``(N, D)``: as many. The memory is that of a few matrices ``(N, N)``.

    Raises:
        ShapeError: if these are not two matrices with the same columns.
        RangeError: if an entry is not finite.
        BadInput: if there are fewer than ``LEAST`` rows, or more samples than data or less.
    """
    x, y = matrix(samples, least=LEAST, what="Samples"), matrix(data, least=LEAST, what="Data")
    same_columns(x.shape[1], y.shape[1])
    if len(x) != len(y):
        raise BadInput("Every sample needs a datum beside it.", got=f"{len(x)} samples and {len(y)} data")
    across = torch.cdist(x, y).fill_diagonal_(0.0)
    n, rows = len(x), across.sum(0) + across.sum(1)
    for own in (x, y):
        rows -= torch.cdist(own, own).fill_diagonal_(0.0).sum(1)
    return 2 * rows / (n - 2) - rows.sum() / ((n - 1) * (n - 2))
