# Tests of the house around the code: layers, style, the installed package, documents, and the tests themselves.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
set(python ${Python3_EXECUTABLE} -B)
set(tests ${CMAKE_CURRENT_SOURCE_DIR})

# house_test(<name> [LABELS label...] [TIMEOUT seconds] [SERIAL] COMMAND ...)
function(house_test name)
  cmake_parse_arguments(ARG "SERIAL" "TIMEOUT" "LABELS;COMMAND" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${ARG_COMMAND})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
  if(ARG_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL TRUE)
  endif()
endfunction()

house_test(layers_include_only_lower_layers COMMAND ${python} ${tests}/layering/check_layers.py ${PROJECT_SOURCE_DIR})
house_test(layer_check_sees_every_violation COMMAND ${python} ${tests}/layering/test_check_layers.py)
house_test(style_of_the_sources LABELS style
           COMMAND ${python} ${tests}/style/check_style.py ${PROJECT_SOURCE_DIR})
house_test(no_static_object_is_made_under_a_guard COMMAND ${python} ${tests}/style/check_guards.py $<TARGET_FILE:headway>)

# The installed copy and the README's snippets are compiled outside this build, with the same sanitizer, if any.
set(sanitize "")
if(HEADWAY_SANITIZE)
  set(sanitize "-fsanitize=${HEADWAY_SANITIZE} -fno-sanitize-recover=all")
endif()
house_test(installed_package_serves_a_stranger TIMEOUT 600
           COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -DSOURCE=${tests}/install_consumer
                   -DWORK=${CMAKE_CURRENT_BINARY_DIR}/install_consumer -DCOMPILER=${CMAKE_CXX_COMPILER}
                   -DSANITIZE=${sanitize} -P ${tests}/install_consumer/run.cmake)
house_test(readme_snippets_run TIMEOUT 600
           COMMAND ${python} ${tests}/snippets/run_snippets.py --root ${PROJECT_SOURCE_DIR}
                   --library $<TARGET_FILE:headway> --compiler ${CMAKE_CXX_COMPILER} "--flags=${sanitize}")
house_test(snippet_runner_sees_broken_snippets TIMEOUT 300
           COMMAND ${python} ${tests}/snippets/test_run_snippets.py ${CMAKE_CXX_COMPILER})

if(TARGET headway_cli)
  house_test(explain_names_the_path COMMAND headway_cli explain --length 512 --mask "strided(32) | global(0)")
  set_tests_properties(explain_names_the_path PROPERTIES PASS_REGULAR_EXPRESSION "path +fused, a tile plan")
  house_test(explain_says_that_rope_rotates_first COMMAND headway_cli explain --length 512 --position rope)
  set_tests_properties(explain_says_that_rope_rotates_first PROPERTIES
    PASS_REGULAR_EXPRESSION "path +rotary on query and key, then fused.*because +rope rotates query and key first")
  house_test(explain_shows_where_a_mask_cannot_be_read COMMAND headway_cli explain --mask "causal & windo(3, 0)")
  set_tests_properties(explain_shows_where_a_mask_cannot_be_read PROPERTIES
    PASS_REGULAR_EXPRESSION "headway: Mask::parse: 'causal & windo.3, 0.' at 'windo.3, 0.'; want all, causal")
endif()

# Whole jobs with other people's models.
if(TARGET headway_cli)
  set(jobs ${tests}/jobs)
  house_test(commands_that_write_text COMMAND ${python} ${jobs}/writing.py $<TARGET_FILE:headway_cli>)
  house_test(commands_that_read_text COMMAND ${python} ${jobs}/reading.py $<TARGET_FILE:headway_cli>)
  house_test(commands_that_classify_and_export COMMAND ${python} ${jobs}/classes.py $<TARGET_FILE:headway_cli>)
  house_test(page_of_jobs_runs
             COMMAND ${python} ${jobs}/page.py $<TARGET_FILE:headway_cli> ${PROJECT_SOURCE_DIR}/docs/jobs.md)
