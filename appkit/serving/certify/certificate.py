"""The certificate: what an engine was shown to do with a bundle, and where that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appkit.heads.checks import Check

__all__ = ["Certificate", "certificate_file"]


@dataclass(frozen=True)
class Certificate:
    """What an engine was shown to do with a bundle."""

    bundle: str
    base: str
    engine: str
    version: str
    dtype: str
    checks: tuple[Check, ...]
    made_at: str
    form: str = ""
    """`-folded` for a head that was shown inside the generating engine"""

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    @property
    def file(self) -> str:
        """Where it is kept, below the bundle."""

        return str(certificate_file(Path(), self.engine, self.version, self.dtype, self.form))


def certificate_file(bundle: Path, engine: str, version: str, dtype: str, form: str = "") -> Path:
    """Where a bundle keeps what was shown in one engine; form: `-folded`, if that is how it was shown."""
    return bundle / "certificates" / f"{engine}-{version}-{dtype}{form}.json"
