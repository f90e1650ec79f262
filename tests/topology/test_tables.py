from topology.build import build_server
from topology.catalog import load_hardware
from topology.tables import edge_records, node_records


def test_a_topology_becomes_columns_of_equal_length_with_positions_and_si_units() -> None:
    server = build_server(load_hardware("corsair"))
    nodes, edges = node_records(server), edge_records(server)
    row = list(zip(edges["src"], edges["dst"], strict=True)).index(("s0.c0", "s0.c1"))

    assert {len(column) for column in nodes.values()} == {server.number_of_nodes()}
    assert {len(column) for column in edges.values()} == {server.number_of_edges()}
    assert nodes["kind"][nodes["name"].index("s0.sw1")] == "pcie_switch"
    assert (edges["kind"][row], edges["latency_s"][row]) == ("bridge", 400e-9)
