"""Tables of the topology and its links, which every run has."""

from results.schema.column import BIN, Table, index, real, whole, word

LINKS = Table(
    name="links",
    meaning="One row per time bin and link with traffic.",
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
    meaning="Topology: every node that a link may connect, and its drawing position.",
    columns=(
        word("name", "Name of the node in the topology."),
        word("kind", "Kind: chiplet, card, PCIe switch, host, NIC, leaf, spine, ..."),
        real("x", "", "Drawing position, to the right.", True),
        real("y", "", "Drawing position, upward.", True),
        index("card", "Position of the card, for cards.", True),
        index("server", "Server of the node.", True),
        index("rack", "Rack of the node.", True),
        word("hardware", "Name of its hardware, for cards.", nullable=True),
    ),
)

EDGES = Table(
    name="edges",
    meaning="Topology: one row per direction of each link.",
    columns=(
        word("src", "Node that the link leaves."),
        word("dst", "Node that the link reaches."),
        word("kind", "Kind of the link."),
        real("bandwidth_bytes_per_s", "B/s", "Per direction."),
        real("latency_s", "s", "Of an empty message."),
        real("energy_j_per_bit", "J/bit", "To move one bit over the link.", True),
    ),
)
