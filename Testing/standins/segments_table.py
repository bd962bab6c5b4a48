"""Parts of the segment editor's stand-in: the table of segments, and an effect's name and parameters."""

from __future__ import annotations

import qt


class Effect:
    """Name and parameters of an effect; parameters lie in the editor node as Slicer keeps them."""

    def __init__(self, editor, name: str):
        self._editor, self.name = editor, name

    def setParameter(self, name, value):
        self._editor.mrmlSegmentEditorNode().SetAttribute(f"{self.name}.{name}", str(value))

    def parameter(self, name):
        return self._editor.mrmlSegmentEditorNode().GetAttribute(f"{self.name}.{name}") or ""


class SegmentsTable(qt.QTableWidget):
    """Colour and name of every segment."""

    def __init__(self):
        super().__init__(0, 2)
        self.setHorizontalHeaderLabels(["", "Name"])
        self.horizontalHeader().setStretchLastSection(True)
        self.verticalHeader().setVisible(False)
        self.setColumnWidth(0, 26)
        self.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        self._ids = []

    def fill(self, segmentation, selected: str) -> None:
        self.blockSignals(True)
        self._ids = list(segmentation.GetSegmentIDs()) if segmentation else []
        self.setRowCount(len(self._ids))
        for row, segment_id in enumerate(self._ids):
            segment = segmentation.GetSegment(segment_id)
            swatch = qt.QTableWidgetItem()
            swatch.setBackground(qt.QColor.fromRgbF(*segment.GetColor()))
            swatch.setFlags(qt.Qt.ItemIsEnabled)
            self.setItem(row, 0, swatch)
            self.setItem(row, 1, qt.QTableWidgetItem(segment.GetName()))
            self.setRowHeight(row, 20)
        if selected in self._ids:
            self.selectRow(self._ids.index(selected))
        else:
            self.clearSelection()
        self.blockSignals(False)

    def selected_id(self) -> str:
        rows = self.selectionModel().selectedRows()
        return self._ids[rows[0].row()] if rows else ""

    def id_of_row(self, row: int) -> str:
        return self._ids[row]
