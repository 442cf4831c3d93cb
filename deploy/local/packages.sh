# Debian packages that ./dev needs, installed when they are missing. Sourced by ./dev.
# shellcheck shell=bash disable=SC2034

BUILD_PACKAGES=(g++ cmake ninja-build ccache pkg-config libboost1.81-dev libnats-dev
  libprotobuf-dev protobuf-compiler librocksdb-dev libspdlog-dev libgtest-dev libbenchmark-dev
  libzstd-dev liblz4-dev libxxhash-dev libjemalloc-dev libssl-dev
  liblua5.1-0-dev lua-cjson-dev lua-bitop-dev libhiredis-dev libevent-dev)
RUN_PACKAGES=(nats-server redis-tools)
# redis-tools holds redis-server's program too (redis-check-rdb is the same file under another
# name). The package redis-server would only add a service on port 6379 that nobody asked for.
TEST_PACKAGES=(python3 python3-redis util-linux valgrind openssl)

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing Debian packages needs root, and there is no sudo. As root, run:" \
      "apt-get install ${MISSING[*]}"
  fi
}

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need_packages NAME...: returns at once when all are there.
need_packages() {
  command -v dpkg-query >/dev/null ||
    fail "./dev installs Debian packages and this system has no dpkg. Use Debian 12 (a container" \
      "or a virtual machine will do), or install these yourself: $*"
  MISSING=()
  local name
  for name in "$@"; do
    installed "$name" || MISSING+=("$name")
  done
  [ ${#MISSING[@]} -eq 0 ] || install_missing
}

install_missing() {
  step "installing Debian packages: ${MISSING[*]}"
  local log=.atoll/apt.log
  mkdir -p .atoll
  as_root apt-get update >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    fail "apt-get update failed (above, and in $log). Is there a network, and are the package" \
      "sources in /etc/apt right?"
  }
  local services_before
  services_before=$(unit_files)
  without_starting_services as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${MISSING[@]}" >>"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    fail "apt-get could not install them (above, and in $log). Atoll is built for Debian 12;" \
      "on another release some of these packages do not exist."
  }
  disable_new_services "$services_before"
}

# A package's service would take ports (nats-server: 4222) that the user has not given away.
without_starting_services() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
  "$@" || status=$?
  as_root rm -f "$policy"
  return "$status"
}

unit_files() { (cd /lib/systemd/system 2>/dev/null && ls nats-server.service 2>/dev/null) || true; }

disable_new_services() {
  [ "$(unit_files)" = "$1" ] && return
  command -v systemctl >/dev/null || return 0
  say "    (Debian's nats-server service stays off: ./dev up starts its own NATS servers)"
  as_root systemctl disable nats-server.service >/dev/null 2>&1 || true
}

# The end-to-end tests need Node.js 18 or newer and npm; wherever they came from will do.
need_node() {
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    need_packages nodejs npm
  fi
  node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' ||
    fail "the end-to-end tests need Node.js 18 or newer, and 'node' is $(node --version)." \
      "Put a newer one first on the PATH."
}
