#!/usr/bin/env python3
"""Colour jitter as torchvision has it: writes tests/golden/cases/jitter/ (STEP_FACTOR.png from frame.png). Needs torchvision."""
import os
from PIL import Image
from torchvision.transforms import functional as F

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests")
out = root + "/golden/cases/jitter"
os.makedirs(out, exist_ok=True)
frame = Image.open(root + "/data/volleyball/game1/Clip1/0010.jpg").convert("RGB").resize((64, 36), Image.BILINEAR)
frame.save(out + "/frame.png")
for step, factors in {"brightness": (0.3, 1.7), "contrast": (0.45, 2.2), "saturation": (0.0, 1.9), "hue": (-0.5, -0.07, 0.21)}.items():
    for f in factors:
        getattr(F, "adjust_" + step)(frame, f).save("%s/%s_%s.png" % (out, step, f))
