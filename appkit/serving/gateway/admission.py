"""Admits bundles to a gateway: checks them and their certificates, and copies their adapters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from appkit.bundles.files import escape, read_object
from appkit.bundles.schema import Line, Part, Text
from appkit.errors import BundleError
from appkit.serving.certify.certificate import certificate_file
from appkit.serving.deployment import Deployment
from appkit.serving.engines.protocol import Conflict

if TYPE_CHECKING:
    from appkit.serving.gateway.settings import Settings

__all__ = ["admit"]


LARGEST_CERTIFICATE = 200_000
"""bytes"""


class CheckModel(Part):
    name: Line
    passed: bool | None
    figure: Text


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


def admit(
    path: Path, *, engine: str, version: str, max_rank: int, max_labels: int, store: Path, settings: Settings
) -> Deployment:
    """Reads a bundle, checks it against its base, and copies its adapter into `store`, in the form its engine takes.

    engine, version: the engine that will serve it.
    Raises BundleError with the reason when it is unsound or has no certificate that fits; Conflict above the ceiling;
    ModelError when its base cannot be found or fetched.
    """
    deployment = Deployment(path, store, dtype=settings.dtype, classify=settings.classify)
    for check in deployment.check_files(engine):
        if check.passed is False:
            raise BundleError(f"{path}: {check.name}: {check.figure}; appkit certify {path} tells more")
    _check_room(deployment, max_rank, max_labels, settings.max_window)
    deployment.certificate = _read_certificate(deployment, engine, version, needed=settings.certified)
    # now, in the thread that reads bundles, so that no request waits for it
    deployment.place()
    return deployment


def _check_room(deployment: Deployment, max_rank: int, max_labels: int, max_window: int) -> None:
    """Raises Conflict, with the setting to raise, for a bundle that the engine has no room for."""
    name, spec = deployment.path.name, deployment.spec
    if (rank := deployment.rank) > max_rank:
        raise Conflict(
            f"{name} needs rank {rank}, this gateway has room for {max_rank}; start it with serve.max_rank={rank}"
        )
    if spec and deployment.role == "classify" and spec.outputs > max_labels:
        raise Conflict(
            f"{name} has {spec.outputs} labels, this gateway has room for {max_labels}; "
            f"start it with serve.max_labels={spec.outputs}"
        )
    if spec and deployment.role == "embed-unmasked" and spec.max_length > max_window:
        raise Conflict(
            f"{name} reads {spec.max_length} tokens at once, this gateway has room for {max_window}; "
            f"start it with serve.max_window={spec.max_length}"
        )


def _read_certificate(
    deployment: Deployment, engine: str, version: str, *, needed: bool
) -> Mapping[str, Any] | None:
    """Reads the certificate for this engine; None if there is none and none is `needed`.

    Raises BundleError when there is none, and for one that is another bundle's.
    """
    path, dtype = deployment.path, deployment.dtype
    file = certificate_file(path, engine, version, dtype, deployment.form)
    remedy = (
        f"appkit certify {path} --engine {engine} --dtype {dtype}{' --folded' if deployment.folded else ''}"
    )
    try:
        certificate = read_object(path, str(file.relative_to(path)), LARGEST_CERTIFICATE)
        CertificateModel.model_validate(certificate)
    except FileNotFoundError:
        if not needed:
            return None
        raise BundleError(f"{path} has no certificate for {engine} {version} in {dtype}; {remedy}") from None
    except (OSError, ValidationError) as error:
        raise BundleError(f"{file} cannot be read: {escape(str(error).splitlines()[0])}; {remedy}") from None
    fits = (
        certificate["bundle"] == deployment.sha
        and certificate["base"] == deployment.manifest["base"]["fingerprint"]
        and (certificate["engine"], certificate["version"], certificate["dtype"]) == (engine, version, dtype)
        and all(check["passed"] is not False for check in certificate["checks"])
    )
    if not fits:
        raise BundleError(f"{file} belongs to another bundle, base or engine; {remedy}")
    return certificate
