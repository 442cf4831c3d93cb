# Flags and helpers that every Atoll target shares.
add_library(atoll_flags INTERFACE)
target_include_directories(atoll_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(atoll_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor)
if(ATOLL_SANITIZE)
  target_compile_options(atoll_flags INTERFACE -fsanitize=${ATOLL_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(atoll_flags INTERFACE -fsanitize=${ATOLL_SANITIZE})
  target_compile_definitions(atoll_flags INTERFACE ATOLL_SANITIZED=1)
  target_compile_options(atoll_flags INTERFACE -UNDEBUG -fno-omit-frame-pointer)
  if(ATOLL_SANITIZE MATCHES "thread")
    # Asio uses fences, about which GCC warns that this sanitizer does not see them.
    target_compile_options(atoll_flags INTERFACE -Wno-tsan)
  endif()
endif()

if(ATOLL_LIBFUZZER)
  target_compile_options(atoll_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# The server is optimized as a whole at link time: a GET takes 11 % fewer instructions. The tests
# link the ordinary code that the same objects hold, which is quicker to link.
option(ATOLL_LTO "Optimize the server at link time (GCC)" ON)
if(ATOLL_SANITIZE OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(ATOLL_LTO OFF)
endif()
if(ATOLL_LTO)
  target_link_options(atoll_flags INTERFACE
    $<IF:$<BOOL:$<TARGET_PROPERTY:LINK_TIME_OPTIMIZED>>,-flto=auto,-fno-lto>)
endif()

# atoll_library(NAME [HOT] DIRS dir... LINK lib...): one static library from every .cpp of the
# folders. HOT: what requests pass through.
function(atoll_library name)
  cmake_parse_arguments(A "HOT" "" "DIRS;LINK;PUBLIC_LINK" ${ARGN})
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
  if(ATOLL_LTO AND A_HOT)
    target_compile_options(${name} PRIVATE -flto -ffat-lto-objects)
  endif()
endfunction()
