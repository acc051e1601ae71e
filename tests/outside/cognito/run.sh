#!/usr/bin/env bash
# Accounts of those who paid at a double of Amazon Cognito that nobody here wrote: moto 5.2.5 (PyPI), which checks no
# signatures; those are made by AWS's own crate. The part is a test of the crate and builds its own.
#   run.sh
# One line, `ran …` or `skipped: …`; exits 1 when it fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

MOTO=5.2.5

cognito_part() {
  command -v python3 >/dev/null || { skip "cognito" "python3 not found (apt-get install python3-venv)"; return; }
  command -v cargo >/dev/null || { skip "cognito" "cargo not found: its part is a test of the crate"; return; }
  install_python moto "moto[server,cognitoidp]==$MOTO" >"$work/moto.install.log" 2>&1 ||
    { skip "cognito" "not installed: $(tail -n 1 "$work/moto.install.log")"; return; }
  local port base
  port=$(free_port) && base=http://127.0.0.1:$port
  double "$base" "$work/moto.log" "$dir/moto/bin/moto_server" -H 127.0.0.1 -p "$port" || { fail "cognito"; return; }
  if (cd "$root" && BURSAR_COGNITO_DOUBLE=$base cargo test --locked --features mutants,cognito --test it cognito:: -- --nocapture) >"$work/cognito.log" 2>&1 &&
    grep -E '^ran ' "$work/cognito.log"; then :; else
    fail "cognito"
    tail -n 40 "$work/cognito.log"
  fi
  stop
}

cognito_part
exit "$failed"
