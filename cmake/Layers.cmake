# One target per folder of src/. A layer sees its own private folder, the public headers, and what it is linked to:
# only lower layers (tests/layering checks the includes). Their objects make one shared library, `headway`.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # SSE4.2, in every x86-64 processor since 2009, is what oneDNN asks for too; it is Highway's lowest target here. AVX2 and
  # AVX-512 code stands beside it and is chosen at run time.
  add_compile_options(-march=x86-64-v2)
  add_compile_definitions(HWY_DISABLE_PCLMUL_AES)
endif()
set(HEADWAY_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Werror)

function(headway_flags target)
  target_compile_options(${target} PRIVATE ${HEADWAY_WARNINGS})
  if(HEADWAY_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${HEADWAY_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${HEADWAY_SANITIZE})
  endif()
endfunction()

# headway_layer(<name> [LAYERS lower...] [LIBRARIES third-party...])
function(headway_layer name)
  cmake_parse_arguments(ARG "" "" "LAYERS;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(headway_${name} OBJECT ${sources})
  headway_flags(headway_${name})
  target_compile_definitions(headway_${name} PRIVATE HEADWAY_BUILDING)
  target_include_directories(headway_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  foreach(layer IN LISTS ARG_LAYERS)
    if(TARGET headway_${layer})
      target_link_libraries(headway_${name} PUBLIC $<BUILD_INTERFACE:headway_${layer}>)
    endif()
  endforeach()
  target_link_libraries(headway_${name} PRIVATE ${ARG_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY HEADWAY_LAYERS headway_${name})
  set_property(GLOBAL APPEND PROPERTY HEADWAY_LIBRARIES ${ARG_LIBRARIES})
endfunction()
