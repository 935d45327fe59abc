#!/usr/bin/env bash
# A base image without pulling one, on a Debian machine as root: steelyard-base:local, out of Debian's
# packages. Its Python must be this machine's version, for `make wheels` takes packages for that one.
set -euo pipefail
image=${1:-steelyard-base:local}
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3-minimal,python3-venv,ca-certificates "$suite" "$folder/root"
rm -rf "$folder/root/var/cache/apt/archives" "$folder/root/var/lib/apt/lists" "$folder/root/usr/share/doc"
tar -C "$folder/root" --numeric-owner -c . | docker import - "$image"
