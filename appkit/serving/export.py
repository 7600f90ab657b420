"""`appkit export` writes a bundle in a form that other programs read.

Three forms: a plain PEFT directory, a merged model, the layout from which Ray Serve LLM loads adapters. Three places: a
new directory, a repository on the Hugging Face hub, a prefix in object storage. Only merging needs torch.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from appkit.bundles import manifest as manifests
from appkit.bundles.manifest import Manifest
from appkit.errors import BundleError, ConfigError
from appkit.storage.atomic import cache_dir, explained, staged
from appkit.storage.remote import Store, to_hub

if TYPE_CHECKING:
    from appkit.heads.checks import Check
    from appkit.models.batch import Example
    from appkit.serving.deployment import Deployment
    from appkit.serving.engines.protocol import Engine, Job, Piece
    from appkit.serving.engines.transformers import TransformersEngine

__all__ = ["export"]

Say = Callable[[str], None]

ADAPTERS = 16
"""adapters that one Ray replica holds: Ray requires its own limit and vLLM's max_loras to be equal"""

SERVE_CONFIG = "serve_config.yaml"

BASE_LINE = "Base:"

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")

SAYS_NOTHING = {"unknown", "other", "custom", "none"}
FORBIDS = {"proprietary", "internal", "confidential", "unlicensed", "nd", "noderivatives", "noderivs"}
"""Words of a licence's name that forbid publishing. Trained weights count as adapted material, which no-derivatives
forbids to share; non-commercial forbids selling, not sharing, and the card names it."""


def export(
    bundle: str | Path,
    to: str | Path,
    *,
    merge: bool = False,
    ray: bool = False,
    public: bool = False,
    licence: str | None = None,
    say: Say = lambda line: None,
) -> str:
    """Writes a bundle (or a run's) to a directory, `hub:OWNER/NAME` or an object store; returns the address.

    merge: the base that the adapter was trained on with the adapter in its weights, in the bundle's dtype, checked
    against what the live trained model recorded. ray: the adapter in a directory named by its id, beside a
    configuration for `serve run`. public: who may read the repository on the hub; by default its owner alone.
    licence: of rows and base whose licence the bundle does not know. Nothing is overwritten, and what fails leaves
    nothing behind.

    Raises BundleError for a damaged bundle, one that must not be published, one that Ray cannot serve, and a merged
    model that is not what was trained; ConfigError for options that do not fit and a place that is taken; ModelError
    when the base cannot be had; AppkitError when the place cannot be written.
    """
    path, target = manifests.find(bundle), str(to)
    repository = _parse_repository(target)
    if merge and ray:
        raise ConfigError("--merge and --ray do not go together: Ray loads bare adapters; leave one out")
    if ray and repository:
        raise ConfigError(
            f"Ray loads adapters from object storage, got --to {target}; use s3://, gs:// or abfss://"
        )
    if (public or licence) and not repository:
        raise ConfigError(
            f"--public and --licence are for --to hub:OWNER/NAME, got {target!r}; leave them out"
        )
    manifest = manifests.read_manifest(path)
    _check_form(path, (manifest.get("exported") or {}).get("kind", "lora"), merge=merge, ray=ray)

    def write(folder: Path) -> None:
        inside = folder
        if ray:
            text = _write_serve_config(path, manifest, target if "://" in target else "s3://BUCKET/PREFIX")
            (folder / SERVE_CONFIG).write_text(text, encoding="utf-8")
            inside = folder / _name_adapter(manifest)
            inside.mkdir()
        if merge:
            _write_merged(path, inside, say)
        else:
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                shutil.copyfile(path / name, inside / name)
        (inside / "README.md").write_text(_write_card(manifest, merge, licence), encoding="utf-8")

    if repository:
        _check_licences(path, manifest, licence)
        with _make_folder() as folder:
            write(folder)
            version = f"{manifest['name']}@{manifest['sha'][:12]}"
            return to_hub(folder, repository, public=public, message=version)
    if "://" in target:
        address = _upload(Store(target), _name_adapter(manifest) if ray else "", write)
        if ray:
            say(f"fetch {address}/{SERVE_CONFIG} to start it: serve run {SERVE_CONFIG}")
        return address
    place = Path(target).expanduser()
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise ConfigError(
            f"{place} is there, and nothing is overwritten; remove it, or choose another directory"
        )
    with staged(place) as stage:
        write(stage)
    if ray:
        say(f"Ray reads object storage only: copy {place} there, and correct the addresses in {SERVE_CONFIG}")
    return str(place)


