"""The table ``candidates`` of a plan study: choices and scores."""

from results.schema.column import Column, Table, real, whole, word

CANDIDATES = Table(
    name="candidates",
    meaning="One row per legal, scored candidate of a plan study; speeds are analytic means.",
    columns=(
        whole("tensor_parallel_size", "cards", "Cards that share every layer of a stage."),
        whole("pipeline_parallel_size", "", "Stages of a replica."),
        whole("expert_parallel_size", "", "Subgroups of a tensor group with whole experts."),
        whole("replicas", "", "Equal copies."),
        word("memory_mode", "Memory mode of the weights."),
        word("weights", "Number format of weights."),
        word("kv", "Number format of the KV cache."),
        whole("max_num_seqs", "", "Most concurrent sequences of a replica."),
        whole("max_num_batched_tokens", "tokens", "Budget of a step of a slot."),
        whole("cards", "cards", "Cards that the candidate uses."),
        real("request_rate_per_s", "1/s", "Request rate at which it is scored."),
        real("ttft_ms", "ms", "Mean time to first token."),
        real("tpot_ms", "ms", "Mean time per output token; null for outputs of one token.", True),
        real("output_throughput", "tokens/s", "Output tokens a second of all replicas."),
        real("capacity_output_throughput", "tokens/s", "The same at saturation."),
        real("output_tokens_per_s_per_card", "tokens/s", "Throughput over the cards it uses."),
        real("output_tokens_per_s_per_user", "tokens/s", "Of one request: 1 / TPOT.", True),
        real("joules_per_output_token", "J", "Energy of the cards it uses.", True),
        real("cost_per_hour_usd", "USD", "Amortisation and power of the servers it uses."),
        real("cost_per_hour_usd_low", "USD", "The same with every uncertain figure at its low."),
        real("cost_per_hour_usd_high", "USD", "The same with every uncertain figure at its high."),
        real("cost_per_million_output_tokens_usd", "USD", "Of a million output tokens."),
        real("cost_per_million_output_tokens_usd_low", "USD", "The same at the cheapest."),
        real("cost_per_million_output_tokens_usd_high", "USD", "The same at the most expensive."),
        real("mean_requests", "", "Mean number of requests in a replica."),
        whole("kv_blocks", "blocks", "KV blocks of a replica."),
        whole("headroom_bytes", "B", "SRAM left on the tightest chiplet beside a full pool."),
        Column(
            name="meets_slo", type="bool", unit="", meaning="Its means are within every objective."
        ),
        Column(
            name="pareto",
            type="bool",
            unit="",
            meaning="No other that meets the SLO has more tokens/s/user and tokens/s/card.",
        ),
    ),
)
