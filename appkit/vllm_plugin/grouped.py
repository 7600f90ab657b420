"""Computes LoRA on CPU by groups of rows that share an adapter.

vLLM's own wrapper for CPU gathers a copy of A and B for every token of every step and multiplies token by token; a
row without adapter (slot -1) gets the last slot's. Here the rows of a step are sorted by slot once, every layer
multiplies each group with its adapter's factors, and rows without adapter are left alone.

Letters: n rows (tokens) of a step, d_in and d_out features of a layer, s slots, R the engine's maximal rank. A layer
may be several that vLLM merged ("parts": q, k and v; gate and up); `a` holds a (s, 1, R, d_in), `b` a
(s, 1, d_out of the part, R) for each part.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

__all__ = ["Factors", "GroupedLora", "Rows", "group"]

LONG_RUN = 16  # rows; products with fewer are slower than gathering the rows first
SHORT_GROUP = (
    16  # rows; groups up to it are multiplied side by side, which is 2 to 4 times as fast as one by one
)
NARROW = 64  # summed rank up to which one product with zeros in it is faster than one a part


class Grid(NamedTuple):
    """Holds short groups of neighbouring slots as a table, a line for each slot."""

    first: int
    """slot of the first line"""
    lines: int
    height: int
    """rows of the longest group; shorter lines are filled up"""
    rows: torch.Tensor
    """(lines x height,), the step's row of each cell; any row in a cell that is not used"""
    used: torch.Tensor | None
    """(n of the groups,), the cells that are used; None: all"""


class Rows(NamedTuple):
    """Holds the rows of a step by slot. Rows without adapter are in no group."""

    total: int
    """rows of the step"""
    order: torch.Tensor | None
    """(total,), the step's rows sorted by slot; None: they stay as they are"""
    groups: list[tuple[int, int, int]]
    """(slot, start, end), counted in `order`"""
    grid: Grid | None = None
    """the groups as a table, where that is faster"""


def group(slots: torch.Tensor) -> Rows:
    """Groups slots (n,), -1 for no adapter; rows that already lie together stay where they are."""
    total = slots.numel()
    runs, lengths = torch.unique_consecutive(slots, return_counts=True)
    order = None
    if len(runs) > 1 and total < LONG_RUN * len(runs):
        order = torch.argsort(slots, stable=True)
        runs, lengths = torch.unique_consecutive(slots[order], return_counts=True)
    groups, start = [], 0
    for slot, length in zip(runs.tolist(), lengths.tolist(), strict=True):
        if slot >= 0:
            groups.append((slot, start, start + length))
        start += length
    return Rows(total, order, groups, _grid(order, groups))


def _grid(order: torch.Tensor | None, groups: list[tuple[int, int, int]]) -> Grid | None:
    """Makes the table; None for one group, a long one, or slots so far apart that most cells would be empty."""
    slots = [slot for slot, _, _ in groups]
    if len(groups) < 2 or len(set(slots)) < len(slots):
        return None
    height = max(end - start for _, start, end in groups)
    first, lines = min(slots), max(slots) - min(slots) + 1
    taken = sum(end - start for _, start, end in groups)
    if height > SHORT_GROUP or lines * height > 4 * taken:
        return None
    places = torch.zeros(lines, height, dtype=torch.int64)
    filled = torch.zeros(lines, height, dtype=torch.bool)
    for slot, start, end in groups:
        own = torch.arange(start, end) if order is None else order[start:end]
        places[slot - first, : end - start] = own
        filled[slot - first, : end - start] = True
    used = None if taken == lines * height else filled.flatten().nonzero()[:, 0]
    return Grid(first, lines, height, places.flatten(), used)


class Adapter(NamedTuple):
    """Holds one adapter's factors on one layer, cut to the rank it has."""

    down: torch.Tensor
    """(d_in, r of all parts)"""
    ups: list[tuple[slice, slice, torch.Tensor]]
    """for each product up: the columns of `down`'s result that go in, the layer's columns that come out, (r, d_out)"""


