"""Defines the certificate, which records what an engine was checked for with a bundle, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appkit.heads.checks import Check

__all__ = ["Certificate", "certificate_file"]


@dataclass(frozen=True)
class Certificate:
    """Records the checks of a bundle in an engine."""

    bundle: str
    """sha of the payload"""
    base: str
    """fingerprint of the base"""
    engine: str
    """vllm or transformers"""
    version: str
    """of the engine, as `engines.choose.engine_version` names it"""
    dtype: str
    """float32 or bfloat16, that the engine computed in"""
    checks: tuple[Check, ...]
    made_at: str
    """UTC, as 2026-01-31T12:00:00Z"""
    form: str = ""
    """`-folded` for a head that was checked inside the generating engine"""

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    @property
    def file(self) -> str:
        """The certificate's path below the bundle."""

        return str(certificate_file(Path(), self.engine, self.version, self.dtype, self.form))


def certificate_file(bundle: Path, engine: str, version: str, dtype: str, form: str = "") -> Path:
    """Names the file of a bundle's certificate for one engine; form: `-folded`, if it was checked so."""
    return bundle / "certificates" / f"{engine}-{version}-{dtype}{form}.json"
