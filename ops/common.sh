# Shared by the scripts beside it: install what is missing, build.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Those of ops/packages.txt that are not installed.
missing_packages() {
    local package
    while read -r package; do
        [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done < <(grep -v '^#' "$top/ops/packages.txt")
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || { echo "missing packages, and only root can install them: ${missing[*]}" >&2; exit 1; }
    echo "installing ${missing[*]} …"
    # Strata runs its own PostgreSQL and NATS: Debian's shall not make or start theirs.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
    fi
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e $policy ]; then
        ours=1
        printf '#!/bin/sh\nexit 101\n' > $policy
        chmod +x $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    # Twice: apt removes a newer qemu-utils (a backport's) to install Debian's QEMU.
    if ! { apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}" &&
        mapfile -t missing < <(missing_packages) &&
        { [ ${#missing[@]} = 0 ] || apt-get install -qy --no-install-recommends "${missing[@]}"; }; } > "$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "apt-get could not install them; the whole output: $log" >&2
        exit 1
    fi
    rm -f "$log"
    if [ -n "$ours" ]; then
        rm -f $policy
        trap - EXIT
    fi
}

need_cargo() {
    command -v cargo > /dev/null || export PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo > /dev/null || { echo "cargo is missing: install Rust 1.91 or later from https://rustup.rs" >&2; exit 1; }
}

# Where cargo puts the binary of this profile.
strata_binary() {
    echo "${CARGO_TARGET_DIR:-$top/target}/$1/strata"
}
