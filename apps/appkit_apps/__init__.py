"""Apps show served bundles: a Gradio page for each, in one gallery.

A folder whose `__init__` holds an `APP` is the page of the task of that name. It lies here, or in a package that an
entry point of the group `appkit.apps` names.
"""

from appkit_apps.startup import fast_import

with fast_import():  # these are the first to import Gradio
    from appkit_apps import parts
    from appkit_apps.app import App, Page

__all__ = ["App", "Page", "parts"]
