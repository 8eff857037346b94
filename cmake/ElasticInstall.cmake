# cmake --install BUILD [--prefix FOLDER]: the program, decks, job scripts and machine files to start from, and the documents.
include(GNUInstallDirs)
install(TARGETS elastic.x RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES README.md CHANGELOG.md CITATION.cff CONTRIBUTING.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY doc DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY input jobscripts machines DESTINATION ${CMAKE_INSTALL_DATADIR}/elastic USE_SOURCE_PERMISSIONS)
install(PROGRAMS scripts/plot_run.py scripts/plot_front.py scripts/tokenize.py scripts/tensorboard.py scripts/lm_eval.py DESTINATION ${CMAKE_INSTALL_DATADIR}/elastic/scripts)
install(DIRECTORY scripts/token_files DESTINATION ${CMAKE_INSTALL_DATADIR}/elastic/scripts PATTERN __pycache__ EXCLUDE)
