"""Pages for tests: what is on one, and a comparison whose evaluations hold every measurement of the catalogue."""

import hashlib
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser

import torch

from pmodel.comparison import compare
from pmodel.evaluation import Bench
from pmodel.metrics.catalogue import METRICS

HOSTILE = '<script>alert("1")</script>\'"><img src=https://evil.example/x onerror=alert(1)>&amp;\u202eRTL'
SHOWN = HOSTILE.replace("\u202e", "\ufffd")
"""How the page shows it: what would turn the direction of the text is seen as a sign of its own."""


class Page(HTMLParser):
    """Every element, attribute and address of a page, its text, and the rows of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open, self.raw = [], [], [], [], {"script": [], "style": []}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]].append(data)
        else:
            self.text.append(data)

    def policy(self):
        """The directives of the page's Content-Security-Policy."""
        written = next(value for tag, name, value in self.attributes if tag == "meta" and name == "content")
        return dict(part.strip().partition(" ")[::2] for part in written.split(";"))


def is_safe(text):
    """The page, after making sure that it can run nothing but its own script and load nothing at all."""
    page = Page(text)
    assert not page.open
    assert not {"iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] == "style"]
    addresses = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "action", "data")]
    assert all(value.startswith("data:image/png;base64,") for value in addresses)
    assert not re.search(r"url\(|@import|innerHTML|eval\(", "".join(page.raw["style"] + page.raw["script"]))
    policy = page.policy()
    assert policy["default-src"] == "'none'"
    for kind in ("script", "style"):
        digest = b64encode(hashlib.sha256("".join(page.raw[kind]).encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    return page


MODELS = ["gaussian", "mixture:components=3", "uniform", "vae:size=tiny", "gaussian:size=tiny"]
"""The last one fails: a Gaussian comes in one size."""
USUAL = {"smaller": 3.0, "larger": 4.0, "real": 0.9}
UNITS = {"fid": "squared feature distance", "kl_data_model": "nats", "kl_model_data": "nats", "class_shares": "nats"}


def measured(name, generator, n=718):
    """The JSON of one measurement, with every field of its documentation, around a usual value."""
    row = next(row for row in METRICS if row.name == name)
    value = (0.5 if row.share else USUAL[row.better]) * (0.4 + 1.2 * float(torch.rand((), generator=generator)))
    value = min(value, 1.0) if row.share else value
    return {
        "value": value,
        "stderr": 0.02 * value,
        "floor": 0.1 if row.better == "smaller" else 0.95,
        "floor_stderr": 0.01,
        "held_out": 0.08 if row.better == "smaller" else 0.97,
        "n": n,
        "n_reference": n + 1,
        "unit": UNITS.get(name, ""),
        "measure": {"data": "0" * 64, "split": "train", "which": "all", "extractor": "judge of digits", "n": n},
        "estimator": "made up for a test",
        "flags": ["a sentence on what makes it less than it seems"] if name == "density" else [],
    }


def with_everything(evaluate):
    """``Bench.evaluate`` whose evaluations hold all measurements; what it measures itself stays."""

    def evaluated(self, model, record=None):
        found = evaluate(self, model, record)
        draws = torch.Generator().manual_seed(model.size)
        invented = {row.name: measured(row.name, draws) for row in METRICS}
        speed = {**found.speed, "sequential_calls": 7, "sample_memory_bytes": 123_456_789}
        return replace(found, metrics={**invented, **found.metrics}, speed=speed)

    return evaluated


def full_comparison(monkeypatch, data, out, models=MODELS, **settings):
    """A comparison in ``out`` with every measurement; likelihoods, samples and times are real."""
    monkeypatch.setattr(Bench, "evaluate", with_everything(Bench.evaluate))
    return compare(models, data, out=out, **{"n": 200, "steps": 60} | settings).report
