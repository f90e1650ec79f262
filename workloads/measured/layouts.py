"""The layouts that are known, each with the traps of its columns.

End-to-end points and operation tables are those of NVIDIA's aiconfigurator-core 0.12 (Apache-2.0),
logs those of LLMServingSim (MIT), accepted lengths those of InferenceX (Apache-2.0).
"""

from workloads.measured.layout import Column, Layout, count, flag, number, word

_LATENCY = number("latency", "Time of one call.", "ms")
_TESTED = (
    word("system", "Device: h100_sxm, b200_sxm, ..."),
    word("framework", "Engine whose kernel was timed."),
    word("version", "Its version; newer than that of most end-to-end points."),
    word("kernel_source", "Kernel or library."),
)
_POOLS = tuple(
    count(f"{pool}_{name}", meaning, optional=True)
    for pool in ("prefill", "decode")
    for name, meaning in (
        ("batch_size", "Requests that the pool's batch holds."),
        ("num_workers", "Replicas of the pool."),
        ("tp_size", "GPUs that share a layer of the pool."),
        ("pp_size", "Stages of the pool."),
        ("attention_dp_size", "Replicas of the attention in one worker."),
        ("moe_tp_size", "GPUs that share an expert."),
        ("moe_ep_size", "GPUs that the experts are divided over."),
    )
)

SILICON = Layout(
    name="silicon",
    about="end-to-end points of serving engines on real GPUs, a row each",
    columns=(
        word("id", "Name of the point.", optional=True),
        word(
            "provenance", "Source file; it says which protocol the client followed.", optional=True
        ),
        word("backend", "Serving engine: vllm, trtllm, sglang, ..."),
        word("backend_version", "Its version.", optional=True),
        word("model_path", "Hugging Face name of the model."),
        word("system", "Device: h100_sxm, b200_sxm, ..."),
        word("precision", "Format of weights: bf16, fp8, fp4.", sparse=True),
        flag(
            "precision_inferred", "The precision was read out of the model's name.", optional=True
        ),
        word("mode", "One pool, or separate prefill and decode.", allowed=("agg", "disagg")),
        count("isl", "Nominal prompt length.", unit="tokens", least=1),
        count("osl", "Nominal output length.", unit="tokens", least=1),
        count("concurrency", "Users of the closed loop.", optional=True),
        count("batch_size", "The same where concurrency is empty.", optional=True),
        word("gemm_quant_mode", "Format of products.", optional=True),
        word("moe_quant_mode", "Format of experts.", optional=True),
        count("tp_size", "GPUs that share a layer.", optional=True),
        count("pp_size", "Stages.", optional=True),
        count("attention_dp_size", "Replicas of the attention in one engine.", optional=True),
        count("moe_tp_size", "GPUs that share an expert.", optional=True),
        count("moe_ep_size", "GPUs that the experts are divided over.", optional=True),
        *_POOLS,
        number("silicon_ttft_ms", "Mean time to the first token.", "ms", sparse=True),
        number("silicon_tpot_ms", "Mean time per further token.", "ms", sparse=True),
    ),
)
GEMM = Layout(
    name="gemm",
    about="time of a matrix product of m x k by k x n",
    columns=(
        *_TESTED,
        word("gemm_dtype", "Format of both operands."),
        count("m", "Rows: tokens.", least=1),
        count("n", "Columns.", least=1),
        count("k", "Depth.", least=1),
        _LATENCY,
    ),
)
COLLECTIVES = Layout(
    name="collectives",
    about="time of a collective inside one server",
    columns=(
        word("system", "Device."),
        word("table", "Which of the engine's tables."),
        word("library", "Library and version."),
        word("op_name", "Which collective."),
        word("dtype", "Type of an element."),
        word("implementation", "CUDA graph or eager: 4x apart below 64 Ki elements.", sparse=True),
        count("num_gpus", "GPUs of the group.", least=1),
        count("message_size", "Elements, not bytes; of two bytes (half, bfloat16) or one (int8)."),
        _LATENCY,
    ),
)


