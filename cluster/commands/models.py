"""``models``: what a model weighs and keeps, before anything runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands.terminal import Json, Quiet, show, table

if TYPE_CHECKING:
    from workloads.model import Model

app = typer.Typer(help="Look at model shapes.", no_args_is_help=True)

WEIGHT_FORMATS = (
    "mxint4",
    "mxint8",
    "mxint16",
    "sbfp12_16",
    "sbfp12_16+4:8",
    "fp8_e4m3",
    "bf16",
)


@app.command("list")
def list_(*, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the bundled models."""
    from workloads.model import list_models, load_model

    models = {name: load_model(name) for name in list_models()}
    payload = {"models": [_row(model) for model in models.values()]}
    headers = ("model", "parameters", "active", "layers", "hidden", "max context")
    rows = [
        (
            name,
            model.parameters,
            model.active_parameters,
            len(model.layers),
            model.hidden,
            model.max_context,
        )
        for name, model in models.items()
    ]
    show(payload, table(headers, rows), as_json=as_json, quiet=quiet)


@app.command("show")
def show_(
    model: Annotated[str, typer.Argument(help="Bundled name, or a config.json or its folder.")],
    *,
    kv: Annotated[str, typer.Option(help="Number format of the KV cache.")] = "mxint8",
    context: Annotated[
        int | None,
        typer.Option(min=1, metavar="TOKENS", help="Length of a sequence [the longest]."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show a model's parameters by part, its bytes by format, and its cache.

    Layers with a window hold of a sequence what lies inside it, in blocks of 64 tokens.
    """
    from workloads.formats import get_format
    from workloads.model import (
        kv_bytes_of_sequence,
        kv_bytes_per_token,
        load_model,
        weight_bytes,
    )

    shape, kept = load_model(model), get_format(kv)
    tokens = shape.max_context if context is None else context
    kv_bytes, sequence_bytes = (
        kv_bytes_per_token(shape, kept),
        kv_bytes_of_sequence(shape, kept, tokens),
    )
    parts = _parts(shape)
    weights = {name: weight_bytes(shape, get_format(name)) for name in WEIGHT_FORMATS}
    payload = _row(shape) | {
        "kv_format": kept.name,
        "kv_bytes_per_token": kv_bytes,
        "context": tokens,
        "kv_bytes_per_sequence": sequence_bytes,
        "windows": sorted({layer.attention.window for layer in shape.layers} - {0}),
        "kv_elements_per_token": shape.kv_elements_per_token,
        "state_elements_per_sequence": shape.state_elements_per_sequence,
        "parts": parts,
        "weight_bytes": weights,
        "quantization": shape.quantization,
        "irregular": list(shape.irregular),
        "notes": list(shape.notes),
    }
    facts = [(key.replace("_", " "), value) for key, value in _row(shape).items()]
    text = (
        table(
            ("fact", "value"),
            [
                *facts,
                (f"KV bytes per token in {kept.name}", kv_bytes),
                (f"KV bytes of a sequence of {tokens:,} tokens", sequence_bytes),
            ],
        ),
        table(("part", "parameters"), list(parts.items())),
        table(("weights in", "bytes"), list(weights.items())),
        "\n".join([*shape.notes, *(f"has {name}" for name in shape.irregular)]),
    )
    show(payload, "\n\n".join(text), as_json=as_json, quiet=quiet)


def _row(model: "Model") -> dict[str, object]:
    return {
        "name": model.name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "layers": len(model.layers),
        "hidden": model.hidden,
        "vocab": model.vocab,
        "max_context": model.max_context,
    }


def _parts(model: "Model") -> dict[str, int]:
    """Parameters by the tensors' role, in order of first appearance."""
    parts: dict[str, int] = {}
    for tensor in model.tensors():
        parts[tensor.role] = parts.get(tensor.role, 0) + tensor.elements
    return parts
