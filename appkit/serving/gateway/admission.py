"""Admits bundles to a gateway: checks them and their certificates, and copies their adapters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from appkit.errors import BundleError
from appkit.serving.certify.certificate import Uncertified, read_certificate
from appkit.serving.deployment import Deployment
from appkit.serving.engines.protocol import Conflict

if TYPE_CHECKING:
    from appkit.serving.gateway.settings import Settings

__all__ = ["admit"]


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
    try:
        deployment.certificate = read_certificate(
            path,
            deployment.manifest,
            engine=engine,
            version=version,
            dtype=deployment.dtype,
            form=deployment.form,
        )
        deployment.doubted = settings.certified and not deployment.certificate["sealed"]
    except Uncertified:
        if settings.certified:
            raise
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
