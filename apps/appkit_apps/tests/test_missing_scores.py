"""A contender may lack a metric that another has: pages show a gap."""

from __future__ import annotations

from typing import Any

from appkit_apps.evidence.sections import compared
from appkit_apps.parts import about_line

SCORE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 8, "level": 0.95}
METRICS: dict[str, Any] = {
    "base": {"metrics": {"strict": SCORE}},
    "adapter": {"metrics": {"parse": SCORE}},
}


def test_the_evidence_has_a_row_for_each_metric_of_any_contender() -> None:
    header, rows = compared({"manifest": {"metrics": METRICS}, "model": "one"}, None)
    assert header == ["metric", "base", "adapter"]
    assert rows == [["strict", "0.500 [0.400, 0.600]", ""], ["parse", "", "0.500 [0.400, 0.600]"]]
    assert compared({"manifest": {"metrics": {}}, "model": "one"}, None) == (["metric"], [])


def test_the_line_of_a_page_shows_who_has_the_primary_metric() -> None:
    about = {"model": "one@1", "summary": "It does.", "primary": "strict", "metrics": METRICS}
    line = about_line(about)
    assert "base: strict 0.500" in line
    assert "adapter: strict" not in line
    assert "strict" not in about_line({**about, "metrics": {}})
