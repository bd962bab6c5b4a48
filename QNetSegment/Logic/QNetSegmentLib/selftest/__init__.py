"""The module's self-test inside Slicer: its cases, and an engine for machines without torch."""
