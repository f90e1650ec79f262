"""Disaggregated serving: one pool prefills, another decodes, KV is sent over the network.

Without feedback from decode to prefill (open loop) a run is three exact runs in sequence: the
prefill pool's, the transfers', the decode pool's. Start reading at ``run.py``.
"""
