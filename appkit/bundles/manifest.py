"""Manifest writes, reads and finds bundles: directories in PEFT's own form, with their evidence and description.

    adapter_config.json  adapter_model.safetensors      plain PEFT
    reference.safetensors                               outputs of the live trained model: see `Head.reference`
    appkit.json                                         manifest
    report.md  README.md                                evidence and model card

The payload is every file but the manifest and `certificates/`; its sha names the bundle. Written atomically,
safetensors only. Reading the manifest needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from appkit.arguments import read_path
from appkit.bundles.files import escape, hash_file, read_object
from appkit.bundles.schema import check_adapter_config, check_manifest, known_options
from appkit.errors import BundleError, shortened
from appkit.method import Form, RoutedForm
from appkit.storage.atomic import file_sha256, staged

__all__ = [
    "ROUTERS",
    "Manifest",
    "below_root",
    "describe_form",
    "find",
    "find_bundles",
    "list_licences",
    "read_manifest",
    "write",
]


SCHEMA = 1
MANIFEST = "appkit.json"
PAYLOAD = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "reference.safetensors",
    "report.md",
    "README.md",
)
"""files of every bundle whose hashes the manifest holds"""

ROUTERS = "routers.safetensors"
"""a further file in the bundle of a method that routes"""

LARGEST_MANIFEST, LARGEST_CONFIG, LARGEST_WEIGHTS = 32_000_000, 4_000_000, 2**36
"""bytes of the manifest, of adapter_config.json, of a file of weights"""
LARGEST_FILES = {
    "adapter_config.json": LARGEST_CONFIG,
    "reference.safetensors": 32_000_000,
    "report.md": 8_000_000,
    "README.md": 1_000_000,
}
"""bytes of each file of the payload but weights"""
DEEPEST = 24
"""levels below a root that bundles are looked for in"""

NEEDED = ("files", "sha", "config", "base", "decoding", "template")
"""keys of the manifest without which a bundle cannot be loaded"""

Manifest = dict[str, Any]


def write(
    target: Path,
    form: Form,
    tensors: dict[str, Any],
    metadata: dict[str, str],
    manifest: Manifest,
    report: str,
    card: str,
) -> Path:
    """Write the bundle; schema version, the files' hashes and the payload's sha are added to `manifest`.

    `metadata` goes into the reference's header, as one JSON object under the key `appkit`.
    """
    from safetensors.torch import save_file

    with staged(target) as stage:
        config = known_options(form.config)
        config["base_model_name_or_path"] = manifest["base"]["id"]
        (stage / "adapter_config.json").write_text(
            json.dumps(config, indent=1, sort_keys=True, default=_to_plain) + "\n", encoding="utf-8"
        )
        save_file(dict(form.tensors), stage / "adapter_model.safetensors", metadata={"format": "pt"})
        payload: tuple[str, ...] = PAYLOAD
        if isinstance(form, RoutedForm):
            save_file(dict(form.routers), stage / ROUTERS, metadata={"format": "pt"})
            payload = (*PAYLOAD, ROUTERS)
        # one key: safetensors writes several in a random order, and equal runs must give equal bytes
        facts = {"appkit": json.dumps(metadata, sort_keys=True)}
        save_file(tensors, stage / "reference.safetensors", metadata=facts)
        (stage / "report.md").write_text(report, encoding="utf-8")
        (stage / "README.md").write_text(card, encoding="utf-8")
        files = {name: file_sha256(stage / name) for name in payload}
        manifest = {"schema": SCHEMA, "sha": payload_sha(files), "files": files, **manifest}
        (stage / MANIFEST).write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8"
        )
    return target


def describe_form(form: Form, trained: int | None = None) -> dict[str, Any]:
    """Describe an exported form, for the manifest's key `exported`; trained: parameters that were trained for it."""
    facts = {"kind": form.kind, "rank": form.rank, "error": form.error}
    facts |= {} if trained is None else {"trained": trained}
    return facts | {"routing": dict(form.routing)} if isinstance(form, RoutedForm) else facts


def list_licences(manifest: Manifest) -> dict[str, str | None]:
    """List the licences of the base and of the rows that shaped the weights; None where none was recorded."""
    sources = [source for source in manifest["data"]["sources"] if source["split"] != "test"]
    rows = {f"{source['split']} rows": source["licence"] for source in sources}
    return {"base": manifest["base"]["licence"], **rows}


def _to_plain(value: Any) -> Any:
    """Turn the sets and enums of PEFT's config into JSON values."""
    return sorted(value) if isinstance(value, set) else getattr(value, "value", str(value))


