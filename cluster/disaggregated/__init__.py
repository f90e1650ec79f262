"""Disaggregated serving: one pool prefills, another decodes, KV moves over the network.

Without feedback from decode to prefill (open loop) a run is three runs in a row, each exact: the
prefill pool's, the transfers', the decode pool's. Start reading at ``run.py``.
"""
