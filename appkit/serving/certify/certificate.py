"""Defines the certificate, which records what an engine was checked for with a bundle; reads and writes its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from appkit.bundles.files import escape, read_object
from appkit.bundles.schema import Hash, Line, Part, Text
from appkit.errors import BundleError
from appkit.heads.checks import Check
from appkit.serving.certify.seal import add_seal, find_seal_fault
from appkit.storage.atomic import write_text

__all__ = [
    "Certificate",
    "Uncertified",
    "certificate_file",
    "digest_manifest",
    "read_certificate",
    "write_certificate",
]

LARGEST_CERTIFICATE = 200_000
"""bytes"""


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
    manifest: str = ""
    """digest of the manifest, which says how answers are made of what the payload computes"""

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    @property
    def file(self) -> str:
        """The certificate's path below the bundle."""

        return str(certificate_file(Path(), self.engine, self.version, self.dtype, self.form))


class Uncertified(BundleError):
    """Says that a bundle has no certificate for an engine."""


class CheckModel(Part):
    name: Line
    passed: bool | None
    figure: Text


class SealModel(Part):
    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    """first digits of the SHA-256 of the key"""
    hmac: Hash


class CertificateModel(Part):
    """A certificate's file, which may come from a stranger too."""

    bundle: Line
    base: Line
    engine: Line
    version: Line
    dtype: Line
    checks: list[CheckModel] = Field(max_length=64)
    made_at: Line
    form: Line = ""
    manifest: Line = ""
    seal: SealModel | None = None
    """None: written by appkit 0.1, or by hand"""


def digest_manifest(manifest: Mapping[str, Any]) -> str:
    """Computes the SHA-256 of a manifest's values, whatever their order."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def certificate_file(bundle: Path, engine: str, version: str, dtype: str, form: str = "") -> Path:
    """Names the file of a bundle's certificate for one engine; form: `-folded`, if it was checked so."""
    return bundle / "certificates" / f"{engine}-{version}-{dtype}{form}.json"


def write_certificate(bundle: Path, certificate: Certificate) -> None:
    """Writes a certificate into its bundle, with this machine's seal.

    Raises BundleError where a link would lead out of the bundle, ConfigError as `seal.require_key`.
    """
    if (bundle / "certificates").is_symlink():
        raise BundleError(
            f"{bundle / 'certificates'} is a link, which is not followed; copy the bundle instead"
        )
    values = add_seal(asdict(certificate))
    write_text(bundle / certificate.file, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read_certificate(
    bundle: Path,
    manifest: Mapping[str, Any],
    *,
    engine: str,
    version: str,
    dtype: str,
    form: str = "",
) -> dict[str, Any]:
    """Reads a bundle's certificate for an engine.

    Two keys are not the file's: `sealed` tells whether this machine's seal is on it (without it, anybody could have
    written the file), `seal_fault` why not. Raises Uncertified when there is none, BundleError for one that cannot be
    read or is another bundle's, each with the remedy.
    """
    file = certificate_file(bundle, engine, version, dtype, form)
    remedy = f"appkit certify {bundle} --engine {engine} --dtype {dtype}{' --folded' if form else ''}"
    try:
        certificate = read_object(bundle, str(file.relative_to(bundle)), LARGEST_CERTIFICATE)
        CertificateModel.model_validate(certificate)
    except FileNotFoundError:
        raise Uncertified(
            f"{bundle} has no certificate for {engine} {version} in {dtype}; {remedy}"
        ) from None
    except (OSError, ValidationError) as error:
        raise BundleError(f"{file} cannot be read: {escape(str(error).splitlines()[0])}; {remedy}") from None
    fits = (
        certificate["bundle"] == manifest["sha"]
        and certificate["base"] == manifest["base"]["fingerprint"]
        and (certificate["engine"], certificate["version"]) == (engine, version)
        and (certificate["dtype"], certificate.get("form", "")) == (dtype, form)
        and all(check["passed"] is not False for check in certificate["checks"])
    )
    if not fits:
        raise BundleError(f"{file} belongs to another bundle, base or engine; {remedy}")
    fault = find_seal_fault(certificate)
    if fault is None and certificate["manifest"] != digest_manifest(manifest):
        fault = "was made before the manifest was changed"
    values = {name: value for name, value in certificate.items() if name != "seal"}
    return values | {"sealed": fault is None, "seal_fault": fault}
