"""The style of the pages: a calm printed page, light and dark, wide and narrow, on screen and on paper."""

__all__ = ["STYLE"]

STYLE = """
:root {
  --paper: #fdfcfa; --ink: #1d1d1b; --soft: #5b5a56; --rule: #d9d6cf; --band: #f4f2ed; --link: #1f5c94;
  --bar: #8fb0cf; --truth: #1d1d1b; --s0: #1f5c94; --s1: #a34a10; --s2: #3d6b2f; --s3: #7a3e86;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16171a; --ink: #e8e6e1; --soft: #a9a7a1; --rule: #3a3b40; --band: #1e2024; --link: #8fbfeb;
    --bar: #3f668c; --truth: #f1efe9; --s0: #8fbfeb; --s1: #f0a574; --s2: #a3cf93; --s3: #d3a6dd;
  }
}
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%; }
body { margin: 0; font: 17px/1.55 "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif; }
main { max-width: 68rem; margin: 0 auto; padding: 3.2rem 1.5rem 4rem; }
h1 { font-size: 2.3rem; line-height: 1.15; font-weight: 600; margin: 0 0 .3rem; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; font-weight: 600; margin: 3rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--rule); }
p { margin: .5rem 0; max-width: 46rem; }
.kicker, table, .facts, .keys, figcaption, .aside, svg text, footer, summary {
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
.kicker { font-size: .8rem; color: var(--soft); margin: 0 0 .8rem; }
.lead { font-size: 1.1rem; color: var(--soft); }
.findings { margin: 1rem 0 0; padding: 0; list-style: none; max-width: 46rem; }
.findings li { padding: .15rem 0 .15rem 1.1rem; text-indent: -1.1rem; }
.findings .sub { text-indent: 0; }
.findings li::before { content: "–"; display: inline-block; width: 1.1rem; text-indent: 0; color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem 1.6rem; margin: 1.6rem 0 0;
  padding: .9rem 0; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); font-size: .88rem; }
.facts div { min-width: 0; }
.facts dt { color: var(--soft); font-size: .76rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; line-height: 1.4; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: .8rem; padding-top: .6rem; line-height: 1.5; }
th, td { text-align: left; vertical-align: top; padding: .55rem .9rem .55rem 0; border-bottom: 1px solid var(--rule); }
thead th { font-weight: 600; font-size: .76rem; color: var(--soft); vertical-align: bottom; line-height: 1.3; }
tbody th { font-weight: 600; min-width: 8rem; }
td .n, .n { white-space: nowrap; }
.sub { display: block; font-size: .76rem; font-weight: 400; color: var(--soft); line-height: 1.4; overflow-wrap: anywhere; }
tr.reference td, tr.reference th { background: var(--band); font-style: italic; font-weight: 400; }
tr.reference th, tr.failed th { padding-left: .0rem; }
tr.failed td { color: var(--soft); }
.rows td, .rows th { padding: .3rem .9rem .3rem 0; white-space: nowrap; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(19.8rem, 1fr)); gap: 1.8rem 1.6rem;
  margin-top: 1.1rem; }
.gallery.wide { grid-template-columns: 1fr; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .86rem; margin-bottom: .45rem; font-weight: 600; overflow-wrap: anywhere; }
figcaption .sub { display: inline; margin-left: .4rem; }
figure img { display: block; max-width: 100%; height: auto; }
img.grid { image-rendering: pixelated; }
img.plane { border: 1px solid var(--rule); }
figure.real { background: var(--band); box-shadow: 0 0 0 .6rem var(--band); }
svg { display: block; width: 100%; max-width: 24rem; height: auto; }
svg text { font-size: 10.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.bar { fill: var(--bar); } .truth { stroke: var(--truth); stroke-width: 1.6; } .axis { stroke: var(--rule); }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.line.s0 { stroke: var(--s0); } .line.s1 { stroke: var(--s1); } .line.s2 { stroke: var(--s2); } .line.s3 { stroke: var(--s3); }
.keys { list-style: none; margin: .2rem 0 0; padding: 0; font-size: .76rem; display: flex; flex-wrap: wrap; gap: .1rem 1rem; }
.keys .s0 { color: var(--s0); } .keys .s1 { color: var(--s1); } .keys .s2 { color: var(--s2); } .keys .s3 { color: var(--s3); }
.aside { font-size: .78rem; color: var(--soft); margin: .3rem 0 0; }
pre { font: .82rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--band); padding: .8rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: .6rem 0; }
details { margin-top: 1rem; } summary { cursor: pointer; font-size: .86rem; color: var(--link); padding: .3rem 0; }
dl.meaning { display: grid; grid-template-columns: max-content 1fr; gap: .45rem 1.2rem; max-width: 50rem; margin: .6rem 0; }
dl.meaning dt { font-weight: 600; } dl.meaning dd { margin: 0; }
footer { margin-top: 3.5rem; padding-top: .9rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: .78rem; }
@media (max-width: 46rem) {
  body { font-size: 16px; } main { padding: 1.6rem 1rem 3rem; } h1 { font-size: 1.75rem; }
  .results thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .results, .results tbody, .results tr, .results th, .results td, .results caption { display: block; }
  .results tr { padding: .8rem 0; border-bottom: 1px solid var(--rule); }
  .results tbody th { border: 0; padding: 0 0 .3rem; font-size: 1rem; }
  .results td { border: 0; padding: .12rem 0; display: grid; grid-template-columns: 8.5rem 1fr; }
  .results td::before { content: attr(data-label); color: var(--soft); }
  .results td > span { grid-column: 2; }
  .results td.blank { display: none; }
  .results tr.reference { padding-left: .6rem; background: var(--band); }
  dl.meaning { grid-template-columns: 1fr; gap: 0 0; } dl.meaning dd { margin-bottom: .6rem; }
  .gallery { grid-template-columns: 1fr; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --band: #f3f3f3; }
  main { padding: 0; max-width: none; } body { font-size: 10.5pt; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } .gallery { grid-template-columns: repeat(3, 1fr); gap: 1rem; }
  details > * { display: block; }
}
"""
