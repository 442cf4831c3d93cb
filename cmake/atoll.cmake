# Flags and helpers that every Atoll target shares.
add_library(atoll_flags INTERFACE)
target_include_directories(atoll_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(atoll_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
  -fno-omit-frame-pointer)
if(ATOLL_SANITIZE)
  target_compile_options(atoll_flags INTERFACE -fsanitize=${ATOLL_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(atoll_flags INTERFACE -fsanitize=${ATOLL_SANITIZE})
  target_compile_definitions(atoll_flags INTERFACE ATOLL_SANITIZED=1)
  target_compile_options(atoll_flags INTERFACE -UNDEBUG)
  if(ATOLL_SANITIZE MATCHES "thread")
    # Asio uses fences, about which GCC warns that this sanitizer does not see them.
    target_compile_options(atoll_flags INTERFACE -Wno-tsan)
  endif()
endif()

if(ATOLL_LIBFUZZER)
  target_compile_options(atoll_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# atoll_library(NAME DIR... LINK lib...): one static library from every .cpp of the folders.
function(atoll_library name)
  cmake_parse_arguments(A "" "" "DIRS;LINK;PUBLIC_LINK" ${ARGN})
  set(sources)
  foreach(dir ${A_DIRS})
    file(GLOB found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.cpp)
    list(APPEND sources ${found})
  endforeach()
  if(NOT sources)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/${name}_empty.cpp "")
    set(sources ${CMAKE_CURRENT_BINARY_DIR}/${name}_empty.cpp)
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC atoll_flags ${A_PUBLIC_LINK} PRIVATE ${A_LINK})
endfunction()
