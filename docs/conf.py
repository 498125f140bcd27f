"""Sphinx settings: MyST pages, one of them per architecture, and the API from the docstrings."""

import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

from sphinx.errors import ExtensionError
from sphinx.util.inspect import stringify_signature

sys.path.insert(0, str(Path(__file__).parent))
from architectures import write
from links import dead_links

from inarch import __version__

project = "inarch"
author = "The inarch authors"
copyright = "The inarch authors, Apache-2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "measured"]
html_theme = "furo"
html_title = f"inarch {release}"
html_copy_source = False
html_domain_indices = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
# Every colour of both styles has a contrast of 4.5 or more.
pygments_style = "default"
pygments_dark_style = "github-dark"

myst_heading_anchors = 3
# In docstrings single backticks are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# By name, not as the union of classes that they abbreviate.
autodoc_type_aliases = {name: name for name in ("Entry", "ConfigEntry")}
# Inherited members of Keras's classes are documented there.
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Call arguments", "params_style")]


ALIAS = re.compile(r"~?(?:[\w.]+\.)?TypeAliasForwardRef\('(\w+)'\)")
# The repr of a default that has no literal.
NAMELESS = re.compile(r"<(factory|function <lambda>|object object)>")


def _signature(
    app: Any,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    return_annotation: str | None,
) -> tuple[str | None, str | None]:
    """Return the signature of `__init__`, since Keras's own `__new__` takes anything."""
    if what == "class" and hasattr(obj, "from_config") and obj.__init__ is not object.__init__:
        parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
        return stringify_signature(inspect.Signature(parameters), show_annotation=False), ""
    return _plain(signature), _plain(return_annotation)


def _plain(signature: str | None) -> str | None:
    return signature and ALIAS.sub(r"\1", NAMELESS.sub("...", signature))


def _check_links(app: Any, exception: Exception | None) -> None:
    if exception is None and (dead := dead_links(Path(app.outdir))):
        raise ExtensionError("links that lead nowhere:\n" + "\n".join(dead))


def setup(app: Any) -> None:
    write(Path(app.srcdir, "architectures"))
    app.connect("autodoc-process-signature", _signature)
    app.connect("build-finished", _check_links)
