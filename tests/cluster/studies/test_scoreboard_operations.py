from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.perf_model.devices.gpu.kernels import SMOOTH
from cluster.studies.scoreboard import points_of
from cluster.studies.scoreboard.operations import operations
from topology.catalog import load_hardware

H100 = load_hardware("h100")


def gemm_s(m: int, n: int, k: int) -> float:
    """A bf16 product of H100 by hand: latency and the smooth maximum of bytes and flop."""
    moved = 2 * (n * k + m * k + m * n)
    bytes_s = moved / (
        H100["gpu.gemm_bandwidth_efficiency"] * H100["gpu.memory_bandwidth_bytes_per_s"]
    )
    flop_s = 2 * m * n * k / (H100["gpu.gemm_flop_efficiency"] * H100["gpu.bf16_flop_per_s"])
    smooth_s: float = (bytes_s**SMOOTH + flop_s**SMOOTH) ** (1 / SMOOTH)
    return H100["gpu.gemm_latency_s"] + smooth_s


def write_gemm(folder: Path) -> None:
    shapes = [(1, 4096, 4096), (1, 4096, 4096), (64, 8192, 1024), (1, 128, 4096)]
    ms = [1e3 * gemm_s(*shape) for shape in shapes]
    latency = [ms[0] / 1.1, ms[1] * 3, ms[2] / 0.8, 1.0]  # 10 % too slow, a slower kernel, -20 %
    m, n, k = zip(*shapes, strict=True)
    count = len(shapes)
    table = {
        "system": ["h100_sxm"] * count, "framework": ["VLLM"] * count, "version": ["1"] * count,
        "kernel_source": ["a", "b", "a", "a"], "gemm_dtype": ["bfloat16"] * count,
        "m": m, "n": n, "k": k, "latency": latency,
    }  # fmt: skip
    pq.write_table(pa.table(table), folder / "anything.parquet")


def test_a_table_of_products_is_scored_by_its_fastest_kernels_in_the_range_of_models(
    tmp_path: Path,
) -> None:
    write_gemm(tmp_path)
    (row,) = operations(tmp_path)

    assert (row["kind"], row["device"], row["precision"]) == ("gemm", "h100", "bf16")
    assert row["n"] == 2  # n = 128 is no shape of a model
    assert row["median"] == pytest.approx(0.15, abs=1e-3)
    assert row["bias"] == pytest.approx(-0.05, abs=1e-3)


def test_a_folder_of_operations_alone_is_enough(tmp_path: Path) -> None:
    write_gemm(tmp_path)

    assert points_of(tmp_path) == []


def test_an_all_reduce_is_priced_as_in_a_run(tmp_path: Path) -> None:
    gpus, elements = 4, 1 << 16
    latency_s = H100["gpu.all_reduce_latency_s"] * (1 + 2 * H100["gpu.all_reduce_latency_growth"])
    rate = H100["nvswitch.bandwidth_bytes_per_s"] * H100["gpu.all_reduce_bandwidth_efficiency"]
    one_shot_s = latency_s + (gpus - 1) * 2 * elements / rate
    (tmp_path / "c.csv").write_text(
        "system,table,library,op_name,dtype,implementation,num_gpus,message_size,latency\n"
        f"h100_sxm,t,vllm/1,all_reduce,bfloat16,vllm_graph,{gpus},{elements},{1e3 * one_shot_s}\n"
        f"h100_sxm,t,vllm/1,all_reduce,bfloat16,vllm_eager,{gpus},{elements},9\n"
    )
    (row,) = operations(tmp_path)

    assert (row["kind"], row["n"]) == ("all-reduce", 1)
    assert row["bias"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("before", "new", "expected_s"),
    [
        # 8 sequences that see 1024 tokens: 16 blocks of 64 x 8 KV heads x 256 x 2 bytes each
        (1023, 1, 8 * 16 * 64 * 8 * 256 * 2 / (
            H100["gpu.attention_bandwidth_efficiency"] * H100["gpu.memory_bandwidth_bytes_per_s"]
        )),
    ],
)  # fmt: skip
def test_attention_of_decodes_reads_their_blocks(
    tmp_path: Path, before: int, new: int, expected_s: float
) -> None:
    expected_s += H100["gpu.attention_latency_s"]
    (tmp_path / "a.csv").write_text(
        "system,framework,version,kernel_source,batch_size,isl,num_heads,num_key_value_heads,"
        "head_dim,attn_dtype,kv_cache_dtype,step,window_size,latency\n"
        f"h100_sxm,VLLM,1,fa3,8,{new},32,8,128,bfloat16,bfloat16,{before},,{1e3 * expected_s}\n"
    )
    (row,) = operations(tmp_path)

    assert row["kind"] == "decode attention"
    assert row["bias"] == pytest.approx(0.0, abs=0.01)  # queries and context move besides
