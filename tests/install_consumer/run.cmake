# Installs the build into an empty prefix, moves that prefix (an installed copy may stand anywhere), and builds and runs
# a foreign project against it.
#
#   cmake -DBUILD=... -DSOURCE=... -DWORK=... -DCOMPILER=... [-DSANITIZE=...] -P run.cmake
foreach(variable BUILD SOURCE WORK COMPILER)
  if(NOT ${variable})
    message(FATAL_ERROR "run.cmake: -D${variable}= is missing")
  endif()
endforeach()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\n${output}\nexit status: ${result}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/first)
file(RENAME ${WORK}/first ${WORK}/prefix)

foreach(wanted LICENSE THIRD_PARTY.md libheadway.so headwayConfig.cmake headwayConfigVersion.cmake tensor.h)
  file(GLOB_RECURSE found ${WORK}/prefix/${wanted} ${WORK}/prefix/*/${wanted})
  if(NOT found)
    message(FATAL_ERROR "not installed: ${wanted}")
  endif()
endforeach()

run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -G Ninja -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_PREFIX_PATH=${WORK}/prefix
    -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF "-DCMAKE_CXX_FLAGS=${SANITIZE}")
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer)

# A published model, tiny, with a vocabulary beside it.
file(COPY ${SOURCE}/../golden/families/bert/ DESTINATION ${WORK}/model)
string(REPLACE " " "\n" vocabulary
       "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g h i j k l m n o p q r s t u v w x y z ##a")
file(WRITE ${WORK}/model/vocab.txt "${vocabulary}\n")
run(${WORK}/build/embedder ${WORK}/model)
# What such a program needs beside itself: its libraries and theirs, without the C++ runtime.
execute_process(COMMAND ldd ${WORK}/build/embedder OUTPUT_VARIABLE needed)
string(REGEX MATCHALL "=> [^ ]+" paths "${needed}")
set(bytes 0)
foreach(path IN LISTS paths)
  string(SUBSTRING "${path}" 3 -1 path)
  if(path MATCHES "lib(c|m|stdc\\+\\+|gcc_s|pthread|dl|rt)\\.so")
    continue()
  endif()
  file(SIZE "${path}" size)
  math(EXPR bytes "${bytes} + ${size}")
endforeach()
math(EXPR megabytes "${bytes} / 1000000")
message(STATUS "an embedding program needs ${megabytes} MB of libraries")
if(EXISTS ${WORK}/prefix/bin/headway)
  run(${WORK}/prefix/bin/headway --help)
endif()