endif()

# A mutation is a small bug put in on purpose; each must turn a test red. Quick: the list still fits the sources.
house_test(mutations_fit_the_sources
           COMMAND ${python} ${tests}/mutations/run.py --source ${PROJECT_SOURCE_DIR} --check)
house_test(mutation_runner_tells_red_from_green COMMAND ${python} ${tests}/mutations/test_run.py)
house_test(every_mutation_turns_a_test_red LABELS long TIMEOUT 7200 SERIAL
           COMMAND ${python} ${tests}/mutations/run.py --source ${PROJECT_SOURCE_DIR})

if(HEADWAY_SANITIZE)
  add_executable(deliberate ${tests}/sanitizers/deliberate.cpp)
  headway_flags(deliberate)
  target_link_libraries(deliberate PRIVATE headway)
  function(sanitizer_sees slip report)
    house_test(sanitizer_sees_${slip} COMMAND deliberate ${slip})
    set_tests_properties(sanitizer_sees_${slip} PROPERTIES PASS_REGULAR_EXPRESSION "${report}")
  endfunction()
  if(HEADWAY_SANITIZE MATCHES "thread")
    sanitizer_sees(race "ThreadSanitizer: data race")
  endif()
  if(HEADWAY_SANITIZE MATCHES "address")
    sanitizer_sees(beyond "heap-buffer-overflow")
    sanitizer_sees(freed "heap-use-after-free")
  endif()
  if(HEADWAY_SANITIZE MATCHES "undefined")
    sanitizer_sees(overflow "signed integer overflow")
  endif()
  house_test(sanitizer_passes_sound_threads COMMAND deliberate none)
endif()

# One version of clang-format makes one format: another one's opinion is no test, though `format` will use it.
find_program(HEADWAY_CLANG_FORMAT NAMES clang-format-16 clang-format)
if(HEADWAY_CLANG_FORMAT)
  file(GLOB_RECURSE formatted CONFIGURE_DEPENDS
       ${PROJECT_SOURCE_DIR}/src/*.h ${PROJECT_SOURCE_DIR}/src/*.cpp ${PROJECT_SOURCE_DIR}/include/*.h
       ${PROJECT_SOURCE_DIR}/python/src/*.h ${PROJECT_SOURCE_DIR}/python/src/*.cpp
       ${PROJECT_SOURCE_DIR}/tests/*.h ${PROJECT_SOURCE_DIR}/tests/*.cpp
       ${PROJECT_SOURCE_DIR}/bench/*.h ${PROJECT_SOURCE_DIR}/bench/*.cpp ${PROJECT_SOURCE_DIR}/examples/*.cpp)
  add_custom_target(format COMMAND ${HEADWAY_CLANG_FORMAT} -i --style=file ${formatted} VERBATIM
                    COMMENT "Formatting with ${HEADWAY_CLANG_FORMAT}")
  add_custom_target(format_check COMMAND ${HEADWAY_CLANG_FORMAT} --dry-run -Werror --style=file ${formatted} VERBATIM
                    COMMENT "Checking the format with ${HEADWAY_CLANG_FORMAT}")
  if(HEADWAY_CLANG_FORMAT MATCHES "clang-format-16$")
    house_test(sources_are_formatted LABELS style
               COMMAND ${HEADWAY_CLANG_FORMAT} --dry-run -Werror --style=file ${formatted})
  endif()
endif()

find_program(HEADWAY_CLANG_TIDY NAMES clang-tidy-16)
if(HEADWAY_CLANG_TIDY)
  house_test(clang_tidy_finds_nothing LABELS style long TIMEOUT 3600 SERIAL
             COMMAND ${python} ${tests}/style/run_clang_tidy.py ${HEADWAY_CLANG_TIDY} ${PROJECT_BINARY_DIR}
                     ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/python/src)
endif()
