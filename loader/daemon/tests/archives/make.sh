#!/bin/sh
# Writes the archives beside it: needs GNU tar, bsdtar (libarchive-tools) and Python.
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
long=$(printf 'folder/%.0s' $(seq 30))
mkdir -p "$long"
head -c 600 /dev/zero | tr '\0' x >a.jpg
echo 7 >a.cls
printf y >"${long}b.jpg"
common="a.jpg a.cls ${long}b.jpg"
# shellcheck disable=SC2086  # names without spaces
{
    tar --format=gnu -b 1 --owner=0 --group=0 --mtime=@0 -cf "$here/gnu.tar" $common
    tar --format=posix -b 1 --owner=0 --group=0 --mtime=@0 -cf "$here/posix.tar" $common
    bsdtar --format=pax -b 1 --uid 0 --gid 0 -cf "$here/bsdtar-pax.tar" $common
    bsdtar --format=gnutar -b 1 --uid 0 --gid 0 -cf "$here/bsdtar-gnutar.tar" $common
    python3 - "$here/python-pax.tar" $common <<'END'
import sys, tarfile

with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "global"}) as archive:
    for name in sys.argv[2:]:
        archive.add(name)
END
}
