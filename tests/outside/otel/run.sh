#!/usr/bin/env bash
# Proves the traces by a decoder nobody here wrote: what Bursar sends is read with OpenTelemetry's own Python classes,
# and held against the requests that were made. (No registry this suite may use has a collector.)
#   run.sh BINARY     one that was built with `--features otel`
# Packages are installed by name into a temporary folder (BURSAR_OUTSIDE_DIR keeps it for the next run). One line,
# `ran …` or `skipped: …`; exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

command -v python3 >/dev/null || { skip opentelemetry "python3 not found (apt-get install python3-venv)"; exit "$failed"; }
begin install_python opentelemetry opentelemetry-proto==1.45.2
wait "${installers[0]}"
installers=()
if [ ! -e "$dir/opentelemetry/installed" ]; then
  skip opentelemetry "not installed: $(tail -n 1 "$work/opentelemetry.install.log")"
  exit "$failed"
fi
timeout 240 "$dir/opentelemetry/bin/python" "$here/drive.py" "$bin" "$work" || fail opentelemetry
exit "$failed"
