"""Renders Vega-Lite specifications without a browser, and gives the scripts that a page needs."""

from __future__ import annotations

import functools
import re
from typing import Any

import vl_convert as vlc

from orchestrator.report.vega import Spec

VEGA_LITE_VERSION = "6.4"
WIDTH = 560
"""Pixels of the plot in a file; on the page the plot fills its container."""
ARIA = re.compile(r' (?:aria-[a-z]+|role)="[^"]*"')
COORDINATES = re.compile(r' (?:d|transform|[xy]2)="[^"]*"')
LONG_NUMBER = re.compile(r"\d+\.\d{3,}")


def svg(spec: Spec) -> str:
    """Return the chart as an SVG element.

    Raises:
        ValueError: the specification is not valid.
    """
    drawn = vlc.vegalite_to_svg(_with_width(spec), vl_version=VEGA_LITE_VERSION)
    return drawn[drawn.index("<svg") :]


def compact(drawn: str) -> str:
    """Return an SVG without ARIA attributes, its coordinates rounded to a hundredth of a pixel.

    The element around the chart has the text alternative.
    """

    def rounded(attribute: re.Match[str]) -> str:
        return LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", attribute[0])

    return COORDINATES.sub(rounded, ARIA.sub("", drawn))


def png(spec: Spec) -> bytes:
    """Return the chart on white at 144 dots per inch."""
    return vlc.vegalite_to_png(_with_width(spec, background="white"), VEGA_LITE_VERSION, scale=2.0)


def pdf(spec: Spec) -> bytes:
    """Return the chart as a PDF with one page of its size."""
    return vlc.vegalite_to_pdf(_with_width(spec, background="white"), VEGA_LITE_VERSION)


@functools.cache
def scripts() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script without dependencies."""
    return vlc.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE_VERSION)


def _with_width(spec: Spec, **properties: Any) -> Spec:
    width = {"width": WIDTH} if spec.get("width") == "container" else {}
    return {**spec, **properties, **width}
