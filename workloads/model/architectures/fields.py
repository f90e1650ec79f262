"""Strict reading of a config's fields: every value checked, none guessed, none overlooked."""

import difflib
import math
from collections.abc import Mapping, Sequence

from workloads.model.errors import ModelError

LARGEST = 2**31 - 1
"""No width, count or vocabulary is larger; products of three such numbers are whole in Python."""


class Fields:
    """One config (or one of its sections), read field by field; remembers what was read."""

    def __init__(self, config: Mapping[str, object], where: str) -> None:
        self.config = config
        self.where = where
        self._read: set[str] = set()

    def integer(self, key: str, *aliases: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number of at least ``least``; ``default`` where absent or null."""
        found, value = self._find(key, aliases)
        if value is None:
            if default is None:
                raise self._missing(key)
            return default
        if not (type(value) is int and least <= value <= LARGEST):
            raise self.wrong(found, f"a whole number from {least} to {LARGEST}")
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return true or false; ``default`` where absent or null."""
        value = self._find(key, ())[1]
        if value is None and default is not None:
            return default
        if value is None:
            raise self._missing(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def word(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Return one of the allowed words; ``default`` where absent or null."""
        value = self._find(key, ())[1]
        if value is None and default is not None:
            return default
        if value is None:
            raise self._missing(key)
        if value not in allowed:
            hint = _nearest(str(value), allowed)
            raise self.wrong(key, f"one of {', '.join(allowed)}{hint}")
        return str(value)

    def words(self, key: str, allowed: Sequence[str], length: int) -> tuple[str, ...] | None:
        """Return a list of ``length`` allowed words, one per layer; None where absent or null."""
        value = self._find(key, ())[1]
        if value is None:
            return None
        if not (isinstance(value, list) and len(value) == length):
            raise self.wrong(key, f"a list of {length}, one word per layer")
        for index, item in enumerate(value):
            if item not in allowed:
                hint = _nearest(str(item), allowed)
                raise ModelError(
                    f"{self.where}: {key}[{index}] is {item!r}; allowed: {', '.join(allowed)}{hint}"
                )
        return tuple(value)

    def integers(self, key: str, below: int) -> tuple[int, ...] | None:
        """Return a list of whole numbers in 0..below-1; None where absent, null or empty."""
        value = self._find(key, ())[1]
        if value is None or value == []:
            return None
        whole = isinstance(value, list) and all(
            type(item) is int and 0 <= item < below for item in value
        )
        if not (whole and isinstance(value, list)):
            raise self.wrong(key, f"a list of whole numbers from 0 to {below - 1}")
        return tuple(value)

    def ignore(self, *keys: str) -> None:
        """Mark fields as understood whose values change nothing here."""
        self._read.update(keys)

    def section(self, key: str) -> "Fields":
        """Return a nested object as fields of their own."""
        value = self._find(key, ())[1]
        if value is None:
            raise self._missing(key)
        if not isinstance(value, Mapping):
            raise self.wrong(key, "an object")
        return Fields(value, f"{self.where}: {key}")

    def has(self, key: str) -> bool:
        """Whether the field is there and not null; does not count as reading it."""
        return self.config.get(key) is not None

    def wrong(self, key: str, allowed: str) -> ModelError:
        return ModelError(f"{self.where}: {key} is {self.config.get(key)!r}; allowed: {allowed}")

    def finish(self) -> None:
        """Refuse an unread field whose name may refer to the shape.

        Absent, empty and zero switch nothing on, and fractions are no widths: they pass.
        """
        for key, value in self.config.items():
            if key in self._read or not value or isinstance(value, float):
                continue
            if may_be_shape(key):
                raise ModelError(
                    f"{self.where}: {key} = {_short(value)} is not understood for "
                    f"model_type {self.config.get('model_type')!r} and may change the shape"
                    f"{_nearest(key, sorted(self._read - set(self.config)))}"
                )

    def _find(self, key: str, aliases: Sequence[str]) -> tuple[str, object]:
        self._read.update((key, *aliases))
        for name in (key, *aliases):
            value = self.config.get(name)
            if isinstance(value, float) and not math.isfinite(value):
                raise self.wrong(name, "a finite number")
            if value is not None:
                return name, value
        return key, None

    def _missing(self, key: str) -> ModelError:
        unread = [name for name in self.config if name not in self._read]
        return ModelError(f"{self.where}: {key} is missing{_nearest(key, unread)}")


def _nearest(word: str, among: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, among, n=1, cutoff=0.75)
    return f"; nearest is {near[0]!r}" if near else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


SHAPELESS = frozenset(
    [
        "attn_implementation",
        "chunk_size_feed_forward",
        "ep_size",
        "eos_token_id",
        "head_dtype",
        "initial_context_length",
        "max_window_layers",
        "n_group",
        "n_groups_per_token",
        "norm_topk_prob",
        "norm_type",
        "num_beam_groups",
        "num_beams",
        "need_fp32_gate",
        "norm_expert_weight",
        "num_expert_group",
        "num_hash_layers",
        "org_vocab_size",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "quantization_config",
        "rescale_prenorm_residual",
        "residual_in_fp32",
        "sliding_window_size",
        "topk_group",
        "use_bidirectional_attention",
        "use_gemma_norm",
        "use_mixed_mlp_moe",
        "vocab_size_per_layer_input",
    ]
)
"""Fields that sound like shape and are known to say nothing of it (training, sampling, routing)."""

SILENT = (
    "_attn_implementation",
    "_name_or_path",
    "aux",
    "dropout",
    "dtype",
    "eps",
    "image",
    "init",
    "kernels",
    "limit",
    "logit",
    "loss",
    "moe_router_activation",
    "mtp",
    "nextn",
    "normalization",
    "pretraining",
    "quantization",
    "rmsnorm",
    "rope",
    "rotary",
    "scal",
    "scoring",
    "temperature",
    "token_i",
    "tokenizer",
    "video",
    "vision",
)
"""Parts of a name that say of it: training, positions, other media, numerics, or layers ahead."""

SHAPELY = (
    "attention",
    "attn",
    "bias",
    "channel",
    "chunk",
    "conv",
    "depth",
    "dim",
    "expert",
    "gate",
    "head",
    "hidden",
    "index",
    "intermediate",
    "interleave",
    "interval",
    "kernel",
    "kv",
    "layer",
    "lora",
    "mamba",
    "mlp",
    "moe",
    "norm",
    "num_",
    "rank",
    "shared",
    "size",
    "sliding",
    "sparse",
    "ssm",
    "state",
    "use_cla",
    "window",
)
"""Parts of a name by which an unknown field might well say something of the shape."""


def may_be_shape(key: str) -> bool:
    """Whether a field of this name, which nobody read, may change the shape."""
    if key in SHAPELESS or any(part in key for part in SILENT):
        return False
    return key.startswith("n_") or any(part in key for part in SHAPELY)
