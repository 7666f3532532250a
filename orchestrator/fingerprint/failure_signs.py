"""Failure signs of diffusion segmentation, each as one line of text with its numbers.

Two are findings of the source study (Öttl et al. 2024, arXiv 2403.14440) and are tested in
:mod:`orchestrator.fingerprint.timestep_tests`, like the claims; the others show that a network is
not to be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.fingerprint.timestep_tests import Finding, Statement
from orchestrator.statistics.estimates import UNKNOWN, Estimate

GOOD_DICE, HIGH_ECE = 0.8, 0.02
"""Masks are good from this Dice on; the ECE of a calibrated model is below this value."""
TOLERANCE = 0.1
"""Relative difference up to which two numbers that should be equal count as equal."""


def of_findings(findings: Mapping[Statement, Finding]) -> list[str]:
    """The statements about the errors over t that hold for these networks."""
    return [_line(finding) for finding in findings.values() if finding.verdict[0] == "holds"]


def _line(finding: Finding) -> str:
    if finding.statement == "loss not monotone":
        return f"{finding.statement}: {finding.where} is {finding.value:.3g}"
    taken = 100 * finding.value
    low, high = (100 * (finding.threshold + end) for end in finding.difference.ends)
    return (
        f"{finding.statement}: at {finding.where} it takes away {taken:.1f} %"
        f" [{low:.1f}, {high:.1f}] of the error"
    )


def of_estimators(estimates: Mapping[str, Estimate]) -> Iterator[str]:
    """Two estimates of the information that differ by more than chance and the tolerance."""
    gap, second = estimates["disagreement"], estimates["information_orthogonal"]
    if not gap.known or not second.known or not (gap.low > 0 or gap.high < 0):
        return
    if abs(gap.value) > TOLERANCE * second.value:
        first = estimates["information"].value
        yield (f"estimators disagree: {first:.3f} by difference, {second.value:.3f} bits per pixel")


def of_noisy_end(left_edge: Estimate) -> Iterator[str]:
    """An error at the noisy end that exceeds the twin's by more than chance and the tolerance."""
    if left_edge.low > 1 + TOLERANCE:
        value, ends = left_edge.value, f"[{left_edge.low:.2f}, {left_edge.high:.2f}]"
        yield f"image used less well than by the twin: {value:.2f} {ends} of its error"


def of_calibration(metrics: Mapping[str, Estimate]) -> Iterator[str]:
    """Good masks with probabilities that are not calibrated."""
    dice, ece = (metrics.get(name, UNKNOWN) for name in ("dice", "ece"))
    if dice.value >= GOOD_DICE and ece.low >= HIGH_ECE:
        yield f"high ECE in spite of good Dice: {ece.value:.3f} at {dice.value:.3f}"
