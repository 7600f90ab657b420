"""Tiny random bases, one for each architecture among the presets. Seeded, float32, milliseconds to build."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

VOCABULARY = 199
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

CONFIGS = {
    "llama": lambda: LlamaConfig(**_SHAPE, tie_word_embeddings=True),
    "llama_untied": lambda: LlamaConfig(**_SHAPE, tie_word_embeddings=False),
    "mistral": lambda: MistralConfig(**_SHAPE, sliding_window=5, head_dim=8),
    "qwen2": lambda: Qwen2Config(**_SHAPE, use_sliding_window=False),
    "gemma3": lambda: Gemma3TextConfig(
        **_SHAPE,
        head_dim=16,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=16,
    ),
}


def tiny(architecture: str = "llama", seed: int = 0):
    """A frozen model in eval mode whose weights are large enough for attention to matter."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[architecture]()).float().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        if parameter.ndim == 2:
            parameter.data.mul_(6)
    return model