ATTENTION = Layout(
    name="attention",
    about="time of attention in one layer: prompts where step is 0, decodes elsewhere",
    columns=(
        *_TESTED,
        count("batch_size", "Sequences.", least=1),
        count("isl", "New tokens of each; 1 of a decode.", least=1),
        count("num_heads", "Query heads on this GPU.", least=1),
        count("num_key_value_heads", "KV heads on this GPU.", least=1),
        count("head_dim", "Width of a head.", least=1),
        word("attn_dtype", "Format of the products."),
        word("kv_cache_dtype", "Format of keys and values."),
        count("step", "Tokens already in the cache."),
        number("window_size", "Sliding window; 0 or empty: none.", "tokens", sparse=True),
        _LATENCY,
    ),
)
MLA = Layout(
    name="mla",
    about="time of latent attention in one layer: prompts where step is 0, decodes elsewhere",
    columns=(
        *_TESTED,
        word("table", "Kernel alone, or the whole module with its projections."),
        word("mla_dtype", "Format of the products."),
        word("kv_cache_dtype", "Format of the latent."),
        count("num_heads", "Query heads on this GPU.", least=1),
        count("batch_size", "Sequences.", least=1),
        count("isl", "New tokens of each; 1 of a decode.", least=1),
        count("tp_size", "GPUs that share the heads.", least=1),
        count("step", "Tokens already in the cache."),
        word("model", "Model of a whole module.", sparse=True),
        word("architecture", "Its architecture.", sparse=True),
        word("gemm_type", "Format of its projections.", sparse=True),
        _LATENCY,
    ),
)
MOE = Layout(
    name="moe",
    about="time of one layer of experts",
    columns=(
        *_TESTED,
        word("moe_dtype", "Format of experts and activations."),
        count("num_tokens", "Tokens of the step."),
        count("hidden_size", "Width of the model.", least=1),
        count("inter_size", "Width of an expert.", least=1),
        count("topk", "Experts of a token.", least=1),
        count("num_experts", "Experts of the layer.", least=1),
        count("moe_tp_size", "GPUs that share an expert.", least=1),
        count("moe_ep_size", "GPUs that the experts are divided over.", least=1),
        word("distribution", "How tokens spread over experts."),
        _LATENCY,
    ),
)


def _sparse(name: str, meaning: str, unit: str = "") -> Column:
    return number(name, meaning, unit, sparse=True)


