"""The one decoding path: eval, predict and serving all answer through here.

Prompts are decoded side by side. Tokens that all prompts begin with are computed once; rows that have ended
leave the batch; nothing is padded in the linear layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from appkit.attention import Segments, visible
from appkit.batching import shared_prefix

__all__ = ["Cache", "Generated", "generate"]


class Cache:
    """Keys and values of B rows behind a shared prefix, for every layer.

    A layer's own keys are (B, K, capacity, D), preallocated: appending copies one token, not the history.
    The prefix is (1, K, P, D), stored once and read once per step whatever B is.
    """

    def __init__(self, layers: int) -> None:
        self.prefix: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * layers
        self.own: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * layers
        self.prefix_length = 0
        self.capacity = 0
        self.lengths = torch.zeros(0, dtype=torch.int64)  # (B,) own tokens so far
        self.longest = 0

    def begin(self, rows: int, capacity: int, device: torch.device) -> None:
        """Forget the rows (not the prefix) and make room for `rows` of at most `capacity` own tokens."""
        self.own = [None] * len(self.own)
        self.capacity, self.longest = capacity, 0
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)

    def advance(self, segments: Segments) -> None:
        """Count the tokens of a finished forward pass."""
        if segments.rows != len(self.lengths):
            raise ValueError(f"the pass had {segments.rows} rows, the cache has {len(self.lengths)}")
        self.lengths = self.lengths + torch.bincount(segments.row, minlength=segments.rows)
        self.longest = int(self.lengths.max())

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these (row numbers, in their new order)."""
        self.lengths = self.lengths[rows]
        self.own = [None if pair is None else (pair[0][rows], pair[1][rows]) for pair in self.own]

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        segments: Segments,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Store this pass's keys and values of the module's layer, attend: (1, H, R, D) -> (1, R, H, D)."""
        layer = module.layer_idx
        B, H, K, D = segments.rows, query.shape[1], key.shape[1], query.shape[3]
        if self.own[layer] is None:
            shape = (B, K, self.capacity, D)
            self.own[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        keys, values = self.own[layer]
        place = self.lengths[segments.row] + segments.column  # (R,)
        keys[segments.row, :, place] = key[0].transpose(0, 1)
        values[segments.row, :, place] = value[0].transpose(0, 1)
        N = self.longest + segments.longest
        keys, values = keys[:, :, :N], values[:, :, :N]

        L, P, G = segments.longest, self.prefix_length, H // K
        rows = segments.spread(query) * (D**-0.5 if scaling is None else scaling)
        grouped = rows.reshape(B, K, G * L, D)  # queries that share a key head, side by side
        columns = torch.arange(L, device=query.device)
        at = P + self.lengths[:, None] + columns  # (B, L) positions of the queries
        own_at = P + torch.arange(N, device=query.device)
        seen = visible(at, own_at.expand(B, N), window)  # (B, L, N)
        scores = (grouped @ keys.transpose(2, 3)).view(B, K, G, L, N)
        scores = scores.masked_fill(~seen[:, None, None], float("-inf"))
        pair = self.prefix[layer]
        if pair is not None:
            together = grouped.transpose(0, 1).reshape(K, B * G * L, D)
            shared = (together @ pair[0][0].transpose(1, 2)).view(K, B, G, L, P).transpose(0, 1)
            if window is not None and window < P + N:
                shared_at = torch.arange(P, device=query.device).expand(B, P)
                shared = shared.masked_fill(~visible(at, shared_at, window)[:, None, None], float("-inf"))
            scores = torch.cat([shared, scores], -1)  # (B, K, G, L, P + N)
        weights = torch.softmax(scores.float(), -1).to(query.dtype)
        out = weights[..., -N:].reshape(B, K, G * L, N) @ values  # (B, K, G L, D)
        if pair is not None:
            weights = weights[..., :P].transpose(0, 1).reshape(K, B * G * L, P)
            out = out + (weights @ pair[1][0]).view(K, B, G * L, D).transpose(0, 1)
        return segments.pack(out.reshape(B, H, L, D))

    def freeze_prefix(self) -> None:
        """Turn the single row computed so far into the prefix of all rows to come."""
        self.prefix_length = self.longest
        self.prefix = [
            None
            if pair is None
            else (pair[0][:, :, : self.longest].clone(), pair[1][:, :, : self.longest].clone())
            for pair in self.own
        ]
        self.begin(0, 0, self.lengths.device)


@dataclass(frozen=True)
class Generated:
    """tokens: without the token that ended it. truncated: the length cap was reached before one came."""

    tokens: tuple[int, ...]
    truncated: bool


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: frozenset[int],
    batch_rows: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Continue each prompt until a token of `stop` or `max_new_tokens`, in the order given.

    model attends through `attention.use`; prompts are token ids. Temperature 0 takes the likeliest token.
    Otherwise each row draws from its own generator, seeded by (seed, row): what a row answers does not
    depend on which rows it is batched with. `progress` is told how many rows have just ended.

    Raises ValueError for an empty prompt.
    """
    if not prompts:
        return []
    if empty := [place for place, prompt in enumerate(prompts) if not prompt]:
        raise ValueError(f"prompt {empty[0]} is empty; a model needs at least one token to continue")
    config = model.config.get_text_config()
    device = next(model.parameters()).device
    cache = Cache(config.num_hidden_layers)
    prefix = shared_prefix(prompts, min(map(len, prompts)) - 1) if len(prompts) > 1 else 0
    if prefix:
        cache.begin(1, prefix, device)
        _forward(model, [list(prompts[0][:prefix])], cache)
        cache.freeze_prefix()
    sample = _sampler(temperature, top_p, top_k, seed, device)
    results: list[Generated | None] = [None] * len(prompts)
    # rows of like length side by side: the longest prompt of a batch sets the cache's width
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    for start in range(0, len(order), batch_rows):
        rows = order[start : start + batch_rows]
        own = [list(prompts[row][prefix:]) for row in rows]
        cache.begin(len(rows), max(map(len, own)) + max_new_tokens, device)
        _decode(model, rows, own, cache, sample, max_new_tokens, stop, results, progress)
    return [result for result in results if result is not None]