def _check_form(path: Path, form: str, *, merge: bool, ray: bool) -> None:
    """Raises BundleError for a form that cannot be exported so."""
    if form == "routed" or (form == "full" and not merge):
        raise BundleError(
            f"{path} is no plain LoRA but of form {form!r}, which PEFT does not load; "
            + ("export it with --merge" if form == "full" else "use appkit predict")
        )
    if form == "prefix" and (merge or ray):
        raise BundleError(
            f"{path} holds virtual tokens, which "
            + ("no weight of the base can hold" if merge else "Ray's engine, vLLM, does not load")
            + f"; export it without --{'merge' if merge else 'ray'}"
        )


@contextmanager
def _make_folder() -> Iterator[Path]:
    """Makes a temporary directory for what is uploaded."""
    with tempfile.TemporaryDirectory(prefix="appkit-export-") as folder, explained(Path(folder)):
        yield Path(folder)


def _upload(store: Store, adapter: str, write: Callable[[Path], None]) -> str:
    """Uploads what `write` makes; `adapter` is the directory in it that must be new, "": everything must."""
    store.check_free(adapter)
    with _make_folder() as folder:
        write(folder)
        if adapter and (present := store.read(SERVE_CONFIG)) is not None:
            ours = folder / SERVE_CONFIG
            _check_present(present, ours.read_text(encoding="utf-8"), f"{store.address}/{SERVE_CONFIG}")
            ours.unlink()
        store.upload(folder)
    return store.address


def _parse_repository(target: str) -> str | None:
    """Reads OWNER/NAME from `hub:OWNER/NAME`; None for any other place."""
    if target != "hub" and not target.startswith("hub:"):
        return None
    name = target.removeprefix("hub").removeprefix(":")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ConfigError(
            f"the hub needs a repository, got --to {target}; write hub:OWNER/NAME, or ./hub for a directory"
        )
    return name


