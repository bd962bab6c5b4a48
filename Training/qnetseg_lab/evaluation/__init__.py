"""Protocols, metrics, result files, pictures and benchmarks.

Protocol P, the paper's tables, lies here: `protocol_p`, `sweeps`, `gallery`. The protocols R1 to R3, a drawn
slice and whole volumes, are the package `whole_volume`. Both use `metrics`, `summary` and `results`;
`report` makes pages from result files.
"""
