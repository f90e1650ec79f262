"""Parameters counted from configs against those of ``transformers``' own classes, built empty.

    python benchmarks/model_counts.py [FOLDER [NAME ...]]

FOLDER has one folder for each model, with its unmodified config.json; without it the bundled models
are compared. Classes are built on
PyTorch's meta device, where tensors have shapes and no memory. Needs ``torch`` and
``transformers`` (``pip install torch transformers``; neither is a dependency of this project), and
no network: a config whose class is not in ``transformers`` (``trust_remote_code``) is named and
left out. Of a multimodal model the text model is built. Ends with 1 if a count is off by more than
TOLERANCE.
"""

import json
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from workloads.model import Model, list_models, load_model

TOLERANCE = 1e-5
"""Norms that a config does not name are millionths of a model."""


OTHER_MEDIA = ("visual", "vision", "multi_modal_projector", "vit_", "audio")
"""Parts of names of parameters that are not of the text model."""


def built(folder: Path) -> int:
    """Parameters of the class that ``transformers`` has for a config, each counted once.

    Where it has no class for the text model alone, those of the whole that are not of other media.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    try:
        return _count(AutoModelForCausalLM, config.get_text_config())
    except ValueError:
        if config.get_text_config() is config:
            raise
        return _count(AutoModelForImageTextToText, config)


def _count(kind: Any, config: Any) -> int:
    """Parameters of a class on the meta device, as if its weights were stored in 16 bits."""
    import torch

    for each in (config, config.get_text_config()):
        if hasattr(each, "quantization_config"):
            del each.quantization_config
    with torch.device("meta"):
        model: Any = kind.from_config(config, trust_remote_code=False)
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not any(part in name for part in OTHER_MEDIA)
    )


def compared(folder: Path) -> tuple[Model, int | str]:
    """Our shape, and what ``transformers`` has, or why it has nothing."""
    try:
        return load_model(folder), built(folder)
    except (ValueError, KeyError, ImportError, OSError, AttributeError, TypeError) as error:
        return load_model(folder), f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"


def bundled(root: Path) -> None:
    """Write each bundled config to a folder of its own, as ``transformers`` reads them."""
    for name in list_models():
        (root / name).mkdir()
        text = (resources.files("workloads") / "models" / f"{name}.json").read_text("utf-8")
        (root / name / "config.json").write_text(text, encoding="utf-8")


def main(root: Path, names: list[str]) -> int:
    """Print a row for each config; 1 if one is off."""
    off = 0
    chosen = [root / name for name in names] or sorted(path for path in root.iterdir())
    for folder in (path for path in chosen if (path / "config.json").is_file()):
        model, found = compared(folder)
        row: dict[str, object] = {"model": folder.name, "parameters": model.parameters}
        if isinstance(found, str):
            row["not known"] = found
        else:
            difference = model.parameters / found - 1
            off += abs(difference) > TOLERANCE
            row |= {"transformers": found, "difference": f"{difference:+.1e}"}
        print(json.dumps(row), flush=True)
    return int(off > 0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
    with tempfile.TemporaryDirectory() as folder:
        bundled(Path(folder))
        sys.exit(main(Path(folder), []))
