# Initial cache (cmake -C): project() asks for C and C++ because Slicer's own packages do, a scripted
# module compiles nothing. So the package is made in a second, and on machines without compilers.
foreach(_language C CXX)
  set(CMAKE_${_language}_COMPILER "${CMAKE_COMMAND}" CACHE FILEPATH "Never called")
  set(CMAKE_${_language}_COMPILER_FORCED TRUE CACHE BOOL "Not tested")
  set(CMAKE_${_language}_COMPILER_ID_RUN TRUE CACHE BOOL "Not asked for its name")
endforeach()
set(CMAKE_MAKE_PROGRAM "${CMAKE_COMMAND}" CACHE FILEPATH "Never called")
