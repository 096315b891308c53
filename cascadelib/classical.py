"""Classical nets below timm's smallest, registered so that ``timm.create_model`` builds them too.

``linear`` (softmax regression), ``mlp`` (one hidden layer) and ``lenet`` (LeCun et al., 1998, with
ReLU and max pooling) take ``in_chans``, ``num_classes`` and ``img_size`` as timm's models do.
"""

from timm.models import register_model
from torch import nn

__all__ = ["lenet", "linear", "mlp"]


@register_model
def linear(pretrained=False, in_chans=1, num_classes=10, img_size=28, **_):
    """Softmax regression on pixels: [N, in_chans, img_size, img_size] → [N, num_classes]."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * img_size**2, num_classes))


@register_model
def mlp(pretrained=False, in_chans=1, num_classes=10, img_size=28, hidden=64, **_):
    """One hidden layer of ``hidden`` ReLU units: [N, in_chans, img_size, img_size] → [N, num_classes]."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(in_chans * img_size**2, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )


@register_model
def lenet(pretrained=False, in_chans=1, num_classes=10, img_size=28, width=1.0, **_):
    """LeNet-5 with channels and units × ``width``: [N, in_chans, img_size, img_size] → [N, num_classes]."""
    c1, c2, f1, f2 = (round(n * width) for n in (6, 16, 120, 84))
    features = nn.Sequential(
        nn.Conv2d(in_chans, c1, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(c1, c2, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    side = (img_size // 2 - 4) // 2
    head = nn.Sequential(
        nn.Flatten(), nn.Linear(c2 * side**2, f1), nn.ReLU(), nn.Linear(f1, f2), nn.ReLU(), nn.Linear(f2, num_classes)
    )
    return nn.Sequential(features, head)
