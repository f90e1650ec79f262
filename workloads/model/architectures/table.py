"""Selects the reader of a config by its fields, not by its type's name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from workloads.model.architectures import alternating, latent, nas, plain, recurrent
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import is_of
from workloads.model.errors import ModelError
from workloads.model.shape import Model

Reader: TypeAlias = Callable[[Fields, str], Model]

BY_STRUCTURE: tuple[tuple[str, Reader], ...] = (
    ("block_configs", nas.searched),
    ("hybrid_override_pattern", recurrent.hybrid),
    ("layers_block_type", recurrent.hybrid),
    ("compress_ratios", latent.compressed),
    ("kv_lora_rank", latent.latent),
    ("interleave_moe_layer_step", alternating.llama4),
    ("num_attention_heads", plain.plain),
)
"""The first field that a config has decides; every reader checks all others."""

TEXT_SECTIONS = ("text_config", "llm_config", "language_config")
INHERITED = ("tie_word_embeddings", "quantization_config", "architectures", "model_type")
DECODERS = ("CausalLM", "ConditionalGeneration", "LMHeadModel", "ImageTextToText")
OTHER_MODELS = ("ForMaskedLM", "ForImageClassification", "ForSequenceClassification", "CTC", "RNNT")
"""Ends of the names of classes that do not generate text token by token."""


def parse_config(config: Mapping[str, object], name: str, where: str = "") -> Model:
    """The shape that the fields of a config describe; errors name ``where`` (by default the name).

    Let the reader of the config's structure read it, or that of the text model inside it."""
    where = where or name
    inner = _text(config)
    if inner is not None:
        key, text = inner
        model = parse_config(text, name, f"{where}: {key}")
        return replace(model, notes=("the text model alone is counted", *model.notes))
    fields = Fields(config, where)
    _refuse_others(fields)
    return _reader(fields)(fields, name)


def _text(config: Mapping[str, object]) -> tuple[str, Mapping[str, object]] | None:
    """Return the section of the text model, with what it leaves to the whole."""
    for key in TEXT_SECTIONS:
        section = config.get(key)
        if isinstance(section, Mapping) and section:
            kept = {word: config[word] for word in INHERITED if word in config}
            said = {word: value for word, value in section.items() if value is not None}
            if "model_type" in said or "architectures" in said:
                kept = {w: v for w, v in kept.items() if w not in ("model_type", "architectures")}
            return key, {**section, **kept, **said}
    return None


def _reader(fields: Fields) -> Reader:
    if is_of(fields, "gptoss"):
        return alternating.gpt_oss
    if is_of(fields, "llama4"):
        return alternating.llama4
    for key, reader in BY_STRUCTURE:
        if fields.has(key):
            return reader
    raise ModelError(
        f"{fields.where}: num_attention_heads is missing: model_type"
        f" {fields.config.get('model_type')!r} describes no layers that are understood"
        " (grouped, latent or compressed attention, gated delta rule, Mamba-2, mixtures)"
    )


def _refuse_others(fields: Fields) -> None:
    """Refuse models other than text decoders: encoders, and encoders with a decoder."""
    if fields.config.get("is_encoder_decoder") is True:
        raise ModelError(
            f"{fields.where}: is_encoder_decoder is true: models with an encoder are not"
            " understood, only decoders of text"
        )
    classes = fields.config.get("architectures")
    for word in classes if isinstance(classes, list) else []:
        if isinstance(word, str) and word.endswith(OTHER_MODELS):
            raise ModelError(
                f"{fields.where}: architectures names {word}, which generates no text;"
                f" understood are decoders ({', '.join('...' + end for end in DECODERS[:2])})"
            )
