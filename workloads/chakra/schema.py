"""The messages of a Chakra file (schema 0.0.4) as protobuf classes, described here in Python.

Facts of the format: field numbers and types of mlcommons/chakra, schema/protobuf/et_def.proto.
The descriptors are in a separate pool, so that they do not conflict with another reader's classes
in the same process.
"""

from functools import cache
from typing import Any, NamedTuple

_INT32, _UINT64, _STRING = "INT32", "UINT64", "STRING"
VALUE_TYPES = (
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64",
    "fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes",
)  # fmt: skip
"""Types that an attribute's value may have. Their fields are numbered 3, 5, 7, ...; the list of
each follows it."""
_PACKAGE = "corsair_sim.chakra"


class Messages(NamedTuple):
    """The message classes of a file."""

    metadata: Any
    node: Any


@cache
def messages() -> Messages:
    """Build the classes, once per process."""
    from google.protobuf import (  # type: ignore[import-untyped]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    file = descriptor_pb2.FileDescriptorProto(
        name="corsair_sim/chakra.proto", package=_PACKAGE, syntax="proto3"
    )
    _attribute(file)
    _message(
        file,
        "IoInfo",
        ("values", 1, _STRING, False),
        ("shapes", 2, _STRING, False),
        ("types", 3, _STRING, False),
    )
    _message(
        file,
        "GlobalMetadata",
        ("version", 1, _STRING, False),
        ("attr", 2, "Attribute", True),
    )
    _message(
        file,
        "Node",
        ("id", 1, _UINT64, False),
        ("name", 2, _STRING, False),
        ("type", 3, _INT32, False),  # an enumeration on the wire is the same varint
        ("ctrl_deps", 4, _UINT64, True),
        ("data_deps", 5, _UINT64, True),
        ("start_time_micros", 6, _UINT64, False),
        ("duration_micros", 7, _UINT64, False),
        ("inputs", 8, "IoInfo", False),
        ("outputs", 9, "IoInfo", False),
        ("attr", 10, "Attribute", True),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    metadata, node = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in ("GlobalMetadata", "Node")
    )
    return Messages(metadata, node)


def _message(file: Any, name: str, *parts: tuple[str, int, str, bool]) -> Any:
    """Add a message of (name, number, type, repeated) fields; other types are messages' names."""
    message = file.message_type.add(name=name)
    for part in parts:
        _field(message, *part)
    return message


def _field(message: Any, name: str, number: int, kind: str, repeated: bool) -> Any:
    made = message.field.add(name=name, number=number)
    made.label = made.LABEL_REPEATED if repeated else made.LABEL_OPTIONAL
    if kind.isupper():
        made.type = getattr(made, f"TYPE_{kind}")
    else:
        made.type, made.type_name = made.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    return made


def _attribute(file: Any) -> None:
    """A named value of one of VALUE_TYPES, or a list of them."""
    attribute = _message(file, "Attribute", ("name", 1, _STRING, False))
    _field(attribute, "doc_string", 2, _STRING, False)
    attribute.oneof_decl.add(name="value")
    for place, kind in enumerate(VALUE_TYPES):
        listed = f"{kind.capitalize()}List"
        _message(file, listed, ("values", 1, kind.upper(), True))
        for name, number, made_of in (
            (f"{kind}_val", 3 + 2 * place, kind.upper()),
            (f"{kind}_list", 4 + 2 * place, listed),
        ):
            _field(attribute, name, number, made_of, False).oneof_index = 0
