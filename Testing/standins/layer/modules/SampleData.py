"""Stand-in for Slicer's sample data module: registers sources; reads files that are on this machine.

As in Slicer, downloadSample does not call a source's custom downloader: only the button in the
Sample Data panel does, which `press` stands for. Nothing is downloaded: file:// addresses only.
"""

import urllib.parse
import urllib.request
from pathlib import Path

import slicer


class SampleDataSource:
    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ):
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.uris = [uris] if isinstance(uris, str) else uris
        if self.uris is None:
            raise TypeError("Slicer needs `uris`, also of a source with a custom downloader")
        count = len(self.uris)
        self.fileNames = self._each(fileNames, uris, count)
        self.nodeNames = self._each(nodeNames, uris, count)
        self.checksums = self._each(checksums, uris, count)
        self.loadFiles = self._each(loadFiles, uris, count)
        self.loadFileTypes = self._each(loadFileTypes or loadFileType, uris, count)
        self.loadFileProperties = loadFileProperties or {}
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName

    @staticmethod
    def _each(values, uris, count):
        if isinstance(uris, str):
            return [values]
        values = [values] * count if values is None or isinstance(values, str) else list(values)
        if len(values) != count:
            raise ValueError(f"{len(values)} values for {count} addresses")
        return values

    def __eq__(self, other):
        return vars(self) == vars(other)


class SampleDataLogic:
    def __init__(self, logMessage=None):
        self.logMessage = logMessage or (lambda *_: None)

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        _registry("sampleDataSourceCategories").setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(category="Custom", **source):
        sources = _registry("sampleDataSources").setdefault(category, [])
        new = SampleDataSource(**source)
        if new not in sources:
            sources.append(new)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        sources = _registry("sampleDataSources")
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def categoryTitle(category):
        return _registry("sampleDataSourceCategories").get(category, {}).get("title", category)

    def sourceForSampleName(self, sampleName):
        sources = _registry("sampleDataSources").values()
        return next((s for group in sources for s in group if s.sampleName == sampleName), None)

    def downloadSample(self, sampleName):
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName):
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    def downloadFromSource(self, source, maximumAttemptsCount=3, forceDownload=False):
        loaded = []
        for index, uri in enumerate(source.uris):
            address = urllib.parse.urlparse(uri)
            if address.scheme != "file":
                raise ValueError(f"the stand-in of SampleData reads files only, not {uri}")
            path = Path(urllib.request.url2pathname(address.path))
            algorithm, digest = slicer.util.extractAlgoAndDigest(source.checksums[index])
            if algorithm and slicer.util.computeChecksum(algorithm, str(path)) != digest:
                raise ValueError(f"the checksum of {path} is wrong")
            properties = {**source.loadFileProperties, "name": source.nodeNames[index] or path.stem}
            loaded.append(slicer.util.loadNodeFromFile(str(path), source.loadFileTypes[index], properties))
        return loaded


def press(sampleName):
    """What the sample's button in the Sample Data panel does."""
    source = SampleDataLogic().sourceForSampleName(sampleName)
    if source.customDownloader:
        return source.customDownloader(source)
    return SampleDataLogic().downloadFromSource(source)


def downloadSample(sampleName):
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName):
    return SampleDataLogic().downloadSamples(sampleName)


def _registry(name):
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    return getattr(slicer.modules, name)
