"""Between Slicer's scene and the engine: volumes, segments, drawn slices, results, slice views.

Works on real MRML nodes, needs no Qt and never imports torch. What goes in and out is plain numpy on the
volume's own voxels, so that nothing above this package has to think about transforms, cropped or shared
label maps, or axis orders.
"""
