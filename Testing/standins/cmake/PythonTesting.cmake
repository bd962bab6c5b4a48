# slicer_add_python_unittest(SCRIPT file [TESTNAME_PREFIX prefix] [SLICER_ARGS argument...])

# A test that needs the application: ctest lists it and says that it was not run.
function(_standin_add_test name)
  add_test(NAME "${name}" COMMAND "${CMAKE_COMMAND}" -E false)
  set_tests_properties("${name}" PROPERTIES DISABLED TRUE)
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(test "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  get_filename_component(script "${test_SCRIPT}" ABSOLUTE)
  if(NOT test_SCRIPT OR NOT EXISTS "${script}")
    message(FATAL_ERROR "slicer_add_python_unittest: there is no SCRIPT '${test_SCRIPT}'.")
  endif()
  get_filename_component(name "${script}" NAME_WE)
  _standin_add_test("py_${test_TESTNAME_PREFIX}${name}")
endfunction()
