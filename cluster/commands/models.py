"""``models``: size and cache of a model."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.commands.terminal import Json, Quiet, show, table

if TYPE_CHECKING:
    from workloads.model import Model

app = typer.Typer(help="List and show model shapes.", no_args_is_help=True)

WEIGHT_FORMATS = (
    "mxint4",
    "mxint8",
    "mxint16",
    "sbfp12_16",
    "sbfp12_16+4:8",
    "fp8_e4m3",
    "mxfp4",
    "nvfp4",
    "bf16",
)


USUAL_CONTEXTS = (4_096, 32_768, 131_072)
KINDS = {
    "gqa": "grouped attention",
    "mla": "latent attention",
    "linear": "gated delta rule",
    "mamba": "Mamba-2",
    "compressed": "compressed attention",
    "none": "",
}
MLPS = {"dense": "MLP", "moe": "experts", "none": ""}


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
    """Show a model's parameters by part, bytes by format, cache, and whether it can be simulated.

    Layers with a window hold the tokens inside it, in blocks of 64 tokens.
    """
    from workloads.formats import get_format
    from workloads.model import kv_bytes_of_sequence, kv_bytes_per_token, load_model, weight_bytes

    shape, kept = load_model(model), get_format(kv)
    tokens = context or shape.max_context
    held = {str(n): kv_bytes_of_sequence(shape, kept, n) for n in sorted({*USUAL_CONTEXTS, tokens})}
    payload = _row(shape) | {
        "kv_format": kept.name,
        "kv_bytes_per_token": kv_bytes_per_token(shape, kept),
        "kv_bytes_per_token_in_two_copies": kv_bytes_per_token(shape, kept, 2),
        "context": tokens,
        "kv_bytes_per_sequence": held[str(tokens)],
        "kv_bytes_by_context": held,
        "windows": sorted({layer.attention.window for layer in shape.layers} - {0}),
        "kv_elements_per_token": shape.kv_elements_per_token,
        "state_elements_per_sequence": shape.state_elements_per_sequence,
        "state_bytes_per_sequence": shape.state_bytes_per_sequence,
        "layer_kinds": _kinds(shape),
        "parts": _parts(shape),
        "weight_bytes": {n: weight_bytes(shape, get_format(n)) for n in WEIGHT_FORMATS},
        "quantization": shape.quantization,
        "irregular": list(shape.irregular),
        "simulation": _verdict(shape),
        "notes": list(shape.notes),
    }
    show(payload, _text(payload, shape), as_json=as_json, quiet=quiet)


def _text(payload: "dict[str, Any]", shape: "Model") -> str:
    """The payload as tables and notes."""
    kept, verdict = payload["kv_format"], payload["simulation"]
    windows = ", ".join(f"{window:,}" for window in payload["windows"])
    facts = [
        *((key.replace("_", " "), value) for key, value in _row(shape).items()),
        (f"KV bytes per token in {kept}", payload["kv_bytes_per_token"]),
        *(
            [("the same with latents kept twice (DIMC cards)", twice)]
            if (twice := payload["kv_bytes_per_token_in_two_copies"])
            != payload["kv_bytes_per_token"]
            else ()
        ),
        *(
            (f"KV bytes of a sequence of {int(length):,} tokens", size)
            for length, size in payload["kv_bytes_by_context"].items()
        ),
        ("windows (tokens)", windows or "none"),
        ("state bytes of a sequence, at any length", payload["state_bytes_per_sequence"]),
    ]
    said = [f"can be simulated: {'yes' if verdict['possible'] else 'no'}"]
    said += [f"  {limit}" for limit in (*verdict["limits"], *verdict["conditions"])]
    parts = (
        table(("fact", "value"), facts),
        table(("layers of", "count"), list(payload["layer_kinds"].items())),
        table(("part", "parameters"), list(payload["parts"].items())),
        table(("weights in", "bytes"), list(payload["weight_bytes"].items())),
        "\n".join([*said, *shape.notes]),
    )
    return "\n\n".join(parts)


def _verdict(model: "Model") -> dict[str, object]:
    """Whether a run can be priced, what stands against it, and under which conditions."""
    from workloads.model import not_modelled, simulation_conditions

    limits, conditions = not_modelled(model), simulation_conditions(model)
    return {"possible": not limits, "limits": list(limits), "conditions": list(conditions)}


def _kinds(model: "Model") -> dict[str, int]:
    """Number of layers of each kind of mixer and MLP, in order of first appearance."""
    kinds: dict[str, int] = {}
    for layer in model.layers:
        attention, mlp = layer.attention, layer.mlp
        name = KINDS[attention.kind]
        if attention.window:
            name = f"{name} in a window of {attention.window:,}"
        halves = [half for half in (name, MLPS[mlp.kind]) if half]
        kinds[" + ".join(halves)] = kinds.get(" + ".join(halves), 0) + 1
    return kinds


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
