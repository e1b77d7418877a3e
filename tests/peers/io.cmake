# What io reads, writes and resizes, held against PyPI's gguf, safetensors, Pillow, transformers and llama-cpp-python.
if(HEADWAY_PEERS_PYTHON)
  add_executable(io_peer ${CMAKE_CURRENT_LIST_DIR}/io_peer.cpp)
  headway_flags(io_peer)
  target_link_libraries(io_peer PRIVATE headway fmt::fmt)
  house_test(io_agrees_with_its_peers LABELS peers TIMEOUT 900
             COMMAND ${CMAKE_COMMAND} -E env HF_HUB_OFFLINE=1 ${HEADWAY_PEERS_PYTHON} -B
                     ${CMAKE_CURRENT_LIST_DIR}/io_peer.py $<TARGET_FILE:io_peer>)
endif()
