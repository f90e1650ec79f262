"""Devices: one module for each kind of accelerator, behind one protocol."""