def compute_dtype(stored: torch.dtype) -> torch.dtype:
    """Chooses float32 in place of a half precision that this processor can only emulate."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.float32 if stored is torch.float16 or not native else stored


def rank(a: torch.Tensor, b: torch.Tensor) -> int:
    """Counts the rank rows of a (R, d_in), b (d_out, R) up to the last that adds something; 0: none does."""
    used = (a.any(dim=1) & b.any(dim=0)).nonzero()
    return int(used[-1]) + 1 if len(used) else 0


@dataclass
class Factors:
    """Holds a layer's stacked factors, and the adapters made from each slot since it was last written.

    vLLM copies adapters into the stacked tensors in place. torch counts the writes of a tensor in `_version`, also
    those through views, so a new adapter in a slot is never computed with the factors of the one before it. The count
    is of all slots together: after a write that `watch` did not see, everything is made again.
    """

    a: tuple[torch.Tensor, ...]
    """(s, 1, R, d_in) of each part"""
    b: tuple[torch.Tensor, ...]
    """(s, 1, d_out of the part, R) of each part"""
    versions: list[int] = field(default_factory=list)
    """writes of each tensor, as torch counts them"""
    made: dict[int, Adapter | None] = field(default_factory=dict)
    """slot -> its adapter; None: it does not change this layer"""
    down: torch.Tensor | None = None
    up: torch.Tensor | None = None
    """(s, d_in, r) and (s, r, d_out), slots side by side, r the largest summed rank; `stacked` says which are filled"""
    stacked: set[int] = field(default_factory=set)

    def side_by_side(self, grid: Grid) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Returns down and up of the grid's slots; None if an adapter's rank is too large for one product."""
        self.check()
        span = range(grid.first, grid.first + grid.lines)
        for slot in span:
            if slot not in self.made:
                self.made[slot] = self._make(slot)
            if slot not in self.stacked and not self._stack(slot):
                return None
        assert self.down is not None
        assert self.up is not None
        return self.down[span.start : span.stop], self.up[span.start : span.stop]

    def _stack(self, slot: int) -> bool:
        adapter = self.made[slot]
        rank = 0 if adapter is None else adapter.down.shape[1]
        if adapter is not None and (len(adapter.ups) != 1 or rank > NARROW):
            return False
        if self.down is None or self.up is None or rank > self.down.shape[2]:
            slots, columns = len(self.a[0]), sum(part.shape[2] for part in self.b)
            to = compute_dtype(self.a[0].dtype)
            self.down = torch.zeros(slots, self.a[0].shape[3], max(rank, 1), dtype=to)
            self.up = torch.zeros(slots, max(rank, 1), columns, dtype=to)
            self.stacked = set()
            for other_slot, other_adapter in self.made.items():
                if other_slot != slot and other_adapter is not None and len(other_adapter.ups) == 1:
                    self._stack(other_slot)
        self.down[slot], self.up[slot] = 0, 0
        if adapter is not None:
            (inner, outer, up) = adapter.ups[0]
            self.down[slot, :, :rank] = adapter.down
            self.up[slot, inner, outer] = up
        self.stacked.add(slot)
        return True

    def adapters(self, groups: list[tuple[int, int, int]]) -> list[tuple[int, int, Adapter]]:
        """Lists (start, end, adapter) of the groups whose adapter changes this layer."""
        self.check()
        group_adapters = []
        for slot, start, end in groups:
            if slot not in self.made:
                self.made[slot] = self._make(slot)
            adapter = self.made[slot]
            if adapter is not None:
                group_adapters.append((start, end, adapter))
        return group_adapters

    def check(self) -> None:
        """Forgets what was made, if anything was written since."""
        versions = self._count()
        # nothing is kept of tensors made in inference mode: torch does not count their writes
        if not versions or versions != self.versions:
            self.versions, self.made, self.stacked = versions, {}, set()

    def written(self, slot: int) -> None:
        """Forgets this slot only; call it after a write to that slot alone that followed a `check`."""
        self.made.pop(slot, None)
        self.stacked.discard(slot)
        self.versions = self._count()

    def _count(self) -> list[int]:
        tensors = (*self.a, *self.b)
        counted = not any(tensor.is_inference() for tensor in tensors)
        return [tensor._version for tensor in tensors] if counted else []

    def _make(self, slot: int) -> Adapter | None:
        """Makes the slot's adapter; None if it does not change this layer."""
        a, b = [part[slot, 0] for part in self.a], [part[slot, 0] for part in self.b]
        ranks = [rank(*pair) for pair in zip(a, b, strict=True)]
        summed = sum(ranks)
        if summed == 0:
            return None
        to = compute_dtype(a[0].dtype)
        # of a layer with one part these are views, and no memory is needed
        downs = [part[:r] for part, r in zip(a, ranks, strict=True)]
        ups = [part[:, :r].to(to) for part, r in zip(b, ranks, strict=True)]
        down = (downs[0] if len(downs) == 1 else torch.cat(downs)).to(to).T
        products, row, column = [], 0, 0
        for up in ups:
            width, r = up.shape
            if r:
                products.append((slice(row, row + r), slice(column, column + width), up.T))
            row, column = row + r, column + width
        if len(products) > 1 and summed <= NARROW:
            together = torch.zeros(summed, column, dtype=to)
            for inner, outer, up in products:
                together[inner, outer] = up
            products = [(slice(0, summed), slice(0, column), together)]
        return Adapter(down, products)


def watch(layers: type[Any]) -> None:
    """Makes the linear layers of this class and of its subclasses report which slot they write.

    Otherwise loading one adapter would make those of all other slots again, in every layer, which takes seconds.
    """
    for name in ("set_lora", "reset_lora"):
        if name in vars(layers):
            setattr(layers, name, _watch_write(vars(layers)[name]))
    for more in layers.__subclasses__():
        watch(more)


