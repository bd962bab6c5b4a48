"""Runs: several structures of one volume, one run of the scene, many studies."""
