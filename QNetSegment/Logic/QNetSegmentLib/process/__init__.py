"""The engine's worker process, driven by Qt's event loop."""
