#!/usr/bin/env python3
"""The peer of bench/training_bench: training steps of the same VGG11 with batch-norm in PyTorch on the CPU.

Images of CIFAR-10's shape, batch 128, SGD with momentum and weight decay. Prints one JSON object: images per
second (median over steps, by the clock and by the processor time of the process) and the peak memory of the
process. Debian: python3-torch.
"""
import argparse
import json
import resource
import statistics
import sys
import time

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("PyTorch is not installed (Debian: python3-torch)")

BATCH = 128


def vgg11():
    layers, channels = [], 3
    for width in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"):
        if width == "pool":
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    network = vgg11()
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    if options.channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    by_clock, by_processor = [], []
    for step in range(options.steps + 2):
        clock, processor = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            logits = network(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        if step >= 2:  # the first ones create primitives
            by_clock.append(BATCH / (time.perf_counter() - clock))
            by_processor.append(BATCH / (time.process_time() - processor))
    print(json.dumps({
        "peer": f"PyTorch {torch.__version__}",
        "case": "bf16 autocast" if options.bf16 else "float",
        "threads": options.threads,
        "images_per_second": round(statistics.median(by_clock), 1),
        "images_per_processor_second": round(statistics.median(by_processor), 1),
        "peak_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }))


if __name__ == "__main__":
    main()
