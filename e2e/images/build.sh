#!/usr/bin/env bash
# Builds the images that tests and demo run as agents; prints the path of each archive. Built before: found in the cache.
#   build.sh [pause|agent|agent-old|conformance-LANGUAGE]...      by default what EXEAT_AGENT_IMAGES names, else what `make test` needs
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
store=$CACHE/images
# shellcheck source-path=SCRIPTDIR source=../conformance/images.sh
source "$here/../conformance/images.sh"
bin=$("$cluster_dir/build.sh")

suite=bookworm
python=3.11 # of that suite

inputs() { # what an image's content depends on
  cat "${BASH_SOURCE[0]}"
  case $1 in
    pause) cat "$here/pause.c" ;;
    agent) cat "$here/aws" "$here/agent-requirements.txt"; sha256sum <"$bin/kubectl" ;;
    conformance-*) conformance_inputs "$1" ;;
  esac
}
archive_of() { echo "$store/$1-$(inputs "$1" | sha256sum | cut -c1-16).tar"; }

# pack NAME ROOTFS.tar|FOLDER CONFIG...: one layer, no base image, in a storage of its own that goes again.
pack() {
  local name=$1 content=$2 c; shift 2
  bud() { STORAGE_DRIVER=overlay BUILDAH_ISOLATION=chroot buildah --root "$tmp/root" --runroot "$tmp/run" "$@"; }
  c=$(bud from scratch)
  bud add -q "$c" "$content" / >/dev/null
  bud config "$@" "$c"
  bud commit -q "$c" "exeat.test/$name" >/dev/null
  bud push -q "exeat.test/$name" "docker-archive:$tmp/image.tar:exeat.test/$name"
  bud rm "$c" >/dev/null
}

# root_fs PACKAGES: a Debian root with busybox for everything that the packages leave out.
root_fs() {
  mmdebstrap --quiet --variant=extract --include="$1,busybox-static" --format=directory "$suite" "$tmp/fs"
  rm -rf "$tmp"/fs/{var/cache/apt,var/lib/apt/lists,usr/share/doc,usr/share/man,usr/share/locale}/*
  # The merged /usr that the packages expect is the work of one that is not installed here.
  local folder applet
  for folder in bin sbin lib lib64; do
    mkdir -p "$tmp/fs/usr/$folder"
    if [[ -d $tmp/fs/$folder ]]; then cp -a "$tmp/fs/$folder/." "$tmp/fs/usr/$folder/"; rm -rf "${tmp:?}/fs/$folder"; fi
    ln -s "usr/$folder" "$tmp/fs/$folder"
  done
  for applet in $("$tmp/fs/usr/bin/busybox" --list); do
    [[ -e $tmp/fs/usr/bin/$applet || -e $tmp/fs/usr/sbin/$applet ]] || ln -s busybox "$tmp/fs/usr/bin/$applet"
  done
  [[ -e $tmp/fs/usr/bin/python3 ]] || ln -s "python$python" "$tmp/fs/usr/bin/python3"
  printf 'root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000:agent:/tmp:/bin/sh\n' >"$tmp/fs/etc/passwd"
  printf 'root:x:0:\nagent:x:1000:\n' >"$tmp/fs/etc/group"
  chmod 1777 "$tmp/fs/tmp"
}

build_pause() {
  mkdir "$tmp/fs"
  cc -Os -static -s -o "$tmp/fs/pause" "$here/pause.c"
  pack pause:1 "$tmp/fs" --entrypoint '["/pause"]' --user 65535:65535
}

# Compiled here: an SDK that compiles itself at each start takes seconds, and thirty of them take minutes.
compile_python() { chroot "$tmp/fs" python3 -m compileall -q --invalidation-mode unchecked-hash "$@" >&2; }

agent_env=(--env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin --env HOME=/tmp --env PYTHONDONTWRITEBYTECODE=1)

# pip_install REQUIREMENTS: into the root, for its own Python.
pip_install() {
  local lib=$tmp/fs/usr/local/lib/python$python/dist-packages
  python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-compile --no-deps --require-hashes \
    --only-binary=:all: --implementation cp --python-version "$python" --platform manylinux2014_x86_64 --platform any \
    --target "$lib" -r "$1" >&2
  rm -rf "${lib:?}"/bin "$lib"/awscli/examples
  compile_python "/usr/lib/python$python" "/usr/local/lib/python$python"
}

build_agent() { # the SDKs of today
  root_fs python3,curl,libstdc++6 # which google-crc32c is linked with
  pip_install "$here/agent-requirements.txt"
  mkdir -p "$tmp/fs/usr/local/bin"
  install -m 755 "$here/aws" "$bin/kubectl" "$tmp/fs/usr/local/bin/"
  pack agent:1 "$tmp/fs" --cmd /bin/sh --user 1000:1000 "${agent_env[@]}"
}

build_agent_old() { # an SDK that predates AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
  root_fs python3,python3-boto3
  compile_python "/usr/lib/python$python" /usr/lib/python3/dist-packages
  pack agent-old:1 "$tmp/fs" --cmd /bin/sh --user 1000:1000 "${agent_env[@]}"
}

read -ra usual <<<"${EXEAT_AGENT_IMAGES:-pause agent agent-old conformance-go}"
if (($# == 0)); then set -- "${usual[@]}"; fi
mkdir -p "$store"
exec 9>"$store/.lock"
for image; do
  archive=$(archive_of "$image")
  # What is there waits for nobody who builds another one.
  [[ -e $archive ]] || flock 9
  if [[ ! -e $archive ]]; then
    step "building image $image"; began=$SECONDS
    tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/exeat-image.XXXXXX")
    # Overlay storage leaves a bind mount of itself behind.
    trap 'umount -l "$tmp/root/overlay" 2>/dev/null || true; rm -rf --one-file-system "$tmp"' EXIT
    "build_${image//-/_}"
    mv "$tmp/image.tar" "$archive.tmp"; mv "$archive.tmp" "$archive"
    umount -l "$tmp/root/overlay" 2>/dev/null || true
    rm -rf --one-file-system "$tmp"; trap - EXIT
    step "built image $image in $((SECONDS - began)) s, $(du -h "$archive" | cut -f1)"
  fi
  echo "$archive"
done
