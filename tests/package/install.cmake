# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Installs the build in BUILD, and moves the result to WORK/prefix.

file(REMOVE_RECURSE ${WORK}/prefix ${WORK}/staging)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD}
  --prefix ${WORK}/staging OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${WORK}/staging ${WORK}/prefix)
