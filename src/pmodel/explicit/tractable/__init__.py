r"""Explicit, tractable densities: :math:`p_\mathrm{model}(x)` is a formula that can be computed for every x.

They either count (histogram), assume a shape (uniform, Gaussian), add such shapes up (mixture), or factor the joint
distribution. Those of this folder itself are fitted in closed form from sums over the data, without gradients.
"""
