r"""Energy-based models: any function may be an energy, and the price is the sum over everything.

.. math::

    p(x) = \frac{e^{-E(x)}}{Z}, \qquad Z = \sum_x e^{-E(x)} \;\text{ or }\; \int e^{-E(x)} dx .

Energies tell data apart, :math:`E(x) - E(x') = \log p(x') - \log p(x)`, without Z; probabilities need it. The gradient of the
likelihood needs samples of the model instead of Z,

.. math::

    -\nabla \log p(x) = \nabla E(x) - E_{x' \sim p}[\nabla E(x')],

and these come from Markov chains (``mcmc``): exact in the limit, and wrong before it. Chains that start at data and take k
sweeps follow contrastive divergence (Hinton 2002); chains that go on from step to step are persistent (Tieleman 2008).
Where the energy is smooth its gradient can be learned instead, by denoising (``denoising``): then training needs no samples.

Annealed importance sampling (``ais``) estimates log Z. Its weights have the mean Z, so that the estimate of log Z is too low
on average and that of log p(x) too high: it is optimistic, and chains run backwards from samples bracket it from the other
side.
"""
