"""Writes remarks as SARIF 2.1.0, which code hosts and editors show beside the code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from appkit_tasks.codechange.commands.review import Finding

__all__ = ["SCHEMA", "to_sarif"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RULE = "review"


def to_sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """Returns a SARIF log of one run. Paths are relative to the repository; rank is the confidence in hundredths."""
    driver = {
        "name": "appkit review",
        "semanticVersion": version("appkit"),
        "rules": [{"id": RULE, "shortDescription": {"text": "A remark of a model trained on reviews."}}],
    }
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_to_result(finding) for finding in findings],
            }
        ],
    }


def _to_result(finding: Finding) -> dict[str, Any]:
    region = {"startLine": finding.line} | ({"endLine": finding.end} if finding.end else {})
    artifact = {"uri": quote(finding.file), "uriBaseId": "%SRCROOT%"}
    location = {"physicalLocation": {"artifactLocation": artifact, "region": region}}
    name = hashlib.sha256(f"{finding.file}\0{finding.text}".encode("utf-8", "replace")).hexdigest()[:32]
    result: dict[str, Any] = {
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": finding.severity,
        "message": {"text": _to_plain(finding.text)},
        "locations": [location] if finding.file else [],
        "partialFingerprints": {"remark/v1": name},
    }
    if finding.confidence is not None:
        result["rank"] = round(100 * finding.confidence, 1)
    return result


def _to_plain(text: str) -> str:
    """Writes a text without what the standard takes for placeholders and links (3.11.5 and 3.11.6)."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")
