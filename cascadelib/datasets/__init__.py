"""Labelled inputs: images, texts and tensors, bundled or the user's own."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .bundled import SHIFTED as SHIFTED
    from .bundled import fashion_mnist as fashion_mnist
    from .bundled import fashion_mnist_shifted as fashion_mnist_shifted
    from .bundled import reviews as reviews
    from .glue_tasks import TASKS as TASKS
    from .glue_tasks import glue as glue
    from .imagenet_1k import descriptions as descriptions
    from .imagenet_1k import hub_images as hub_images
    from .imagenet_1k import imagenet as imagenet
    from .imagenet_1k import imagenet_v2 as imagenet_v2
    from .imagenet_1k import synsets as synsets
    from .images import Photographs as Photographs
    from .images import from_items as from_items
    from .images import image_folder as image_folder
    from .samples import Samples as Samples
    from .samples import from_arrays as from_arrays
    from .texts import Texts as Texts
    from .texts import table as table

__getattr__, __dir__, __all__ = attach(__name__)
