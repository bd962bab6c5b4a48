"""The module inside the Slicer application, for ctest; pytest does not collect this file."""

import unittest


class QNetSegmentModuleTest(unittest.TestCase):
    """What needs Slicer itself: the module is found, its panel is built, its self-test passes."""

    def test_panel_is_built(self):
        import slicer

        self.assertIsNotNone(slicer.modules.qnetsegment.widgetRepresentation())

    def test_self_test_passes(self):
        import slicer

        slicer.selfTests["QNetSegment"]()
