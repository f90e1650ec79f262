"""From a Hugging Face config.json, its folder, or a bundled name to a model's shape."""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from workloads.model.architectures.finish import stored_as
from workloads.model.architectures.table import parse_config
from workloads.model.errors import ModelError
from workloads.model.shape import Model

QUANTIZATION_FILE = "hf_quant_config.json"
MOST_BYTES = 16 * 2**20
"""No config is larger; a file of weights named by mistake is."""


def list_models() -> tuple[str, ...]:
    """Return the names of the bundled models, in order."""
    folder = resources.files("workloads") / "models"
    names = (item.name for item in folder.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


def load_model(name_or_path: str | Path) -> Model:
    """Return the shape of a bundled model, or of a config.json, named itself or by its folder.

    Raises ModelError where there is no such model, or where the config is not understood.
    """
    word = str(name_or_path)
    if word.lower() in list_models():
        return _bundled(word.lower())
    path = Path(name_or_path)
    try:
        folder = path.is_dir()
        file = path / "config.json" if folder else path
        found = file.is_file()
    except OSError as error:
        raise ModelError(f"model {word[:60]!r} cannot be looked up: {error.strerror}") from None
    if not found:
        raise ModelError(_absent(word, path, folder=folder))
    name = path.resolve().name if folder else _stem(path)
    model = parse_config(_decode(_read(file), str(file)), name, str(file))
    return model if model.quantization else _stored_beside(model, file)


@cache
def _bundled(name: str) -> Model:
    file = resources.files("workloads") / "models" / f"{name}.json"
    config = _decode(file.read_text(encoding="utf-8"), f"{name}.json")
    return parse_config(config, name, f"bundled model {name}")


def _stored_beside(model: Model, file: Path) -> Model:
    """Add what ``hf_quant_config.json`` beside the config says of how weights are stored."""
    beside = file.with_name(QUANTIZATION_FILE)
    if not beside.is_file():
        return model
    try:
        found = stored_as(_decode(_read(beside), str(beside)))
    except ModelError:
        found = "an unknown format"
    note = f"published weights are stored as {found} by {QUANTIZATION_FILE}"
    return replace(model, quantization=found, notes=(*model.notes, note)) if found else model


def _stem(path: Path) -> str:
    return path.resolve().parent.name if path.name == "config.json" else path.stem


def _absent(word: str, path: Path, *, folder: bool) -> str:
    if folder:
        return f"there is no {path / 'config.json'}: a model's folder must hold its config.json"
    sized = [name for name in list_models() if _sizes(name) == _sizes(word.lower())]
    near = difflib.get_close_matches(word.lower(), sized, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"model {word!r} is neither a file nor a bundled name{hint} "
        f"(bundled: {', '.join(list_models())})"
    )


def _sizes(name: str) -> list[str]:
    """Sizes in a model's name: another size is another model, not a slip of the pen."""
    return re.findall(r"(\d+(?:\.\d+)?)(?:b|$)", name)


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ModelError(f"{file} is larger than any config.json (16 MiB)")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is not UTF-8 text: byte {error.start}") from None
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from None


def _decode(text: str, where: str) -> Mapping[str, object]:
    def constant(word: str) -> object:
        if word == "NaN":
            raise ModelError(f"{where}: NaN is no number; allowed: numbers and Infinity")
        return float(word)

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ModelError(f"{where}: {twice} is a duplicate key")
        return found

    try:
        config = json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{where}, line {error.lineno}: not valid JSON: {error.msg} (column {error.colno})"
        ) from None
    except RecursionError:
        raise ModelError(f"{where}: nested too deeply for a config") from None
    except ModelError:
        raise
    except ValueError:  # Python's bound on digits
        raise ModelError(f"{where}: an integer of thousands of digits") from None
    if not isinstance(config, dict):
        raise ModelError(f"{where}: a config is a JSON object, found {type(config).__name__}")
    return config
