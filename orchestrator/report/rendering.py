"""Vega-Lite without a browser: SVG, PDF, PNG, and the scripts that a browser draws it with."""

from __future__ import annotations

import functools
import re
from typing import Any

import vl_convert as vlc

from orchestrator.report.vega import Spec

VERSION = "6.4"
"""Of Vega-Lite."""
WIDTH = 560
"""Pixels of a chart's plot where no page gives it room."""


def _sized(spec: Spec, **more: Any) -> Spec:
    return {**spec, **more, **({"width": WIDTH} if spec.get("width") == "container" else {})}


def svg(spec: Spec) -> str:
    """The chart as an SVG element; what cannot be drawn raises ``ValueError``."""
    drawn = vlc.vegalite_to_svg(_sized(spec), vl_version=VERSION)
    return drawn[drawn.index("<svg") :]


def small(drawn: str) -> str:
    """An SVG without what its description tells already, to a hundredth of a pixel."""

    def rounded(place: re.Match[str]) -> str:
        return LONG.sub(lambda number: f"{float(number[0]):.2f}", place[0])

    return PLACES.sub(rounded, TOLD.sub("", drawn))


TOLD = re.compile(r' (?:aria-[a-z]+|role)="[^"]*"')
PLACES = re.compile(r' (?:d|transform|[xy]2)="[^"]*"')
LONG = re.compile(r"\d+\.\d{3,}")


def png(spec: Spec) -> bytes:
    """The chart on white, 144 dots per inch."""
    return vlc.vegalite_to_png(_sized(spec, background="white"), VERSION, scale=2.0)


def pdf(spec: Spec) -> bytes:
    """The chart as one PDF page of its size."""
    return vlc.vegalite_to_pdf(_sized(spec, background="white"), VERSION)


@functools.cache
def scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that needs nothing else."""
    return vlc.javascript_bundle("window.vegaEmbed = vegaEmbed;", VERSION)
