"""A process that holds torch and open volumes; Slicer drives it over QProcess.

Nothing here imports torch; only the process itself does (`python -m qnetseg.worker`).
"""
