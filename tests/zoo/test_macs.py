"""MACs compared with closed forms. Unknown operations are refused."""

import logging
import warnings

import pytest
import timm
import torch
from timm.utils.model import reparameterize_model
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from cascadelib.zoo.macs import count_macs


class Of(nn.Module):
    """Module that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


CLOSED_FORMS = {
    "linear": (nn.Linear(12, 7), torch.zeros(1, 12), 12 * 7),
    "conv": (nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 5, 6), 3 * 8 * 9 * 30),
    "grouped conv": (nn.Conv2d(4, 8, 3, groups=4), torch.zeros(1, 4, 5, 5), 8 * 9 * 9),
    "padded conv": (nn.Conv2d(3, 8, 3, padding="same"), torch.zeros(1, 3, 5, 6), 3 * 8 * 9 * 30),
    "batch norm": (nn.BatchNorm2d(3), torch.zeros(1, 3, 4, 4), 2 * 48),
    "matmul": (Of(lambda a, b: a @ b), (torch.zeros(1, 4, 5), torch.zeros(1, 5, 6)), 120),
    "broadcast left": (
        Of(lambda a, b: a[0] @ b),
        (torch.zeros(1, 4, 5), torch.zeros(1, 3, 5, 6)),
        3 * 120,
    ),
    "vectors": (Of(lambda a, b: a[0] @ b[0]), (torch.zeros(1, 9), torch.zeros(1, 9)), 9),
    "einsum": (
        Of(lambda a, b: torch.einsum("nij,nkj->nik", a, b)),
        (torch.zeros(1, 17, 19), torch.zeros(1, 23, 19)),
        17 * 19 * 23,
    ),
    "relu, pool, softmax": (
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Softmax(1)),
        torch.zeros(1, 3, 4, 4),
        0,
    ),
    "attention": (
        Of(functional.scaled_dot_product_attention),
        (torch.zeros(1, 3, 11, 8), torch.zeros(1, 3, 13, 8), torch.zeros(1, 3, 13, 6)),
        3 * 11 * 13 * (8 + 6),
    ),
    "fused multi-head attention": (
        nn.MultiheadAttention(8, 2, batch_first=True),
        (torch.zeros(1, 5, 8),) * 3,
        4 * 5 * 8 * 8 + 2 * 2 * 5 * 5 * 4,
    ),
    "transformer layer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        torch.zeros(1, 5, 8),
        4 * 5 * 8 * 8 + 2 * 2 * 5 * 5 * 4 + 2 * 5 * 8 * 16 + 2 * 5 * 5 * 8,
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_macs_equal_closed_forms(name):
    module, example, expected = CLOSED_FORMS[name]
    assert count_macs(module, example) == expected
    assert type(count_macs(module, example)) is int


def allowances(module, image):
    """Count fvcore's allowances for norms and adaptive pooling, which FlopCounterMode omits."""
    charges = {nn.BatchNorm2d: 2, nn.LayerNorm: 5, nn.GroupNorm: 5}
    charged = []

    def charge(layer, inputs, output):
        for kind, price in charges.items():
            charged.append(price * output.numel() * isinstance(layer, kind))
        charged.append(inputs[0].numel() * isinstance(layer, nn.AdaptiveAvgPool2d))

    hooks = [layer.register_forward_hook(charge) for layer in module.modules()]
    module(image)
    for hook in hooks:
        hook.remove()
    return sum(charged)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "size", "deployed"),
    [
        ("resnet10t", 32, False),
        ("mobilenetv3_small_050", 32, False),
        ("convnext_atto", 32, False),
        ("vit_tiny_patch16_224", 224, False),
        ("mobileone_s0", 32, True),
        ("repghostnet_050", 32, True),
        ("levit_conv_128s", 224, True),
    ],
)
def test_macs_agree_with_the_counter_of_torch(name, size, deployed):
    """FlopCounterMode counts executed operators (2 FLOPs per MAC), fvcore the trace."""
    before = timm.layers.use_fused_attn()
    timm.layers.set_fused_attn(False)
    try:
        model = timm.create_model(name).eval()
    finally:
        timm.layers.set_fused_attn(bool(before))
    model = reparameterize_model(model) if deployed else model
    image = torch.zeros(1, 3, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    with torch.no_grad():
        charged = allowances(model, image)
    assert count_macs(model, image) - charged == counter.get_total_flops() / 2


def test_one_sample_is_counted_with_keywords_and_a_logits_attribute():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, ids, mask=None):
            class Output(dict):
                logits = self.head((self.table(ids) * mask[..., None]).mean(1))

            return Output()

    inputs = {"mask": torch.ones(4, 3), "ids": torch.ones(4, 3, dtype=torch.long)}
    assert count_macs(Text(), inputs) == 12
    assert count_macs(nn.Linear(6, 2), torch.zeros(32, 6)) == 12


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x @ x.mT

    @staticmethod
    def backward(ctx, grad):
        return grad


UNCOUNTABLE = {
    "gru": (
        nn.Sequential(nn.GRU(4, 5, batch_first=True)),
        torch.zeros(1, 7, 4),
        r"GRU|aten::gru \(in 0\)",
    ),
    "bilinear": (nn.Bilinear(3, 3, 4), (torch.zeros(1, 3),) * 2, "aten::bilinear"),
    "cdist": (Of(lambda x: torch.cdist(x, x)), torch.zeros(1, 30, 4), "cdist"),
    "fft": (Of(lambda x: torch.fft.rfft(x).real), torch.zeros(1, 8), "fft_rfft"),
    "custom function": (Of(Double.apply), torch.zeros(1, 3, 4), "Double"),
}


@pytest.mark.parametrize("name", UNCOUNTABLE)
def test_unknown_operations_are_refused_and_not_undercounted(name):
    module, example, message = UNCOUNTABLE[name]
    with pytest.raises(ValueError, match=f"cannot be counted.*({message}).*macs="):
        count_macs(module, example)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused():
    scripted = torch.jit.trace(nn.Linear(3, 4), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"TorchScript \(0\)"):
        count_macs(nn.Sequential(scripted), torch.zeros(1, 3))


@pytest.mark.parametrize(
    "example", [torch.zeros(0, 3), torch.tensor(1.0), (), {}, {"x": "text"}, ("text",)]
)
def test_invalid_example_inputs_are_refused(example):
    with pytest.raises(ValueError, match="example_input"):
        count_macs(nn.Linear(3, 4), example)


def test_modes_are_restored_and_nothing_is_printed(caplog, capsys):
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Linear(3, 3))
    module[1].eval()
    unused = nn.ModuleDict({"used": module, "unused": nn.Linear(2, 2)})
    unused.forward = lambda x: module(x)
    torch.backends.mha.set_fastpath_enabled(True)
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        assert count_macs(unused, torch.zeros(1, 3)) == 18
    assert not caplog.records and not capsys.readouterr().err
    assert module.training and module[0].training and not module[1].training
    assert torch.backends.mha.get_fastpath_enabled()