def _decode(
    model: Any,
    rows: list[int],
    own: list[list[int]],
    cache: Cache,
    sample: Callable[[torch.Tensor, list[int]], torch.Tensor],
    max_new_tokens: int,
    stop: frozenset[int],
    results: list[Generated | None],
    progress: Callable[[int], None] | None,
) -> None:
    answers: dict[int, list[int]] = {row: [] for row in rows}
    logits = _forward(model, own, cache)  # (B, V)
    live = list(rows)  # rows in the batch, ended ones included until they are dropped
    while True:
        tokens = sample(logits, live).tolist()
        ended = 0
        for row, token in zip(live, tokens, strict=True):
            if results[row] is not None:
                continue
            if token not in stop:
                answers[row].append(token)
            if token in stop or len(answers[row]) == max_new_tokens:
                results[row] = Generated(tuple(answers[row]), truncated=token not in stop)
                ended += 1
        if ended and progress:
            progress(ended)
        running = [place for place, row in enumerate(live) if results[row] is None]
        if not running:
            return
        # dropping rows copies the cache: worth it once a quarter has ended
        if len(running) <= 0.75 * len(live):
            cache.keep(torch.tensor(running, device=logits.device))
            live, tokens = [live[place] for place in running], [tokens[place] for place in running]
        logits = _forward(model, [[token] for token in tokens], cache)


def _forward(model: Any, rows: list[list[int]], cache: Cache) -> torch.Tensor:
    """Feed each row's new tokens; logits behind each row's last one, (B, V) fp32."""
    device = cache.lengths.device
    lengths = [len(row) for row in rows]
    segments = Segments.of(lengths, device, cache=cache)
    positions = cache.prefix_length + cache.lengths[segments.row] + segments.column
    last = torch.cumsum(torch.tensor(lengths, device=device), 0) - 1
    output = model(
        input_ids=torch.tensor([[token for row in rows for token in row]], device=device),
        position_ids=positions[None],
        segments=segments,
        use_cache=False,
        logits_to_keep=last,
    )
    cache.advance(segments)
    logits: torch.Tensor = output.logits[0].float()
    return logits


def _sampler(
    temperature: float, top_p: float, top_k: int, seed: int, device: torch.device
) -> Callable[[torch.Tensor, list[int]], torch.Tensor]:
    """(logits (B, V), row numbers) -> (B,) tokens."""
    if temperature == 0:
        return lambda logits, rows: logits.argmax(-1)
    generators: dict[int, torch.Generator] = {}

    def draw(logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
        logits = logits / temperature
        if top_k:
            floor = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
            logits = logits.masked_fill(logits < floor, float("-inf"))
        if top_p < 1:
            ranked, order = logits.sort(descending=True)
            before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
            ranked = ranked.masked_fill(before >= top_p, float("-inf"))  # the likeliest is always kept
            logits = torch.full_like(logits, float("-inf")).scatter(1, order, ranked)
        chances = logits.softmax(-1)
        drawn = []
        for place, row in enumerate(rows):
            if row not in generators:
                generators[row] = torch.Generator(device).manual_seed(seed * 1_000_003 + row)
            drawn.append(torch.multinomial(chances[place], 1, generator=generators[row]))
        return torch.cat(drawn)

    return draw
