# Installs the extension's description, and checks the metadata that it is made of.

if(NOT EXTENSION_NAME STREQUAL PROJECT_NAME)
  message(FATAL_ERROR "Slicer packs nothing: EXTENSION_NAME and project() differ.")
endif()

set(_description "")
foreach(_name DEPENDS HOMEPAGE CONTRIBUTORS CATEGORY ICONURL DESCRIPTION SCREENSHOTURLS)
  # Slicer passes the values on unquoted, so that a semicolon would cut them.
  if("${EXTENSION_${_name}}" MATCHES "^$|;")
    message(FATAL_ERROR "EXTENSION_${_name} is empty or has a semicolon.")
  endif()
  string(TOLOWER "${_name}" _key)
  string(APPEND _description "${_key} ${EXTENSION_${_name}}\n")
endforeach()

foreach(_name LICENSE README)
  if(NOT EXISTS "${EXTENSION_${_name}_FILE}")
    message(FATAL_ERROR "EXTENSION_${_name}_FILE names no file: Slicer would put its own into the package.")
  endif()
endforeach()
install(FILES "${EXTENSION_LICENSE_FILE}" "${EXTENSION_README_FILE}" DESTINATION "${Slicer_SHARE_DIR}")

file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" "${_description}")
install(FILES "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" DESTINATION "${Slicer_SHARE_DIR}")
