r"""Normalising flows: an invertible map f from data to noise, and the change of variables that makes it a density.

.. math::

    z = f(x) \sim N(0, I), \qquad
    \log p(x) = \log N(f(x); 0, I) + \log \left|\det \frac{\partial f(x)}{\partial x}\right|.

A map through :math:`f = f_L \circ \dots \circ f_1` has the sum of the parts' log-determinants (*ladj*, for the logarithm of
the absolute determinant of the Jacobian), so all it takes is parts whose inverse and whose determinant are both cheap.
Sampling is :math:`x = f^{-1}(z)`, and training is maximum likelihood, with nothing bounded or approximated.

Discrete data have no density: a flow of them could put an infinite one on every value. They get uniform noise as wide as
their step first (``wrappers.Dequantised``), and their score is then a lower bound of the log-mass.

``transform.py`` says what a part is and composes parts, ``conditioner.py`` holds the networks that tell a part its
parameters, ``coupling.py`` the affine coupling, ``multiscale.py`` and ``mixing.py`` what pictures need. For vectors,
``element.py`` and ``splines.py`` have the monotone maps of one entry, ``vector.py`` the two ways in which entries tell
each other theirs, ``linear.py`` the maps that mix them. ``noise.py`` is a flow of the noise of dequantised data.
``flow.py`` is what all models share; a model is a file that puts parts together.
"""
