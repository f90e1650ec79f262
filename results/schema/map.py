"""Tables of the map and of its links, which every run leaves."""

from results.schema.column import BIN, Table, index, real, whole, word

LINKS = Table(
    name="links",
    meaning="One row per link that carried anything and time bin.",
    columns=(
        index("link", "Position of the link in the route tables."),
        word("link_name", "Name of the link: from>to."),
        word("kind", "Kind of the link."),
        *BIN,
        whole("bytes", "B", "Bytes that the link carried in the bin."),
        real("busy_s", "s", "Time that these bytes occupied the link."),
        real("utilisation", "1", "busy_s over the bin's length."),
    ),
)

NODES = Table(
    name="nodes",
    meaning="The map: everything that a link may join, and where to draw it.",
    columns=(
        word("name", "Name of the node in the topology."),
        word("kind", "What it is: chiplet, card, PCIe switch, host, NIC, leaf, spine, ..."),
        real("x", "", "Where to draw it, to the right.", True),
        real("y", "", "Where to draw it, upward.", True),
        index("card", "Position of the card, for cards.", True),
        index("server", "Server that it belongs to.", True),
        index("rack", "Rack that it belongs to.", True),
    ),
)

EDGES = Table(
    name="edges",
    meaning="The map: one row per direction of each link.",
    columns=(
        word("src", "Node that the link leaves."),
        word("dst", "Node that the link reaches."),
        word("kind", "Kind of the link."),
        real("bandwidth_bytes_per_s", "B/s", "Per direction."),
        real("latency_s", "s", "Of an empty message."),
        real("energy_j_per_bit", "J/bit", "To move one bit across.", True),
    ),
)
