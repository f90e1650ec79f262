"""Published parameter counts against those counted from unmodified configs."""

import csv
from pathlib import Path
from typing import NamedTuple

import pytest

from workloads.model import list_models, load_model
from workloads.model.architectures.finish import VECTORS

MODELS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "models"

NAME = "the number in the model's name"
HUB = "total of the safetensors on the Hugging Face hub"
CARD = "the publisher's model card"


class Published(NamedTuple):
    """One row of the table: what was published, where, and how far it is rounded."""

    folder: str
    parameters: int
    source: str
    tolerance: float = 0.005


PUBLISHED = (
    Published("CodeLlama-34b-Instruct-hf", 33_743_970_304, HUB),
    Published("DeepSeek-R1", 671_000_000_000, "README_WEIGHTS.md of DeepSeek-V3: main model"),
    Published("DeepSeek-V2-Lite", 15_706_484_224, HUB),
    Published("DeepSeek-V3", 671_000_000_000, "README_WEIGHTS.md: main model, without MTP"),
    Published("DeepSeek-V3.2", 671_000_000_000, CARD + " of V3.2-Exp, without MTP"),
    Published("Llama-2-7b-hf", 6_738_415_616, HUB),
    Published("Llama-3.1-405B", 405_853_388_800, HUB),
    Published("Llama-3.1-70B", 70_553_706_496, HUB),
    Published("Llama-3.1-70B-Instruct", 70_553_706_496, HUB),
    Published("Llama-3.1-70B-Instruct-FP8", 70_553_706_496, HUB + ", of the unquantised model"),
    Published("Llama-3.1-8B", 8_030_261_248, HUB),
    Published("Llama-3.1-8B-Instruct", 8_030_261_248, HUB),
    Published("Llama-4-Maverick-17B-128E-Instruct", 400_710_000_000, "llama.cpp, text alone"),
    Published("Llama-4-Scout-17B-16E-Instruct", 107_770_000_000, "llama.cpp, text alone"),
    Published("Mistral-Nemo-Instruct-2407", 12_247_782_400, HUB),
    Published("Mixtral-8x22B-v0.1", 140_620_634_112, HUB),
    Published("Mixtral-8x7B-v0.1", 46_702_792_704, HUB),
    Published("Qwen2.5-7B-Instruct", 7_615_616_512, HUB),
    Published("Qwen3-14B", 14_768_307_200, HUB),
    Published("Qwen3-235B-A22B", 235_093_634_560, HUB),
    Published("Qwen3-235B-A22B-FP8", 235_093_634_560, HUB + ", of the unquantised model"),
    Published("Qwen3-30B-A3B", 30_532_122_624, HUB),
    Published("Qwen3-30B-A3B-Instruct-2507", 30_532_122_624, HUB),
    Published("Qwen3-32B", 32_762_123_264, HUB),
    Published("Qwen3-32B-FP8", 32_762_123_264, HUB + ", of the unquantised model"),
    Published("Qwen3-8B", 8_190_735_360, HUB),
    Published("Qwen3-Next-80B-A3B", 79_674_391_296, HUB + ", of Qwen3-Coder-Next (no MTP)"),
    Published("gpt-oss-120b", 116_829_156_672, HUB + "; model card: 116.83B"),
    Published("gpt-oss-20b", 20_914_757_184, HUB + "; model card: 20.91B"),
    Published("DeepSeek-V4-Flash", 284_000_000_000, CARD),
    Published("DeepSeek-V4-Pro", 1_600_000_000_000, CARD, 0.02),
    Published("GLM-5.2", 744_000_000_000, "GLM-5 report"),
    Published("GLM-5.2-FP8", 744_000_000_000, "GLM-5 report"),
    Published("Gemma-4-31B-IT-NVFP4", 31_000_000_000, NAME, 0.03),
    Published("Kimi-K2.5", 1_030_000_000_000, CARD + ", text alone", 0.02),
    Published("Kimi-K2.6-NVFP4", 1_030_000_000_000, CARD + ", text alone", 0.02),
    Published("Llama-3_3-Nemotron-Super-49B-v1", 49_900_000_000, CARD),
    Published("MiMo-V2-Flash", 309_000_000_000, CARD),
    Published("MiniMax-M2.7", 229_000_000_000, CARD),
    Published("MiniMax-M3", 426_176_000_000, "not published: as counted here"),
    Published("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_600_000_000, CARD),
    Published("NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 120_000_000_000, NAME, 0.05),
    Published("Nemotron-H-56B-Base-8K", 56_000_000_000, NAME, 0.03),
    Published("Qwen3-0.6B", 596_049_920, HUB),
    Published("Qwen3-1.7B", 1_720_574_976, HUB),
    Published("Qwen3-32B-FP8-Static-PerTensor", 32_762_123_264, HUB + ", of the unquantised model"),
    Published("Qwen3-VL-235B-A22B-Instruct", 235_093_634_560, HUB + ", of Qwen3-235B-A22B"),
    Published("Qwen3-VL-8B-Instruct", 8_190_735_360, HUB + ", of Qwen3-8B"),
    Published("Qwen3.5-122B-A10B", 122_000_000_000, NAME, 0.05),
    Published("Qwen3.5-27B", 27_000_000_000, NAME, 0.03),
    Published("Qwen3.5-35B-A3B", 35_000_000_000, NAME, 0.05),
    Published("Qwen3.6-27B-NVFP4", 27_000_000_000, NAME, 0.03),
    Published("Step-3.7-Flash", 195_833_000_000, "not published: as counted here"),
)

ACTIVE = (
    ("DeepSeek-V2-Lite", 2.4e9, "paper: 2.4B"),
    ("DeepSeek-V3", 36.7e9, "README_WEIGHTS.md: 36.7B"),
    ("Llama-4-Maverick-17B-128E-Instruct", 17e9, CARD),
    ("Llama-4-Scout-17B-16E-Instruct", 17e9, CARD),
    ("Mixtral-8x22B-v0.1", 39e9, CARD),
    ("Mixtral-8x7B-v0.1", 12.9e9, CARD),
    ("Qwen3-235B-A22B", 22e9, CARD),
    ("Qwen3-30B-A3B", 3.3e9, CARD),
    ("gpt-oss-120b", 5.13e9, CARD),
    ("gpt-oss-20b", 3.61e9, CARD),
)

ROUNDED = ("Qwen3-Next-80B-A3B", "Qwen3.5-35B-A3B")
"""Published as whole billions only: 3B active."""

TWINS = {
    "deepseek-v3": "DeepSeek-V3",
    "gpt-oss-120b": "gpt-oss-120b",
    "gpt-oss-20b": "gpt-oss-20b",
    "llama-3.1-405b": "Llama-3.1-405B",
    "llama-3.1-70b": "Llama-3.1-70B",
    "llama-3.1-8b": "Llama-3.1-8B",
    "llama-3.3-70b": "Llama-3.1-70B",  # the same fields of architecture
    "minimax-m2.5": "MiniMax-M2.7",  # the shape of its successor
    "mixtral-8x7b": "Mixtral-8x7B-v0.1",
    "qwen3-0.6b": "Qwen3-0.6B",
    "qwen3-1.7b": "Qwen3-1.7B",
    "qwen3-235b-a22b": "Qwen3-235B-A22B",
    "qwen3-30b-a3b": "Qwen3-30B-A3B",
    "qwen3-32b": "Qwen3-32B",
    "qwen3-8b": "Qwen3-8B",
    "qwen3-embedding-0.6b": "Qwen3-0.6B",  # the same layers, and no head
}

needs_data = pytest.mark.skipif(not MODELS.is_dir(), reason="the real configs are not here")


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.folder)
def test_parameters_agree_with_the_published_count(row: Published) -> None:
    model = load_model(MODELS / row.folder)

    assert model.parameters == pytest.approx(row.parameters, rel=row.tolerance)
    if row.source.startswith(HUB):
        assert model.parameters == row.parameters


@pytest.mark.data
@needs_data
def test_no_config_is_left_out_of_the_table() -> None:
    folders = {path.parent.name for path in MODELS.glob("*/config.json")}

    assert folders == {row.folder for row in PUBLISHED}


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(("folder", "active", "source"), ACTIVE)
def test_active_parameters_agree_with_the_published_figure(
    folder: str, active: float, source: str
) -> None:
    tolerance = 0.025  # most are published with two digits

    assert load_model(MODELS / folder).active_parameters == pytest.approx(active, rel=tolerance), (
        source
    )


@pytest.mark.data
@needs_data
def test_every_figure_of_the_published_table_is_met() -> None:
    rows = list(csv.DictReader((MODELS / "PUBLISHED.csv").read_text().splitlines()))
    for row in rows:
        model, tolerance = load_model(MODELS / row["model"]), float(row["tolerance"] or 0)
        if row["total_parameters"]:
            total, active = float(row["total_parameters"]), float(row["active_parameters"])
            assert model.parameters == pytest.approx(total, rel=tolerance), row["model"]
            if row["model"] in ROUNDED:
                assert round(model.active_parameters / 1e9) == round(active / 1e9)
            else:
                assert model.active_parameters == pytest.approx(active, rel=tolerance), row["model"]
    assert len(rows) == 25


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(
    ("case", "parameters", "context", "quantization"),
    [
        ("qc_modelopt", 1_235_814_400, 131_072, "modelopt FP8"),
        ("llama_linear", 1_235_814_400, 65_536, ""),
        ("vision", 1_235_814_400, 131_072, ""),
        ("mistral7b_sw4096", 7_241_732_096, 131_072, ""),
    ],
)
def test_configs_that_were_once_misread_are_read(
    case: str, parameters: int, context: int, quantization: str
) -> None:
    model = load_model(MODELS.parent / "cases" / "models" / f"{case}.json")

    assert (model.parameters, model.max_context) == (parameters, context)
    assert model.quantization == quantization
    assert model.irregular == ()


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(("bundled", "folder"), TWINS.items())
def test_a_bundled_shape_equals_the_published_config(bundled: str, folder: str) -> None:
    ours, theirs = load_model(bundled), load_model(MODELS / folder / "config.json")

    assert theirs.name == folder
    for field in ("hidden", "vocab", "layers", "tied_embeddings", "max_context", "architecture"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert (ours.active_parameters, ours.quantization, ours.notes) == (
        theirs.active_parameters,
        theirs.quantization,
        theirs.notes + VECTORS * ours.pooling,
    )


def test_every_bundled_model_has_its_twin_named() -> None:
    assert set(list_models()) == set(TWINS)
