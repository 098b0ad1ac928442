r"""Implicit models: a sampler without a density, taught by a critic that compares its samples with data.

.. math::

    z \sim N(0, I), \qquad x = G(z), \qquad
    \min_G \max_D \; E_{x \sim p_{data}}[\log \sigma(D(x))] + E_z[\log(1 - \sigma(D(G(z))))].

At the best D the value is :math:`2\,\mathrm{JS}(p_{data} \| p_G) - \log 4` (Goodfellow et al. 2014), so this game minimises
the Jensen-Shannon divergence; it is not maximum likelihood, and dropping a mode has a cost. Yet losses that judge each sample
by itself have bad basins in the space of samples (Sun et al. 2020), and steps taken in turns circle and overshoot: modes are
lost in training, not by the objective. There is no ``log_prob``: these models are compared by their samples.
"""
