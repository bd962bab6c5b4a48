# Slicer writes <extension>Config.cmake into the build tree here, for extensions that link against
# this one. Scripted modules offer nothing to link, and nothing of it is installed.
