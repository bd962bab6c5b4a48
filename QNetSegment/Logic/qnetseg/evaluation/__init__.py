"""Protocols, metrics, result files, pictures and benchmarks."""
