"""How Sphinx builds the documentation: `make docs`."""

import os
import re

os.environ["TQDM_MININTERVAL"] = os.environ["TQDM_MAXINTERVAL"] = "86400"  # a line an epoch

from sk_fewshot import __version__

project = "sk_fewshot"
copyright = "The sk_fewshot developers"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
default_role = "literal"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
# Members that scikit-learn and torch give to every estimator and module are not repeated.
autodoc_default_options = {
    "members": True,
    "inherited-members": ",".join(
        [
            "BaseEstimator",
            "BaseCrossValidator",
            "ClassNamePrefixFeaturesOutMixin",
            "ClassifierMixin",
            "Module",
            "TransformerMixin",
            "ValueError",
        ]
    ),
    "exclude-members": ",".join(
        [
            "get_metadata_routing",
            "set_fit_request",
            "set_output",
            "set_partial_fit_request",
            "set_score_request",
            "set_split_request",
        ]
    ),
}
autodoc_typehints = "none"  # numpydoc's sections have the types
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

# Some examples need data that is not part of the package, or train for minutes: they are shown, and
# run by the command in their first paragraph.
NOT_EXECUTED = ["faces", "omniglot"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/(?!(?:" + "|".join(NOT_EXECUTED) + r")\.py)[^/]*$",
    "doc_module": "sk_fewshot",
    "show_memory": False,
    "remove_config_comments": True,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sk_fewshot {release}"
html_static_path = ["_static"]
html_css_files = ["sk_fewshot.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "header_links_before_dropdown": 7,
}
html_sidebars = {"getting_started": [], "glossary": [], "migration": []}


def prepare_docstring(app, what, name, obj, options, lines):
    """Join lines that a backslash continues; quote a name that would be taken for a link."""
    text = re.sub(r" \\\n\s+", " ", "\n".join(lines))
    lines[:] = text.replace("(n_features_in_,)", "(`n_features_in_`,)").split("\n")


def setup(app):
    """Run before numpydoc reads the docstrings."""
    app.connect("autodoc-process-docstring", prepare_docstring, priority=0)
