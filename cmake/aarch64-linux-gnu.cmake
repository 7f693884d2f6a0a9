# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Cross compilation for 64-bit Arm with Debian's compiler; programs run under
# QEMU's user mode. HEED_SYSROOT holds the libraries that tests need, as
# cmake/aarch64_sysroot.sh lays them out.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# No -cpu here: it would override the variable QEMU_CPU, which chooses the CPU,
# and so the kernel table, of a run.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)

get_filename_component(HEED_SYSROOT_DEFAULT
  ${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-sysroot ABSOLUTE)
set(HEED_SYSROOT ${HEED_SYSROOT_DEFAULT} CACHE PATH
  "Libraries for 64-bit Arm, made by cmake/aarch64_sysroot.sh")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HEED_SYSROOT)

set(CMAKE_FIND_ROOT_PATH ${HEED_SYSROOT} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
