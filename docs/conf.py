"""How the documentation is built: python -m sphinx -W -b html docs docs/_build/html."""

project = "digital_experiments"
author = "the digital_experiments authors"
copyright = "2026, the digital_experiments authors"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "digital_experiments"
nb_execution_mode = "off"  # a test runs the pages' code, from top to bottom
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 2
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
