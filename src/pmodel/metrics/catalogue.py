"""The measurements of samples: what each is called, which way is better, what it sees and where it comes from.

An evaluation holds them by name, each as JSON that says what it is::

    {"value", "stderr", "floor", "floor_stderr", "held_out", "n", "n_reference", "unit", "measure", "estimator", "flags", …}

``floor`` is what ``n`` real data get against the same reference, random halves of one set: what a perfect model would get.
``held_out`` is what ``n`` *training* data get: what a model would get that has learned them by heart. ``flags`` are sentences
on what makes the number less than it seems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

__all__ = ["METRICS", "Row", "row"]


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """A measurement.

    Args:
        name: In ``report.json``.
        title: At the head of a column.
        better: ``smaller``, ``larger``, or ``real``: the nearer to what real data get.
        meaning: What it sees and what it does not, for the reader of a report.
        source: The key of its paper in ``report/citations.py``, or empty.
        share: Whether the value is a part of one, written as per cent.
        unit: Of the value.
        estimator: How the value and its standard error are come by.
    """

    name: str
    title: str
    better: Literal["smaller", "larger", "real"]
    meaning: str
    source: str = ""
    share: bool = False
    unit: str = "share"
    estimator: str


METRICS: tuple[Row, ...] = (
    Row(
        name="fid",
        title="distance (FID)",
        better="smaller",
        meaning="Fréchet distance between Gaussians fitted to the features of samples and of real data. It sees means and "
        "covariances only, and grows as samples get fewer.",
        source="heusel2017",
        unit="squared feature distance",
        estimator="moments of features; standard error by the grouped jackknife of the samples",
    ),
    Row(
        name="kid",
        title="distance (KID)",
        better="smaller",
        meaning="Squared maximum mean discrepancy of the features under a cubic kernel, without bias: equal distributions get "
        "0 on average, whatever the number of samples.",
        source="binkowski2018",
        unit="squared discrepancy",
        estimator="unbiased, all pairs, kernel (x·y/D + 1)³; standard error of both draws by the theory of U-statistics",
    ),
    Row(
        name="sliced_wasserstein",
        title="sliced Wasserstein",
        better="smaller",
        meaning="How far samples must be moved to become the data, averaged over directions, in standard deviations.",
        source="rabin2011",
        unit="standard deviations",
        estimator="order 2, seeded directions; standard error by resampling the samples",
    ),
    Row(
        name="precision",
        title="precision",
        better="real",
        meaning="Share of samples that lie among real data: closer to some datum than its own third neighbour is.",
        source="kynkaanniemi2019",
        share=True,
        estimator="3 neighbours; standard error of the points and of the neighbourhoods",
    ),
    Row(
        name="recall",
        title="recall",
        better="real",
        meaning="Share of real data that lie among samples: what of the data's variety occurs.",
        source="kynkaanniemi2019",
        share=True,
        estimator="3 neighbours; standard error of the points and of the neighbourhoods",
    ),
    Row(
        name="density",
        title="density",
        better="real",
        meaning="How many neighbourhoods of real data a sample lies in, against how many are expected: like precision, but one "
        "outlier among the data does not make all samples near it count.",
        source="naeem2020",
        unit="ratio",
        estimator="5 neighbours; standard error of the points and of the neighbourhoods",
    ),
    Row(
        name="coverage",
        title="coverage",
        better="real",
        meaning="Share of real data whose neighbourhood holds a sample: like recall, but outliers among samples do not help.",
        source="naeem2020",
        share=True,
        estimator="5 neighbours; standard error of both draws",
    ),
    Row(
        name="two_sample",
        title="told from real",
        better="smaller",
        meaning="How often a classifier, trained on half of them, tells samples from real data in the other half: 50 % is "
        "chance, 100 % is always.",
        source="lopezpaz2017",
        share=True,
        estimator="ridge logistic regression, accuracy on held-out halves; binomial standard error",
    ),
    Row(
        name="judge",
        title="clear to the judge",
        better="real",
        meaning="Share of samples that a classifier of the real data assigns to one class with confidence .9 or more. It sees "
        "whether samples are recognisable, not whether they are varied.",
        source="",
        share=True,
        estimator="calibrated confidence; binomial standard error",
    ),
    Row(
        name="inception_score",
        title="Inception Score",
        better="larger",
        meaning="How clear each sample's class is and how evenly classes occur, by the judge; at most the number of classes. "
        "One picture of each class gets nearly all of it: read it beside recall.",
        source="salimans2016",
        unit="classes",
        estimator="mean over 10 splits, and its standard error",
    ),
    Row(
        name="class_shares",
        title="classes against data",
        better="smaller",
        meaning="Kullback–Leibler divergence, in nats, of the classes of samples from the data's class shares, by the judge.",
        source="",
        unit="nats",
        estimator="likeliest classes, corrected for bias; standard error to second order",
    ),
    Row(
        name="class_agreement",
        title="asked for and got",
        better="larger",
        meaning="Of samples that were asked for by label, the share in which the judge sees that label.",
        source="",
        share=True,
        estimator="likeliest class; binomial standard error",
    ),
    Row(
        name="sharpness",
        title="sharpness",
        better="real",
        meaning="Energy of the finest details against that of real data: below 1 is blurred, above 1 is noisy.",
        source="",
        unit="ratio",
        estimator="energy of the discrete Laplacian; standard error of a ratio of means",
    ),
    Row(
        name="memorisation",
        title="too near to training data",
        better="real",
        meaning="Share of samples that are nearer to one training datum, against its next fifty, than nearly all (99 %) "
        "held-out real data are: 1 % is expected, much more means that training data were learned by heart.",
        source="",
        share=True,
        estimator="nearest of 50 training neighbours against held-out data; binomial standard error",
    ),
    Row(
        name="high_quality",
        title="at a mode",
        better="real",
        meaning="Share of samples within three standard deviations of a true mode: what lies between modes is made up. Only "
        "where the modes are known.",
        source="srivastava2017",
        share=True,
        estimator="distance to the nearest true mode; binomial standard error",
    ),
    Row(
        name="mode_shares",
        title="modes against data",
        better="smaller",
        meaning="Kullback–Leibler divergence, in nats, of the modes of samples from the true shares, and how many of the modes "
        "have any: a model that has collapsed onto one of K gets log K. Only where the shares of the modes are known.",
        source="srivastava2017",
        unit="nats",
        estimator="nearest true modes of samples at one, or the modes that the judge sees, corrected for bias; standard error "
        "to second order",
    ),
    Row(
        name="kl_data_model",
        title="KL(data‖model)",
        better="smaller",
        meaning="Kullback–Leibler divergence of the model from the true density, in nats: what the model lacks. Only where the "
        "truth is known.",
        source="",
        unit="nats",
        estimator="sum over a grid where the likelihood is exact, else mean over held-out data",
    ),
    Row(
        name="kl_model_data",
        title="KL(model‖data)",
        better="smaller",
        meaning="The other direction, in nats: what the model makes up. Only where the truth is known.",
        source="",
        unit="nats",
        estimator="sum over a grid where the likelihood is exact, else mean over samples of the model",
    ),
)
"""In the order in which a report shows them."""


def row(name: str) -> Row:
    """The row of a measurement by its name."""
    return next(metric for metric in METRICS if metric.name == name)
