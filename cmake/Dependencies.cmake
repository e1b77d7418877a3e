# Third-party libraries, all from the system's package manager. None of their types appears in a public header.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)  # oneDNN's threads: the kernels hold it to one
# Debian's dnnl-config.cmake insists on OpenCL's headers, which a CPU build does not need: find the library itself.
find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(headway_dnnl INTERFACE)
target_include_directories(headway_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(headway_dnnl INTERFACE ${DNNL_LIBRARY})
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(LibXml2 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc i18n)
find_package(PkgConfig REQUIRED)
find_path(STB_INCLUDE_DIR stb/stb_image.h REQUIRED)  # headers alone
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
if(HEADWAY_BUILD_CLI)
  find_package(CLI11 REQUIRED)
endif()

if(HEADWAY_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
