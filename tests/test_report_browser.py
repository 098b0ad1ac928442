"""The page in a real browser: it sorts, stays quiet, asks for nothing, can be read by all, on a phone and on paper."""

import json
import re
import shutil

import pytest

from chromium import CHROMIUM, Browser
from pmodel.comparison import compare
from pmodel.data import from_arrays, load_data
from reports import HOSTILE, SHOWN, full_comparison

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with Browser(profile) as running:
        yield running
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A page with every measurement, its report, and samples that are pictures."""
    out = tmp_path_factory.mktemp("full")
    with pytest.MonkeyPatch.context() as patch:
        report = full_comparison(patch, load_data("digits"), out)
    return out / "report.html", report


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A page whose every name is an attack."""
    out = tmp_path_factory.mktemp("hostile")
    rows = [[0.1 * k, (k * k) % 7] for k in range(120)]
    data = from_arrays(rows, name=HOSTILE)
    compare(["gaussian", "mixture:components=2"], data, out=out, n=30)
    record = json.loads((out / "report.json").read_text())
    for model in record["models"]:
        model |= {
            "name": HOSTILE,
            "label": HOSTILE + model["label"],
            "options": {HOSTILE: HOSTILE},
            "health": [HOSTILE],
        }
    from pmodel.report import write_comparison_page

    write_comparison_page(out, data, record)
    return out / "report.html"


READY = "document.querySelectorAll('details').forEach(d => d.open = true)"

CONTRAST = """(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, k) => s + v * [.2126, .7152, .0722][k], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
      if (colour[3] > 0) throw new Error("half transparent: " + e.className);
    }
    throw new Error("no background");
  };
  const found = [];
  const measure = (element, text, pseudo) => {
    const style = getComputedStyle(element, pseudo);
    const svg = element instanceof SVGElement;
    const [a, b] = [light(parse(svg ? style.fill : style.color)), light(behind(element))];
    found.push([text.slice(0, 40), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || element.tagName === "SCRIPT" || element.tagName === "title") continue;
    if (element.getClientRects().length) measure(element, text, null);
  }
  for (const element of document.querySelectorAll("body *")) for (const pseudo of ["::before", "::after"]) {
    const content = getComputedStyle(element, pseudo).content;
    if (content !== "none" && content !== "normal" && element.getClientRects().length) measure(element, content, pseudo);
  }
  return found;
})()"""

OVERLAPS = """[...document.querySelectorAll("svg.chart")].flatMap(chart => {
  const texts = [...chart.querySelectorAll("text")], boxes = texts.map(t => t.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
  return boxes.flatMap((a, i) => boxes.slice(i + 1).flatMap((b, j) =>
    meet(a, b) ? [[texts[i].textContent, texts[i + 1 + j].textContent]] : []));
})"""

COLUMN = """(index => [...document.querySelector("table.results").tBodies[0].rows].map(row => row.cells[index] && {
  text: row.cells[index].textContent, value: row.cells[index].dataset.value ?? null, label: row.cells[0].dataset.text}))"""

views = pytest.mark.parametrize(
    "view", [{"width": 1200}, {"width": 380}, {"scheme": "dark"}], ids=["wide", "narrow", "dark"]
)


@views
def test_it_is_quiet_and_asks_for_nothing_but_itself(browser, full, view):
    tab = browser.open(full[0], **view)
    assert tab.complaints() == []
    assert [url for url in tab.requests() if not url.startswith("data:image/png;base64,")] == [full[0].as_uri()]


def test_it_is_whole_without_a_script(browser, full):
    words = "document.body.innerText.replace(/\\s+/g, ' ')"
    with_script, without = browser.open(full[0]), browser.open(full[0], script=False)
    without.call("Emulation.setScriptExecutionDisabled", value=False)  # for the question alone; nothing runs of itself
    assert without.run("document.querySelectorAll('thead button').length") == 0
    assert with_script.run("document.querySelectorAll('thead button').length") > 20
    assert without.run(words) == with_script.run(words)


@views
def test_all_pictures_load(browser, full, view):
    tab = browser.open(full[0], **view)
    tab.run(READY)
    sizes = tab.run(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width, i.alt])"
    )
    assert len(sizes) >= 5
    assert all(complete and natural > 0 and shown > 0 and alt for complete, natural, shown, alt in sizes)


def test_small_pictures_are_magnified_by_whole_numbers(browser, full):
    tab = browser.open(full[0])
    grids = tab.run(
        "[...document.querySelectorAll('.gallery img.grid')].filter(i => i.checkVisibility({contentVisibilityAuto: true}))"
        ".map(i => [i.getBoundingClientRect().width / i.naturalWidth, getComputedStyle(i).imageRendering])"
    )
    assert [scale for scale, _ in grids[:5]] == [6] * 5
    assert all(scale == int(scale) and rendering == "pixelated" for scale, rendering in grids)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 380])
