"""The style of the pages: a calm printed page, light and dark, wide and narrow, on screen and on paper."""

__all__ = ["STYLE"]

COLOURS = """
:root {
  --paper: #fdfcfa; --ink: #1d1d1b; --soft: #5b5a56; --rule: #d9d6cf; --faint: #ebe8e1; --band: #f4f2ed; --link: #1f5c94;
  --bar: #8fb0cf; --truth: #1d1d1b; --s0: #1f5c94; --s1: #a34a10; --s2: #3d6b2f; --s3: #7a3e86;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16171a; --ink: #e8e6e1; --soft: #a9a7a1; --rule: #3a3b40; --faint: #26272b; --band: #1e2024; --link: #8fbfeb;
    --bar: #3f668c; --truth: #f1efe9; --s0: #8fbfeb; --s1: #f0a574; --s2: #a3cf93; --s3: #d3a6dd;
  }
}
"""
TEXT = """
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%; }
body { margin: 0; font: 17px/1.55 "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif; }
main { max-width: 72rem; margin: 0 auto; padding: 3.2rem 1.5rem 4rem; }
h1 { font-size: 2.3rem; line-height: 1.15; font-weight: 600; margin: 0 0 .3rem; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; font-weight: 600; margin: 3.2rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; font-weight: 600; margin: 1.8rem 0 .3rem; }
p { margin: .5rem 0; max-width: 46rem; }
.kicker, table, .facts, .keys, figcaption, .aside, svg text, footer, summary, .sub, .sorter, select {
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
.kicker { font-size: .8rem; color: var(--soft); margin: 0 0 .8rem; }
.lead { font-size: 1.1rem; color: var(--soft); }
.findings { margin: 1rem 0 0; padding: 0; list-style: none; max-width: 46rem; overflow-wrap: anywhere; }
.findings li { padding: .15rem 0 .15rem 1.1rem; text-indent: -1.1rem; }
.findings .sub { text-indent: 0; }
.findings li::before { content: "–"; display: inline-block; width: 1.1rem; text-indent: 0; color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem 1.6rem; margin: 1.6rem 0 0;
  padding: .9rem 0; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); font-size: .88rem; }
.facts div { min-width: 0; }
.facts dt { color: var(--soft); font-size: .76rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.sub { display: block; font-size: .76rem; font-weight: 400; color: var(--soft); line-height: 1.4; overflow-wrap: anywhere; }
.aside { font-size: .78rem; color: var(--soft); margin: .3rem 0 0; }
pre { font: .8rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--band); padding: .8rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: .6rem 0; }
details { margin-top: .5rem; } details + details { margin-top: 0; } details details { margin-left: 1rem; }
summary { cursor: pointer; font-size: .86rem; color: var(--link); padding: .3rem 0; overflow-wrap: anywhere; }
summary h3 { display: inline; color: var(--ink); font-size: .95rem; } details.part { margin-top: 1.4rem; }
summary:focus-visible, button:focus-visible, select:focus-visible { outline: 2px solid var(--link); outline-offset: 3px; }
dl.meaning { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .45rem 1.2rem; max-width: 52rem;
  margin: .6rem 0; overflow-wrap: anywhere; }
dl.meaning dt { font-weight: 600; } dl.meaning dd { margin: 0; }
footer { margin-top: 3.5rem; padding-top: .9rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: .78rem; }
"""
TABLES = """
.scroll { position: relative; overflow-x: auto; max-width: calc(100% + .6rem); padding-right: .6rem; margin-right: -.6rem; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; line-height: 1.4; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: .8rem; padding-top: .6rem; line-height: 1.5;
  overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .55rem .9rem .55rem 0; border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 600; font-size: .76rem; color: var(--soft); vertical-align: bottom; line-height: 1.35; }
.results td, .results th + th, .results td + th { text-align: right; padding-right: 0; padding-left: 1.1rem; }
.groups th span { display: block; border-bottom: 1px solid var(--rule); padding-bottom: .15rem; }
.results tr.failed td { text-align: left; }
.groups th, .groups td { border: 0; padding-bottom: .1rem; font-weight: 400; font-size: .76rem; color: var(--soft); }
tbody th { font-weight: 600; min-width: 7rem; overflow-wrap: anywhere; }
.results { min-width: 42rem; }
.results.part { width: auto; min-width: 0; } .results.part td, .results.part th + th { padding-left: 2.2rem; }
.part tbody th { min-width: 12rem; }
.results td .sub { white-space: nowrap; }
.n { white-space: nowrap; }
.way { font-weight: 400; white-space: nowrap; }
.mark { position: absolute; text-decoration: none; cursor: help; padding-left: .15em; color: var(--link); }
thead button { all: unset; cursor: pointer; position: relative; }
thead button:hover, th[aria-sort] { color: var(--ink); }
thead button:focus-visible { outline: 2px solid var(--link); outline-offset: 3px; }
thead button::after { position: absolute; bottom: 0; right: -1.1em; color: var(--link); }
th[aria-sort=ascending] button::after { content: "▴"; }
th[aria-sort=descending] button::after { content: "▾"; }
tfoot td, tfoot th { font-weight: 400; }
tfoot tr:first-child > * { border-top: 1px solid var(--soft); }
tbody tr:last-child > * { border-bottom: 0; }
tfoot th:first-child { font-style: italic; } tfoot th .sub { font-style: normal; }
tr.failed td { color: var(--soft); }
.rows { width: auto; }
.rows td, .rows th { padding: .3rem .9rem .3rem 0; white-space: nowrap; }
.pairs td { min-width: 6rem; }
.sorter { display: none; font-size: .86rem; color: var(--soft); margin: .6rem 0; }
select { font-size: 1rem; color: var(--ink); background: var(--paper); border: 1px solid var(--rule); padding: .3rem;
  max-width: 60vw; }
"""
PICTURES = """
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(350px, 100%), 1fr)); gap: 1.8rem 1.6rem;
  margin-top: 1.1rem; }
.gallery.wide { display: flex; flex-wrap: wrap; gap: 1.8rem 3rem; }
.gallery.charts { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); }
.charts svg { max-width: 36rem; }
figure { margin: 0; min-width: 0; max-width: 100%; }
figcaption { font-size: .86rem; margin-bottom: .45rem; font-weight: 600; overflow-wrap: anywhere; }
figcaption .sub { display: inline; margin-left: .4rem; }
figure img { display: block; max-width: 100%; height: auto; }
img.grid { image-rendering: pixelated; }
img.fine { image-rendering: auto; }
img.plane { border: 1px solid var(--rule); }
figure.real { justify-self: start; background: var(--band); box-shadow: 0 0 0 .6rem var(--band); }
div.pairs { display: flex; flex-wrap: wrap; gap: 1.2rem .4rem; }
svg { display: block; width: 100%; max-width: 24rem; height: auto; }
svg text { font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg text.name { fill: var(--ink); }
.bar { fill: var(--bar); } .truth { stroke: var(--truth); stroke-width: 1.6; }
.axis { stroke: var(--soft); } .rule { stroke: var(--faint); } .tie { stroke: var(--soft); stroke-width: .6; }
.dot { fill: var(--s0); } .error { stroke: var(--s0); stroke-width: 1.4; }
.texts p { font-size: .86rem; margin: 0 0 .7rem; white-space: pre-wrap; overflow-wrap: anywhere; max-width: 34rem; }
.curve { fill: none; stroke: var(--s0); stroke-width: 1.2; stroke-linejoin: round; }
.floor { stroke: var(--soft); stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.s0, .s4 { stroke: var(--s0); } .s1, .s5 { stroke: var(--s1); } .s2, .s6 { stroke: var(--s2); } .s3, .s7 { stroke: var(--s3); }
.s4, .s5, .s6, .s7 { stroke-dasharray: 5 3; }
.keys { list-style: none; margin: .3rem 0 0; padding: 0; font-size: .76rem; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; }
.keys li { display: flex; align-items: center; gap: .4rem; overflow-wrap: anywhere; }
.keys svg { width: 22px; height: 10px; flex: none; }
"""
NARROW = """
@media screen and (max-width: 46rem) {
  body { font-size: 16px; } main { padding: 1.6rem .9rem 3rem; } h1 { font-size: 1.75rem; }
  .results thead { display: none; }
  .sorter { display: block; }
  .results, .results.part { min-width: 0; width: 100%; }
  .results, .results tbody, .results tfoot, .results tr, .results th, .results td, .results caption { display: block; }
  .results tr { padding: .8rem 0; border-bottom: 1px solid var(--rule); }
  .results tbody th, .results tfoot th { border: 0; padding: 0 0 .3rem; font-size: 1rem; }
  table.results { display: flex; flex-direction: column; } .results caption { order: 2; }
  .results td { border: 0; padding: .12rem 0; display: grid; grid-template-columns: 8.5rem 1fr; }
  .results td::before { content: attr(data-label); color: var(--soft); padding-right: .6rem; }
  .results td > span { grid-column: 2; }
  .results td.blank { display: none; }
  .results tr.reference { padding: .8rem .6rem; background: var(--band); }
  tfoot tr:first-child > * { border-top: 0; }
  .n, .results td .sub { white-space: normal; }
  .results td, .results.part td { text-align: left; padding-left: 0; }
  dl.meaning { grid-template-columns: 1fr; gap: 0 0; } dl.meaning dd { margin-bottom: .6rem; }
  .gallery, .gallery.charts { grid-template-columns: 1fr; }
}
"""
PRINT = """
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --faint: #e4e4e4; --band: #f3f3f3; --link: #000;
    --bar: #8fb0cf; --truth: #000; --s0: #1f5c94; --s1: #a34a10; --s2: #3d6b2f; --s3: #7a3e86; }
  * { print-color-adjust: exact; }
  main { padding: 0; max-width: none; } body { font-size: 10pt; } h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; } .gallery, .gallery.charts { grid-template-columns: repeat(2, 1fr); gap: 1rem; }
  .scroll { overflow: visible; margin: 0; padding: 0; } .results { min-width: 0; } .n { white-space: normal; }
  table { font-size: 7.5pt; } th, td { padding-right: .4rem; } .sub, thead th, .groups th { font-size: 6.5pt; }
  .results td, .results th + th, .results.part td, .results.part th + th { padding-left: .4rem; }
  tbody th, .part tbody th { min-width: 4rem; }
  .sorter { display: none; }
  details::details-content { content-visibility: visible; display: block; }
}
"""
STYLE = COLOURS + TEXT + TABLES + PICTURES + NARROW + PRINT
