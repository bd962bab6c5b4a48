"""Slicer's side of QNetSegment: scene, worker over QProcess, installation, panel.

The only place of the project that imports `slicer` and `qt`, and one that never imports torch: the engine
(`qnetseg`) runs in a worker process.
"""
