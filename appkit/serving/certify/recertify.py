"""`appkit recertify` certifies bundles again, for instance after an upgrade of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appkit.arguments import read_path
from appkit.bundles import manifest as manifests
from appkit.errors import AppkitError, BundleError, ConfigError
from appkit.serving.certify.certificate import certificate_file, read_certificate
from appkit.serving.certify.certify import certify
from appkit.serving.engines.choose import engine_name

__all__ = ["Outcome", "recertify"]


@dataclass(frozen=True)
class Outcome:
    """Tells what became of one bundle."""

    path: Path
    state: Literal["certified", "kept", "failed"]
    """kept: the bundle had a certificate that counts here"""
    reason: str
    """name of the certificate's file, or why there is none"""


def recertify(
    where: str | Path | Sequence[str | Path],
    *,
    engine: str = "auto",
    dtype: str = "auto",
    rows: int | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Certifies bundles, or every one below a directory, in the installed engine; arguments as for `certify`.

    A bundle with a certificate for this engine, version and dtype that this machine sealed is left alone unless
    `force`. One that fails does not keep the others from their turn. Raises BundleError when there is none, ConfigError
    for an unknown engine or dtype.
    """
    from appkit.bundles.manifest import find_bundles
    from appkit.serving.engines.choose import engine_version

    if engine not in ("auto", "vllm", "transformers"):
        raise ConfigError(f"engine must be one of auto, vllm, transformers, got {engine!r}")
    chosen_engine = engine_name(engine)
    version = engine_version(chosen_engine)
    if isinstance(where, (str, Path)):
        paths = find_bundles(read_path(where, "the directory of bundles"))
    else:
        paths = [manifests.find(path) for path in where]
    if not paths:
        raise ConfigError(f"no bundle below {where}; choose another directory with --bundles")
    outcomes: list[Outcome] = []
    for number, path in enumerate(paths, 1):
        say(f"[{number}/{len(paths)}] {path}")
        try:
            manifest = manifests.read_manifest(path)
            computed = manifest["base"]["dtype"] if dtype == "auto" else dtype
            if not force and _is_certified(path, manifest, chosen_engine, version, computed):
                file = certificate_file(path, chosen_engine, version, computed)
                outcomes.append(Outcome(path, "kept", file.name))
                continue
            certificate = certify(
                path, engine=chosen_engine, dtype=dtype, rows=rows, say=lambda line: say(f"  {line}")
            )
            outcomes.append(Outcome(path, "certified", Path(certificate.file).name))
        except AppkitError as error:
            say(f"  {error}")
            outcomes.append(Outcome(path, "failed", str(error)))
    return outcomes


def _is_certified(bundle: Path, manifest: manifests.Manifest, engine: str, version: str, dtype: str) -> bool:
    try:
        return bool(read_certificate(bundle, manifest, engine=engine, version=version, dtype=dtype)["sealed"])
    except BundleError:
        return False
