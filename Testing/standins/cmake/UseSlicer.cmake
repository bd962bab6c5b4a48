# The extension's name, the switch for its tests, and the commands that its lists call.

if(NOT DEFINED EXTENSION_NAME)
  set(EXTENSION_NAME "${PROJECT_NAME}")
endif()
if("${EXTENSION_NAME}" MATCHES "^(|Project|Slicer)$")
  message(FATAL_ERROR "project(<name of the extension>) comes before Slicer's use file.")
endif()

include(CTest) # option BUILD_TESTING, on unless the caller says otherwise

include("${CMAKE_CURRENT_LIST_DIR}/ScriptedModule.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/PythonTesting.cmake")
