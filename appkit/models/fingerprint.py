"""What a base is, as hashes: of its tensors, its architecture, its tokenizer, its compute dtype."""

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
        return "sha256:" + json_digest([self.weights, self.architecture, self.tokenizer])

    @property
    def id(self) -> str:
        """`base` and the compute dtype, which decides the numbers too: what bundles record."""
        return "sha256:" + json_digest([self.weights, self.architecture, self.tokenizer, self.dtype])


def fingerprint(path: Path, dtype: str) -> Fingerprint:
    """The fingerprint of a model's directory for a compute dtype ('bfloat16', 'float32').

    Tensors are hashed once: hashes are cached by path, size, time and inode. The tokenizer is probed each
    time, since it also depends on the installed libraries.
    """
    config = json.loads((path / "config.json").read_text())
    architecture = {key: value for key, value in config.items() if key not in VOLATILE}
    return Fingerprint(
        weights=weights_hash(path),
        architecture=json_digest(architecture),
        tokenizer=json_digest(_tokenizer_probes(load_tokenizer(path))),
        dtype=dtype,
    )


def weights_hash(path: Path) -> str:
    """Hex hash of the tensors of a model's directory, independent of how they are spread over files."""
    return json_digest(sorted(_tensor_hashes(weight_files(path)).items()))


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
    header, start = read_header(file)
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        for name, tensor in header.items():
            first, last = tensor["data_offsets"]
            with memoryview(memory) as view, view[start + first : start + last] as part:
                yield name, f"{tensor['dtype']} {tensor['shape']} {hashlib.sha256(part).hexdigest()}"
