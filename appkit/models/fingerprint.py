"""Fingerprint identifies a base by hashes of its tensors, architecture and tokenizer, and by its compute dtype."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appkit.errors import AppkitError
from appkit.models.files import json_digest, load_tokenizer, read_header, weight_files
from appkit.storage import atomic

__all__ = ["Fingerprint", "fingerprint"]

log = logging.getLogger(__name__)


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
"""keys of config.json that do not change the model's results"""

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
    """Hashes (hex) that identify a base, the same for any file names, sharding and machine; only the dtype differs."""

    weights: str
    """of each tensor's name, stored dtype, shape and bytes"""
    architecture: str
    """of config.json, without the keys that do not change a result"""
    tokenizer: str
    """of the ids and renderings it gives for fixed probes"""
    dtype: str
    """the compute dtype, for example 'bfloat16'"""

    @property
    def base(self) -> str:
        """Hash of all but the dtype, the same on every machine; presets record it."""
        return "sha256:" + json_digest([self.weights, self.architecture, self.tokenizer])

    @property
    def id(self) -> str:
        """Hash of `base` and the compute dtype, which changes results too; bundles record it."""
        return "sha256:" + json_digest([self.weights, self.architecture, self.tokenizer, self.dtype])


def fingerprint(path: Path, dtype: str) -> Fingerprint:
    """Compute the fingerprint of a model's directory for a compute dtype ('bfloat16', 'float32').

    Tensors are hashed once: hashes are cached by path, size, time and inode. The tokenizer is probed each
    time, since it also depends on the installed libraries.
    """
    config = json.loads((path / "config.json").read_text())
    architecture = {key: value for key, value in config.items() if key not in VOLATILE}
    return Fingerprint(
        weights=weights_hash(path),
        architecture=json_digest(architecture),
        tokenizer=json_digest(_probe_tokenizer(load_tokenizer(path))),
        dtype=dtype,
    )


def weights_hash(path: Path) -> str:
    """Hash (hex) the tensors of a model's directory, independent of how they are spread over files."""
    return json_digest(sorted(_hash_tensors(weight_files(path)).items()))


def _probe_tokenizer(tokenizer: Any) -> list[Any]:
    """Collect ids and decodings of fixed texts, special ids, and renderings of fixed talks (None where refused)."""
    from jinja2.exceptions import TemplateError

    results: list[Any] = [tokenizer(probe)["input_ids"] for probe in PROBES]
    results += [tokenizer.decode(ids) for ids in results]
    results.append([tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)])
    if tokenizer.chat_template is None:
        return results
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
        results.append(text)
    return results


def _hash_tensors(files: list[Path]) -> dict[str, str]:
    """Hash the tensors of all files: tensor name -> 'DTYPE [shape] sha256 of its bytes'."""
    store = atomic.cache_dir() / "fingerprints.json"
    try:
        cached: dict[str, dict[str, str]] = json.loads(store.read_text())
    except (OSError, ValueError):  # a cache: absent or damaged, it is made again
        cached = {}
    hashes: dict[str, str] = {}
    fresh = False
    for file in files:
        stat = file.stat()
        key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
        if key not in cached:
            cached[key] = dict(_hash_file(file))
            fresh = True
        hashes.update(cached[key])
    if fresh:
        cached = {key: value for key, value in cached.items() if Path(key.split("|")[0]).is_file()}
        try:  # two writers at once: the last one wins, and the other's hashes are made again
            atomic.write_text(store, json.dumps(cached))
        except AppkitError as error:
            log.warning("hashes are not kept: %s", error)
    return hashes


def _hash_file(file: Path) -> Iterator[tuple[str, str]]:
    header, start = read_header(file)
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        for name, tensor in header.items():
            first, last = tensor["data_offsets"]
            with memoryview(memory) as view, view[start + first : start + last] as part:
                yield name, f"{tensor['dtype']} {tensor['shape']} {hashlib.sha256(part).hexdigest()}"
