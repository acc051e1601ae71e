# Sourced by the suites beside this folder's: finds the binary, starts servers, installs clients, and ends all
# it started. Expects $here, the folder of the suite; takes the suite's arguments.
#   BURSAR_OUTSIDE_DIR keeps installed packages for the next run
root=$(cd "$here/../../.." && pwd)
bin=${1:-}
for candidate in "${CARGO_TARGET_DIR:-$root/target}/debug/bursar" "${CARGO_TARGET_DIR:-$root/target}/release/bursar"; do
  [ -z "$bin" ] && [ -x "$candidate" ] && bin=$candidate
done
[ -x "${bin:-}" ] || { echo "FAILED: no binary at '${bin:-target/debug/bursar}' (cargo build)"; exit 1; }
bin=$(cd "$(dirname "$bin")" && pwd)/$(basename "$bin")

# Seconds one part may take, and one installation.
PART_SECONDS_MAX=60
INSTALL_SECONDS_MAX=150
export STRIPE_CLI_TELEMETRY_OPTOUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false
unset STRIPE_API_KEY STRIPE_WEBHOOK_SECRET

dir=${BURSAR_OUTSIDE_DIR:-}
made=
[ -n "$dir" ] || { dir=$(mktemp -d) && made=$dir; }
mkdir -p "$dir" && dir=$(cd "$dir" && pwd)
work=$(mktemp -d)
failed=0
started=()
installers=()
stop() {
  for pid in "${started[@]:-}" "${installers[@]:-}"; do [ -n "$pid" ] && kill "$pid" 2>/dev/null; done
  for pid in "${started[@]:-}" "${installers[@]:-}"; do [ -n "$pid" ] && wait "$pid" 2>/dev/null; done
  started=()
  installers=()
}
finish() { stop; rm -rf "$work"; [ -z "$made" ] || rm -rf "$made"; }
trap finish EXIT
trap 'exit 130' INT TERM

fail() { echo "FAILED: $1"; failed=1; }
skip() { # part, reason
  echo "skipped: $1 ($2)"
  [ "${CI:-}" = true ] && failed=1
  return 0
}

# Starts `bursar …` in the background and waits until its banner names an address: address PATTERN LOG ARGS…
serve() {
  local pattern=$1 log=$2
  shift 2
  : >"$log"
  "$@" >"$log" 2>"$log.err" &
  started+=($!)
  for _ in $(seq 1 200); do
    address=$(sed -nE "s|.*$pattern.*(http://127\.0\.0\.1:[0-9]+).*|\1|p" "$log" | head -n 1)
    [ -n "$address" ] && return 0
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  echo "FAILED: $* did not start:"
  cat "$log" "$log.err"
  exit 1
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# Starts a double in the background and waits until it answers: double URL LOG COMMAND…
double() {
  local url=$1 log=$2
  shift 2
  "$@" >"$log" 2>&1 &
  started+=($!)
  for _ in $(seq 1 200); do
    curl -s -o "$work/hello" "$url/" && return 0
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  echo "FAILED: $* did not start:"
  tail -n 20 "$log"
  return 1
}
# Installations run side by side; each leaves DIR/PART/installed when it is whole.
install_python() { # part, requirements…
  local part=$1
  shift
  [ -e "$dir/$part/installed" ] && return 0
  rm -rf "${dir:?}/$part"
  python3 -m venv "$dir/$part" && timeout "$INSTALL_SECONDS_MAX" "$dir/$part/bin/pip" install --quiet "$@" && touch "$dir/$part/installed"
}
install_node() { # part, packages…
  local part=$1
  shift
  [ -e "$dir/$part/installed" ] && return 0
  rm -rf "${dir:?}/$part" && mkdir -p "$dir/$part" && echo '{"private":true}' >"$dir/$part/package.json" &&
    (cd "$dir/$part" && timeout "$INSTALL_SECONDS_MAX" npm install --silent --ignore-scripts "$@") && touch "$dir/$part/installed"
}
begin() { "$@" >"$work/$2.install.log" 2>&1 & installers+=($!); }
