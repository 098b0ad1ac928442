"""The view of a run on a terminal: true figures, in any width and height, with colours or without."""

import io
import itertools
import math
import time

import pytest
import torch
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from pmodel.cli.course import Course
from pmodel.cli.drawing import ASCII_BARS, coloured, contact_sheet, half_blocks, sparkline
from pmodel.cli.view import View
from pmodel.domain import Discrete, Real
from pmodel.train import events
from pmodel.train.diagnosis import Diagnosis

PICTURES = Discrete((1, 8, 8), 17)
COLLAPSE = Diagnosis("posterior collapse", "None of the 8 units of the code says anything of the datum.", "lower beta")


class Ascii(io.StringIO):
    encoding = "ascii"


class Unicode(io.StringIO):
    encoding = "utf-8"


def terminal(width, height=30, colours="truecolor", file=Unicode, **settings):
    return Console(
        file=file(), force_terminal=True, width=width, height=height, color_system=colours, markup=False, **settings
    )


@pytest.fixture
def course():
    """Sixty of a hundred steps, validated, saved and sampled, with a warning."""
    course = Course()
    course.tell(events.Started(100, 0))
    for step in range(1, 61):
        losses = {"fit.bound": -200 + step, "fit.kl": math.nan if step == 3 else step / 4}
        course.tell(events.Stepped(step, 100, losses, 10 * step, 0.5 * step))
    course.tell(events.Validated(50, 100, -140.0, 0.5, "lower_bound", 99, True, 25.0))
    course.tell(events.Validated(60, 100, -141.0, 0.5, "lower_bound", 99, False, 30.0))
    course.tell(events.Saved(40, 0, 20.0))
    course.tell(events.Sampled(0.5, torch.randint(17, (36, 1, 8, 8), generator=torch.Generator().manual_seed(0))))
    course.tell(events.Diagnosed(60, COLLAPSE, 30.0))
    return course


def looked(course, console, title="vae on digits", domain=PICTURES):
    console.print(View(title, course, console, domain)())
    return console.file.getvalue()


class TestCourse:
    def test_speed_and_time_left_are_those_so_far(self, course, monkeypatch):
        monkeypatch.setattr(time, "monotonic", lambda: course._told + 4.0)
        assert (course.unit, course.done, course.total, course.share) == ("step", 60, 100, 0.6)
        assert course.speed == 20.0
        assert course.elapsed == 34.0
        assert course.left == pytest.approx(0.5 * 40 - 4.0)

    def test_nothing_is_left_that_is_below_zero(self, course, monkeypatch):
        monkeypatch.setattr(time, "monotonic", lambda: course._told + 1e6)
        assert course.left == 0.0

    @pytest.mark.parametrize("back", [events.Resumed(60, 0, 30.0), events.Rescued(60, 0.5, "float32", 30.0)])
    def test_the_speed_of_a_run_that_goes_on_is_that_from_there_on(self, back):
        course = Course()
        told = [back, events.Started(100, 0)]
        for event in told if isinstance(back, events.Resumed) else told[::-1]:
            course.tell(event)
        assert (course.done, course.seconds, course.speed, course.left) == (60, 30.0, None, None)
        course.tell(events.Stepped(70, 100, {"fit.loss": 1.0}, 700, 40.0))
        course.tell(events.Stepped(80, 100, {"fit.loss": 1.0}, 900, 45.0))
        assert course.speed == 40.0
        assert course.left == pytest.approx(0.5 * 20, abs=0.1)

    def test_passes_follow_gradient_steps(self, course):
        course.tell(events.Iterated(1, 9, -7.0, 700, 32.0))
        assert (course.unit, course.done, course.total) == ("pass", 1, 9)
        assert course.speed == 50.0
        assert course.curves["log p"] == [-7.0]

    @pytest.mark.parametrize(
        ("losses", "names"),
        [
            ({"fit.loss": 1.0}, ["loss"]),
            ({"fit.bound": 1.0, "fit.kl": 2.0}, ["bound", "kl"]),
            ({"generator.loss": 1.0, "discriminator.real": 2.0}, ["generator", "discriminator.real"]),
            ({"generator 8x8.loss": 1.0, "discriminator 8x8.real": 2.0}, ["generator", "discriminator.real"]),
        ],
    )
    def test_losses_have_the_shortest_names_that_tell_them_apart(self, losses, names):
        course = Course()
        course.tell(events.Stepped(1, 2, losses, 1, 1.0))
        assert list(course.curves) == names


