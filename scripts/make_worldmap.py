"""Makes src/pmodel/data/worldmap.png, the land mask of the ``worldmap`` data: one pixel a degree, north first, land white.

The land is that of Natural Earth at 1:110 million (public domain), which the npm package ``world-atlas`` 2.0.2 ships as
TopoJSON::

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz package/land-110m.json
    python scripts/make_worldmap.py package/land-110m.json

A pixel is land if its centre is. The map is the plain one: a degree is as long everywhere, so that polar land is large.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 360, 180
TARGET = Path(__file__).parents[1] / "src/pmodel/data/worldmap.png"


def rings(topology: dict[str, Any]) -> list[np.ndarray]:
    """The closed rings of the land, (n, 2) in degrees: arcs are stored once, as differences of whole numbers."""
    scale, shift = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    arcs = [np.cumsum(arc, axis=0) * scale + shift for arc in topology["arcs"]]
    outlines = []
    for land in topology["objects"]["land"]["geometries"]:
        polygons = land["arcs"] if land["type"] == "MultiPolygon" else [land["arcs"]]
        for ring in (ring for polygon in polygons for ring in polygon):
            parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in ring]  # ~i is arc i backwards
            outlines.append(np.concatenate(parts))
    return outlines


def rasterise(outlines: list[np.ndarray]) -> np.ndarray:
    """The mask by the even-odd rule down each meridian from the north pole, which is sea.

    Rings may cross the antimeridian, and that of Antarctica goes around the pole; meridians mind neither.
    """
    start = np.concatenate([ring[:-1] for ring in outlines])
    end = np.concatenate([ring[1:] for ring in outlines])
    latitudes = 90 - (np.arange(HEIGHT) + 0.5)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for column in range(WIDTH):
        east = wrapped(start[:, 0] - (column + 0.5 - 180))
        step = wrapped(end[:, 0] - start[:, 0])
        crosses = (east > 0) != (east + step > 0)
        share = -east[crosses] / step[crosses]
        crossings = np.sort(start[crosses, 1] * (1 - share) + end[crosses, 1] * share)
        mask[:, column] = (len(crossings) - np.searchsorted(crossings, latitudes)) % 2 == 1
    return mask


def wrapped(longitude: np.ndarray) -> np.ndarray:
    """The same difference of longitudes between -180 and 180."""
    return (longitude + 180) % 360 - 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topology", type=Path, help="land-110m.json")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    mask = rasterise(rings(json.loads(arguments.topology.read_text())))
    Image.fromarray(mask).save(arguments.out, optimize=True)
    print(f"{arguments.out}: {mask.sum()} of {mask.size} pixels are land, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
