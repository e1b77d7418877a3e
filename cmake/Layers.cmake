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

# Headers that most files of a target read are parsed once: half of a compilation is reading them. Each kind is made with
# the first target that asks for it. CMAKE_DISABLE_PRECOMPILE_HEADERS turns them off (the asan preset does, so that a file
# that lacks an include is found).
set(HEADWAY_PRECOMPILED_plain <algorithm> <array> <atomic> <cmath> <cstdint> <cstring> <filesystem> <functional> <limits> <map>
    <memory> <mutex> <numeric> <optional> <set> <span> <string> <string_view> <tuple> <unordered_map> <utility> <variant>
    <vector> <fmt/format.h>)
set(HEADWAY_PRECOMPILED_json ${HEADWAY_PRECOMPILED_plain} <fstream> <sstream> <nlohmann/json.hpp>)
set(HEADWAY_PRECOMPILED_cli ${HEADWAY_PRECOMPILED_json} <CLI/CLI.hpp>)
set(HEADWAY_PRECOMPILED_tests ${HEADWAY_PRECOMPILED_plain} <fstream> <sstream> <gmock/gmock.h> <gtest/gtest.h>)
function(headway_precompile target kind)
  # Where <string> is precompiled, GCC 12 takes literals that it copies into a std::string for too long. The asan preset keeps
  # these warnings.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds;-Wno-stringop-overread;-Wno-stringop-overflow>)
  get_property(first GLOBAL PROPERTY HEADWAY_PRECOMPILED_BY_${kind})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE ${HEADWAY_PRECOMPILED_${kind}})
    set_property(GLOBAL PROPERTY HEADWAY_PRECOMPILED_BY_${kind} ${target})
  endif()
endfunction()

# For what runs once: -O1 compiles in two thirds of -O3's time.
function(headway_compile_fast target)
  if(CMAKE_BUILD_TYPE STREQUAL Release)
    target_compile_options(${target} PRIVATE -O1)
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
  if("nlohmann_json::nlohmann_json" IN_LIST ARG_LIBRARIES)
    headway_precompile(headway_${name} json)
  elseif(NOT name STREQUAL kernels)  # whose files read little else than Highway
    headway_precompile(headway_${name} plain)
  endif()
  set_property(GLOBAL APPEND PROPERTY HEADWAY_LAYERS headway_${name})
  set_property(GLOBAL APPEND PROPERTY HEADWAY_LIBRARIES ${ARG_LIBRARIES})
endfunction()
