"""Stand-in for Slicer's file readers and writers: volumes and segmentations through their storage nodes."""

from __future__ import annotations

from pathlib import Path

import slicer

_CLASSES = {"VolumeFile": "vtkMRMLScalarVolumeNode", "SegmentationFile": "vtkMRMLSegmentationNode"}


class CoreIOManager:
    """Serves slicer.util.loadVolume, loadSegmentation, loadNodeFromFile and saveNode."""

    def fileType(self, path) -> str:
        return "SegmentationFile" if ".seg." in Path(path).name else "VolumeFile"

    def fileWriterFileType(self, node) -> str:
        return "SegmentationFile" if node.IsA("vtkMRMLSegmentationNode") else "VolumeFile"

    def loadNodes(self, kind, properties, loaded, messages=None) -> bool:
        class_name = _CLASSES.get(kind)
        if class_name is None:
            raise ValueError(f"the stand-in reads no {kind}")
        if kind == "VolumeFile" and properties.get("labelmap"):
            class_name = "vtkMRMLLabelMapVolumeNode"
        path = Path(properties["fileName"])
        node = slicer.mrmlScene.CreateNodeByClass(class_name)
        node.UnRegister(None)
        name = properties.get("name") or path.name.split(".")[0]
        node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
        node = slicer.mrmlScene.AddNode(node)
        storage = self._storage(node, path)
        if not path.is_file() or not storage.ReadData(node):
            slicer.mrmlScene.RemoveNode(storage)
            slicer.mrmlScene.RemoveNode(node)
            return False
        node.CreateDefaultDisplayNodes()
        loaded.AddItem(node)
        return True

    def saveNodes(self, kind, properties, messages=None) -> bool:
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        return bool(self._storage(node, Path(properties["fileName"])).WriteData(node))

    @staticmethod
    def _storage(node, path):
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(path))
        return node.GetStorageNode()
