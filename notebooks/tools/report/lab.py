"""JupyterLab for these notebooks (`make lab`): opening a notebook does not mark it as changed.

When a kernel starts, JupyterLab writes its name and its version of Python into the notebook's
metadata. These unsaved changes would appear in every commit. This file manager adds them when a
notebook is opened and removes them when it is saved.
"""

import sys
from pathlib import Path
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelspec import KERNEL_NAME
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyterlab.labapp import LabApp

NEUTRAL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def kernel_metadata() -> dict[str, Any]:
    """Return the metadata that JupyterLab writes once the kernel of this environment has
    started."""
    spec = KernelSpecManager().get_kernel_spec(KERNEL_NAME)
    return {
        "kernelspec": {
            "display_name": spec.display_name,
            "language": spec.language,
            "name": KERNEL_NAME,
        },
        "language_info": IPythonKernel.language_info,
    }


class Notebooks(AsyncLargeFileManager):
    """Files of a folder. The metadata of notebooks is exchanged, neutral on disk and local in
    JupyterLab."""

    async def get(  # type: ignore[override]
        self, path: str, content: bool = True, **options: Any
    ) -> dict[str, Any]:
        """As the base class does."""
        model = await super().get(path, content, **options)
        return swap_metadata(model, NEUTRAL, kernel_metadata()) if content else model

    async def save(  # type: ignore[override]
        self, model: dict[str, Any], path: str = ""
    ) -> dict[str, Any]:
        """As the base class does."""
        return await super().save(swap_metadata(model, kernel_metadata(), NEUTRAL), path)


def swap_metadata(
    model: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    """Replace ``before`` by ``after`` in the metadata of a notebook. Other files are unchanged."""
    if model.get("type") != "notebook" or not model.get("content"):
        return model
    metadata = model["content"]["metadata"]
    if {key: metadata.get(key) for key in before} == before:
        metadata.update(after)
    return model


if __name__ == "__main__":  # a script has only its folder on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    LabApp.launch_instance(
        [*sys.argv[1:], "--ServerApp.contents_manager_class=tools.report.lab.Notebooks"]
    )
