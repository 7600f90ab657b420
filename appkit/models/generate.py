"""Generate is the one decoding path: eval, predict and serving all answer through it.

Prompts are decoded side by side in slots. Tokens that all prompts begin with are computed once. A row that ends makes
room for the next prompt: a short one is read in the same pass in which the others answer, a long one in passes of its
own. Linear layers see no padding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from appkit.models.forward import virtual_tokens
from appkit.models.kv_cache import Cache
from appkit.models.segments import Segments, shared_prefix

__all__ = ["Generated", "cut_loop", "generate", "loops"]

BESIDE = 64
"""tokens of a prompt that are read beside answering rows, whose attention is then padded to as many"""
AHEAD = 2048
"""tokens that a pass reads of longer prompts, pads of its attention included"""


@dataclass(frozen=True)
class Generated:
    """The tokens generated for one prompt."""

    tokens: tuple[int, ...]
    """token ids, without the stop token"""
    truncated: bool
    """it was cut (length cap, loop, `watch`) before a stop token came"""
    log_probabilities: tuple[float, ...] = ()
    """in nats, of each token and of the stop token; empty unless requested"""


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | Sequence[int],
    stop: frozenset[int],
    batch_rows: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    loop: int | None = None,
    log_probabilities: bool = False,
    constrain: Callable[[torch.Tensor, list[int]], None] | None = None,
    watch: Callable[[int, int, float | None], bool] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Continue each prompt until a token of `stop` or `max_new_tokens`; results are in the order of the prompts.

    model: must attend through `attention.use`. prompts: token ids. max_new_tokens: for all rows, or one for each.
    temperature: 0 takes the likeliest token; otherwise each row draws from its own generator, seeded by (seed, row), so
    that its answer does not depend on the rows beside it. loop: end a row, truncated, whose last `loop` tokens only
    repeat a phrase. log_probabilities: also return those of the chosen tokens under the model itself, before
    temperature, top_p and top_k. constrain: (logits (B, V), rows) changes the logits in place before tokens are chosen.
    watch: (row, token, log-probability) is called for each token, and ends the row, truncated, by returning True.
    progress: is called with how many rows have just ended.

    Raises ValueError for an empty prompt.
    """
    if not prompts:
        return []
    if empty := [place for place, prompt in enumerate(prompts) if not prompt]:
        raise ValueError(f"prompt {empty[0]} is empty; a model needs at least one token to continue")
    device = next(model.parameters()).device
    cache, prefix = _read_prefix(model, prompts, device)
    sample = _make_sampler(temperature, top_p, top_k, seed, device)
    own = [list(prompt[prefix:]) for prompt in prompts]
    caps = [max_new_tokens] * len(own) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    longest = max(len(tokens) + cap for tokens, cap in zip(own, caps, strict=True))
    cache.begin(min(batch_rows, len(own)), longest, device)
    # the longest first: rows that are read in one pass then have similar lengths
    waiting = deque(sorted(range(len(own)), key=lambda row: -len(own[row])))
    answers: list[list[int]] = [[] for _ in own]
    likely: list[list[float]] = [[] for _ in own]
    results: dict[int, Generated] = {}
    slots: list[int | None] = [None] * len(cache.lengths)  # the row that a slot answers
    feed: list[list[int]] = [[] for _ in slots]  # the tokens that a slot reads next
    while len(results) < len(own):
        _refill(slots, feed, waiting, own, cache)
        for passed in _read_long_prompts(feed):
            _forward(model, passed, cache)
        logits = _forward(model, feed, cache)  # (live, V)
        live = [(slot, row) for slot, row in enumerate(slots) if row is not None]
        own_log_probabilities = logits.log_softmax(-1) if log_probabilities else None
        if constrain:
            constrain(logits, [row for _, row in live])
        tokens = sample(logits, [row for _, row in live])  # (live,)
        if own_log_probabilities is not None:
            values = own_log_probabilities.gather(1, tokens[:, None])[:, 0].tolist()
            for (_, row), value in zip(live, values, strict=True):
                likely[row].append(value)
        ended = 0
        for (slot, row), token in zip(live, tokens.tolist(), strict=True):
            feed[slot] = [token]
            if token not in stop:
                answers[row].append(token)
            cut = watch is not None and watch(row, token, likely[row][-1] if likely[row] else None)
            cut = cut or len(answers[row]) == caps[row] or (loop is not None and loops(answers[row], loop))
            if token in stop or cut:
                results[row] = Generated(tuple(answers[row]), token not in stop, tuple(likely[row]))
                slots[slot], feed[slot] = None, []
                ended += 1
        if ended and progress:
            progress(ended)
    return [results[row] for row in range(len(own))]