class TestDrawing:
    @pytest.mark.parametrize(
        ("values", "width", "line"),
        [
            ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
            ([0, 0, 7, 7], 2, "▁█"),
            ([1.0], 5, "▁"),
            ([2.0, 2.0 + 1e-12], 5, "▁▁"),
            ([0.0, math.nan, 7.0], 3, "▁ █"),
            ([math.nan], 3, " "),
            ([1e9] + [0.0] * 10 + [7.0] * 9, 20, "█" + "▁" * 10 + "█" * 9),
            ([1.0, 2.0], 0, ""),
            ([], 5, ""),
        ],
    )
    def test_curves_are_bars(self, values, width, line):
        assert sparkline(values, width) == line

    def test_curves_can_be_ascii(self):
        assert sparkline(range(8), 8, ASCII_BARS) == ASCII_BARS

    def test_two_pixels_are_one_character(self):
        image = Image.new("RGB", (1, 3))
        for y, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
            image.putpixel((0, y), colour)
        blocks = half_blocks(image)
        assert blocks.plain == "▀\n▀"
        (first,), (second,) = blocks.lines
        assert (first.style.color.triplet, first.style.bgcolor.triplet) == ((255, 0, 0), (0, 255, 0))
        assert (second.style.color.triplet, second.style.bgcolor) == ((0, 0, 255), None)

    @pytest.mark.parametrize(("width", "height", "columns", "rows"), [(8, 4, 1, 1), (26, 8, 3, 1), (26, 9, 3, 2)])
    def test_as_many_samples_are_shown_as_fit(self, width, height, columns, rows):
        sheet = contact_sheet(torch.zeros(36, 1, 8, 8, dtype=torch.int64), PICTURES, width, height)
        assert sheet.width == 9 * columns - 1
        assert len(sheet.lines) == 5 * rows - 1
        assert max(map(len, sheet.plain.splitlines())) == sheet.width

    @pytest.mark.parametrize(("width", "height"), [(7, 9), (9, 3), (0, 0), (-5, 9)])
    def test_a_sample_that_does_not_fit_is_not_shown(self, width, height):
        assert contact_sheet(torch.zeros(1, 1, 8, 8, dtype=torch.int64), PICTURES, width, height) is None

    def test_large_samples_are_shown_small(self):
        sheet = contact_sheet(torch.zeros(2, 3, 200, 100), Real((3, 200, 100)), 80, 20)
        assert (sheet.width, len(sheet.lines)) == (29, 14)

    @pytest.mark.parametrize(
        ("settings", "can"),
        [
            ({"colours": "truecolor"}, True),
            ({"colours": "256"}, True),
            ({"colours": "standard"}, False),
            ({"colours": None}, False),
            ({"no_color": True}, False),
            ({"file": Ascii}, False),
        ],
    )
    def test_pictures_need_colours(self, settings, can):
        assert coloured(terminal(80, **settings)) is can


WIDTHS = (20, 21, 39, 60, 72, 80, 120, 200, 400)
TERMINALS = {
    "colours": {},
    "few colours": {"colours": "standard"},
    "no colours": {"colours": None},
    "ascii": {"file": Ascii, "colours": None},
}


class TestView:
    @pytest.mark.parametrize("settings", TERMINALS.values(), ids=TERMINALS)
    @pytest.mark.parametrize(("width", "height"), list(itertools.product(WIDTHS, (8, 24, 60))))
    def test_it_fits_the_terminal(self, course, width, height, settings):
        console = terminal(width, height, record=True, **settings)
        console.print(View("a model with a long name on 손글씨 숫자", course, console, PICTURES)())
        lines = console.export_text().splitlines()
        assert max(map(cell_len, lines)) <= width
        assert "60%" in lines[1]
        assert len(lines) <= max(height, 16)

    @pytest.mark.parametrize("width", [80, 120, 200])
    def test_it_says_where_the_run_is(self, course, width):
        text = looked(course, terminal(width, colours=None))
        for words in (
            "vae on digits",
            "step 60 of 100 · 20 images/s · best at 50 · saved at 40",
            "20 s left",
            "bound",
            "-140",
            "≥ -141",
            "! posterior collapse: None of the 8 units",
        ):
            assert words in text

    def test_samples_stand_beside_the_numbers_where_there_is_room(self, course):
        assert "▀" in looked(course, terminal(80))
        assert "▀" not in looked(course, terminal(60))
        assert "▀" not in looked(course, terminal(80), domain=None)

    def test_samples_are_drawn_once(self, course):
        console = terminal(80)
        view = View("vae", course, console, PICTURES)
        view()
        drawn = view._drawn[1]
        view()
        assert view._drawn[1] is drawn
        course.tell(events.Sampled(0.6, torch.zeros(36, 1, 8, 8, dtype=torch.int64)))
        view()
        assert view._drawn[1] is not drawn

    def test_an_ascii_terminal_gets_ascii(self, course):
        assert looked(course, terminal(80, colours=None, file=Ascii), domain=PICTURES).isascii()

    def test_nothing_in_names_is_interpreted(self, course):
        course.tell(events.Stepped(61, 100, {"[red]x[/red].\x1b]0;t\x07": 1.0}, 610, 31.0))
        text = looked(course, terminal(120, colours=None), title="[bold]vae[/bold] on \x1b[2J")
        assert "[bold]vae[/bold] on \\x1b[2J" in text
        assert "\x1b" not in text
        assert "\x07" not in text

    def test_a_distance_is_called_one(self, course):
        course.tell(events.Validated(60, 100, 0.0321, 0.01, "distance", 99, True, 30.0))
        found = looked(course, terminal(100))
        assert "distance" in found
        assert "0.0321" in found
        assert "validation" not in found

    def test_before_training_it_says_that_it_plans(self):
        text = looked(Course(), terminal(80, colours=None))
        assert "planning" in text
        assert "%" not in text

    def test_passes_are_at_most_so_many(self):
        course = Course()
        course.tell(events.Started(0, 50))
        course.tell(events.Iterated(2, 50, -3.5, 3000, 2.0))
        text = looked(course, terminal(80, colours=None), domain=Real((2,)))
        assert "pass 2 of at most 50 · 1,500 data/s" in text
        assert "log p" in text
