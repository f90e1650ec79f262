"""Names that others give to devices and models, and ours for them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

ENDINGS_OF_DEVICES = ("-sxm", "-sxm5", "-hgx", "-server", "-blackwell", "-oam", "-80gb")
ENDINGS_OF_MODELS = (
    "-instruct", "-hf", "-fp8", "-fp4", "-nvfp4", "-mxfp4", "-bf16", "-dynamic", "-it", "-v0.1",
)  # fmt: skip
SAME_DEVICE: Mapping[str, str] = {"gb200": "gb200-nvl72"}
"""Systems that are called otherwise here."""
SAME_SHAPE: Mapping[str, str] = {"deepseek-r1": "deepseek-v3", "deepseek-v3-0324": "deepseek-v3"}
"""Models whose shape is that of a bundled one."""


def device_of(system: str, known: Sequence[str]) -> str | None:
    """The hardware that a system names (``h100_sxm``, ``RTXPRO6000``), None if none is it.

    >>> device_of("rtx_pro_6000_server", ("h100", "rtx-pro-6000"))
    'rtx-pro-6000'
    """
    word = _stripped(system.strip().lower().replace("_", "-"), ENDINGS_OF_DEVICES)
    plain = SAME_DEVICE.get(word, word).replace("-", "")
    return next((name for name in known if name.replace("-", "") == plain), None)


def model_of(path: str, known: Sequence[str], folder: Path | None) -> str | None:
    """The bundled model, or the config below ``folder``, that a Hugging Face name means.

    >>> model_of("nvidia/Qwen3-32B-NVFP4", ("qwen3-8b", "qwen3-32b"), None)
    'qwen3-32b'
    """
    last = path.rstrip("/").rpartition("/")[2]
    word = _stripped(last.lower().removeprefix("meta-"), ENDINGS_OF_MODELS)
    word = SAME_SHAPE.get(word, word)
    if word in known:
        return word
    if folder is not None and (folder / last / "config.json").is_file():
        return str(folder / last)
    return None


def nearest(name: str, known: Sequence[str]) -> str:
    """``; did you mean ...?`` where there is a similar name."""
    close = get_close_matches(name.rpartition("/")[2].lower(), known, n=1)
    return f"; the nearest is {close[0]!r}" if close else ""


def _stripped(word: str, endings: Sequence[str]) -> str:
    while ending := next((ending for ending in endings if word.endswith(ending)), ""):
        word = word.removesuffix(ending)
    return word