def _name_adapter(manifest: Manifest) -> str:
    """Makes an id that other weights never have: an engine keeps what it computed under a name."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', manifest['name'])}-{manifest['sha'][:12]}"


# --- licences and card ------------------------------------------------------------------------------------


def _find_licences(manifest: Manifest, licence: str | None) -> dict[str, str | None]:
    """Finds the licences of the base and of rows that shaped the weights; `licence` where none is known."""
    return {
        what: name if name and not _split_words(name) <= SAYS_NOTHING else licence
        for what, name in manifests.list_licences(manifest).items()
    }


def _split_words(licence: str) -> set[str]:
    return set(re.findall(r"[a-z]+", licence.lower()))


def _check_licences(path: Path, manifest: Manifest, named_licence: str | None) -> None:
    """Raises BundleError for a licence that is not known or does not allow to publish."""
    for what, licence in _find_licences(manifest, named_licence).items():
        if licence is None or _split_words(licence) <= SAYS_NOTHING:
            raise BundleError(
                f"{path} cannot be published: it records no licence of the {what}; name the one they are under: "
                "--licence NAME (for rows, `licence:` in a card.yaml beside them is recorded in training)"
            )
        if _split_words(licence) & FORBIDS or "all rights reserved" in licence.lower():
            raise BundleError(
                f"{path} cannot be published: the licence of the {what}, {licence!r}, does not allow it; export to a "
                "directory or an object store of your own"
            )


def _write_card(manifest: Manifest, merged: bool, licence: str | None) -> str:
    """Writes README.md of the export: what a reader needs of the manifest, and no path of this machine."""
    base, task, rank = manifest["base"], manifest["task"], manifest["exported"]["rank"]
    front = [f"base_model: {base['id']}"] if base["source"] == "hub" else []
    front += [f"library_name: {'transformers' if merged else 'peft'}", "pipeline_tag: text-generation"]
    over = f"{_name_base(manifest)} (quantized: {base['quantizer']})"
    what = (
        f"A whole model: {over} with the adapter merged into its weights."
        if merged
        else f"A PEFT adapter over {over}. Over other weights its figures do not hold."
    )
    facts = {
        "task": f"{task['name']} {task['version']}",
        "base": f"{base['source']} {base['revision'] or ''}".strip() + f", `{base['fingerprint']}`",
        "dtype": base["dtype"],
        "chat template": f"`{manifest['template']}`",
        "decoding": _describe_decoding(manifest),
        "method": manifest["method"]["name"] + (f", rank {rank}" if rank else ""),
        "train rows": f"{manifest['data']['rows']['train']}, `{manifest['data']['train']}`",
        "test rows": f"{manifest['data']['rows']['test']}, `{manifest['data']['test']}`",
        "licences": ", ".join(
            f"{what}: {name or 'unknown'}" for what, name in _find_licences(manifest, licence).items()
        ),
        "made with": ", ".join(
            f"{name} {manifest['versions'][name]}" for name in ("appkit", "torch", "transformers", "peft")
        ),
        "bundle": f"`{manifest['name']}@{manifest['sha']}`, seed {manifest['seed']}",
    }
    return "\n".join(
        [
            *("---", *front, f"tags: [appkit, {task['name']}]", "---", ""),
            *(f"# {manifest['name']}", "", what, "", f"**{manifest['verdict']}**", ""),
            *_format_scores(manifest),
            "",
            *(f"- {name}: {fact}" for name, fact in facts.items()),
            "",
        ]
    )


def _format_scores(manifest: Manifest) -> Iterator[str]:
    """Writes the table of metrics, a column for each contender; one may lack a value that another has."""
    columns = {who: column["metrics"] for who, column in manifest["metrics"].items()}
    names = dict.fromkeys(name for metrics in reversed(columns.values()) for name in metrics)
    if not names:
        return
    yield "| metric | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for name in names:
        figures = (_format_figure(metrics.get(name)) for metrics in columns.values())
        yield f"| {name} | " + " | ".join(figures) + " |"


def _format_figure(score: Mapping[str, float] | None) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]" if score else "no value"


def _describe_decoding(manifest: Manifest) -> str:
    decoding = manifest["decoding"]
    stop = f", stop at {decoding['stop']}" if decoding["stop"] else ""
    return f"temperature {decoding['temperature']:g}, at most {decoding['cap']} tokens{stop}"


def _name_base(manifest: Manifest) -> str:
    base = manifest["base"]
    return str(base["id"]) if base["source"] == "hub" else Path(base["name"]).name


# --- the merged model -------------------------------------------------------------------------------------


def _write_merged(path: Path, folder: Path, say: Say) -> None:
    """Writes the whole model, and compares it, read from its files, with the bundle's reference."""
    from appkit.serving.deployment import Deployment

    with tempfile.TemporaryDirectory(prefix="appkit-export-") as store:
        deployment = Deployment(path, Path(store))
        checks = list(deployment.check_files("transformers"))
        if all(check.passed for check in checks):
            _merge(deployment.base, path, folder, deployment.dtype)
            checks += asyncio.run(_compare(deployment, folder))
    for check in checks:
        if check.passed is not None:
            say(f"{check.name}: {check.figure}")
        if check.passed is False:
            raise BundleError(
                f"{path} merged into its base does not give what training gave: {check.name}: {check.figure}; "
                "export it without --merge"
            )


def _merge(base: Path, adapter: Path, folder: Path, dtype: str) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from appkit.adapters.whole import Whole
    from appkit.serving.engines.compatibility import read_adapter

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), local_files_only=True)
    if read_adapter(adapter).form == "full":
        whole = Whole(plain, load_file(adapter / "adapter_model.safetensors")).get_base_model()
    else:
        whole = PeftModel.from_pretrained(plain, str(adapter)).merge_and_unload(safe_merge=True)
    whole.save_pretrained(folder)
    for file in base.iterdir():
        if file.is_file() and not file.name.endswith(WEIGHTS) and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
    (folder / "manifest.json").unlink(missing_ok=True)  # the cache's own, of the base


async def _compare(deployment: Deployment, folder: Path) -> list[Check]:
    """Makes the checks of `appkit certify` but the task's metric, with one model in memory at a time."""
    from appkit.heads.lm.check import canaries
    from appkit.serving.engines.protocol import NULL
    from appkit.serving.engines.transformers import TransformersEngine

    recorded, dtype = deployment.recorded, deployment.dtype
    unmerged = TransformersEngine(deployment.base, dtype=dtype)
    whole = TransformersEngine(folder, dtype=dtype)
    await unmerged.start()
    base_scores = {canary: await unmerged.score(NULL, canary) for canary in canaries(recorded)}
    await unmerged.close()
    await whole.start()
    engine = cast("Engine", _Merged(whole, base_scores))  # it has the methods that the checks call
    try:
        checks = deployment.head.check_engine(engine, "merged", recorded, exact=dtype == "float32")
        return [check async for check in checks]
    finally:
        await whole.close()


