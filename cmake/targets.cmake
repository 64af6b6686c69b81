# What every Rill target is compiled with; nothing of it reaches a user's own targets.
function(rill_compile_settings target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  # -ffp-contract=off: g++ would otherwise fuse a*b+c differently in each inlined copy, and an element's
  # bits would depend on where it lies. MulAdd is written where it is meant.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off -Wall -Wextra -Wno-missing-field-initializers>)
  # CMake 3.25 knows no C++20 of CUDA's: the flag is written out.
  # ptxas says what each kernel takes of the card; scripts/nvcc_usage keeps it beside the object.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 -Xptxas=-v>)
  set_property(TARGET ${target} PROPERTY CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/scripts/nvcc_usage
    ${CMAKE_CUDA_COMPILER_LAUNCHER})
  if(RILL_WERROR)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
  if(RILL_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${RILL_SANITIZE} -fno-omit-frame-pointer>)
    target_link_options(${target} PRIVATE -fsanitize=${RILL_SANITIZE})
  endif()
  # fmt's declarations alone: the library compiles its formatting once, in core/format.cpp.
  target_include_directories(${target} SYSTEM PRIVATE $<TARGET_PROPERTY:fmt::fmt,INTERFACE_INCLUDE_DIRECTORIES>)
  # SSE4, AVX2 and AVX-512 (AVX3), chosen at run time; the scalar baseline that Highway demands is not offered.
  if(RILL_CPU_TARGETS STREQUAL "avx2")
    target_compile_definitions(${target} PRIVATE "HWY_DISABLED_TARGETS=(HWY_SSSE3|HWY_SSE4|HWY_AVX3|HWY_AVX3_DL)")
  else()
    target_compile_definitions(${target} PRIVATE "HWY_DISABLED_TARGETS=(HWY_SSSE3|HWY_AVX3_DL)")
  endif()
endfunction()

function(rill_library_settings target)
  rill_compile_settings(${target})
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_compile_definitions(${target} PRIVATE RILL_VERSION="${PROJECT_VERSION}")
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/include)
  target_include_directories(${target} SYSTEM PRIVATE ${RILL_KISSFFT_INCLUDE})
  target_link_libraries(${target} PRIVATE Threads::Threads
    $<BUILD_INTERFACE:Eigen3::Eigen> $<BUILD_INTERFACE:nlohmann_json::nlohmann_json> PkgConfig::HWY ZLIB::ZLIB)
endfunction()

# rill_folder(HEADERS a.h ... SOURCES a.cpp ...): public headers and sources of one room of the house.
# A header that is not listed is private.
function(rill_folder)
  cmake_parse_arguments(arg "" "" "HEADERS;SOURCES" ${ARGN})
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  foreach(source IN LISTS arg_SOURCES)
    target_sources(rill PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  endforeach()
  foreach(header IN LISTS arg_HEADERS)
    list(APPEND headers ${PROJECT_BINARY_DIR}/include/rill/${folder}/${header})
  endforeach()
  if(headers)
    target_sources(rill PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_BINARY_DIR}/include FILES ${headers})
  endif()
endfunction()

# rill_executable(name sources...): a program or test of the tree, linked to rill and compiled like it.
function(rill_executable name)
  add_executable(${name} ${ARGN})
  rill_compile_settings(${name})
  target_include_directories(${name} PRIVATE ${PROJECT_BINARY_DIR}/include)
  target_link_libraries(${name} PRIVATE rill::rill)
endfunction()
