r"""Models that learn a representation and nothing else: a code z for each datum, and the way back.

.. math:: z = f(x), \qquad x \sim p(x \mid z)

There is no p(z), and so no p(x): nothing says which codes are likely, and a code that was made up decodes to whatever the
decoder happens to do there. A density that is learned of the codes afterwards makes such a model generative
(``wrappers.WithPrior``, ``--set prior=gaussian``).
"""
