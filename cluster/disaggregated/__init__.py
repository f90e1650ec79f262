"""Disaggregated serving: one pool of cards prefills, another decodes, KV crosses the network.

Without feedback from decode to prefill (open loop) a run is three runs in a row, each exact: the
prefill pool's, the transfers', the decode pool's. Start reading at ``play.py``.
"""