def _watch_write(write: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(write)
    def watched(layer: Any, index: int, *factors: Any, **named: Any) -> None:
        lora = getattr(layer, "punica_wrapper", None)
        stacked_factors = (
            lora.factors.get(id(layer.lora_a_stacked[0])) if isinstance(lora, GroupedLora) else None
        )
        if stacked_factors is not None:
            stacked_factors.check()
        write(layer, index, *factors, **named)
        if stacked_factors is not None:
            stacked_factors.written(index)

    return watched


class GroupedLora(PunicaWrapperCPU):  # type: ignore[misc]
    """Implements vLLM's interface; what is not here, such as the heads of classifiers, is inherited."""

    def __init__(self, max_num_batched_tokens: int, max_batches: int, device: Any, **kwargs: Any) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device, **kwargs)
        self.factors: dict[int, Factors] = {}
        self.token_rows = self.sampler_rows = Rows(0, None, [])

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        super().update_metadata(*args, **kwargs)
        self.token_rows = group(self.token_lora_indices)
        self.sampler_rows = group(self.sampler_indices)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **kwargs: Any,
    ) -> None:
        """Adds to y (n, d_out) the update of x (n, d_in)."""
        self._add(y, x, lora_a_stacked, lora_b_stacked, scale, self.token_rows)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **kwargs: Any,
    ) -> None:
        """Adds to y (n, labels or vocabulary) the update of x (n, d_in); a row is a request."""
        self._add(y, x, (lora_a_stacked,), (lora_b_stacked,), scale, self.sampler_rows)

    def add_lora_embedding(
        self, y: torch.Tensor, x: torch.Tensor, lora_b_stacked: torch.Tensor, **kwargs: Any
    ) -> None:
        """Adds to y (n, d_out) the update of x (n, R), each token's row of its adapter's embedded A."""
        self.add_expand(y, (x,), (lora_b_stacked,), (lora_b_stacked.shape[2],))

    def add_shrink(
        self,
        y: tuple[torch.Tensor, ...] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        scale: float,
        **kwargs: Any,
    ) -> None:
        """Sets y (n, R of a shard) of each part to x (n, d_in) times the adapter's A; for fully sharded LoRA only."""
        for slot, own in self._places():
            for part, a in zip(y, lora_a_stacked, strict=True):
                part[own] = (x[own].to(part.dtype) @ a[slot, 0].to(part.dtype).T) * scale

    def add_expand(
        self,
        y: torch.Tensor,
        x: tuple[torch.Tensor, ...] | torch.Tensor,
        lora_b_stacked: tuple[torch.Tensor, ...],
        output_slices: tuple[int, ...],
        offset_start: int = 0,
        **kwargs: Any,
    ) -> None:
        """Adds to y (n, d_out of all parts) x (n, R) of each part times the adapter's B."""
        for slot, own in self._places():
            column = offset_start
            for part, b, width in zip(x, lora_b_stacked, output_slices, strict=True):
                up = b[slot, 0].T.to(part.dtype)
                y[own, column : column + width] += (part[own] @ up).to(y.dtype)
                column += width

    def _places(self) -> Iterator[tuple[int, slice | torch.Tensor]]:
        """Yields (slot, its rows)."""
        order = self.token_rows.order
        for slot, start, end in self.token_rows.groups:
            yield slot, slice(start, end) if order is None else order[start:end]

    def _add(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        a: tuple[torch.Tensor, ...],
        b: tuple[torch.Tensor, ...],
        scale: float,
        rows: Rows,
    ) -> None:
        if not rows.groups:
            return
        if not len(y) == len(x) == rows.total:
            raise ValueError(f"the step has {rows.total} rows, the layer got {len(x)} and gives {len(y)}")
        factors = self.factors.get(id(a[0]))
        if factors is None:
            # it keeps the tensors, so that no other can come to have this id
            factors = self.factors[id(a[0])] = Factors(a, b)
        if rows.grid is not None and self._add_grid(y, x, factors, scale, rows.grid):
            return
        adapters = factors.adapters(rows.groups)
        if not adapters:
            return
        order = rows.order
        source, target = (x, y) if order is None else (x[order], y[order])
        source = source.to(adapters[0][2].down.dtype)
        for start, end, (down, ups) in adapters:
            middle = source[start:end] @ down
            for inner, outer, up in ups:
                out = target[start:end, outer]
                if out.dtype is up.dtype:
                    out.addmm_(middle[:, inner], up, alpha=scale)
                else:
                    out.add_(middle[:, inner] @ up, alpha=scale)
        if order is not None:
            y[order] = target

    def _add_grid(self, y: torch.Tensor, x: torch.Tensor, factors: Factors, scale: float, grid: Grid) -> bool:
        """Adds all groups in two batched products; False: the factors do not allow it."""
        factor_pair = factors.side_by_side(grid)
        if factor_pair is None:
            return False
        down, up = factor_pair
        cells = x[grid.rows].to(down.dtype).view(grid.lines, grid.height, -1)
        update = (torch.bmm(cells, down) * scale).bmm(up).flatten(0, 1)  # (lines x height, d_out)
        places = grid.rows
        if grid.used is not None:
            update, places = update[grid.used], places[grid.used]
        own = y[:, : update.shape[1]]  # behind them the vocabulary's padding
        if own.dtype is update.dtype:
            own.index_add_(0, places, update)
        else:  # rounded once, with what is there
            own[places] = (own[places].to(update.dtype) + update).to(own.dtype)
        return True


watch(BaseLinearLayerWithLoRA)