EXPERT_ALL_TO_ALL = Layout(
    name="expert_all_to_all",
    about="dispatch and combine of tokens between the GPUs of experts; three tables in one file",
    columns=(
        word("system", "Device."),
        word("library", "Library and version."),
        word("table", "Which of the three tables: each fills other columns."),
        word("op_name", "ll (low latency), normal, moe_a2a."),
        word("kernel_source", "Library of the kernel.", sparse=True),
        count("node_num", "Servers.", least=1),
        count("hidden_size", "Width of the model.", least=1),
        count("num_experts", "Experts of the layer.", least=1),
        _sparse("num_token", "Tokens of the first two tables."),
        _sparse("num_topk", "Experts of a token, first two tables."),
        _sparse("dispatch_avg_t_us", "Dispatch, low latency.", "us"),
        _sparse("dispatch_bandwidth_gbps", "Its rate.", "GB/s"),
        _sparse("combine_avg_t_us", "Combine, low latency.", "us"),
        _sparse("combine_bandwidth_gbps", "Its rate.", "GB/s"),
        _sparse("dispatch_sms", "Multiprocessors of the normal kernel."),
        _sparse("dispatch_transmit_us", "Dispatch, normal.", "us"),
        _sparse("dispatch_notify_us", "Its announcement.", "us"),
        _sparse("combine_sms", "Multiprocessors of the normal kernel."),
        _sparse("combine_transmit_us", "Combine, normal.", "us"),
        _sparse("combine_notify_us", "Its announcement.", "us"),
        word("comm_backend", "Kernel of the third table.", sparse=True),
        word("phase", "dispatch or combine, third table.", sparse=True),
        word("comm_dtype", "Format on the wire, third table.", sparse=True),
        _sparse("ep_size", "GPUs, third table."),
        _sparse("topk", "Experts of a token, third table."),
        _sparse("num_tokens", "Tokens, third table."),
        _sparse("sms", "Multiprocessors, third table."),
        _sparse("transmit_us", "Third table.", "us"),
        _sparse("notify_us", "Third table.", "us"),
        number("latency", "Third table; in us, unlike every other table.", "us", sparse=True),
    ),
)
REQUESTS = Layout(
    name="requests",
    about="one request a row, as a serving engine logged it",
    columns=(
        word("run", "Device and model."),
        count("request", "Number of the request."),
        number("trace_arrival_s", "When the trace sends it.", "s"),
        count("trace_input", "Prompt that the trace asks for.", unit="tokens"),
        count("trace_output", "Output that the trace asks for.", unit="tokens"),
        count("input_toks", "Prompt.", unit="tokens", least=1),
        count("output_toks", "Output.", unit="tokens", least=1),
        number("queued_s", "Arrival at the engine; TTFT counts from here, without HTTP.", "s"),
        number("scheduled_s", "First batch.", "s"),
        number("first_token_s", "First token.", "s"),
        number("last_token_s", "Last token.", "s"),
        number("ttft_ms", "first_token_s - queued_s.", "ms"),
        number("tpot_ms", "Mean time per further token.", "ms", sparse=True),
        number("e2e_ms", "last_token_s - queued_s.", "ms"),
    ),
)
TIMESERIES = Layout(
    name="timeseries",
    about="state of a serving engine every second",
    columns=(
        word("run", "Device and model."),
        number("t", "End of the second.", "s"),
        number("prompt_throughput", "Prompt tokens a second."),
        number("gen_throughput", "Output tokens a second."),
        count("running", "Requests in the batch."),
        count("waiting", "Requests in the queue."),
        number("kv_cache_pct", "Cache in use, in per cent."),
    ),
)
OP_PROFILE = Layout(
    name="op_profile",
    about="time of an operation of one layer: attention, dense layers, or once a sequence",
    columns=(
        word("gpu", "Device."),
        word("model", "Hugging Face name of the model."),
        count("tp", "GPUs that share a layer.", least=1),
        word("table", "attention fills the lengths, dense the tokens, per_sequence the sequences."),
        word("layer", "Operation of the dense and per_sequence tables.", sparse=True),
        _sparse("prefill_chunk", "New prompt tokens.", "tokens"),
        _sparse("kv_prefill", "Their context before.", "tokens"),
        _sparse("n_decode", "Decodes."),
        _sparse("kv_decode", "Context of each.", "tokens"),
        _sparse("tokens", "Tokens of the step.", "tokens"),
        _sparse("sequences", "Sequences that emit a token."),
        number("time_us", "Time of one call.", "us"),
    ),
)
ACCEPTANCE = Layout(
    name="acceptance",
    about="mean accepted length of speculative decoding",
    columns=(
        word("set", "Model and method."),
        word("model", "Model."),
        word("mode", "Thinking on or off."),
        count("num_speculative_tokens", "Drafted tokens a step.", least=1),
        number("mean_accepted_length", "Tokens a step, with the target's own.", least=1),
    ),
)

LAYOUTS = (
    SILICON, GEMM, COLLECTIVES, ATTENTION, MLA, MOE, EXPERT_ALL_TO_ALL, REQUESTS, TIMESERIES,
    OP_PROFILE, ACCEPTANCE,
)  # fmt: skip
