"""The transformers engine: in this process, for machines without vLLM and for what vLLM cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.serving.engine import NULL

if TYPE_CHECKING:
    from appkit.batching import Example

__all__ = ["TransformersEngine"]


class TransformersEngine:
    """The base in `base`, computed in `dtype`, with `adapters` (name -> directory in PEFT's form)."""

    name = "transformers"

    def __init__(self, base: Path, adapters: Mapping[str, Path], *, dtype: str) -> None:
        import peft
        import torch
        import transformers
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        from appkit import attention

        self.dtype = dtype
        self.version = f"{transformers.__version__}+peft{peft.__version__}"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        plain = AutoModelForCausalLM.from_pretrained(
            base, dtype=getattr(torch, dtype), local_files_only=True, device_map={"": self.device}
        )
        plain.config.use_cache = False
        self.model: Any = plain
        for name, path in adapters.items():
            if name == NULL:
                continue
            if self.model is plain:
                self.model = PeftModel.from_pretrained(plain, str(path), adapter_name=name)
            else:
                self.model.load_adapter(str(path), adapter_name=name)
        attention.use(plain)
        self.model.eval()

    def log_probabilities(self, adapter: str, sequences: Sequence[Example]) -> list[float]:
        from appkit.batching import collate
        from appkit.heads import lm

        batch = collate(sequences, self.device)
        with self._using(adapter):
            return [float(value) for value in -lm.token_losses(self.model, batch)]

    def continuations(
        self, adapter: str, prompts: Sequence[Sequence[int]], stop: frozenset[int], cap: int
    ) -> list[tuple[int, ...]]:
        from appkit.generate import generate

        with self._using(adapter):
            return [one.tokens for one in generate(self.model, prompts, max_new_tokens=cap, stop=stop)]

    def _using(self, adapter: str) -> Any:
        from contextlib import nullcontext

        if adapter == NULL:
            return self.model.disable_adapter()
        self.model.set_adapter(adapter)
        return nullcontext()
