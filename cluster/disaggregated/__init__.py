"""Disaggregated serving: one pool prefills, another decodes, KV is sent over the network.

Both pools and the transfers are one loop: decode's blocks come before the KV. Start reading at
``run.py``, then ``loop.py``.
"""