class _Merged:
    """Answers as the engine of a merged model, whose adapter is always on; the base's scores were computed before."""

    def __init__(self, whole: TransformersEngine, base_scores: Mapping[Example, list[float]]) -> None:
        self.whole, self.base_scores = whole, base_scores

    async def score(self, adapter: str, example: Example) -> list[float]:
        from appkit.serving.engines.protocol import NULL

        return self.base_scores[example] if adapter == NULL else await self.whole.score(NULL, example)

    async def complete(self, job: Job) -> Piece:
        from appkit.serving.engines.protocol import NULL

        return await self.whole.complete(replace(job, adapter=NULL))


# --- Ray --------------------------------------------------------------------------------------------------


def _write_serve_config(path: Path, manifest: Manifest, prefix: str) -> str:
    """Writes what `serve run` reads: one base, and `prefix`, below which Ray finds adapters by directory names."""
    import yaml

    from appkit import __version__
    from appkit.method import ENGINE_RANKS
    from appkit.serving.engines.compatibility import read_adapter

    quant, base = manifest["quant"], manifest["base"]
    if "vllm" not in manifest["servable_by"] or quant["name"] == "int8":
        raise BundleError(
            f"{path} cannot be served by Ray, whose engine is vLLM (method {manifest['method']['name']}, quant "
            f"{quant['name']}, servable by {', '.join(manifest['servable_by'])}); use --merge without --ray"
        )
    prefix, name = prefix.rstrip("/"), Path(base["name"]).name
    rank = read_adapter(path).rank
    engine = {
        "enable_lora": True,
        "max_loras": ADAPTERS,
        "max_lora_rank": next(allowed for allowed in ENGINE_RANKS if allowed >= rank),
        "dtype": base["dtype"],
    }
    source: Any = {"bucket_uri": f"{prefix}-base"}
    if quant["name"] == "nf4":
        cached = cache_dir() / "served"
        upload = f"with weights rounded to NF4: the directory that `appkit certify` makes in {cached}"
    elif base["source"] == "hub":
        source, upload = base["id"], ""
        engine |= {"revision": base["revision"]} if base["revision"] else {}
    else:
        upload = f"the directory that `appkit models show {base['name']}` names"
    config = {
        "model_loading_config": {"model_id": name, "model_source": source},
        "lora_config": {"dynamic_lora_loading_path": prefix, "max_num_adapters_per_replica": ADAPTERS},
        "engine_kwargs": engine,
    }
    args = {"llm_configs": [config]}
    application = {
        "name": "appkit",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": args,
    }
    comments = [
        f"For Ray Serve LLM, made by appkit {__version__}; start it with: serve run {SERVE_CONFIG}",
        f"{BASE_LINE} {base['fingerprint']} quant={quant['name']} dtype={base['dtype']}",
        "Each directory below dynamic_lora_loading_path is an adapter over this base.",
        *([f"Upload the base to bucket_uri first, {upload}."] if upload else []),
        f"Ask for model {name}:{_name_adapter(manifest)}, with {_describe_decoding(manifest)}.",
        "Add accelerator_type and deployment_config as the cluster needs them.",
    ]
    return "".join(f"# {line}\n" for line in comments) + yaml.safe_dump(
        {"applications": [application]}, sort_keys=False
    )


def _check_present(present: str, ours: str, where: str) -> None:
    """Raises ConfigError unless the `present` configuration serves the adapter for which `ours` was made."""
    base = re.compile(rf"^# {BASE_LINE} .*$", re.M)
    rank = re.compile(r"max_lora_rank: *(\d+)")
    needed_rank = rank.findall(ours)[0]
    if base.findall(present) != base.findall(ours):
        raise ConfigError(f"{where} serves another base than this bundle's; choose another prefix")
    if any(int(allowed) < int(needed_rank) for allowed in rank.findall(present)):
        raise ConfigError(
            f"{where} allows a smaller max_lora_rank than {needed_rank}, which this bundle needs; raise it"
        )
