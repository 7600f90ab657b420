"""Converts GGUF files to transformers' own format."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from appkit.errors import ModelError

__all__: list[str] = []


def convert_gguf(work: Path, out: Path) -> None:
    """Convert `work/model.gguf` to bf16 safetensors with config, tokenizer and chat template in `out`."""
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {}
    with suppress(ImportError):  # transformers without it always dequantizes
        from transformers import GgufConfig

        options["quantization_config"] = GgufConfig(dequantize=True)
    loaded = AutoModelForCausalLM.from_pretrained(
        work, gguf_file="model.gguf", dtype=torch.bfloat16, local_files_only=True, **options
    )
    # A fresh model, since transformers refuses to save one that was read from a quantized file.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = loaded.generation_config
    model.save_pretrained(out)

    _build_tokenizer(work / "model.gguf", config.max_position_embeddings).save_pretrained(out)


def _build_tokenizer(file: Path, context: int) -> Any:
    """Build the tokenizer inside a GGUF file; `context` is the longest input in tokens.

    transformers' own reading differs between versions (5.16 takes <|im_start|> for the end of a turn) and ignores the
    pre-tokenizer. Raises ModelError for an unknown kind of tokenizer.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Digits
    from transformers import PreTrainedTokenizerFast

    fields = {
        name.removeprefix("tokenizer."): field.contents()
        for name, field in GGUFReader(file).fields.items()
        if name.startswith("tokenizer.")
    }
    kind = (fields.get("ggml.model"), fields.get("ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise ModelError(
            f"a GGUF file's tokenizer must be of kind ('gpt2', 'smollm'), got {kind}; "
            "use the model's repository on the hub, or a directory of safetensors"
        )
    tokens = fields["ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["ggml.merges"]]
    backend = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges))
    # Digits are split off before anything else: it matters where several spaces precede one.
    backend.pre_tokenizer = pre_tokenizers.Sequence([Digits(True), ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    control = [token for token, type_ in zip(tokens, fields["ggml.token_type"], strict=True) if type_ == 3]
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokens[fields["ggml.bos_token_id"]],
        eos_token=tokens[fields["ggml.eos_token_id"]],
        unk_token=tokens[fields["ggml.unknown_token_id"]],
        pad_token=tokens[fields["ggml.padding_token_id"]],
        chat_template=fields["chat_template"],
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
