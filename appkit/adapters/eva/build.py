"""Builds an EVA model: A from the principal components of each layer's inputs, with ranks by their variance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import torch

from appkit.adapters import factors
from appkit.adapters.carrier import carrier
from appkit.adapters.eva.config import EvaOptions
from appkit.adapters.eva.spectrum import Spectrum, distribute, fold
from appkit.adapters.factors import ADAPTER, drive, fix_signs, keep, layers, pair, replace, require_rank
from appkit.adapters.gradients import watched_layers
from appkit.errors import ConfigError
from appkit.method import Training

__all__ = ["before_training", "build", "load_state"]

OVERSAMPLED = 4
"""components kept between batches, over those that a layer can get"""


def build(base: Any, options: EvaOptions) -> Any:
    """Build it, as a plain LoRA of rank r until `before_training`. Raises ConfigError for layers smaller than r."""
    model = carrier(base, options)
    require_rank(model, options.rank)
    drive(model, _scale)
    return model


def before_training(model: Any, training: Training) -> None:
    """See the inputs of the first micro-batches; give each layer its rank and its A. B stays 0.

    Raises ConfigError when the batches hold too few tokens for `rank` components.
    """
    options = training.options
    spectra = _see(model, training)
    if (tokens := min(spectrum.count for spectrum in spectra.values())) <= options.rank:
        remedy = ", method.supervised=false" if options.supervised else ""
        raise ConfigError(
            f"method.batches={options.batches} micro-batches have {tokens} tokens to see, which is too few for "
            f"method.rank={options.rank} principal components; raise method.batches{remedy}, or use a smaller rank"
        )
    ranks = _distribute(model, spectra, options)
    for name, layer in layers(model):
        A = fix_signs(spectra[name].components[: ranks[name]])  # (r_l, I)
        replace(layer, A=A, B=A.new_zeros(layer.out_features, ranks[name]), train=True)
        keep(layer, "rank", torch.tensor(ranks[name]), train=False)


def load_state(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put the ranks back: A and B have their shapes then, and get their weights from the checkpoint."""
    for name, layer in layers(model):
        A, B = pair(layer)
        rank = int(tensors[f"{name}.lora_rank"])
        if len(A) != rank:
            replace(layer, A=A.new_zeros(rank, A.shape[1]), B=B.new_zeros(len(B), rank), train=True)
    factors.load_state(model, tensors)


def _scale(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (r_l, I) and s B (O, r_l): s = alpha / r, whatever the layer's own rank is."""
    A, B = pair(layer)
    return A, B * layer.scaling[ADAPTER]


def _see(model: Any, training: Training) -> dict[str, Spectrum]:
    """Compute the spectrum of each layer's inputs, until the components are stable or the batches are used up."""
    options = training.options
    most = OVERSAMPLED * options.largest_rank
    spectra: dict[str, Spectrum] = {}
    for batch in islice(training.batches(), options.batches):
        before, spectra = spectra, {}
        folded: dict[int, Spectrum] = {}
        for name, x in _collect_inputs(model, batch, training.loss).items():
            if id(x) not in folded:  # layers such as q, k and v have one input
                rows = x.flatten(0, -2)  # (T, I)
                rows = rows[batch.label_positions] if options.supervised else rows
                folded[id(x)] = fold(before.get(name), rows.float(), most, training.seed)
            spectra[name] = folded[id(x)]
        ranks = _distribute(model, spectra, options)
        if before and all(
            _is_stable(before[name], spectra[name], ranks[name], options.tau) for name in ranks
        ):
            break
    return spectra


def _collect_inputs(
    model: Any, batch: Any, loss: Callable[[Any, Any], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return each layer's input (1, T, I) in a forward without dropout; the modes of the modules stay as they were."""
    collected: dict[str, torch.Tensor] = {}

    def make_hook(name: str) -> Callable[..., None]:
        def on_forward(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            collected[name] = inputs[0]

        return on_forward

    with watched_layers(model, make_hook), torch.no_grad():
        loss(model, batch)
    return collected


def _distribute(model: Any, spectra: Mapping[str, Spectrum], options: EvaOptions) -> dict[str, int]:
    """Give each layer its rank, at most rho * rank and no more than it has inputs or outputs."""
    explained = {
        name: spectra[name].explained[: min(options.largest_rank, layer.in_features, layer.out_features)]
        for name, layer in layers(model)
    }
    return distribute(explained, options.rank)


def _is_stable(before: Spectrum, after: Spectrum, rank: int, tau: float) -> bool:
    """Compare the components of two batches in a row; the sign of a component means nothing."""
    if len(before.components) < rank:
        return False
    cosines = (before.components[:rank] * after.components[:rank]).sum(1).abs()
    return bool((cosines >= tau).all())
