#!/usr/bin/env python3
"""Makes tests/golden/pytorch/: small networks with PyTorch's logits, the witness of the float forward pass.

Needs python3-torch and python3-numpy; run it from anywhere, without arguments. Each case is a network file, its
weights (.safetensors, written by hand so that the safetensors package is not needed), images (.npy, uint8) and the
logits PyTorch computes for them in double precision.
"""
import json
import pathlib
import struct

import numpy as np
import torch
from torch import nn

OUT = pathlib.Path(__file__).resolve().parent / "pytorch"
DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def write_safetensors(path, tensors):
    header, data = {}, b""
    # Wide elements first, so that every tensor is aligned.
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        raw = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def randomize(model):
    """Batch-norm statistics away from their initial values, with negative and zero gammas among them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            module.weight.data[0] = 0.0
            module.weight.data[1] = -abs(module.weight.data[1]) - 0.1
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.2, 2.0)


def make(name, model, shape, scale, mean, std):
    randomize(model)
    model.eval()
    write_safetensors(OUT / f"{name}.safetensors", model.state_dict())
    images = np.random.randint(0, 256, size=(5, *shape), dtype=np.uint8)
    np.save(OUT / f"{name}_images.npy", images)
    channels = (1, -1, 1, 1)
    pixels = torch.from_numpy(images.astype(np.float64)) * scale
    pixels = (pixels - torch.tensor(mean, dtype=torch.float64).reshape(channels)) / \
        torch.tensor(std, dtype=torch.float64).reshape(channels)
    with torch.no_grad():
        logits = model.double()(pixels)
    np.save(OUT / f"{name}_logits.npy", logits.numpy().astype(np.float32))


class ConvBnPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8 * 2 * 2, 12)
        self.fc2 = nn.Linear(12, 5)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 2)  # 11×11 -> 5×5, one line left over
        x = self.bn2(self.conv2(x)).relu()
        return self.fc2(self.fc1(x.flatten(1)).relu())


def grouped():
    """Named as nn.Sequential names its parts. Ends in a global average instead of a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2, groups=3), nn.BatchNorm2d(6), nn.ReLU(),
        nn.MaxPool2d(3, stride=1),
        nn.Conv2d(6, 8, 1, groups=2), nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1), nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Residual(nn.Module):
    """Two residual blocks, the second with a shortcut of its own, as in ResNet; padded max-pooling."""
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.a1 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.a1n = nn.BatchNorm2d(6)
        self.a2 = nn.Conv2d(6, 6, 3, padding=1)
        self.b1 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.b2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.b2n = nn.BatchNorm2d(8)
        self.shortcut = nn.Conv2d(6, 8, 1, stride=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, stride=2, padding=1)
        x = (self.a2(self.a1n(self.a1(x)).relu()) + x).relu()
        x = (self.b2n(self.b2(self.b1(x).relu())) + self.shortcut(x)).relu()
        return self.fc(x.mean(dim=(2, 3)))


class Normalised(nn.Module):
    """Local response normalisation and pooling rounded up, as in AlexNet."""
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 8, 3)
        self.conv2 = nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.fc = nn.Linear(6 * 2 * 2, 4)
        self.norm1 = nn.LocalResponseNorm(5, alpha=3.0, beta=0.75, k=1.0)
        self.norm2 = nn.LocalResponseNorm(4, alpha=0.5, beta=0.6, k=2.0)  # even: one more channel below

    def forward(self, x):
        x = nn.functional.max_pool2d(self.norm1(self.conv1(x).relu()), 3, stride=2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.norm2(self.conv2(x).relu()), 2, stride=3, padding=1, ceil_mode=True)
        return self.fc(x.flatten(1))


if __name__ == "__main__":
    torch.manual_seed(20240607)
    np.random.seed(20240607)
    OUT.mkdir(exist_ok=True)
    make("conv_bn_pool", ConvBnPool(), (2, 11, 11), 1 / 255, [0.3, 0.5], [0.25, 0.4])
    make("grouped", grouped(), (3, 13, 10), 0.01, [1.0, 0.5, 0.0], [0.5, 1.0, 2.0])
    make("residual", Residual(), (3, 19, 15), 1 / 255, [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    make("normalised", Normalised(), (2, 12, 10), 1 / 255, [0.3, 0.5], [0.25, 0.4])
