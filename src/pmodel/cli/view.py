"""How the course of a run looks on a terminal: any width from twenty characters up, with or without colours.

::

    vae on mnist                                                    31 s, 18 s left
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━━━━━━━ 63 %
    step 1,260 of 2,000 · 8,420 images/s · best at 1,200 · saved at 1,260

    loss          93.21 █▆▅▄▃▃▂▂▂▁▁▁▁▁▁▁                             ▀▀▀▀▀▀▀ ▀▀▀▀▀▀▀
    kl            13.10 ▁▁▂▃▄▅▆▆▆▇▇▇▇▇▇▇                             ▀▀▀▀▀▀▀ ▀▀▀▀▀▀▀
    validation  ≥ -94.02 ▁▃▅▆▇▇                                      ▀▀▀▀▀▀▀ ▀▀▀▀▀▀▀
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from .console import duration_words, plain
from .drawing import ASCII_BARS, BARS, Blocks, coloured, contact_sheet, sparkline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from ..domain import Domain
    from .course import Course

__all__ = ["View"]

BESIDE = 44
"""Characters that the numbers need before a picture stands beside them."""
TALLEST = 14
"""Lines of the picture, at most."""
NARROWEST, WIDEST = 24, 60
"""Characters of it; on a terminal that is twice as wide, up to half of it."""
VALUE = 9
"""Characters of a number."""
ASCII = str.maketrans({"·": "|", "±": "~", "≥": ">", "≈": "~", "×": "x"})


@final
class View:
    """The picture of a run on a console.

    Args:
        title: What is being trained.
        course: Of the run; it moves on between two looks.
        console: Where it is shown.
        domain: Of the data; None shows no samples.
    """

    def __init__(self, title: str, course: Course, console: Console, domain: Domain | None = None) -> None:
        self.title = title
        self.course = course
        self.console = console
        self.images = domain is not None and domain.image
        self.domain = domain if self.images and coloured(console) else None
        self.ascii = console.options.ascii_only
        self._drawn: tuple[object, Blocks | None] = (None, None)

    def __call__(self) -> RenderableType:
        """The view as it is now."""
        from rich.console import Group
        from rich.text import Text

        width, height = max(20, self.console.width), self.console.height
        warnings = [self._text(words, style) for words, style in self._warnings()]
        body = self._body(width, max(1, height - 7 - 2 * len(warnings)))
        parts = [self._head(), self._bar(), self._facts(), Text(), *body]
        return Group(*parts, *([Text(), *warnings] if warnings else []))

    def _text(self, words: str, style: str = "", *, fold: bool = True) -> Text:
        """Words from files and models: nothing in them is interpreted, and an ASCII terminal gets ASCII."""
        from rich.text import Text

        words = plain(words).translate(ASCII) if self.ascii else plain(words)
        return Text(words, style, overflow="fold" if fold else "crop", no_wrap=not fold)

    def _line(self, left: RenderableType, right: RenderableType) -> Table:
        """Something that takes what room there is, and something beside it that is never cut."""
        from rich.table import Table

        table = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column(ratio=1, no_wrap=True, overflow="crop")
        table.add_column(justify="right", no_wrap=True)
        table.add_row(left, right)
        return table

    def _head(self) -> Table:
        times = []
        if self.course.unit:
            left = self.course.left
            times = [duration_words(self.course.elapsed), *([] if left is None else [f"{duration_words(left)} left"])]
        return self._line(self._text(self.title, "bold", fold=False), self._text(", ".join(times) or "planning"))

    def _bar(self) -> Table:
        from rich.progress_bar import ProgressBar

        known = bool(self.course.total)
        bar = ProgressBar(
            self.course.total or None, self.course.done, pulse=not known, complete_style="cyan", finished_style="cyan"
        )
        return self._line(bar, self._text(f"{self.course.share:4.0%}" if known else ""))

    def _facts(self) -> Text:
        course, facts = self.course, []
        if course.total:
            most = "at most " if course.unit == "pass" else ""
            facts.append(f"{course.unit} {course.done:,} of {most}{course.total:,}")
        if course.speed:
            facts.append(f"{course.speed:,.0f} {'images' if self.images else 'data'}/s")
        if course.best is not None:
            facts.append(f"best at {course.best:,}")
        if course.saved:
            facts.append(f"saved at {course.saved:,}")
        return self._text(" · ".join(facts), "dim", fold=False)

    def _warnings(self) -> Iterator[tuple[str, str]]:
        """The last two, and how they look."""
        for words, fatal in list(self.course.warnings.values())[-2:]:
            yield f"! {words}", "bold red" if fatal else "yellow"

    def _body(self, width: int, room: int) -> Iterator[RenderableType]:
        """Numbers with their curves, and where there is room a picture beside them."""
        from rich.table import Table

        picture = self._picture(min(width - BESIDE - 3, max(WIDEST, width // 2)), min(TALLEST, room))
        numbers = self._numbers(width - (0 if picture is None else picture.width + 3), room)
        if picture is None:
            yield numbers
            return
        table = Table.grid(padding=(0, 3, 0, 0), pad_edge=False)
        table.add_row(numbers, picture)
        yield table

    def _picture(self, width: int, height: int) -> Blocks | None:
        """The last samples; they are drawn once."""
        x = self.course.samples
        if x is None or self.domain is None or width < NARROWEST:
            return None
        key = (id(x), width, height)
        if self._drawn[0] != key:
            self._drawn = (key, contact_sheet(x, self.domain, width, height))
        return self._drawn[1]

    def _numbers(self, width: int, room: int) -> Text:
        """A line for each loss: its name, what it is now, how it came there; the last is the score on validation data."""
        course = self.course
        rows = [(name, values, "", "cyan") for name, values in list(course.curves.items())]
        if course.validation:
            rows = [*rows[: room - 1], (course.score, course.validation, course.relation, "green")]
        named = min(max((len(name) for name, *_ in rows), default=0), 24, width - VALUE - 1)
        lines = self._text("", fold=False)
        for name, values, relation, colour in rows[:room]:
            lines.append_text(self._text(f"{name[:named]:{named}}"))
            lines.append_text(self._text(f" {relation + f'{values[-1]:.4g}':>{VALUE}} ", "bold"))
            curve = sparkline(values, width - len(lines.plain.rpartition("\n")[2]), ASCII_BARS if self.ascii else BARS)
            lines.append_text(self._text(f"{curve}\n", colour))
        lines.right_crop(1)
        return lines
