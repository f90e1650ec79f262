from results.figures import block_sizes, by_batch


def test_quantities_by_batch_have_a_panel_each_and_one_legend() -> None:
    rows = [
        {"panel": panel, "series": series, "batch": batch, "value": batch * factor}
        for panel, factor in (("time, us", 1.0), ("TFLOPS", 2.0))
        for series in ("MXINT8", "MXINT4")
        for batch in (1, 8, 16)
    ]

    chart = by_batch(rows, "MXINT4 against MXINT8", "one card").to_dict()
    lines = [panel["layer"][0]["encoding"] for panel in chart["concat"]]
    assert [line["y"]["title"] for line in lines] == ["time, us", "TFLOPS"]
    assert all(line["color"]["scale"]["domain"] == ["MXINT8", "MXINT4"] for line in lines)
    assert [len(panel["data"]["values"]) for panel in chart["concat"]] == [6, 6]
    assert chart["title"]["subtitle"] == "one card"


def test_block_sizes_have_a_panel_for_each_width_with_lines_and_dots() -> None:
    rows = [
        {"bits": bits, "block": block, "series": "measured", "sqnr_db": 6.0 * bits, "dots": dots}
        for bits in (4, 8)
        for block in (16, 64)
        for dots in (False, True)
    ]

    chart = block_sizes(rows).to_dict()
    assert [panel["title"] for panel in chart["concat"]] == ["4-bit mantissas", "8-bit mantissas"]
    for panel in chart["concat"]:
        lines, dots = panel["layer"]
        assert (lines["mark"]["type"], dots["mark"]["type"]) == ("line", "point")
        assert len(lines["data"]["values"]) == len(dots["data"]["values"]) == 2
