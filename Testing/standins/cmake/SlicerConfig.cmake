# Stand-in of the CMake side of 3D Slicer, as far as an extension of scripted modules meets it:
# `make package` and Testing/test_package_install.py configure and install the extension against it.
#
# As in Slicer, because the extension depends on it:
# - The order: project(), metadata, find_package(Slicer), use file, modules, config file, CPack file.
# - slicerMacroBuildScriptedModule: a mandatory NAME, unknown keywords and absent files are errors;
#   a script may be named without ".py"; relative paths are kept below qt-scripted-modules, first in
#   the build tree, from which the whole folder is installed.
# - Tests exist only where BUILD_TESTING is on, and keep Slicer's names (py_...).
# - The description file (.s4ext) with the metadata is installed in share/, licence and README with it.
# Stricter than Slicer: an absent test script, an absolute path or a folder in a list, an empty or
# many-valued EXTENSION_ variable, no licence or README of the extension's own are errors here.
#
# What this does not prove: that the extension builds against a real Slicer (compilers, CTK, the
# packages that Slicer's use file finds), the byte code that CTK adds to the installed tree, the
# repository's address and revision in the .s4ext file, the archive that CPack makes, bundles on
# macOS, and that any test passes in the application: the tests are listed and disabled.

set(Slicer_VERSION_MAJOR 5)
set(Slicer_VERSION_MINOR 12)
set(Slicer_VERSION "${Slicer_VERSION_MAJOR}.${Slicer_VERSION_MINOR}")

set(Slicer_LIB_DIR "lib/Slicer-${Slicer_VERSION}")
set(Slicer_SHARE_DIR "share/Slicer-${Slicer_VERSION}")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_LIB_DIR}/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")

set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/ExtensionGenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")
