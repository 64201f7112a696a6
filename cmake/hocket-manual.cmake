# Manual pages and completions, printed by the command from its own tables. Where it cannot run (a cross
# build), or would need a runtime that is not there (a sanitizer), nobody installs them.
if(NOT TARGET hocket-command OR CMAKE_CROSSCOMPILING OR HOCKET_SANITIZE OR HOCKET_FUZZ)
    return()
endif()

set(manual_folder "${PROJECT_BINARY_DIR}/manual")
set(manual_stamp "${PROJECT_BINARY_DIR}/manual.stamp")
add_custom_command(OUTPUT "${manual_stamp}"
    COMMAND "${CMAKE_COMMAND}" -E rm -rf "${manual_folder}"
    COMMAND hocket-command help --write "${manual_folder}"
    COMMAND "${CMAKE_COMMAND}" -E touch "${manual_stamp}"
    DEPENDS hocket-command hocket VERBATIM COMMENT "Writing the manual")
add_custom_target(hocket-manual ALL DEPENDS "${manual_stamp}")

install(DIRECTORY "${manual_folder}/man/" DESTINATION "${CMAKE_INSTALL_MANDIR}")
install(DIRECTORY "${manual_folder}/bash-completion" "${manual_folder}/zsh"
        DESTINATION "${CMAKE_INSTALL_DATADIR}")
