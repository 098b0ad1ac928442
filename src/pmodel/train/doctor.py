"""The doctor: what is wrong with a model in training, in words."""

from __future__ import annotations

from .explanation import explain as explain

__all__ = ["explain"]