def _read_prefix(model: Any, prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Cache, int]:
    """Read the tokens that all prompts begin with, once; return the cache that holds them, and their number."""
    cache = Cache(model.config.get_text_config().num_hidden_layers, virtual_tokens(model))
    prefix = shared_prefix(prompts, min(map(len, prompts)) - 1) if len(prompts) > 1 else 0
    if prefix:
        cache.begin(1, prefix, device)
        _forward(model, [list(prompts[0][:prefix])], cache)
        cache.freeze_prefix()
    return cache, prefix


def loops(tokens: Sequence[int], length: int) -> bool:
    """Tell whether the last `length` tokens repeat one phrase of at most half of them."""
    tail = tokens[-length:]
    return len(tail) == length and any(
        tail[period:] == tail[:-period] for period in range(1, length // 2 + 1)
    )


def cut_loop(tokens: Sequence[int], length: int | None) -> Sequence[int]:
    """Cut an answer where `generate` with `loop=length` would have ended it; None cuts nothing."""
    if length:
        for end in range(length, len(tokens)):
            if loops(tokens[:end], length):
                return tokens[:end]
    return tokens


def _refill(
    slots: list[int | None], feed: list[list[int]], waiting: deque[int], own: list[list[int]], cache: Cache
) -> None:
    """Give free slots to waiting rows; without waiting rows, drop free slots. Both once a quarter is free.

    Reading prompts makes a pass dearer and dropping slots copies the cache, so neither is done for each row.
    """
    free = [slot for slot, row in enumerate(slots) if row is None]
    if len(free) < max(1, len(slots) // 4):
        return
    if waiting:
        filled = free[: len(waiting)]
        cache.reset(filled)
        for slot in filled:
            slots[slot] = row = waiting.popleft()
            feed[slot] = own[row]
        return
    busy = [slot for slot, row in enumerate(slots) if row is not None]
    cache.keep(torch.tensor(busy, device=cache.lengths.device))
    slots[:], feed[:] = [slots[slot] for slot in busy], [feed[slot] for slot in busy]


def _read_long_prompts(feed: list[list[int]]) -> Iterator[list[list[int]]]:
    """Yield passes that read the long prompts in `feed`, all but the last token of each.

    Beside answering rows they would need attention over (rows, longest prompt), and all at once much memory.
    """
    long = sorted(
        (slot for slot, tokens in enumerate(feed) if len(tokens) > BESIDE), key=lambda slot: -len(feed[slot])
    )
    while long:
        count = max(1, AHEAD // (len(feed[long[0]]) - 1))
        group, long = long[:count], long[count:]
        while any(len(feed[slot]) > 1 for slot in group):
            passed: list[list[int]] = [[] for _ in feed]
            for slot in group:
                end = min(AHEAD, len(feed[slot]) - 1)
                passed[slot], feed[slot] = feed[slot][:end], feed[slot][end:]
            yield passed


def _forward(model: Any, feed: list[list[int]], cache: Cache) -> torch.Tensor:
    """Feed each slot's new tokens; return fp32 logits after the last token of every slot that had one, (live, V)."""
    device = cache.lengths.device
    fed = [slot for slot, tokens in enumerate(feed) if tokens]
    # leaving slots out copies the cache of the others, which costs more than a few slots that read nothing
    some = len(fed) <= len(feed) // 2
    cache.slots = torch.tensor(fed, device=device) if some else None
    lengths = [len(tokens) for tokens in ([feed[slot] for slot in fed] if some else feed)]
    segments = Segments.of(lengths, device, cache=cache)
    positions = cache.prefix_length + cache.before[segments.row] + segments.column
    last = torch.cumsum(torch.tensor([length for length in lengths if length], device=device), 0) - 1
    output = model(
        input_ids=torch.tensor([[token for tokens in feed for token in tokens]], device=device),
        position_ids=positions[None],
        segments=segments,
        use_cache=False,
        logits_to_keep=last,
    )
    cache.advance(segments)
    logits: torch.Tensor = output.logits[0].float()
    return logits


def _make_sampler(
    temperature: float, top_p: float, top_k: int, seed: int, device: torch.device
) -> Callable[[torch.Tensor, list[int]], torch.Tensor]:
    """Make the function (logits (B, V), row numbers) -> (B,) tokens."""
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
            ranked = ranked.masked_fill(before >= top_p, float("-inf"))  # the likeliest token always stays
            logits = torch.full_like(logits, float("-inf")).scatter(1, order, ranked)
        chances = logits.softmax(-1)
        drawn = []
        for place, row in enumerate(rows):
            if row not in generators:
                generators[row] = torch.Generator(device).manual_seed((seed * 1_000_003 + row) % 2**64)
            drawn.append(torch.multinomial(chances[place], 1, generator=generators[row]))
        return torch.cat(drawn)

    return draw
