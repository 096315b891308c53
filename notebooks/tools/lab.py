"""JupyterLab for these notebooks (`make lab`): opening one does not mark it changed.

A kernel that starts tells JupyterLab its name and its version of Python, which go into the
notebook's metadata: unsaved changes that nobody made, and a difference in every commit. Here a
notebook comes with what this kernel will say, and is saved without it.
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


def of_this_kernel() -> dict[str, Any]:
    """The metadata that JupyterLab writes once the kernel of this environment has started."""
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
    """Files of a folder; in a notebook the neutral metadata and those of this kernel change
    places."""

    async def get(  # type: ignore[override]
        self,
        path: str,
        content: bool = True,
        type: str | None = None,
        format: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """As the base class does."""
        model = await super().get(path, content, type, format, **options)
        return with_metadata(model, NEUTRAL, of_this_kernel()) if content else model

    async def save(  # type: ignore[override]
        self, model: dict[str, Any], path: str = ""
    ) -> dict[str, Any]:
        """As the base class does."""
        return await super().save(with_metadata(model, of_this_kernel(), NEUTRAL), path)


def with_metadata(
    model: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    """The model of a file, a notebook with ``after`` in place of ``before``; any other as it is."""
    if model.get("type") != "notebook" or not model.get("content"):
        return model
    metadata = model["content"]["metadata"]
    if {key: metadata.get(key) for key in before} == before:
        metadata.update(after)
    return model


if __name__ == "__main__":  # of a script only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    LabApp.launch_instance(
        [*sys.argv[1:], "--ServerApp.contents_manager_class=tools.lab.Notebooks"]
    )