def test_every_text_has_the_contrast_of_wcag_aa(browser, full, scheme, width):
    tab = browser.open(full[0], scheme=scheme, width=width)
    tab.run(READY)
    found = tab.run(CONTRAST)
    assert len(found) > 300
    assert [(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5] == []


def test_a_poor_contrast_would_be_seen(browser, full):
    tab = browser.open(full[0])
    tab.run("document.querySelector('h1').style.color = '#999'")
    assert [text for text, ratio in tab.run(CONTRAST) if ratio < 4.5] == ["digits"]


@pytest.mark.parametrize("width", [1200, 760, 380, 320])
def test_the_page_does_not_scroll_sideways(browser, full, hostile, width):
    for path in (full[0], hostile):
        tab = browser.open(path, width=width)
        tab.run(READY)
        assert tab.run("document.documentElement.scrollWidth") <= width


def test_on_a_phone_rows_are_cards_and_can_be_sorted(browser, full):
    tab = browser.open(full[0], width=380)
    assert tab.run("getComputedStyle(document.querySelector('.results thead')).display") == "none"
    assert tab.run("document.querySelector('.sorter select').getBoundingClientRect().height") >= 24
    options = tab.run("[...document.querySelector('.sorter select').options].map(o => [o.value, o.text])")
    value = next(value for value, text in options if text == "by distance (FID)")
    tab.run(
        f"(s => {{ s.value = {value}; s.dispatchEvent(new Event('change')); }})(document.querySelector('.sorter select'))"
    )
    assert_sorted(tab, full[1], int(value))


def head(tab, title):
    """The index of a column of the first table."""
    titles = tab.run(
        "[...document.querySelector('table.results').tHead.rows[1].cells].map(c => c.querySelector('span')?.textContent)"
    )
    return titles.index(title)


def assert_sorted(tab, report, index, *, turned=False):
    """The distances on the page are those of the report, in order; what has none is last."""
    known = {m["label"]: m["metrics"]["fid"]["value"] for m in report["models"] if m["metrics"].get("fid")}
    expected = sorted(known, key=known.get, reverse=turned) + [
        m["label"] for m in report["models"] if m["label"] not in known
    ]
    rows = tab.run("[...document.querySelector('table.results').tBodies[0].rows].map(r => r.cells[0].dataset.text)")
    assert rows == expected
    cells = tab.run(f"{COLUMN}({index})")
    assert [float(cell["value"]) for cell in cells[: len(known)]] == [known[label] for label in expected[: len(known)]]


def state(tab, index):
    return tab.run(f"document.querySelector('table.results').tHead.rows[1].cells[{index}].getAttribute('aria-sort')")


def test_a_click_sorts_by_the_number_and_a_second_turns_it_round(browser, full):
    tab = browser.open(full[0])
    index = head(tab, "distance (FID)")
    button = f"table.results thead tr:last-child > :nth-child({index + 1}) button"
    given = [m["label"] for m in full[1]["models"]]
    tab.click(button)
    assert state(tab, index) == "ascending"
    assert_sorted(tab, full[1], index)
    tab.click(button)
    assert state(tab, index) == "descending"
    assert_sorted(tab, full[1], index, turned=True)
    tab.click(button)
    assert state(tab, index) is None
    assert [cell["label"] for cell in tab.run(f"{COLUMN}(0)")] == given


@pytest.mark.parametrize("key", ["Enter", " "])
def test_the_keyboard_sorts(browser, full, key):
    tab = browser.open(full[0])
    index = head(tab, "distance (FID)")
    tab.run("document.body.focus()")
    for _ in range(40):
        tab.press("Tab")
        if tab.run("document.activeElement.closest('th')?.cellIndex") == index:
            break
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.press(key)
    assert state(tab, index) == "ascending"
    assert_sorted(tab, full[1], index)


def test_models_that_cannot_be_ordered_come_last_in_either_direction(browser, full):
    tab = browser.open(full[0])
    index = head(tab, "log-likelihood")
    order = {m["label"]: (m["likelihood"] or {}).get("value") for m in full[1]["models"]}
    without = [label for label, value in order.items() if value is None]
    assert without
    for turned in (False, True):
        tab.click(f"table.results thead tr:last-child > :nth-child({index + 1}) button")
        rows = tab.run("[...document.querySelector('table.results').tBodies[0].rows].map(r => r.cells[0].dataset.text)")
        assert rows[-len(without) :] == without
        values = [order[label] for label in rows[: -len(without)]]
        assert values == sorted(values, reverse=not turned)


def test_what_real_data_get_stays_under_the_models(browser, full):
    tab = browser.open(full[0])
    tab.click("table.results thead tr:last-child > :nth-child(4) button")
    rows = tab.run(
        "[...document.querySelector('table.results').tFoot.rows].map(r => r.cells[0].firstChild.textContent)"
    )
    assert rows == ["real data", "held-out data"]


@pytest.mark.parametrize("width", [1200, 380])
def test_no_word_of_a_chart_lies_on_another(browser, full, width):
    assert browser.open(full[0], width=width).run(OVERLAPS) == []


def test_every_model_is_named_on_the_charts(browser, full):
    tab = browser.open(full[0])
    named = tab.run("[...document.querySelector('.charts svg').querySelectorAll('text.name')].map(t => t.textContent)")
    assert sorted(named) == sorted(m["label"] for m in full[1]["models"] if m["metrics"].get("fid"))


def test_hostile_names_do_nothing(browser, hostile):
    tab = browser.open(hostile)
    assert tab.complaints() == []
    assert [url for url in tab.requests() if not url.startswith("data:")] == [hostile.as_uri()]
    assert tab.run("document.scripts.length") == 1
    assert tab.run("document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0
    assert tab.run("document.querySelector('h1').textContent") == SHOWN


def test_it_prints_with_what_is_folded_away(browser, full):
    tab = browser.open(full[0])
    assert len(re.findall(rb"/Type\s*/Page\b", tab.pdf())) >= 4
    paper = browser.open(full[0], media="print")
    heights = paper.run(
        "[...document.querySelectorAll('details > :not(summary, .sorter)')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(heights) > 5
    assert min(heights) > 0
    assert paper.run("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
