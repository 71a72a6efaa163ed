#!/bin/sh
# Installs a wheel on a machine without Rust, and takes a first batch: within 60 s from the start of the install.
set -eu
started=$(date +%s)
place=$(mktemp -d)
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet "./$1"
installed=$(date +%s)
"$place/venv/bin/forebay" synth "$place/photos" --classes 2 --images 64
"$place/venv/bin/python" - "$place/photos/train" <<'EOF'
import sys

from forebay.numpy import DataLoader
from forebay.transforms import RandomResizedCrop

images, labels = next(iter(DataLoader(sys.argv[1], batch_size=32, shuffle=True, transform=[RandomResizedCrop(224)])))
print(f"first batch: {images.shape} {images.dtype}, labels {labels[:8]}...")
EOF
ended=$(date +%s)
echo "installed in $((installed - started)) s, first batch after $((ended - started)) s in all"
[ $((ended - started)) -le 60 ]
