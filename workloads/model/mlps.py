"""Weights of the feed-forward half of a layer."""

from collections.abc import Iterator

from workloads.model.layers import Mlp
from workloads.model.tensors import Role, Split, Tensor, whole


def mlp_tensors(m: Mlp, hidden: int, layer: int) -> Iterator[Tensor]:
    """The MLP of a layer: dense, or router, routed experts and shared ones."""
    if m.kind == "dense":
        yield from _gated("", layer, "mlp", (hidden, m.intermediate, 1), m)
        return
    yield whole("router", layer, "router", hidden, m.experts, product="router")
    if m.router_bias:
        yield Tensor(name="router_bias", layer=layer, role="router", k=1, n=m.experts)
    if m.latent:
        yield whole("latent_down", layer, "router", hidden, m.latent, product="latent_down")
        yield whole("latent_up", layer, "router", m.latent, hidden, product="latent_up")
    shape = (m.latent or hidden, m.intermediate, m.experts)
    yield from _gated("expert_", layer, "expert", shape, m)
    if m.shared_intermediate:
        shape = (hidden, m.shared_intermediate, 1)
        yield from _gated("shared_", layer, "shared_expert", shape, m)
    if m.shared_gate:
        yield whole("shared_gate", layer, "shared_expert", hidden, 1, product="shared_gate")


def _gated(
    prefix: str, layer: int, role: Role, shape: tuple[int, int, int], m: Mlp
) -> Iterator[Tensor]:
    """Gate (if any) and up in one product, then down; ``shape`` is hidden, intermediate, count."""
    hidden, intermediate, count = shape

    def tensor(name: str, k: int, n: int, split: Split, product: str = "") -> Tensor:
        return Tensor(
            name=prefix + name,
            layer=layer,
            role=role,
            k=k,
            n=n,
            count=count,
            split=split,
            product=prefix + product if product else "",
        )

    if m.gated:
        yield tensor("gate", hidden, intermediate, "column", "gate_up")
    yield tensor("up", hidden, intermediate, "column", "gate_up")
    if m.bias and m.gated:
        yield tensor("gate_bias", 1, intermediate, "column")
    if m.bias:
        yield tensor("up_bias", 1, intermediate, "column")
    yield tensor("down", intermediate, hidden, "row", "down")
    if m.bias:
        yield tensor("down_bias", 1, hidden, "replicated")
