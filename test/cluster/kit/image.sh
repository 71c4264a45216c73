#!/usr/bin/env bash
# image.sh DIRECTORY NAME:TAG FILE: an image of one layer, what lies in the directory, as `docker save` writes it.
# From the environment: ENTRYPOINT (a JSON array of strings), IMAGE_USER, IMAGE_ENV (a JSON array of NAME=VALUE).
set -euo pipefail
root=$1 name=$2 file=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 -C "$root" -cf "$work/layer.tar" .
sum=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
architecture=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
path='["PATH=/usr/local/bin:/usr/bin:/bin"]'
cat > "$work/config.json" << J
{"architecture": "$architecture", "os": "linux", "created": "1970-01-01T00:00:00Z",
 "config": {"User": "${IMAGE_USER:-}", "Env": ${IMAGE_ENV:-$path}, "Entrypoint": ${ENTRYPOINT:-null}},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$sum"]}}
J
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" > "$work/manifest.json"
tar -C "$work" -cf "$file" manifest.json config.json layer.tar
