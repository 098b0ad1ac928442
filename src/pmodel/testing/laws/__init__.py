"""All laws, by what they are about."""

from . import bounds, contract, devices, energies, learning, parts, refusals, sampling, scoring, stopping

__all__ = ["LAWS"]

LAWS = (
    *contract.LAWS,
    *refusals.LAWS,
    *sampling.LAWS,
    *scoring.LAWS,
    *bounds.LAWS,
    *energies.LAWS,
    *parts.LAWS,
    *learning.LAWS,
    *stopping.LAWS,
    *devices.LAWS,
)
