r"""Autoregressive models: the chain rule in a fixed order, and a network for each factor.

.. math:: p(x) = \prod_{i=1}^{D} p(x_i \mid x_1, \dots, x_{i-1})

This loses nothing: any distribution can be written so, and the product is its exact likelihood. What a model chooses is how a
factor depends on the earlier entries. Each factor is a distribution of one entry, so it is normalised at no cost, and training
maximises the likelihood itself.

*Training is parallel.* All entries of a training datum are known, so no factor waits for another: a network whose output i does
not depend on the entries i, …, D computes all D factors in one pass. Only *sampling* is sequential, since :math:`x_i` must be
drawn before the next factor can be computed; what does not change from one entry to the next can still be kept.

``pixels`` are pictures in raster order, ``vectors`` any entries in a row, ``tokens`` strings of symbols. All complete alike
(``completing.py``, ``particles.py``) and draw categories alike (``categories.py``).
"""
