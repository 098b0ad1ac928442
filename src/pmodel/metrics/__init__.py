"""Measurements of a model, each saying what it is: its measure, estimator, number of data and standard error."""

from .fid import Moments as Moments
from .fid import frechet_distance as frechet_distance
from .judge import Judge as Judge
from .judge import judge_for as judge_for
from .likelihood import Candidate as Candidate
from .likelihood import Verdict as Verdict
from .likelihood import bits_json as bits_json
from .likelihood import compare_likelihoods as compare_likelihoods
from .likelihood import costs as costs
from .likelihood import likelihood_json as likelihood_json
from .measure import Measure as Measure
from .measure import same_measure as same_measure

__all__ = [
    "Candidate",
    "Judge",
    "Measure",
    "Moments",
    "Verdict",
    "bits_json",
    "compare_likelihoods",
    "costs",
    "frechet_distance",
    "judge_for",
    "likelihood_json",
    "same_measure",
]
