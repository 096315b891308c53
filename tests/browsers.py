"""Find a browser on this machine."""

import os
import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser():
    """Return the path of a Chrome or Chromium, or None.

    ``BROWSER_PATH``, which kaleido reads too, takes precedence over the PATH.
    """
    return os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