def payload_sha(files: dict[str, str]) -> str:
    """Hash the payload: its files' names and hashes."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def read_manifest(path: Path, *, verify: bool = True) -> Manifest:
    """Read the bundle's manifest, and check it against its schema; with `verify`, check its files too.

    What it returns need not be checked again: a bundle is input from a stranger, and this is the door.
    Raises BundleError for a directory that is no bundle, another schema version, a key, type or range that no bundle
    has, a missing or changed file, a link, or an option of PEFT that is not allowed.
    """
    try:
        manifest: Manifest = read_object(path, MANIFEST, LARGEST_MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{path} is no bundle (no {MANIFEST}); a run's is in <run>/bundle") from None
    except OSError as error:
        raise BundleError(f"{path / MANIFEST} cannot be read: {error}") from None
    if manifest.get("schema") != SCHEMA:
        raise BundleError(
            f"{path} has schema version {escape(shortened(manifest.get('schema')))}, this appkit reads {SCHEMA}; "
            "install the appkit that wrote it, or train it anew"
        )
    if missing := [key for key in NEEDED if key not in manifest]:
        raise BundleError(f"{path / MANIFEST} is damaged: it has no {missing[0]!r}; copy the bundle again")
    check_manifest(path / MANIFEST, manifest)
    _check_payload(path, manifest)
    if verify:
        for name, recorded in manifest["files"].items():
            _check_file(path, name, recorded)
        if payload_sha(manifest["files"]) != manifest["sha"]:
            raise BundleError(
                f"{path / MANIFEST} was changed: its sha does not fit its files; copy the bundle again"
            )
        config = read_object(path, "adapter_config.json", LARGEST_CONFIG)
        check_adapter_config(path / "adapter_config.json", config, manifest["exported"]["kind"])
    return manifest


def _check_payload(path: Path, manifest: Manifest) -> None:
    """Check that the manifest lists the files of every bundle of its form, and no other."""
    payload = (*PAYLOAD, ROUTERS) if manifest["exported"]["kind"] == "routed" else PAYLOAD
    for name in manifest["files"]:
        if name not in payload:
            raise BundleError(
                f"{path / MANIFEST} is damaged: it lists {escape(shortened(name))}, which is no file of a bundle "
                f"({', '.join(payload)}); copy the bundle again"
            )
    for name in payload:
        if name not in manifest["files"]:
            raise BundleError(
                f"{path} is incomplete: its manifest does not list {name}; copy the bundle again"
            )


def _check_file(path: Path, name: str, recorded: str) -> None:
    most = LARGEST_FILES.get(name, LARGEST_WEIGHTS)
    try:
        actual = hash_file(path, name, most)
    except FileNotFoundError:
        raise BundleError(f"{path} is incomplete: {name} is missing; copy the bundle again") from None
    except OSError as error:
        raise BundleError(f"{path / name} cannot be read: {error.strerror}; copy the bundle again") from None
    if actual is None:
        raise BundleError(
            f"{path / name} has more than {most} bytes, which no bundle needs; copy the bundle again"
        )
    if actual != recorded:
        raise BundleError(
            f"{path / name} was changed after it was written (sha256 {actual[:12]}…, recorded {recorded[:12]}…); "
            "copy the bundle again"
        )


def find(path: str | Path) -> Path:
    """Find the bundle at `path`, or the one in the run directory `path`. Raises ConfigError for an empty text."""
    path = read_path(path, "a bundle")
    inside = path / "bundle"
    return inside if not (path / MANIFEST).exists() and (inside / MANIFEST).exists() else path


PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,127}")


def below_root(root: Path, name: str) -> Path:
    """Find the bundle directory that a request names, below `root`.

    Raises BundleError for anything but plain names separated by "/": no "..", no absolute path, no symbolic link.
    """
    parts = name.split("/")
    if len(name) > 512 or not all(PART.fullmatch(part) for part in parts):
        raise BundleError(
            f"a bundle is named by its directory below the bundle root, like nl2fol/A, got {name[:80]!r}"
        )
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise BundleError(f"{name} leads over a link, which is not followed; copy the bundle instead")
    if not path.is_dir():
        raise BundleError(f"no directory {name} below the bundle root")
    if not (path / "appkit.json").exists() and (path / "bundle" / "appkit.json").exists():
        return below_root(root, f"{name}/bundle")  # a run directory
    return path


def find_bundles(root: Path) -> list[Path]:
    """List every bundle at most `DEEPEST` levels below `root`, oldest first.

    Does not follow links or search inside bundles.

    Raises BundleError when the directory is missing.
    """
    if not root.is_dir():
        raise BundleError(f"no directory {root}")
    bundles, waiting = [], [(root, 0)]
    while waiting:  # os.walk calls itself for each level, and a stranger's directories may be thousands deep
        folder, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        if any(entry.name == MANIFEST for entry in entries):
            bundles.append(folder)
        elif depth < DEEPEST:
            waiting += [
                (Path(entry.path), depth + 1)
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                and not entry.name.startswith(".")
                and entry.name != "checkpoints"
            ]
    # a link may lead nowhere: that bundle alone is refused later
    return sorted(bundles, key=lambda path: ((path / MANIFEST).lstat().st_mtime, str(path)))
