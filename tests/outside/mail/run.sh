#!/usr/bin/env bash
# Proves the mail by a server and a parser nobody here wrote: aiosmtpd takes every text over SMTP, with a login and
# without, and Python's email package reads it.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
# Packages are installed by name into a temporary folder (BURSAR_OUTSIDE_DIR keeps it for the next run). One line per
# part, `ran …` or `skipped: …`; exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

if ! command -v python3 >/dev/null; then
  skip aiosmtpd "python3 not found (apt-get install python3-venv)"
  exit "$failed"
fi
begin install_python aiosmtpd aiosmtpd==1.4.6
wait "${installers[0]}"
installers=()
if [ ! -e "$dir/aiosmtpd/installed" ]; then
  skip aiosmtpd "not installed: $(tail -n 1 "$work/aiosmtpd.install.log")"
  exit "$failed"
fi
timeout "$PART_SECONDS_MAX" "$dir/aiosmtpd/bin/python" "$here/drive.py" "$bin" "$work" || fail aiosmtpd
exit "$failed"
