"""The report: what a comparison found, as ``report.json`` and as one page that needs nothing else.

``summary`` gathers the numbers and says which order follows from them. The pages are made from that summary and from the
run folders only; every text in them is escaped where it is put in (``markup``).
"""

from .pages import write_comparison_page as write_comparison_page
from .pages import write_run_page as write_run_page
from .summary import SCHEMA as SCHEMA
from .summary import summary as summary

__all__ = ["SCHEMA", "summary", "write_comparison_page", "write_run_page"]
