"""Benchmarks: real cells and their rivals on this machine go in; one JSON line for each figure comes out."""
